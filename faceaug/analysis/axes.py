"""Axes of an analysis: attribute columns, their levels, and the cells that the axes span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from faceaug.analysis import binning
from faceaug.errors import DatasetError, UsageError
from faceaug.utils.text import MOST_SHOWN, nearest, one_line, shown
from faceaug.utils.typing import Floats

Codes = npt.NDArray[np.int64]
Binning = tuple[Literal["width", "quantile"], int] | tuple[Literal["edges"], tuple[float, ...]]

MAX_CATEGORIES = 20  # a column with more distinct numbers needs bins
MAX_BINS = 1_000
USUAL_EDGES: dict[str, tuple[float, ...]] = {"skin_tone": (-90, -30, 10, 28, 41, 55, 90)}
"""Edges of columns that have published ones, where `--by` gives no bins: skin tone after Del Bino and Bernerd (Br. J.
Dermatol. 169, 2013): dark, brown, tan, intermediate, light, very light."""
NOT_ATTRIBUTES = ("key", "split")  # columns of the table of a data set that describe the row, not the face
_HOW_TO_BIN = "'{0}:5' (5 bins of equal width), '{0}:q4' (4 bins of equal counts) or '{0}:{1}' (edges)"


@dataclass(frozen=True)
class AxisSpec:
    """A column to count by, and how its numbers are binned.

    Attributes
    ----------
    column : str
    binning : None, ("width", k), ("quantile", k) or ("edges", increasing numbers)
    """

    column: str
    binning: Binning | None = None

    def __str__(self) -> str:
        if self.binning is None:
            return self.column
        if self.binning[0] == "edges":
            return f"{self.column}:{'/'.join(map(binning.tidy, self.binning[1]))}"
        return f"{self.column}:{'q' if self.binning[0] == 'quantile' else ''}{self.binning[1]}"


def parse_by(specs: str | Sequence[str | AxisSpec]) -> tuple[AxisSpec, ...]:
    """Parse the values of `--by`: "gender,ethnicity", "age:5", "age:q4", "yaw:-90/-25/-10/10/25/90"; they are joined.

    An AxisSpec in the sequence is kept as it is (for column names that contain a comma or a colon).

    Raises
    ------
    UsageError
        If no column is named, a column is named twice, or a binning cannot be parsed.
    """
    axes: list[AxisSpec] = []
    for spec in [specs] if isinstance(specs, str) else specs:
        axes += [spec] if isinstance(spec, AxisSpec) else [_parse_one(text.strip()) for text in spec.split(",")]
    if not axes:
        raise UsageError("--by names no attribute; name the attributes to count by, as --by gender,ethnicity")
    for position, axis in enumerate(axes):
        if axis.column in {earlier.column for earlier in axes[:position]}:
            raise UsageError(f"the column {shown(axis.column)} is named twice in --by; name it once")
    return tuple(axes)


def _parse_one(text: str) -> AxisSpec:
    column, colon, bins = text.rpartition(":")
    column, bins = column.strip(), bins.strip()
    if not colon:
        column, bins = bins, ""
    if not column:
        raise UsageError(f"--by holds {shown(text)}, which names no attribute; write for example --by gender,ethnicity")
    if not colon:
        return AxisSpec(column)
    examples = _HOW_TO_BIN.format(one_line(column, MOST_SHOWN), "0/13/20/40/60")
    message = f"the bins of {shown(text)} cannot be parsed; write {examples}"
    if "/" in bins:
        return AxisSpec(column, ("edges", _parse_edges(column, bins, message)))
    digits = bins[1:] if bins[:1] in ("q", "Q") else bins
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(message)
    count = int(digits[:9])
    if not 2 <= count <= MAX_BINS:
        raise UsageError(f"{shown(text)} asks for {count} bins; ask for 2 to {MAX_BINS}")
    return AxisSpec(column, ("width" if digits == bins else "quantile", count))


def _parse_edges(column: str, text: str, message: str) -> tuple[float, ...]:
    try:
        edges = tuple(float(edge) for edge in text.split("/"))
    except ValueError as error:
        raise UsageError(message) from error
    if not all(map(math.isfinite, edges)) or any(b <= a for a, b in itertools.pairwise(edges)):
        raise UsageError(
            f"the edges of {shown(column)} must be finite and increase from each to the next, but are {shown(text)}"
        )
    if len(edges) > MAX_BINS + 1:
        raise UsageError(f"{shown(column)} is given {len(edges)} edges; give at most {MAX_BINS + 1}")
    return edges


@dataclass(frozen=True)
class Axis:
    """One attribute with its levels in order.

    Attributes
    ----------
    name : str
        The column.
    kind : "categorical" or "continuous"
    levels : tuple of str
        Names in order, as "female", or "-10 to 10" for a bin.
    edges : tuple of float or None
        Edges of a continuous axis, one more than levels; bins are right-open, the last one is closed.
    note : str
        Remark for the reader on the levels, as on merged bins; usually empty.
    """

    name: str
    kind: Literal["categorical", "continuous"]
    levels: tuple[str, ...]
    edges: tuple[float, ...] | None = None
    note: str = ""

    def assign(self, values: pd.Series[Any]) -> Codes:
        """Return the level of each value.

        Returns
        -------
        int64 [N]
            Index into `levels`; -1 for a missing value, an unknown label, or a number outside of the edges.

        Raises
        ------
        UsageError
            If the axis has bins and the values are text.
        """
        if self.edges is not None:
            return binning.bin_codes(numbers(values, self.name), self.edges)
        codes, names = _factorize(values)
        code_of_level = {level: code for code, level in enumerate(self.levels)}
        return np.array([*(code_of_level.get(name, -1) for name in names), -1], dtype=np.int64)[codes]

    def to_dict(self) -> dict[str, Any]:
        """Return the axis as plain JSON values."""
        edges = None if self.edges is None else list(self.edges)
        return {"name": self.name, "kind": self.kind, "levels": list(self.levels), "edges": edges, "note": self.note}


def build_axis(table: pd.DataFrame, spec: AxisSpec) -> Axis:
    """Return the axis of a column.

    Text, booleans and numbers with at most 20 distinct values are categorical; other numbers need bins, or have those
    of `USUAL_EDGES`.

    Raises
    ------
    UsageError
        If there is no such column, text is to be binned, or many distinct numbers have no bins.
    DatasetError
        If the column has no value, or none within the edges.
    """
    values = attribute(table, spec.column)
    kind = _value_kind(values)
    categorical = isinstance(values.dtype, pd.CategoricalDtype)
    empty = DatasetError(f"the column {shown(spec.column)} has no value; leave it out of --by, or label its rows")
    if kind == "number":
        finite = numbers(values, spec.column)
        finite = finite[~np.isnan(finite)]
        if not len(finite):
            raise empty
        if spec.binning is not None:
            return _binned(finite, spec.column, spec.binning)
        if spec.column in USUAL_EDGES and len(pd.unique(finite)) > MAX_CATEGORIES:
            return _binned(finite, spec.column, ("edges", USUAL_EDGES[spec.column]))
        if not categorical:
            _check_distinct(finite, spec.column)
    present = {name for name in _factorize(values)[1] if name}
    if not present:
        raise empty
    if spec.binning is not None:
        examples = ", ".join(map(shown, sorted(present)[:3]))
        raise UsageError(
            f"the column {shown(spec.column)} holds {kind} ({examples}) and cannot be binned; "
            f"write {shown(spec.column)} alone"
        )
    if categorical:
        return Axis(
            spec.column, "categorical", tuple(name for name in map(label, values.cat.categories) if name in present)
        )
    return Axis(spec.column, "categorical", tuple(sorted(present, key=float if kind == "number" else str)))


def _check_distinct(finite: Floats, name: str) -> None:
    """Raise UsageError when a column of numbers has too many distinct ones to be categories."""
    distinct = len(pd.unique(finite))
    if distinct > MAX_CATEGORIES:
        low, high, middle = (
            binning.tidy(finite.min()),
            binning.tidy(finite.max()),
            binning.tidy(float(np.median(finite)), 2),
        )
        how = _HOW_TO_BIN.format(one_line(name, MOST_SHOWN), f"{low}/{middle}/{high}")
        raise UsageError(
            f"the column {shown(name)} has {distinct:,} distinct numbers from {low} to {high}; bin it, as {how}"
        )


def _binned(finite: Floats, name: str, how: Binning) -> Axis:
    """Return the axis of a column whose finite values are `finite`, at least one."""
    note = ""
    if how[0] == "edges":
        edges = how[1]
        if not bool(np.any((finite >= edges[0]) & (finite <= edges[-1]))):
            low, high, least, most = map(binning.tidy, (edges[0], edges[-1], finite.min(), finite.max()))
            raise DatasetError(
                f"no {shown(name)} lies within the edges {low} to {high}: its values reach from {least} to {most}"
            )
    elif how[0] == "width":
        edges, note = binning.equal_width(finite, how[1], name)
    else:
        edges, note = binning.quantiles(finite, how[1], name)
    return Axis(name, "continuous", binning.edge_labels(edges), edges, note)


def attribute(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return an attribute column; UsageError names the nearest one if there is none."""
    names = [str(column) for column in table.columns if column not in NOT_ATTRIBUTES]
    if name in NOT_ATTRIBUTES and name in table.columns:
        raise UsageError(f"{shown(name)} identifies rows and is not an attribute to count by; {nearest('', names)}")
    if name not in names:
        raise UsageError(f"there is no column {shown(name)}; {nearest(name, names)}")
    column = table.loc[:, [str(c) == name for c in table.columns]]
    if column.shape[1] > 1:
        raise DatasetError(f"the table has {column.shape[1]} columns named {shown(name)}; rename all but one of them")
    return column.iloc[:, 0]


