"""One number per cell, given as a nested mapping or as a list of records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from faceaug.analysis.axes import Axis, cell_levels, describe, label
from faceaug.errors import PlanError
from faceaug.utils.text import nearest, one_line, shown

CellValues = dict[int, int | float]
"""Number of each cell by its index; cells that are not given are absent."""

LARGEST_COUNT = 10**15
_SUM_TOLERANCE = 1e-6


def read_values(content: Any, axes: Sequence[Axis], *, field: str, source: str) -> CellValues:
    """Return the numbers of a nested mapping or a list of records.

    Parameters
    ----------
    content
        Either a mapping nested in the order of the axes, ``{"female": {"asian": 500}, ...}`` (in Python also with
        tuples as keys, ``{("female", "asian"): 500}``), or a list of records, ``[{"gender": "female", "ethnicity":
        "asian", "count": 500}, ...]``. Cells may be left out.
    field : str
        The key of the number in a record, "count" or "share".
    source : str
        Name of the source of the content, for error messages.

    Raises
    ------
    PlanError
        If the content has another form, names an unknown level or names a cell twice, or a number is negative or not
        finite.
    """
    if isinstance(content, Mapping) and "format" in content:
        file_format = shown(content["format"])
        raise PlanError(f"{source} is a file of the format {file_format}, not a list of cells with a {field!r} each")
    if isinstance(content, Mapping):
        pairs = _walk(content, axes, (), source)
    elif isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        pairs = (_record(entry, axes, field, source) for entry in content)
    else:
        raise PlanError(
            f"{source} must be a list of cells with a {field!r} each, or a mapping nested as {_nesting(axes)}"
        )
    values: CellValues = {}
    for levels, number in pairs:
        index = cell_index(axes, levels, source)
        cell = describe(cell_levels(axes, index))
        if index in values:
            raise PlanError(f"{source} names the cell {cell} twice; name it once")
        values[index] = check_value(number, f"the {field} of {cell} in {source}")
    if not values:
        raise PlanError(f"{source} names no cell; list the cells with a {field!r} each")
    return values


def check_value(number: Any, description: str) -> int | float:
    """Return a number that is finite and not negative as int or float, or raise PlanError."""
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number and hasattr(number, "item"):
        number = number.item()  # NumPy scalars
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not 0 <= number <= LARGEST_COUNT:  # NaN compares false
        raise PlanError(f"{description} must be a number from 0 to {LARGEST_COUNT:g}, but is {shown(number)}")
    return int(number) if float(number).is_integer() else float(number)


def cell_index(axes: Sequence[Axis], levels: Sequence[object], source: str) -> int:
    """Return the index of the cell with these levels, one per axis; PlanError names the nearest level."""
    index = 0
    for axis, level in zip(axes, levels, strict=True):
        name = label(level)
        if name not in axis.levels:
            raise PlanError(f"{source}: {axis.name!r} has no level {shown(name)}; {nearest(name, axis.levels)}")
        index = index * len(axis.levels) + axis.levels.index(name)
    return index


def as_shares(values: CellValues, source: str) -> dict[int, Fraction]:
    """Return shares that sum to 1 exactly, from approximate shares or from counts.

    Whole numbers are counts and are divided by their sum. A share is replaced by the nearest fraction with a
    denominator of at most 10^9, so that 0.1 becomes 1/10 and 0.3333333333333333 becomes 1/3.

    Raises
    ------
    PlanError
        If all values are 0, or values that are not counts do not sum to 1 (within 1e-6).
    """
    total = math.fsum(values.values())
    if total == 0:
        raise PlanError(f"{source} is 0 in every cell; at least one cell needs a value above 0")
    are_counts = all(isinstance(value, int) for value in values.values())
    if not are_counts and abs(total - 1) > _SUM_TOLERANCE:
        raise PlanError(
            f"the shares in {source} sum to {total:.6g}, not to 1; correct them, or give counts (whole numbers), "
            "which are divided by their sum"
        )
    exact = {index: _simplest(value) for index, value in values.items()}
    exact_total = sum(exact.values(), Fraction(0))
    return {index: value / exact_total for index, value in exact.items()}


def _simplest(value: int | float) -> Fraction:
    exact = Fraction(value)
    return exact.limit_denominator(10**9) or exact


def _walk(
    content: Mapping[Any, Any], axes: Sequence[Axis], before: tuple[object, ...], source: str
) -> Iterator[tuple[tuple[object, ...], Any]]:
    for key, value in content.items():
        levels = before + (key if isinstance(key, tuple) else (key,))
        if len(levels) < len(axes) and isinstance(value, Mapping):
            cell_index(
                axes[: len(levels)], levels, source
            )  # before going deeper, so that the outer level is the one named
            yield from _walk(value, axes, levels, source)
        elif len(levels) == len(axes) and not isinstance(value, Mapping):
            yield levels, value
        else:
            raise PlanError(
                f"{source} must be nested as {_nesting(axes)}, but is not at {one_line(' / '.join(map(label, levels)))}"
            )


def _record(entry: Any, axes: Sequence[Axis], field: str, source: str) -> tuple[tuple[object, ...], Any]:
    wanted = [*(axis.name for axis in axes), field]
    if not isinstance(entry, Mapping):
        raise PlanError(f"{source} holds {shown(entry)} where a cell with {', '.join(wanted)} was expected")
    for key in entry:
        if key not in wanted:
            raise PlanError(f"{source} holds a cell with the unknown key {shown(key)}; {nearest(str(key), wanted)}")
    for key in wanted:
        if key not in entry:
            raise PlanError(f"{source} holds the cell {shown(entry)} without {key!r}; each names {', '.join(wanted)}")
    return tuple(entry[axis.name] for axis in axes), entry[field]


def _nesting(axes: Sequence[Axis]) -> str:
    return " > ".join([*(axis.name for axis in axes), "number"])
