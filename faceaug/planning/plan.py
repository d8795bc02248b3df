"""Analysis and wishes -> how many faces to make in each cell: whole numbers, reproducible, never negative.

>>> import pandas as pd
>>> from faceaug.analysis.analyze.analyze import analyze
>>> table = pd.DataFrame({"gender": ["female"] * 2 + ["male"] * 6})
>>> plan(analyze(table, "gender")).planned
{0: 4, 1: 0}
>>> plan(analyze(table, "gender"), limits=Limits(max_synthetic_ratio=0.25)).planned
{0: 2, 1: 0}
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from faceaug.analysis.analyze import Analysis
from faceaug.analysis.axes import Axis, cell_levels, describe
from faceaug.errors import PlanError, UsageError
from faceaug.planning import schema as plan_file
from faceaug.planning.strategies import SamplingStrategy, strategy_totals
from faceaug.utils.files import read_json, write_json
from faceaug.utils.text_table import flow, label_columns, render_table

_TEXT_ROWS = 60


@dataclass(frozen=True)
class Budget:
    """Upper bounds of what is made; None is no bound.

    Attributes
    ----------
    max_synthetic_ratio : float or None
        At most this many made faces for each real one, over the whole set.
    max_per_cell : int or None
        At most so many made faces in a cell.
    max_total : int or None
        At most so many made faces in all.

    Raises
    ------
    UsageError
        When a bound is negative or not a number of its kind.
    """

    max_synthetic_ratio: float | None = None
    max_per_cell: int | None = None
    max_total: int | None = None

    def __post_init__(self) -> None:
        ratio = self.max_synthetic_ratio
        if ratio is not None:
            real = isinstance(ratio, numbers.Real) and not isinstance(ratio, bool)
            if not real or not math.isfinite(ratio) or ratio < 0:
                raise UsageError(f"max_synthetic_ratio must be a number of at least 0, but is {ratio!r}")
            object.__setattr__(self, "max_synthetic_ratio", float(ratio))
        for name in ("max_per_cell", "max_total"):
            bound = getattr(self, name)
            if bound is not None:
                if not isinstance(bound, numbers.Integral) or isinstance(bound, bool) or bound < 0:
                    raise UsageError(f"{name} must be a whole number of at least 0, but is {bound!r}")
                object.__setattr__(self, name, int(bound))

    def budget(self, real: int) -> int | None:
        """Return the most that may be made in all beside `real` faces, or None; the ratio is the decimal it prints."""
        bounds = [] if self.max_total is None else [self.max_total]
        if self.max_synthetic_ratio is not None:
            bounds.append(math.floor(Fraction(repr(self.max_synthetic_ratio)) * real))
        return min(bounds, default=None)


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a plan.

    Attributes
    ----------
    index : int
        Its place in the plan, row-major over the axes.
    levels : dict
        Axis name to level.
    real : int
        Faces that are there.
    wanted : int
        Faces to make if there were no limits.
    planned : int
        Faces to make; at most `attribute_goals`.
    """

    index: int
    levels: dict[str, str]
    real: int
    wanted: int
    planned: int