def is_continuous(values: pd.Series[Any]) -> bool:
    """Return whether a column has more distinct numbers than categories may have (`MAX_CATEGORIES`)."""
    if _value_kind(values) != "number" or isinstance(values.dtype, pd.CategoricalDtype):
        return False
    finite = numbers(values, str(values.name))
    return len(pd.unique(finite[~np.isnan(finite)])) > MAX_CATEGORIES


def label(value: object) -> str:
    """Return the level of a value: text as it is, 3.0 as "3", True as "True", "" for None, NaN and infinity."""
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if float(value).is_integer() else str(value)
    return "" if value is None else str(value)


def numbers(values: pd.Series[Any], name: str) -> Floats:
    """Return a column of numbers as float64 [N], NaN where a value is missing or infinite; UsageError for text."""
    if _value_kind(values) != "number":
        raise UsageError(f"the column {shown(name)} must hold numbers to be binned, but it holds {_value_kind(values)}")
    if pd.api.types.is_object_dtype(values.dtype):
        values = pd.to_numeric(values)
    elif isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype("float64")
    result = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(result), result, np.nan)


def _value_kind(values: pd.Series[Any]) -> Literal["text", "booleans", "number"]:
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _value_kind(pd.Series(dtype.categories))
    inferred = pd.api.types.infer_dtype(values, skipna=True) if pd.api.types.is_object_dtype(dtype) else ""
    if pd.api.types.is_bool_dtype(dtype) or inferred == "boolean":
        return "booleans"
    real = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    return "number" if real or inferred in ("integer", "floating", "mixed-integer-float") else "text"


