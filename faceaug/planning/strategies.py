"""Sampling strategies: each gives the wanted total of every cell, real and synthetic faces together.

`STRATEGIES` is the table of strategies by name. A new strategy is a function of `CellCounts` and the text after the
colon, and one line in this table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from faceaug.analysis.axes import Axis, cell_levels, describe
from faceaug.analysis.cell_values import LARGEST_COUNT, as_shares, read_values
from faceaug.errors import PlanError, UsageError
from faceaug.planning.reference import read_reference
from faceaug.utils.documents import DOCUMENTS, load_document
from faceaug.utils.text import MOST_SHOWN, nearest, one_line, shown

SamplingStrategy = str | Mapping[Any, Any] | Sequence[Mapping[str, Any]]
"""Name of a strategy with its argument, path to a file of counts, or counts as a mapping or as records."""


@dataclass(frozen=True)
class CellCounts:
    """Number of real faces in each cell.

    Attributes
    ----------
    axes : tuple of Axis
    counts : tuple of int
        One per cell, row-major over the axes.
    """

    axes: tuple[Axis, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class WantedTotals:
    """Result of a sampling strategy.

    Attributes
    ----------
    totals : list of int
        Wanted number of real and synthetic faces of each cell, none below the number of real ones.
    strategy : str
        The strategy in its canonical spelling, such as "min:500"; "explicit" for counts that were given in Python.
    notes : tuple of str
        Remarks for the reader, such as the number of rows of a reference that were left out.
    """

    totals: list[int]
    strategy: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedStrategy:
    """A strategy that is selected by name.

    Attributes
    ----------
    argument : str
        Placeholder of the text after the colon, such as "COL"; empty for a strategy without argument.
    wanted : callable
        Maps the counts and the argument to the wanted totals.
    """

    argument: str
    wanted: Callable[[CellCounts, str], WantedTotals]


def wanted_totals(cells: CellCounts, strategy: SamplingStrategy) -> WantedTotals:
    """Return the wanted total of each cell under a sampling strategy.

    Parameters
    ----------
    cells : CellCounts
    strategy : str, mapping or list of records
        See `faceaug.planning.plan`.

    Raises
    ------
    UsageError
        If the strategy is unknown or lacks its argument.
    PlanError
        If the strategy needs fewer faces than there are real ones, or a file cannot be read.
    """
    if not isinstance(strategy, str):
        return _explicit(cells, strategy, "explicit", "the explicit plan")
    name, colon, argument = strategy.strip().partition(":")
    argument = argument.strip()
    named = STRATEGIES.get(name)
    if named is not None and bool(named.argument) == bool(argument) and bool(named.argument) == bool(colon):
        return named.wanted(cells, argument)
    path = Path(strategy)
    if path.suffix.lower() in DOCUMENTS:
        return _explicit(cells, load_document(path, "the explicit plan"), path.name, f"the explicit plan {path}")
    if named is not None and named.argument:
        raise UsageError(f"the strategy {shown(strategy)} is incomplete; write it as {name}:{named.argument}")
    raise UsageError(
        f"the strategy {shown(strategy)} is not known and is not a .json or .yaml file; "
        f"{nearest(strategy, strategy_names())}"
    )


def strategy_names() -> list[str]:
    """Return the strategies with the placeholders of their arguments, as "match:FILE"."""
    return [f"{name}:{named.argument}" if named.argument else name for name, named in STRATEGIES.items()]


def _uniform(cells: CellCounts, argument: str) -> WantedTotals:
    """Raise every cell, also an empty one, to the largest cell."""
    return WantedTotals([max(cells.counts)] * len(cells.counts), "uniform")


def _uniform_within(cells: CellCounts, argument: str) -> WantedTotals:
    """Raise all combinations of the other axes, within each level of one axis, to the largest cell of the level."""
    names = [axis.name for axis in cells.axes]
    if argument not in names:
        raise UsageError(
            f"uniform-within:{one_line(argument, MOST_SHOWN)} names no attribute of --by; {nearest(argument, names)}"
        )
    if len(names) == 1:
        raise UsageError(
            f"uniform-within:{argument} needs a second attribute in --by, to even out within each {shown(argument)}"
        )
    position = names.index(argument)
    grid = np.array(cells.counts, dtype=np.int64).reshape([len(axis.levels) for axis in cells.axes])
    others = tuple(other for other in range(len(names)) if other != position)
    largest = np.broadcast_to(grid.max(axis=others, keepdims=True), grid.shape)
    return WantedTotals([int(total) for total in largest.ravel()], f"uniform-within:{argument}")


def _match(cells: CellCounts, argument: str) -> WantedTotals:
    """Return the smallest totals that have the shares of a reference without removing a face.

    The sum of the totals is T = max(count / share), where the most over-represented cell needs nothing. Every other
    cell gets share * T, rounded down: each ends less than one face under its share, and planning again adds nothing
    (rounding up could raise T and add faces everywhere).
    """
    path = Path(argument)
    source = f"the reference {path}"
    values, notes = read_reference(path, cells.axes, source)
    shares = as_shares(values, source)
    needed_total = max((cells.counts[index] / share for index, share in shares.items() if share), default=Fraction(0))
    if not needed_total:
        raise PlanError(
            f"no cell to which {source} gives a share holds a real face, so the shares determine no total; "
            "use min:N or explicit counts"
        )
    totals = [max(count, math.floor(shares.get(index, 0) * needed_total)) for index, count in enumerate(cells.counts)]
    if max(totals) > LARGEST_COUNT:
        raise PlanError(
            f"{source} asks for more than {float(LARGEST_COUNT):.0e} faces in a cell, since it gives a share of almost "
            "nothing to a cell with real faces; leave that cell out, or give it a share"
        )
    without_share = sum(count for index, count in enumerate(cells.counts) if not shares.get(index))
    if without_share:
        notes += (
            f"{without_share:,} real faces are in cells to which {source} gives no share; nothing is added there",
        )
    return WantedTotals(totals, f"match:{path.name}", notes)


def _minimum(cells: CellCounts, argument: str) -> WantedTotals:
    """Raise every cell to a number of faces."""
    if not (argument.isascii() and argument.isdigit() and len(argument) < 16):
        raise UsageError(
            f"the strategy {shown(f'min:{argument}')} must name a whole number of faces per cell, as min:500"
        )
    least = int(argument)
    return WantedTotals([max(count, least) for count in cells.counts], f"min:{least}")


def _explicit(cells: CellCounts, content: Any, strategy: str, source: str) -> WantedTotals:
    """Take the totals of the cells that `content` names; the other cells stay as they are."""
    totals = list(cells.counts)
    for index, total in read_values(content, cells.axes, field="count", source=source).items():
        cell, real = describe(cell_levels(cells.axes, index)), cells.counts[index]
        if not isinstance(total, int):
            raise PlanError(f"{source} asks for {total} faces in {cell}; ask for a whole number")
        if total < real:
            raise PlanError(
                f"{source} asks for {total:,} faces in {cell}, but {real:,} real ones are there and faceaug only adds "
                f"faces; ask for {real:,} or more, or leave the cell out"
            )
        totals[index] = total
    return WantedTotals(totals, strategy)


STRATEGIES: dict[str, NamedStrategy] = {
    "uniform": NamedStrategy("", _uniform),
    "uniform-within": NamedStrategy("COL", _uniform_within),
    "match": NamedStrategy("FILE", _match),
    "min": NamedStrategy("N", _minimum),
}
