"""Arms that use the samples of an engine, drawn as often as the recipe says within every cell that has some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from faceaug.bench.arms.base import RunTrial
from faceaug.bench.arms.real import head_steps
from faceaug.bench.recipe import FEATURES_MODEL, ExperimentRecipe
from faceaug.bench.trial import Trial, TrialResult
from faceaug.curation.condition import check_condition
from faceaug.errors import UsageError
from faceaug.training import MIXED_SHARE, fit_two_stage
from faceaug.utils.text import shown

SAMPLE_OPTIONS: dict[str, Callable[[str], int | float]] = {"share": float, "most": int}
"""Options of the arms `ENGINE:USE` that are numbers, and how they are read; `where` is a condition."""
FEWEST_TRIALS = 3
"""Of the arms `ENGINE:chosen`: without synthetic faces, with a share of them, with the share chosen for each cell."""


def fit_mixed(trial: Trial) -> None:
    """Draw every cell equally often, with a share of synthetic faces in each that has some."""
    both = trial.real.joined(trial.synthetic)
    trial.fit(trial.batches(both, trial.draws(both, _share(trial))))


def fit_stages(trial: Trial) -> None:
    """Train on synthetic and real faces first, and finish on real ones."""
    both = trial.real.joined(trial.synthetic)
    fit_two_stage(
        trial.net,
        trial.optimizer(trial.steps),
        trial.loss,
        trial.batches(trial.real, trial.draws(trial.real)),
        trial.batches(both, trial.draws(both, _share(trial))),
        steps=trial.steps,
        after_step=trial.after_step(round(MIXED_SHARE * trial.steps)),
    )


def fit_last_layer(trial: Trial) -> None:
    """Train the body on synthetic and real faces, and the last layer anew on real ones."""
    both = trial.real.joined(trial.synthetic)
    steps = head_steps(trial)
    trial.fit(trial.batches(both, trial.draws(both, _share(trial))), trial.steps - steps, last=False)
    trial.fit_head(trial.batches(trial.real, trial.draws(trial.real)), steps)


def search_shares(run: RunTrial, recipe: ExperimentRecipe) -> list[TrialResult]:
    """Spend the trials on shares of synthetic faces: the same for all cells first, then the best one of each cell.

    The best share of a cell is that with which its validation faces are read best; the smaller one where two are equal.
    """
    lr = recipe.training.lr
    shares = np.linspace(0, recipe.synthesis.share, recipe.training.trials - 1).tolist()
    results = [run({"lr": lr, "share": share}) for share in shares]
    chosen = {}
    for cell in range(len(results[0].cells)):
        scores = [result.cells[cell] for result in results]
        known = [(-score, share) for score, share in zip(scores, shares, strict=True) if score is not None]
        chosen[cell] = min(known)[1] if known else 0.0
    return [*results, run({"lr": lr, "share": chosen})]


def needs_trials(recipe: ExperimentRecipe) -> str:
    """Return why shares cannot be chosen; an empty text where they can."""
    if recipe.training.trials < FEWEST_TRIALS:
        return f"it needs training.trials of at least {FEWEST_TRIALS}, and there are {recipe.training.trials}"
    return ""


def needs_body(recipe: ExperimentRecipe) -> str:
    """Return why a last layer cannot be trained apart; an empty text where it can."""
    if recipe.model.name == FEATURES_MODEL and recipe.model.head == "linear":
        return (
            "it trains the body on synthetic faces, and a linear head on frozen features has no body that learns: set "
            "model.head to hidden, or leave the arm out"
        )
    return ""


def parse_sample_options(text: str, name: str) -> dict[str, Any]:
    """Return the options of an arm from "share=0.25,most=100,where=yaw>20"; `name` is that of the arm, for errors.

    Raises
    ------
    UsageError
        When an option is unknown or given twice, its value is out of range, or the condition is none.
    """
    text, where, condition = f",{text}".partition(",where=")  # the last one, since a condition may hold commas
    options: dict[str, Any] = {}
    for part in text.split(",")[1:]:
        key, _, value = part.partition("=")
        kind = SAMPLE_OPTIONS.get(key)
        if kind is None or key in options:
            raise UsageError(
                f"the arm {shown(name)} has the option {shown(part)}; give share=SHARE (of the draws of a cell, above "
                "0 and at most 1), most=NUMBER (of samples of a cell) and, as the last, where=CONDITION (as of "
                "faceaug subset), each once"
            )
        try:
            number = kind(value)
        except ValueError:
            number = -1
        if not 0 < number < float("inf") or (key == "share" and number > 1):
            raise UsageError(
                f"the arm {shown(name)} has {key}={shown(value)}; "
                + ("a share is above 0 and at most 1" if key == "share" else "give a whole number above 0")
            )
        options[key] = number
    if where:
        check_condition(condition)
        options["where"] = condition.strip()
    return options


def _share(trial: Trial) -> float | Mapping[int, float]:
    share: float | Mapping[int, float] = trial.options.get("share", trial.data.recipe.synthesis.share)
    return share
