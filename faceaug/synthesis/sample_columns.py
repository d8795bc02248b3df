"""The columns of samples: labels, what was measured, and how a sample was harmonized; and the labels that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from faceaug.analysis.axes import Axis, label, numbers
from faceaug.appearance import scene
from faceaug.appearance.harmonize import HARMONIZATION_PARAMETERS
from faceaug.classifiers.classifier import Task
from faceaug.datasets.dataset import FaceDataset
from faceaug.identity.base import FaceEmbedder
from faceaug.identity.column import identity_column
from faceaug.measurement.estimator import CONFIDENCE_SUFFIX
from faceaug.measurement.measure import REASON_COLUMN
from faceaug.reconstruction.semantics import FACTOR_MEANINGS, FACTOR_NAMES, FACTOR_UNITS
from faceaug.shards.columns import RESERVED_NAMES, Column
from faceaug.synthesis.editing.readout import SCENE

INVERSION_ERROR = "inversion_error"
"""Column of the distance between a photograph and its generated picture."""
NEAREST_PERSON = "nearest_person"
"""Column of the distance of a candidate to the nearest real face of the data set."""
MOST_LEVELS = 1000  # of a text column that counts as a label
_MEASURED_AGAIN = "measured on the finished sample, as on the data set's images"
_KEPT = "label of the photograph"


def latent_edit_columns(
    axes: Sequence[Axis], tasks: Sequence[Task], harmonize: bool, measured: Sequence[str] | None
) -> tuple[Column, ...]:
    """Return the columns of edited generated faces: attributes, all that was read, and how each was harmonized.

    Parameters
    ----------
    axes : sequence of Axis
        Of the plan.
    tasks : sequence of Task
        Of the plan's axes and of attributes that are only kept.
    harmonize : bool
        Whether samples are harmonized.
    measured : sequence of str or None
        Attributes that were measured rather than labelled; None where view and light cannot be read at all.
    """
    columns = [_attribute_column(axis, measured or ()) for axis in axes]
    labelled = [task for task in tasks if task.name not in (measured or ())]
    for task in labelled:
        for name in task.semantics:
            unit = "log-odds" if task.kind == "classes" else "as labelled"
            meaning = "reading of the guidance classifier after the edit"
            columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    read = {name for task in labelled for name in task.semantics}
    for name, unit in FACTOR_UNITS.items() if measured is not None else ():
        if name not in read:
            meaning = f"after the edit, read off the generated picture: {FACTOR_MEANINGS[name]}"
            columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    for name in SCENE:
        columns.append(Column(group="semantic", name=name, type="float32", meaning=scene.MEANINGS[name]))
    return (*columns, *(_harmonization_columns() if harmonize else ()))


def _harmonization_columns() -> list[Column]:
    meaning = "harmonization parameter of the sample"
    return [Column(group="harmonize", name=n, type="float32", meaning=meaning) for n in HARMONIZATION_PARAMETERS]


def _attribute_column(axis: Axis, measured: Sequence[str]) -> Column:
    if axis.edges is None:
        return Column(group="attr", name=axis.name, type="category", levels=axis.levels, meaning="label given")
    if axis.name in measured:
        unit, meaning = FACTOR_UNITS[axis.name], _MEASURED_AGAIN
    else:
        unit, meaning = "as labelled", "label given: mean of both classifiers' readings, within the cell's bin"
    return Column(group="attr", name=axis.name, type="float64", unit=unit, meaning=meaning)


@dataclass(frozen=True, eq=False)
class KeptLabels:
    """The labels that a re-rendered or inverted face keeps of its photograph.

    Attributes
    ----------
    columns : tuple of Column
    values : dict of list
        By column, an entry for each row of the data set: a level, a number, or None for none.
    """

    columns: tuple[Column, ...]
    values: dict[str, list[str | float | None]]

    def of(self, row: int) -> dict[str, Any]:
        """Return the labels of a row without those that it lacks."""
        return {name: values[row] for name, values in self.values.items() if values[row] is not None}

    def mixed(
        self, rows: Sequence[int], shares: Sequence[float], changed: Sequence[Mapping[str, str | float]] = ()
    ) -> dict[str, Any]:
        """Return the labels of a morph: classes that all its faces have, and means of numbers, weighted by shares.

        `changed` holds, for the first of the rows, labels that stand for those of the data set.
        """
        labels: dict[str, Any] = {}
        for column in self.columns:
            values = [self.values[column.name][row] for row in rows]
            for k, others in enumerate(changed):
                values[k] = others.get(column.name, values[k])
            if any(value is None for value in values):
                continue
            if column.type != "category":
                known = [float(value or 0) for value in values]
                mean = sum(share * value for share, value in zip(shares, known, strict=True))
                labels[column.name] = min(max(mean, min(known)), max(known))  # rounding must not leave a bin
            elif len(set(values)) == 1:
                labels[column.name] = values[0]
        return labels


def kept_labels(dataset: FaceDataset, axes: Sequence[Axis]) -> KeptLabels:
    """Return all labels of a data set that samples can carry.

    Measured columns change with an edit and are no labels. A column that has the name of a measurement and holds
    classes is a label. A column whose values are no scalars is not.
    """
    by_name, measured = {axis.name: axis for axis in axes}, _measured_columns(dataset, axes)
    columns, values = [], {}
    for name in dataset.attributes:
        if name in measured or (name in RESERVED_NAMES and name not in by_name):
            continue
        raw, axis = dataset.table[name], by_name.get(name)
        if not raw.map(pd.api.types.is_scalar).all():
            continue
        if axis is None and not pd.api.types.is_bool_dtype(raw) and pd.api.types.is_numeric_dtype(raw):
            entries: list[str | float | None] = [None if pd.isna(v) else float(v) for v in raw]
            columns.append(Column(group="attr", name=name, type="float64", unit="as labelled", meaning=_KEPT))
        elif axis is not None and axis.edges is not None:
            entries = [None if v != v else float(v) for v in numbers(raw, name).tolist()]
            columns.append(Column(group="attr", name=name, type="float64", unit="as labelled", meaning=_KEPT))
        else:
            texts = [None if pd.isna(v) else label(v) for v in raw]
            levels = axis.levels if axis else tuple(sorted({v for v in texts if v is not None}))
            if not levels or len(levels) > MOST_LEVELS or "" in levels:
                continue
            columns.append(Column(group="attr", name=name, type="category", levels=levels, meaning=_KEPT))
            entries = [v if v in levels else None for v in texts]
        values[name] = entries
    return KeptLabels(tuple(columns), values)


def _measured_columns(dataset: FaceDataset, axes: Sequence[Axis]) -> set[str]:
    """Return the columns that were measured, and those that belong to a measurement.

    A table of ``faceaug measure`` has a confidence beside everything that was measured. Other tables may have one
    beside a label: what the plan counts by and is neither view nor light is a label.
    """
    classes = {axis.name for axis in axes if axis.edges is None}
    measured = {name for name in FACTOR_NAMES if name not in classes}
    measured |= set(dataset.measured.names) if dataset.measured else set()
    rated = {name for name in dataset.attributes if f"{name}{CONFIDENCE_SUFFIX}" in dataset.attributes}
    planned = {axis.name for axis in axes}
    return measured | {f"{name}{CONFIDENCE_SUFFIX}" for name in rated} | (rated - planned) | {REASON_COLUMN}


def rerender_columns(axes: Sequence[Axis], labels: KeptLabels) -> tuple[Column, ...]:
    """Return the columns of re-rendered faces: all labels of their photographs, and what is measured on them."""
    columns = list(labels.columns)
    for axis in axes:
        if axis.name in FACTOR_NAMES and axis.edges is not None:
            unit = FACTOR_UNITS[axis.name]
            columns.append(Column(group="attr", name=axis.name, type="float64", unit=unit, meaning=_MEASURED_AGAIN))
    for name, unit in FACTOR_UNITS.items():
        meaning = f"measured on the finished sample: {FACTOR_MEANINGS[name]}"
        columns.append(Column(group="semantic", name=name, type="float32", unit=unit, meaning=meaning))
    return tuple(columns)


def morph_columns(axes: Sequence[Axis], labels: KeptLabels, embedder: FaceEmbedder | None) -> tuple[Column, ...]:
    """Return the columns of morphs: the labels that their faces share, what is measured, and how they were mixed."""
    shared = "label of the faces that were mixed; of a number, their mean by share"
    columns = [column.model_copy(update={"meaning": shared}) for column in labels.columns]
    own = (
        ("donor_share", "share of the donors' features in the face"),
        ("residual", "mean difference of host and donors after registration, in local standard deviations"),
    )
    measured = rerender_columns(axes, KeptLabels((), {}))
    return (
        *columns,
        *measured,
        *((identity_column(embedder),) if embedder else ()),
        *(Column(group="semantic", name=name, type="float32", meaning=meaning) for name, meaning in own),
    )


def extrapolation_columns(
    axes: Sequence[Axis], labels: KeptLabels, embedder: FaceEmbedder | None
) -> tuple[Column, ...]:
    """Return the columns of extrapolated faces: those of morphs, and how their hosts were moved."""
    meaning = "label to which the host was moved, or label of the host or its mean with those of the donors"
    columns = [
        column.model_copy(update={"meaning": meaning})
        if column.group == "attr" and column.name in labels.values
        else column
        for column in morph_columns(axes, labels, embedder)
    ]
    own = (
        ("move_strength", "factor on the change of the host's labels: 1 is the mean difference between them"),
        ("change_outside", "mean change of the host's photograph outside the face over that inside"),
    )
    return (*columns, *(Column(group="semantic", name=name, type="float32", meaning=text) for name, text in own))


def inversion_columns(labels: KeptLabels) -> tuple[Column, ...]:
    """Return what edits of inverted faces have besides: the photographs' labels, and the error of the inversion."""
    meaning = (
        "distance between the photograph and its generated picture before the edit: 0 is the same picture, 1 the mean "
        "distance between the photographs of two people"
    )
    return (*labels.columns, Column(group="semantic", name=INVERSION_ERROR, type="float32", meaning=meaning))


def external_columns(axes: Sequence[Axis], *, harmonize: bool, embedder: FaceEmbedder | None) -> tuple[Column, ...]:
    """Return the columns of candidates: labels that both classifiers read, what is measured, how each was harmonized.

    What an axis of view or light is, is measured. With an embedder the distance to the nearest real face is among them.
    """
    bins = [axis for axis in axes if axis.name in FACTOR_NAMES and axis.edges is not None]
    given = [_attribute_column(axis, ()) for axis in axes if axis not in bins]
    columns = [*given, *rerender_columns(axes, KeptLabels((), {}))]
    if embedder:
        meaning = f"distance to the nearest face of the data set; embedder: {embedder.name}, SHA-256 {embedder.sha256}"
        columns.append(Column(group="semantic", name=NEAREST_PERSON, type="float32", meaning=meaning))
    return (*columns, *(_harmonization_columns() if harmonize else ()))


def joined_columns(*groups: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of several engines together; of one key, the first."""
    by_key = {column.key: column for group in reversed(groups) for column in group}
    order = dict.fromkeys(column.key for group in groups for column in group)
    return tuple(by_key[key] for key in order)
