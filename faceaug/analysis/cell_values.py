"""A number for each cell as people write it: a nested mapping, a list of records, or a file of either."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from faceaug.analysis.axes import Axis, cell_levels, describe, label
from faceaug.errors import PlanError, nearest
from faceaug.utils.text import one_line, shown

Values = dict[int, int | float]  # cell index -> number; cells that are not named are absent

_LARGEST = 10**15
_SUM_TOLERANCE = 1e-6


def read_values(content: Any, axes: Sequence[Axis], *, field: str, what: str) -> Values:
    """Return the numbers of a nested mapping or a list of records.

    Parameters
    ----------
    content
        Either a mapping nested in the order of the axes, ``{"female": {"asian": 500}, ...}`` (in Python also with
        tuples as keys, ``{("female", "asian"): 500}``), or a list of records, ``[{"gender": "female", "ethnicity":
        "asian", "count": 500}, ...]``. Cells may be left out.
    field : str
        The key of the number in a record, "count" or "share".
    what : str
        Where the content comes from, for errors.

    Raises
    ------
    PlanError
        For any other shape, an unknown level (the nearest is named), a cell named twice, or a number that is negative
        or not finite.
    """
    if isinstance(content, Mapping) and "format" in content:
        found = shown(content["format"])
        raise PlanError(f"{what} is a file of the format {found}, not a list of cells with a {field!r} each")
    if isinstance(content, Mapping):
        pairs = _walk(content, axes, (), what)
    elif isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        pairs = (_record(entry, axes, field, what) for entry in content)
    else:
        raise PlanError(
            f"{what} must be a list of cells with a {field!r} each, or a mapping nested as {_nesting(axes)}"
        )
    values: Values = {}
    for levels, number in pairs:
        index = cell_index(axes, levels, what)
        cell = describe(cell_levels(axes, index))
        if index in values:
            raise PlanError(f"{what} names the cell {cell} twice; name it once")
        values[index] = checked(number, f"the {field} of {cell} in {what}")
    if not values:
        raise PlanError(f"{what} names no cell; list the cells with a {field!r} each")
    return values


def checked(number: Any, what: str) -> int | float:
    """Return a number that is finite and not negative as int or float, or raise PlanError."""
    plain = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not plain and hasattr(number, "item"):
        number = number.item()  # numpy's numbers
        plain = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not plain or not 0 <= number <= _LARGEST:  # NaN compares false
        raise PlanError(f"{what} must be a number from 0 to {_LARGEST:g}, but is {shown(number)}")
    return int(number) if float(number).is_integer() else float(number)


def cell_index(axes: Sequence[Axis], levels: Sequence[object], what: str) -> int:
    """Return the cell with these levels, one for each axis in order; PlanError names the level that is nearest."""
    index = 0
    for axis, level in zip(axes, levels, strict=True):
        name = label(level)
        if name not in axis.levels:
            raise PlanError(f"{what}: {axis.name!r} has no level {shown(name)}; {nearest(name, axis.levels)}")
        index = index * len(axis.levels) + axis.levels.index(name)
    return index


def as_shares(values: Values, what: str) -> dict[int, Fraction]:
    """Return shares that sum to 1, exactly, from shares that nearly do or from counts.

    Whole numbers are counts and are divided by their sum. A share is taken for the simplest fraction near it (with a
    denominator of at most 10^9), so that 0.1 is a tenth and 0.3333333333333333 a third.

    Raises
    ------
    PlanError
        When all are 0, or when numbers that are no counts do not sum to 1 (within 1e-6).
    """
    total = math.fsum(values.values())
    if total == 0:
        raise PlanError(f"{what} gives every cell 0; give at least one cell more")
    counts = all(isinstance(value, int) for value in values.values())
    if not counts and abs(total - 1) > _SUM_TOLERANCE:
        raise PlanError(
            f"the shares in {what} sum to {total:.6g}, not to 1; correct them, or give counts (whole numbers), "
            "which are divided by their sum"
        )
    exact = {index: _simplest(value) for index, value in values.items()}
    whole = sum(exact.values(), Fraction(0))
    return {index: value / whole for index, value in exact.items()}


def _simplest(value: int | float) -> Fraction:
    exact = Fraction(value)
    return exact.limit_denominator(10**9) or exact


def _walk(
    content: Mapping[Any, Any], axes: Sequence[Axis], before: tuple[object, ...], what: str
) -> Iterator[tuple[tuple[object, ...], Any]]:
    for key, value in content.items():
        levels = before + (key if isinstance(key, tuple) else (key,))
        if len(levels) < len(axes) and isinstance(value, Mapping):
            cell_index(
                axes[: len(levels)], levels, what
            )  # before going deeper, so that the outer level is the one named
            yield from _walk(value, axes, levels, what)
        elif len(levels) == len(axes) and not isinstance(value, Mapping):
            yield levels, value
        else:
            raise PlanError(
                f"{what} must be nested as {_nesting(axes)}, but is not at {one_line(' / '.join(map(label, levels)))}"
            )


def _record(entry: Any, axes: Sequence[Axis], field: str, what: str) -> tuple[tuple[object, ...], Any]:
    wanted = [*(axis.name for axis in axes), field]
    if not isinstance(entry, Mapping):
        raise PlanError(f"{what} holds {shown(entry)} where a cell with {', '.join(wanted)} was expected")
    for key in entry:
        if key not in wanted:
            raise PlanError(f"{what} holds a cell with the unknown key {shown(key)}; {nearest(str(key), wanted)}")
    for key in wanted:
        if key not in entry:
            raise PlanError(f"{what} holds the cell {shown(entry)} without {key!r}; each names {', '.join(wanted)}")
    return tuple(entry[axis.name] for axis in axes), entry[field]


def _nesting(axes: Sequence[Axis]) -> str:
    return " > ".join([*(axis.name for axis in axes), "number"])
