"""The data of an experiment: faces with all labels, tasks, groups and cells, and its division for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.analyze import MAX_CELLS
from faceaug.analysis.axes import Axis, AxisSpec, attribute, build_axis, cell_codes, cell_count, cell_levels, parse_by
from faceaug.bench.drawn.closed_world import draw_dataset
from faceaug.bench.drawn.drawn_data import DrawnData
from faceaug.bench.examples import Examples, input_side, model_inputs, stacked_labels
from faceaug.bench.partition import (
    Partition,
    describe_group,
    draw_parts,
    duplicate_clusters,
    group_members,
    own_parts,
    thin,
)
from faceaug.bench.recipe import ExperimentRecipe, expand_path
from faceaug.classifiers.classifier import READ_BATCH, Task
from faceaug.classifiers.training import augmentations_of
from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.datasets.splits import ALL_SPLITS
from faceaug.datasets.thumbnails import common_aspect, load_thumbnails
from faceaug.errors import DatasetError, UsageError
from faceaug.measurement.measure import add_measured_columns, load_estimator
from faceaug.synthesis.stages import THUMBNAIL_SIDE
from faceaug.utils.images import Rgb
from faceaug.utils.text import shown
from faceaug.utils.threads import StageProgress
from faceaug.utils.typing import Bools, Indices

_SUBSET_SEED = 0x5B5E7  # of `dataset.most`


@dataclass(frozen=True, eq=False)
class Labelling:
    """The combinations of levels of some columns that occur, and that of each face.

    Attributes
    ----------
    axes : tuple of Axis
    codes : int64 [N]
        Number of the combination, from 0; -1 where a label is missing.
    numbers : int64 [G]
        Place of each combination row-major over the axes, increasing.
    """

    axes: tuple[Axis, ...]
    codes: Indices
    numbers: Indices

    @classmethod
    def of(cls, table: pd.DataFrame, axes: Sequence[Axis]) -> Labelling:
        """Label the rows of a table."""
        places = cell_codes([axis.assign(attribute(table, axis.name)) for axis in axes], axes)
        numbers = np.unique(places[places >= 0])
        return cls(tuple(axes), _find(places, numbers), numbers)

    @property
    def names(self) -> tuple[str, ...]:
        """The combinations as text: "female, asian"."""
        return tuple(", ".join(cell_levels(self.axes, int(number)).values()) for number in self.numbers)

    def codes_of(self, places: Indices) -> Indices:
        """Return the numbers of combinations from their places row-major; -1 for those that do not occur."""
        return _find(places, self.numbers)


@dataclass(frozen=True, eq=False)
class ExperimentData:
    """The data of an experiment, the same for all seeds.

    Attributes
    ----------
    recipe : ExperimentRecipe
    dataset : FaceDataset
        Faces with all labels that the experiment needs.
    tasks : tuple of Task
    labels : int64 [N, T]
    groups, cells : Labelling
        Of the columns of the metrics, and of these with those of the tasks.
    attribute_groups : tuple of (Labelling or None)
        For each task, of the columns of the groups without that of the task; None where there are no others.
    images : uint8 [N, S, S, 3]
        Of the side that the model reads.
    aspect : float
        To which pictures are cropped.
    clusters : int64 [N]
        Of near-duplicates.
    thinned : tuple of bool [N]
        Members of the groups that are thinned.
    unlabelled : int
        Faces that were left out since a label is missing.
    """

    recipe: ExperimentRecipe
    dataset: FaceDataset
    tasks: tuple[Task, ...]
    labels: Indices
    groups: Labelling
    cells: Labelling
    attribute_groups: tuple[Labelling | None, ...]
    images: Rgb
    aspect: float
    clusters: Indices
    thinned: tuple[Bools, ...]
    unlabelled: int

    def partition(self, seed: int) -> Partition:
        """Divide the faces for a seed.

        Raises
        ------
        UsageError
            When a group or a class is in one of the parts without faces.
        """
        split = self.recipe.split
        parts = (
            own_parts(self.dataset.table, self.clusters, self.dataset.name)
            if split.own
            else draw_parts(self.clusters, self.cells.codes, split, seed)
        )
        parts = thin(parts, self.thinned, self.recipe.imbalance, seed)
        for name, rows in (("training", parts.train), ("validation", parts.validation), ("test", parts.test)):
            self._check_part(name, rows, seed)
        return parts

    def _check_part(self, name: str, rows: Indices, seed: int) -> None:
        counts = np.bincount(self.groups.codes[rows], minlength=len(self.groups.numbers))
        if not counts.all():
            group = self.groups.names[int(counts.argmin())]
            raise UsageError(
                f"the group {shown(group)} has no face in the {name} part of seed {seed}: merge it with another (wider "
                "bins), leave its column out of groups, or thin it less"
            )
        for k, task in enumerate(self.tasks):
            classes = np.bincount(self.labels[rows, k], minlength=task.width)
            if not classes.all():
                raise UsageError(
                    f"the class {shown(task.levels[int(classes.argmin())])} of {task.name} has no face in the {name} "
                    f"part of seed {seed}: merge it with another, or thin it less"
                )

    def examples(self, progress: StageProgress) -> Examples:
        """Return all faces as what the model reads."""
        total, done = -(-len(self.images) // READ_BATCH), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("features", done, total)

        device = self.recipe.training.device
        inputs, varied = model_inputs(self.images, self.recipe.model, augmentations_of(self.tasks), device, advance)
        none = np.zeros(len(self.labels), bool)
        return Examples(inputs, varied, self.labels, self.cells.codes, none)


def load_experiment_data(recipe: ExperimentRecipe, folder: Path, progress: StageProgress) -> ExperimentData:
    """Read the data of an experiment, and measure the columns that its labels lack.

    Parameters
    ----------
    recipe : ExperimentRecipe
    folder : Path
        From which relative paths are meant.
    progress : callable (stage, done, total)

    Raises
    ------
    UsageError, DatasetError
        When the data are missing, a column is unknown, a task has one class, or a level does not exist.
    """
    specs = _specs(recipe)
    dataset = _read(recipe, folder, specs, progress)
    axis_of = {str(spec): build_axis(dataset.table, spec) for spec in specs}
    cells = Labelling.of(dataset.table, _axes(axis_of, [*recipe.task_specs, *recipe.group_specs]))
    labelled = cells.codes >= 0
    if not labelled.any():
        raise DatasetError(f"no face of {dataset.name} has all labels of task and groups; label more, or name fewer")
    chosen = dataset.select(labelled)
    task_axes = _axes(axis_of, recipe.task_specs)
    codes = [axis.assign(attribute(chosen.table, axis.name)) for axis in task_axes]
    groups = _axes(axis_of, recipe.group_specs)
    beside = [[axis for axis in groups if axis.name != task.name] for task in task_axes]
    side = input_side(recipe.model)
    images, _ = load_thumbnails(chosen, side, progress=_counted("reading", len(chosen), progress))
    # Of one side for all models, so that these are tested on the same faces.
    small = images if side == THUMBNAIL_SIDE else load_thumbnails(chosen, THUMBNAIL_SIDE)[0]
    return ExperimentData(
        recipe,
        chosen,
        tuple(_task(axis, own) for axis, own in zip(task_axes, codes, strict=True)),
        stacked_labels(codes),
        Labelling.of(chosen.table, groups),
        Labelling.of(chosen.table, cells.axes),
        tuple(Labelling.of(chosen.table, others) if others else None for others in beside),
        images,
        common_aspect(chosen),
        duplicate_clusters(small, recipe.split.duplicate_bits),
        tuple(group_members(chosen.table, axis_of[str(parse_by(group.by)[0])], group) for group in recipe.imbalance),
        int((~labelled).sum()),
    )


def _read(recipe: ExperimentRecipe, folder: Path, specs: Sequence[AxisSpec], progress: StageProgress) -> FaceDataset:
    """Read the data set, and measure what it lacks."""
    data = recipe.dataset
    if isinstance(data, DrawnData):
        return draw_dataset(data, recipe.training.device, _counted("drawing faces", data.count, progress))
    path = expand_path(data.path, folder, "dataset.path")
    labels = None if data.labels is None else expand_path(data.labels, folder, "dataset.labels")
    needed = list(dict.fromkeys(spec.column for spec in specs))
    options = LoadOptions(file_column=data.file_column, needs_labels=False)
    dataset = load_dataset(
        path,
        labels,
        reader=data.reader,
        split=ALL_SPLITS,
        options=options,
        progress=_counted("checking images", 0, progress),
    )
    if data.most is not None and data.most < len(dataset):
        rows = np.random.default_rng(_SUBSET_SEED).choice(len(dataset), data.most, replace=False)
        dataset = dataset.select(np.sort(rows))
    measuring = _counted("measuring", len(dataset), progress)
    return add_measured_columns(
        dataset, needed, partial(load_estimator, None), aligned=data.aligned, progress=measuring
    )


def _specs(recipe: ExperimentRecipe) -> list[AxisSpec]:
    """Return the columns that the recipe names, with their bins, each once.

    Raises
    ------
    UsageError
        When a column has two kinds of bins in task and groups, or a group to be thinned is of several columns.
    """
    specs = list(dict.fromkeys([*parse_by(recipe.task_specs), *parse_by(recipe.group_specs)]))
    columns = [spec.column for spec in specs]
    for column in columns:
        if columns.count(column) > 1:
            raise UsageError(
                f"the column {shown(column)} has other bins in task than in groups; give it the same in both"
            )
    for group in recipe.imbalance:
        own = parse_by(group.by)
        if len(own) != 1:
            raise UsageError(
                f"imbalance names the columns {shown(group.by)}; the group {describe_group(group)} needs one"
            )
        specs += [spec for spec in own if spec not in specs]
    return specs


def _axes(axis_of: dict[str, Axis], texts: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes of columns, each once."""
    axes = tuple(axis_of[name] for name in dict.fromkeys(str(spec) for text in texts for spec in parse_by(text)))
    if cell_count(axes) > MAX_CELLS:
        raise UsageError(f"task and groups span {cell_count(axes):,} cells; at most {MAX_CELLS:,} are possible")
    return axes


def _task(axis: Axis, codes: Indices) -> Task:
    present = np.unique(codes)
    if len(axis.levels) < 2 or len(present) < 2:
        only = axis.levels[int(present[0])]
        raise UsageError(
            f"the task {shown(axis.name)} has the single class {shown(only)}, so there is nothing to learn"
        )
    return Task(axis.name, "classes", axis.levels)


def _find(places: Indices, numbers: Indices) -> Indices:
    """Return where each place [N] is in increasing numbers [G]; -1 where it is not."""
    if not len(numbers):
        return np.full(len(places), -1, np.int64)
    found = np.minimum(np.searchsorted(numbers, places), len(numbers) - 1)
    return np.where(numbers[found] == places, found, -1).astype(np.int64)


def _counted(stage: str, total: int, progress: StageProgress) -> Any:
    """Return a callback that counts what was done of a stage; a total of 0 is not known."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, total)

    return advance