@dataclass(frozen=True)
class Plan:
    """How many faces to make in each cell.

    Attributes
    ----------
    axes : tuple of Axis
    cells : tuple of PlannedCell
        All combinations of levels, row-major over the axes.
    strategy : str
        The wish, as "uniform" or "match:reference.csv"; "explicit" for counts that were given in Python.
    limits : Budget
    notes : tuple of str
        What the reader should know, such as rows of a reference that were left out.
    """

    axes: tuple[Axis, ...]
    cells: tuple[PlannedCell, ...]
    strategy: str
    limits: Budget = Budget()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many faces are to be made in all."""
        return sum(cell.planned for cell in self.cells)

    @property
    def planned(self) -> dict[int, int]:
        """How many faces are to be made, by cell."""
        return {cell.index: cell.planned for cell in self.cells}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {
            "format": plan_file.FORMAT,
            "version": plan_file.VERSION,
            "strategy": self.strategy,
            "limits": dict(vars(self.limits)),
            "notes": list(self.notes),
            "axes": [axis.to_dict() for axis in self.axes],
            "totals": {name: sum(getattr(cell, name) for cell in self.cells) for name in ("real", "wanted", "planned")},
            "cells": [dict(vars(cell)) for cell in self.cells],
        }

    @classmethod
    def from_dict(cls, content: Any, *, name: str = "the plan") -> Plan:
        """Check plain JSON values and return the plan; IntegrityError says what is wrong."""
        checked = plan_file.checked(content, name)
        axes = tuple(
            Axis(axis.name, axis.kind, tuple(axis.levels), None if axis.edges is None else tuple(axis.edges), axis.note)
            for axis in checked.axes
        )
        cells = tuple(PlannedCell(**dict(cell)) for cell in checked.cells)
        return cls(axes, cells, checked.strategy, Budget(**dict(checked.limits)), tuple(checked.notes))

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan that `write` wrote.

        Raises
        ------
        IntegrityError
            When the file is missing, is no plan, is of a version that is not known, or contradicts itself.
        """
        return cls.from_dict(read_json(Path(path), "a plan", document=True), name=str(path))

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON (format "faceaug-plan"), whole or not at all."""
        write_json(Path(path), self.to_dict())

    def to_text(self) -> str:
        """Return the plan as a table that a person can read, at most 100 columns wide."""
        return _text(self)


def plan(analysis: Analysis, strategy: SamplingStrategy = "uniform", limits: Budget | None = None) -> Plan:
    """Decide how many faces to make in each cell.

    Parameters
    ----------
    analysis : Analysis
    strategy : str, mapping or list of records
        - ``"uniform"``: every cell, also an empty one, is raised to the largest.
        - ``"uniform-within:COL"``: within each level of COL every combination of the other attributes is raised to the
          largest of that level.
        - ``"match:FILE"``: the fewest additions that reach the shares of a reference. FILE is a table (CSV, TSV,
          Parquet) with a row per face, or with a row per cell and a column "share" or "count"; or JSON/YAML of shares,
          in the form below. Whole numbers are counts and are divided by their sum; other shares must sum to 1. Each
          cell is rounded down, so it ends less than one face under its share. Where the reference has no share nothing
          is added.
        - ``"min:N"``: every cell has at least N.
        - a path to JSON or YAML with the wished totals of cells, as a list ``[{"gender": "female", "ethnicity":
          "asian", "count": 500}, ...]`` or nested in the order of the axes ``{"female": {"asian": 500}}``; or such a
          value itself. Cells that are left out stay as they are.
    limits : Budget, optional
        `max_per_cell` first caps each cell. If the sum is then more than the smaller of `max_total` and
        ``floor(max_synthetic_ratio * real)``, that budget is shared out in proportion to the capped needs, by largest
        remainder; ties go to the larger need, then to the earlier cell.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        A strategy that cannot be understood.
    PlanError
        A single cell, a strategy that asks for fewer faces than there are, or a file that does not fit.
    """
    return plan_counts(analysis.axes, [int(count) for count in analysis.counts], strategy, limits)


def plan_counts(
    axes: Sequence[Axis], counts: Sequence[int], strategy: SamplingStrategy = "uniform", limits: Budget | None = None
) -> Plan:
    """Do what `plan` does, from the axes and the real count of each cell [cells], row-major over the axes."""
    limits = limits or Budget()
    if len(counts) == 1:
        by = ",".join(axis.name for axis in axes)
        only = f"level {axes[0].levels[0]!r}" if len(axes) == 1 else f"cell ({describe(cell_levels(axes, 0))})"
        raise PlanError(
            f"--by {by} has a single {only}: nothing to balance; name another attribute, or add faces of another level"
        )
    totals, name, notes = strategy_totals(axes, counts, strategy)
    wanted = [total - count for total, count in zip(totals, counts, strict=True)]
    capped = wanted if limits.max_per_cell is None else [min(need, limits.max_per_cell) for need in wanted]
    budget = limits.budget(sum(counts))
    planned = capped if budget is None else share_out(capped, budget)
    cells = tuple(
        PlannedCell(index, cell_levels(axes, index), real, need, number)
        for index, (real, need, number) in enumerate(zip(counts, wanted, planned, strict=True))
    )
    return Plan(tuple(axes), cells, name, limits, notes)


def share_out(needs: Sequence[int], budget: int) -> list[int]:
    """Share `budget` out in proportion to whole-number needs, none getting more than it needs (largest remainder).

    Ties go to the larger need, then to the earlier place. The result sums to min(budget, sum of needs).
    """
    whole = sum(needs)
    if whole <= budget:
        return list(needs)
    given = [need * budget // whole for need in needs]
    # budget < whole, so a need that is not 0 was given less than itself, and one more never exceeds it.
    order = sorted(range(len(needs)), key=lambda place: (-(needs[place] * budget % whole), -needs[place], place))
    for place in order[: budget - sum(given)]:
        given[place] += 1
    return given


def _text(plan: Plan) -> str:
    totals = plan.to_dict()["totals"]
    lines = flow(
        [plan.strategy + ":", f"{plan.total:,} faces to make", f"beside {totals['real']:,} real ones"], separator=" "
    )
    bounds = [f"{name.replace('_', ' ')} {value:,}" for name, value in vars(plan.limits).items() if value is not None]
    if bounds:
        cut = totals["wanted"] - plan.total
        effect = f"they cut {totals['wanted']:,} wanted by {cut:,}" if cut else "they cut nothing"
        lines += flow([*bounds, effect], first="Limits: ")
    for note in plan.notes:
        lines += flow(note.split(" "), separator=" ")
    shown = plan.cells
    if len(shown) > _TEXT_ROWS:
        shown = tuple(sorted(plan.cells, key=lambda cell: (-cell.planned, cell.index))[:_TEXT_ROWS])
        lines.append(f"The {_TEXT_ROWS} cells of {len(plan.cells):,} where most is planned:")
    names = label_columns([axis.name for axis in plan.axes])
    rows = [
        [*label_columns(list(cell.levels.values())), f"{cell.real:,}", f"{cell.wanted:,}", f"{cell.planned:,}"]
        for cell in shown
    ]
    rows.append(["all cells", *[""] * (len(names) - 1), *(f"{total:,}" for total in totals.values())])
    return "\n".join([*lines, "", *render_table([*names, *totals], rows, left=len(names))])