def _factorize(values: pd.Series[Any]) -> tuple[Codes, list[str]]:
    """Return codes [N] (-1 for missing) and the label of each code ("" counts as missing; labels may repeat)."""
    try:
        codes, uniques = pd.factorize(values)
    except TypeError as error:
        raise DatasetError(
            f"the column {shown(values.name)} holds lists or other containers; labels must be plain values"
        ) from error
    # an Index would convert float32 to float64, and 0.1 would print as 0.10000000149
    plain = np.asarray(uniques) if isinstance(uniques.dtype, np.dtype) else uniques
    return codes.astype(np.int64, copy=False), [label(unique) for unique in plain]


def cell_count(axes: Sequence[Axis]) -> int:
    """Return the number of cells that the axes span."""
    return math.prod(len(axis.levels) for axis in axes)


def cell_levels(axes: Sequence[Axis], index: int) -> dict[str, str]:
    """Return the level of each axis in a cell (row-major: the last axis runs fastest)."""
    positions = np.unravel_index(index, tuple(len(axis.levels) for axis in axes))
    return {axis.name: axis.levels[int(position)] for axis, position in zip(axes, positions, strict=True)}


def cell_codes(levels: Sequence[Codes], axes: Sequence[Axis]) -> Codes:
    """Return the cell of each row from its level on each axis; -1 when any of them is -1.

    Parameters
    ----------
    levels : int64 [N] for each axis

    Returns
    -------
    int64 [N]
    """
    cells = np.zeros_like(levels[0])
    outside = np.zeros(len(cells), dtype=bool)
    for codes, axis in zip(levels, axes, strict=True):
        cells *= len(axis.levels)
        cells += codes
        outside |= codes < 0
    cells[outside] = -1
    return cells


def describe(levels: Mapping[str, str]) -> str:
    """Return the levels of a cell as text: "gender=female, ethnicity=asian"."""
    return ", ".join(f"{name}={level}" for name, level in levels.items())
