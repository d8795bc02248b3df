"""Arms that need no synthesis."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from faceaug.bench.examples import Examples
from faceaug.bench.recipe import FEATURES_MODEL, ExperimentRecipe
from faceaug.bench.trial import Batch, Trial
from faceaug.utils.typing import Indices

HEAD_SHARE = 0.2
"""Share of the steps, and with `dfr` of the faces of each cell, on which the last layer is trained alone."""
_MIXUP_ALPHA = 0.2  # Zhang et al., "mixup", 2018
_SMOTE_NEIGHBOURS = 5  # Chawla et al., "SMOTE", 2002


def fit_erm(trial: Trial) -> None:
    """Train on faces as frequent as they are (empirical risk minimization)."""
    trial.fit(trial.batches(trial.real, trial.natural_draws(len(trial.real))))


def fit_reweighted(trial: Trial) -> None:
    """Train on faces as frequent as they are, with the inverse frequency of their cell as weight in the loss."""
    counts = np.bincount(trial.real.cells)
    weights = 1 / counts[trial.real.cells]
    trial.fit(trial.batches(trial.real, trial.natural_draws(len(trial.real)), weights / weights.mean()))


def fit_rwg(trial: Trial) -> None:
    """Draw every cell equally often (RWG: Idrissi et al., "Simple data balancing", 2022)."""
    trial.fit(trial.batches(trial.real, trial.draws(trial.real)))


def fit_subg(trial: Trial) -> None:
    """Leave out faces until every cell has as few as the smallest one (SUBG, the same)."""
    kept = trial.real.rows(balanced_rows(trial.real.cells, trial.rng))
    trial.fit(trial.batches(kept, trial.natural_draws(len(kept))))


def fit_dfr(trial: Trial) -> None:
    """Train the body on most faces, and the last layer anew on balanced ones that the body has not seen.

    Deep feature reweighting (Kirichenko et al., 2023), with `HEAD_SHARE` of the training faces of every cell kept for
    the last layer. Where the body learns nothing, all steps go to the last layer.
    """
    held = held_in_rows(trial.real.cells, trial.rng)
    body, head = trial.real.rows(~held), trial.real.rows(held)
    steps = head_steps(trial)
    if learns_body(trial):
        trial.fit(trial.batches(body, trial.natural_draws(len(body))), trial.steps - steps, last=False)
    else:
        steps = trial.steps
    trial.fit_head(trial.batches(head, trial.draws(head)), steps)


def fit_photometric(trial: Trial) -> None:
    """Draw every cell equally often, and vary framing, exposure, colour and sharpness of the faces."""
    trial.fit(trial.batches(trial.real, trial.draws(trial.real), varied=True))


def fit_unthinned(trial: Trial) -> None:
    """Draw every cell equally often of all faces, those included that thinning took away."""
    every = trial.real.joined(trial.data.left_out)
    trial.fit(trial.batches(every, trial.draws(every)))


def fit_mixup(trial: Trial) -> None:
    """Draw every cell equally often, and mix the faces of a batch and their labels with one another."""
    trial.fit(_mixed_up(trial))


def fit_cutmix(trial: Trial) -> None:
    """Draw every cell equally often, and put a window of another face of the batch into each (Yun et al., 2019)."""
    trial.fit(_cut_and_mixed(trial))


def fit_smote(trial: Trial) -> None:
    """Raise every cell to the largest one by points between the features of neighbours in it (SMOTE)."""
    raised = _smote(trial.real, trial.data.seed)
    trial.fit(trial.batches(raised, trial.natural_draws(len(raised)), varied=False))  # points have no picture to vary


def needs_unvaried_arms(recipe: ExperimentRecipe) -> str:
    """Return why the arm that varies faces would be another one twice; an empty text where it would not."""
    if recipe.training.augment:
        return "training.augment varies the faces of every arm, so it would be rwg again: leave one of them out"
    return ""


def needs_thinning(recipe: ExperimentRecipe) -> str:
    """Return why there is nothing that thinning took away; an empty text where there is."""
    if not recipe.imbalance:
        return "the recipe thins no group, so it would be rwg again: leave it out"
    return ""


def needs_images(recipe: ExperimentRecipe) -> str:
    """Return why an arm that changes images cannot run; an empty text where it can."""
    if recipe.model.name == FEATURES_MODEL:
        return "it changes images, and the model features reads none: leave the arm out, or set model.name to resnet"
    return ""


def needs_features(recipe: ExperimentRecipe) -> str:
    """Return why SMOTE cannot run; an empty text where it can."""
    if recipe.model.name != FEATURES_MODEL:
        return (
            "it mixes features, and only the model features has them: leave the arm out, or set model.name to features"
        )
    if importlib.util.find_spec("imblearn") is None:
        return "it needs imbalanced-learn, which is not installed: pip install 'faceaug[bench]', or leave the arm out"
    return ""


def balanced_rows(cells: Indices, rng: np.random.Generator) -> Indices:
    """Return rows of which every cell has as many as the smallest cell has, in increasing order."""
    present, counts = np.unique(cells, return_counts=True)
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(cells == c), counts.min(), False) for c in present]))


def held_in_rows(cells: Indices, rng: np.random.Generator) -> np.ndarray:
    """Return whether each row is kept for the last layer: `HEAD_SHARE` of every cell, at least one face of it.

    A cell with a single face has it in neither part alone: it is kept for the last layer.
    """
    held = np.zeros(len(cells), bool)
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        held[rng.choice(rows, max(1, round(HEAD_SHARE * len(rows))), False)] = True
    return held


def head_steps(trial: Trial) -> int:
    """Return the steps in which a last layer is trained anew."""
    return max(1, round(HEAD_SHARE * trial.steps))


def learns_body(trial: Trial) -> bool:
    """Return whether anything is learnt below the last layer."""
    return any(True for _ in trial.net.body.parameters())


def _mixed_up(trial: Trial) -> Iterator[Batch]:
    for batch in trial.batches(trial.real, trial.draws(trial.real)):
        share = trial.rng.beta(_MIXUP_ALPHA, _MIXUP_ALPHA)
        order = torch.from_numpy(trial.rng.permutation(len(batch.weights)))
        inputs = share * batch.inputs + (1 - share) * batch.inputs[order]
        yield Batch(inputs, _mixed_targets(batch, order, share), batch.weights)


def _cut_and_mixed(trial: Trial) -> Iterator[Batch]:
    for batch in trial.batches(trial.real, trial.draws(trial.real)):
        order = torch.from_numpy(trial.rng.permutation(len(batch.weights)))
        side = batch.inputs.shape[-1]
        window = round(side * float(np.sqrt(1 - trial.rng.random())))
        top, left = trial.rng.integers(0, side - window + 1, 2).tolist()
        inputs = batch.inputs.clone()
        inputs[..., top : top + window, left : left + window] = batch.inputs[order][
            ..., top : top + window, left : left + window
        ]
        yield Batch(inputs, _mixed_targets(batch, order, 1 - (window / side) ** 2), batch.weights)


def _mixed_targets(batch: Batch, order: Tensor, share: float) -> tuple[Tensor, ...]:
    return tuple(share * target + (1 - share) * target[order] for target in batch.targets)


def _smote(real: Examples, seed: int) -> Examples:
    """Return the examples with points between neighbours added, until all cells are as large as the largest one."""
    over_sampling = importlib.import_module("imblearn.over_sampling")
    if len(np.unique(real.cells)) < 2:
        return real
    rows = [np.arange(len(real))]
    for cell, count in zip(*np.unique(real.cells, return_counts=True), strict=True):
        if count <= _SMOTE_NEIGHBOURS:  # faces of a cell that has too few neighbours are repeated first
            own = np.flatnonzero(real.cells == cell)
            rows.append(np.resize(own, _SMOTE_NEIGHBOURS + 1)[count:])
    enough = real.rows(np.concatenate(rows))
    sampler = over_sampling.SMOTE(k_neighbors=_SMOTE_NEIGHBOURS, random_state=seed)
    features, cells = sampler.fit_resample(enough.inputs.astype(np.float32), enough.cells)
    first = {int(cell): row for row, cell in reversed(list(enumerate(real.cells.tolist())))}
    labels = real.labels[[first[int(cell)] for cell in cells]]  # a cell has one class of each task
    raised = replace(real, inputs=features.astype(np.float16), varied=None, labels=labels)
    return replace(raised, cells=np.asarray(cells, np.int64), synthetic=np.zeros(len(cells), bool))
