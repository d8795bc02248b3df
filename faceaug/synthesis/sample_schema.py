"""What a run tells of itself: the columns of its samples, and why a cell ended short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from faceaug.analysis.axes import Axis, label, numbers
from faceaug.appearance import scene
from faceaug.appearance.harmonize import PARAMETERS
from faceaug.classifiers.classifier import Task
from faceaug.datasets.dataset import FaceDataset
from faceaug.measurement.measure import CONFIDENCE, WHY
from faceaug.reconstruction.semantics import MEANINGS, NAMES, UNITS
from faceaug.shards.columns import RESERVED, Column
from faceaug.synthesis.editing.pose_readout import LearnedDirections
from faceaug.synthesis.editing.readout import SCENE


def columns_of(
    axes: Sequence[Axis], tasks: Sequence[Task], harmonize: bool, found: LearnedDirections | None = None
) -> tuple[Column, ...]:
    """Return the columns of a run's samples: its attributes, all that was read, and how each was finished."""
    measured = found.measured if found else ()
    columns = []
    for axis in axes:
        if axis.edges is None:
            columns.append(
                Column(group="attr", name=axis.name, type="category", levels=axis.levels, meaning="label given")
            )
        else:
            meaning = "label given: mean of both readings, within the cell's bin"
            if axis.name in measured:
                meaning = "measured on the finished picture, as on the dataset's"
            unit = UNITS[axis.name] if axis.name in measured else "as labelled"
            columns.append(Column(group="attr", name=axis.name, type="float64", unit=unit, meaning=meaning))
    probed = [task for task in tasks if task.name not in measured]
    for task in probed:
        for name in task.semantics:
            unit = "log-odds" if task.kind == "classes" else "as labelled"
            meaning = "reading of the steering probe after the edit"
            columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    read = {name for task in probed for name in task.semantics}
    for name, unit in UNITS.items() if found else ():
        if name not in read:
            meaning = f"after the edit, read off the generator's picture: {MEANINGS[name]}"
            columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    for name in SCENE:
        columns.append(Column(group="semantic", name=name, type="float32", meaning=scene.MEANINGS[name]))
    for name in PARAMETERS if harmonize else ():
        columns.append(Column(group="finish", name=name, type="float32", meaning="finishing parameter of the sample"))
    return tuple(columns)


@dataclass(frozen=True, eq=False)
class KeptLabels:
    """The labels that a face rendered anew keeps of its photograph.

    Attributes
    ----------
    columns : tuple of Column
    values : dict of list
        By column, a row each of the dataset: a level, a number, or None for none.
    """

    columns: tuple[Column, ...]
    values: dict[str, list[str | float | None]]

    def of(self, row: int) -> dict[str, Any]:
        """Return the labels of a row, those that it lacks left out."""
        return {name: values[row] for name, values in self.values.items() if values[row] is not None}


def kept_labels(dataset: FaceDataset, axes: Sequence[Axis]) -> KeptLabels:
    """Return all labels of a dataset that samples can carry; measured columns change and are none.

    A column that is called like a measurement and holds classes is a label; so is none whose values are no scalars.
    """
    classes = {axis.name for axis in axes if axis.edges is None}
    measured = {*(name for name in NAMES if name not in classes), *(dataset.measured.names if dataset.measured else ())}
    by_name = {axis.name: axis for axis in axes}
    # A table that `faceaug measure` wrote has a confidence beside everything that it measured; other tables may have
    # one beside a label, and what is counted by and is neither view nor light is one.
    sure = {name for name in dataset.attributes if f"{name}{CONFIDENCE}" in dataset.attributes}
    measured |= {f"{name}{CONFIDENCE}" for name in sure} | (sure - set(by_name)) | {WHY}
    columns, values = [], {}
    for name in dataset.attributes:
        if name in measured or (name in RESERVED and name not in by_name):
            continue
        raw, axis = dataset.table[name], by_name.get(name)
        if not raw.map(pd.api.types.is_scalar).all():
            continue
        if axis is None and not pd.api.types.is_bool_dtype(raw) and pd.api.types.is_numeric_dtype(raw):
            held: list[str | float | None] = [None if pd.isna(v) else float(v) for v in raw]
            columns.append(Column(group="attr", name=name, type="float64", unit="as labelled", meaning=_KEPT))
        elif axis is not None and axis.edges is not None:
            held = [None if v != v else float(v) for v in numbers(raw, name).tolist()]
            columns.append(Column(group="attr", name=name, type="float64", unit="as labelled", meaning=_KEPT))
        else:
            held = [None if pd.isna(v) else label(v) for v in raw]
            known = {v for v in held if isinstance(v, str)}
            levels = axis.levels if axis else tuple(sorted(known))
            if not levels or len(levels) > MOST_LEVELS or "" in levels:
                continue
            columns.append(Column(group="attr", name=name, type="category", levels=levels, meaning=_KEPT))
            held = [v if v in levels else None for v in held]
        values[name] = held
    return KeptLabels(tuple(columns), values)


MOST_LEVELS = 1000  # of a text column that counts as a label
_KEPT = "label of the photograph"


def columns_of_rerendered(axes: Sequence[Axis], labels: KeptLabels) -> tuple[Column, ...]:
    """Return the columns of real faces rendered anew: all labels of their photographs, and what is measured on them."""
    columns = list(labels.columns)
    for axis in axes:
        if axis.name in NAMES and axis.edges is not None:
            meaning = "measured on the finished picture, as on the dataset's"
            columns.append(Column(group="attr", name=axis.name, type="float64", unit=UNITS[axis.name], meaning=meaning))
    for name, unit in UNITS.items():
        meaning = f"measured on the finished picture: {MEANINGS[name]}"
        columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    return tuple(columns)


ERROR = "inversion_error"
"""Column of how far a photograph is from the picture drawn of it."""


def columns_from_real(labels: KeptLabels) -> tuple[Column, ...]:
    """Return what edits that begin with real faces have besides: their photographs' labels, and how near they began."""
    meaning = "distance of the photograph to the picture drawn of it, before the edit: 0 the same, 1 as two people's"
    return (*labels.columns, Column(group="semantic", name=ERROR, type="float32", meaning=meaning))


def joined_columns(*goals: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of several engines together; the first that tells of a key is taken."""
    found = {column.key: column for goal in reversed(goals) for column in goal}
    order = dict.fromkeys(column.key for goal in goals for column in goal)
    return tuple(found[key] for key in order)


def note_for(short: int, refused: Mapping[str, int], nearest: Mapping[str, float]) -> str:
    """Return in a sentence why a cell ended short, and the nearest that was reached."""
    reasons = ", ".join(
        f"{name} {count}" for name, count in sorted(refused.items(), key=lambda kv: (-kv[1], kv[0]))[:3]
    )
    reached = ", ".join(f"{name} {value:.2f}" for name, value in nearest.items())
    held_out_confidence = f"; the judge gave at most: {reached}" if reached else ""
    why = f"most attempts were refused by: {reasons}" if reasons else "nothing was refused, and tries ran out"
    return f"{short} short when its tries were used up; {why}{held_out_confidence}"
