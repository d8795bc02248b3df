"""Synthetic sets of an experiment: made from the training part of a seed alone, kept in the output folder, resumed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.analyze import analyze
from faceaug.analysis.axes import AxisSpec, cell_levels
from faceaug.bench.data import ExperimentData, Labelling
from faceaug.bench.drawn.closed_world import wrong_labels
from faceaug.bench.drawn.drawn_data import DrawnData
from faceaug.bench.examples import Examples, model_inputs
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.recipe import BenchSynthesis
from faceaug.classifiers.training import augmentations_of
from faceaug.curation.condition import matching_rows
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import thumbnail
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import FaceaugError, UsageError
from faceaug.evaluation.output import StoredPictures
from faceaug.planning.budget import Budget
from faceaug.planning.plan import Plan, plan
from faceaug.shards.description.samples_table import read_samples_table
from faceaug.shards.manifest import SAMPLES_NAME, Manifest, read_manifest
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.stages import SAMPLE_STREAM
from faceaug.utils.text import shown
from faceaug.utils.typing import Indices

SYNTHETIC_FOLDER = "synthetic"
_READ = 64  # samples that are read at a time
_FLIP_STREAM = 0xF1  # of the label noise of closed worlds


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """The samples of an engine for a seed.

    Attributes
    ----------
    examples : Examples
        Empty where nothing was planned or accepted.
    sources : int64 [N]
        The row of the training face from which each was made, or a number of its own from the number of faces on.
    columns : DataFrame
        Those of `samples.parquet`, a row for each; empty where no arm has a condition.
    record : dict
        For results.json: engine, planned and accepted samples, and accepted ones by cell.
    """

    examples: Examples
    sources: Indices
    columns: pd.DataFrame
    record: dict[str, Any]

    def chosen(self, where: str | None, most: float | None) -> Examples:
        """Return the samples that meet a condition, and of these the first ones of each cell.

        Raises
        ------
        UsageError
            When it is no condition, or no sample meets it.
        """
        rows = np.arange(len(self.examples))
        if where is not None and len(rows):
            rows = np.flatnonzero(matching_rows(self.columns, where))
            if not len(rows):
                raise UsageError(
                    f"none of the {len(self.examples):,} samples of {self.record['engine']} meets {shown(where)}, the "
                    "condition of an arm; choose one that some meet"
                )
        if most is not None:
            cells = self.examples.cells[rows]
            order = np.argsort(cells, kind="stable")
            starts = np.searchsorted(cells[order], cells[order])  # where the cell of each begins
            rows = rows[np.sort(order[np.arange(len(order)) - starts < most])]
        return self.examples.rows(rows)


def synthetic_set(
    data: ExperimentData, train: FaceDataset, engine: str, seed: int, run: ExperimentRun, *, conditions: bool
) -> SyntheticSet:
    """Synthesize samples from training faces, or read those that were made before.

    Parameters
    ----------
    data : ExperimentData
    train : FaceDataset
        The training part of the seed, thinned. Engines, their classifiers and their directions see nothing else.
    engine : str
    seed : int
    run : ExperimentRun
        A Ray cluster that it names must be in use already.
    conditions : bool
        Whether an arm uses only the samples that meet a condition.

    Raises
    ------
    FaceaugError
        When the synthesis fails; the sentence names engine and seed.
    """
    config = data.recipe.synthesis.run_config(engine, seed, data.recipe.training.device)
    wanted = synthesis_plan(data.cells, train, data.recipe.synthesis)
    folder = run.out / SYNTHETIC_FOLDER / f"{engine}-seed{seed}-{_digest(train, wanted, config)}"
    if not wanted.total:
        nothing = {"engine": engine, "planned": 0, "accepted": 0, "cells": {}}
        return SyntheticSet(_examples(data, None), np.empty(0, np.int64), pd.DataFrame(), nothing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        balance(
            train,
            folder,
            plan=wanted,
            config=config.model_copy(update={"executor": run.placement.executor}),
            resume=True,
            progress=lambda stage, done, total: run.progress(f"{engine}, seed {seed}: {stage}", done, total),
        )
    except FaceaugError as error:
        raise type(error)(f"the samples of {engine} for seed {seed} could not be made: {error}") from error
    manifest = read_manifest(folder)
    record = {
        "engine": engine,
        "folder": folder.relative_to(run.out).as_posix(),
        "planned": manifest.totals.planned,
        "accepted": manifest.totals.accepted,
        "cells": {", ".join(cell.attributes.values()): cell.accepted for cell in manifest.cells if cell.planned},
    }
    examples, world = _examples(data, folder), data.recipe.dataset
    if isinstance(world, DrawnData):
        record["labels"] = wrong_labels(world, ShardDataset(folder, ["cell"]))
        before, examples = examples, _with_label_noise(data, examples, world.label_noise, seed)
        record["flipped"] = int((examples.cells != before.cells).sum())
    sources = StoredPictures.of(folder, manifest, train).groups
    kept = _cells(data, ShardDataset(folder, ["cell"])) >= 0 if len(sources) else np.empty(0, bool)
    columns = read_samples_table(folder / SAMPLES_NAME).to_pandas()[kept] if conditions else pd.DataFrame()
    return SyntheticSet(examples, sources[kept], columns, record)


def synthesis_plan(cells: Labelling, train: FaceDataset, settings: BenchSynthesis) -> Plan:
    """Return the plan of a synthesis: how many samples each cell of the training part gets.

    Cells without a real training face get none: no engine could know what belongs there.

    Parameters
    ----------
    cells : Labelling
        Of the experiment, whose bins the plan takes over.
    train : FaceDataset
    settings : BenchSynthesis
    """
    counted = analyze(train, [_spec(axis.name, axis.edges) for axis in cells.axes])
    counts = counted.counts.tolist()
    wanted: Any = settings.strategy or "uniform"
    if settings.each is not None:
        wanted = [
            {**cell_levels(counted.axes, index), "count": count + settings.each}
            for index, count in enumerate(counts)
            if count
        ]
    budget = Budget(settings.max_synthetic_ratio, settings.max_per_cell)
    full = plan(counted, wanted, budget)
    if all(count or not cell.planned for count, cell in zip(counts, full.cells, strict=True)):
        return full
    reachable = [{**cell.levels, "count": cell.real + cell.planned} for cell in full.cells if cell.real]
    return plan(counted, reachable, budget)


def _spec(name: str, edges: tuple[float, ...] | None) -> AxisSpec:
    return AxisSpec(name, None if edges is None else ("edges", edges))


def _digest(train: FaceDataset, wanted: Plan, config: RunConfig) -> str:
    """Return what tells synthetic sets apart in the folder."""
    decisive = json.dumps([SAMPLE_STREAM, train.fingerprint(), wanted.to_dict(), config.to_json()], sort_keys=True)
    return hashlib.sha256(decisive.encode()).hexdigest()[:10]


def _examples(data: ExperimentData, folder: Path | None) -> Examples:
    """Return the samples of a finished set as what the model reads; none without a folder."""
    side = data.images.shape[1]
    images, cells = np.empty((0, side, side, 3), np.uint8), np.empty(0, np.int64)
    if folder is not None:
        samples = ShardDataset(folder, ["cell"])
        cells = _cells(data, samples)
        images = _thumbnails(samples, data.aspect, side)
        images, cells = images[cells >= 0], cells[cells >= 0]
    augmentations, device = augmentations_of(data.tasks), data.recipe.training.device
    inputs, varied = model_inputs(images, data.recipe.model, augmentations, device)
    return Examples(inputs, varied, _labels_of(data)[cells], cells, np.ones(len(cells), bool))


def _with_label_noise(data: ExperimentData, examples: Examples, share: float, seed: int) -> Examples:
    """Return samples of which a share has the other class of the tasks; one without such a cell keeps its own."""
    shape = tuple(len(axis.levels) for axis in data.cells.axes)
    codes = np.stack(np.unravel_index(data.cells.numbers[examples.cells], shape), 1)  # [N, axes]
    tasks = [axis.name in {task.name for task in data.tasks} for axis in data.cells.axes]
    codes[:, tasks] = (codes[:, tasks] + 1) % np.array(shape)[tasks]
    flipped = data.cells.codes_of(np.ravel_multi_index(tuple(codes.T), shape))
    rng = np.random.default_rng((seed, _FLIP_STREAM))
    chosen = np.zeros(len(examples), bool)
    chosen[rng.permutation(len(examples))[: round(share * len(examples))]] = True
    cells = np.where(chosen & (flipped >= 0), flipped, examples.cells)
    return replace(examples, cells=cells, labels=_labels_of(data)[cells])


def _cells(data: ExperimentData, samples: ShardDataset) -> np.ndarray:
    """Return the cell [N] of each sample, as the experiment numbers them; -1 for one that it does not have."""
    shape = tuple(len(axis.levels) for axis in data.cells.axes)
    places = [_place(data, samples.manifest, index, shape) for index in range(len(samples.manifest.cells))]
    numbers = data.cells.codes_of(np.array(places, np.int64))
    own = samples.table(["cell"])["cell"].to_numpy(np.int64)
    return np.asarray(numbers[own], np.int64)


def _place(data: ExperimentData, manifest: Manifest, index: int, shape: tuple[int, ...]) -> int:
    levels = manifest.cells[index].attributes
    codes = [axis.levels.index(levels[axis.name]) for axis in data.cells.axes]
    return int(np.ravel_multi_index(codes, shape))


def _labels_of(data: ExperimentData) -> np.ndarray:
    """Return the classes [cells, T] of each cell: the columns of the tasks are among those of the cells."""
    labels = np.zeros((len(data.cells.numbers), len(data.tasks)), np.int64)
    labels[data.cells.codes] = data.labels
    return labels


def _thumbnails(samples: ShardDataset, aspect: float, side: int) -> np.ndarray:
    """Return all samples as the experiment's real faces are read, uint8 [N, side, side, 3]."""
    images = np.empty((len(samples), side, side, 3), np.uint8)
    for start in range(0, len(samples), _READ):
        rows = list(range(start, min(start + _READ, len(samples))))
        for row, (image, _) in zip(rows, samples.__getitems__(rows), strict=True):
            images[row] = thumbnail(image.permute(1, 2, 0).numpy(), aspect, side)
    return images
