"""From an analysis, a sampling strategy and a budget to the number of faces to synthesize in each cell.

The numbers are whole, reproducible and never negative.

>>> import pandas as pd
>>> from faceaug.analysis.analyze import analyze
>>> table = pd.DataFrame({"gender": ["female"] * 2 + ["male"] * 6})
>>> plan(analyze(table, "gender")).planned
{0: 4, 1: 0}
>>> plan(analyze(table, "gender"), budget=Budget(max_synthetic_ratio=0.25)).planned
{0: 2, 1: 0}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faceaug.analysis.analyze import Analysis
from faceaug.analysis.axes import Axis, cell_levels, describe
from faceaug.errors import PlanError
from faceaug.pages.notebook import notebook_html
from faceaug.planning.budget import Budget, apportion
from faceaug.planning.schema import PLAN_FORMAT, PLAN_VERSION, validate_plan
from faceaug.planning.strategies import CellCounts, SamplingStrategy, wanted_totals
from faceaug.planning.text import plan_text
from faceaug.utils.files import read_json, write_json


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a plan.

    Attributes
    ----------
    index : int
        Position in the plan, row-major over the axes.
    levels : dict of str to str
        Level of each axis.
    real : int
        Number of real faces.
    wanted : int
        Faces to synthesize without a budget.
    planned : int
        Faces to synthesize under the budget; at most `wanted`.
    """

    index: int
    levels: dict[str, str]
    real: int
    wanted: int
    planned: int


@dataclass(frozen=True)
class Plan:
    """The number of faces to synthesize in each cell.

    Attributes
    ----------
    axes : tuple of Axis
    cells : tuple of PlannedCell
        All combinations of levels, row-major over the axes.
    strategy : str
        The sampling strategy, as "uniform" or "match:reference.csv"; "explicit" for counts that were given in Python.
    budget : Budget
    notes : tuple of str
        Remarks for the reader, such as the number of rows of a reference that were left out.
    """

    axes: tuple[Axis, ...]
    cells: tuple[PlannedCell, ...]
    strategy: str
    budget: Budget = field(default_factory=Budget)
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of faces to synthesize in all cells."""
        return sum(cell.planned for cell in self.cells)

    @property
    def totals(self) -> dict[str, int]:
        """Sums of `real`, `wanted` and `planned` over the cells."""
        return {name: sum(getattr(cell, name) for cell in self.cells) for name in ("real", "wanted", "planned")}

    @property
    def planned(self) -> dict[int, int]:
        """Number of faces to synthesize, by the index of the cell."""
        return {cell.index: cell.planned for cell in self.cells}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values (docs/formats.md, Plan)."""
        return {
            "format": PLAN_FORMAT,
            "version": PLAN_VERSION,
            "strategy": self.strategy,
            "budget": dict(vars(self.budget)),
            "notes": list(self.notes),
            "axes": [axis.to_dict() for axis in self.axes],
            "totals": self.totals,
            "cells": [dict(vars(cell)) for cell in self.cells],
        }

    @classmethod
    def from_dict(cls, content: Any, *, name: str = "the plan") -> Plan:
        """Return the plan that plain JSON values describe.

        Raises
        ------
        IntegrityError
            If the content is not a plan, has another version, or contradicts itself; `name` names it.
        """
        entry = validate_plan(content, name)
        axes = tuple(
            Axis(axis.name, axis.kind, tuple(axis.levels), None if axis.edges is None else tuple(axis.edges), axis.note)
            for axis in entry.axes
        )
        cells = tuple(PlannedCell(**dict(cell)) for cell in entry.cells)
        return cls(axes, cells, entry.strategy, Budget(**dict(entry.budget)), tuple(entry.notes))

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan that `write` wrote.

        Raises
        ------
        IntegrityError
            If the file is missing, is not a plan, has another version, or contradicts itself.
        """
        return cls.from_dict(read_json(Path(path), "a plan", document=True), name=str(path))

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON (format "faceaug-plan") under a temporary name, which is then renamed."""
        write_json(Path(path), self.to_dict())

    def to_text(self) -> str:
        """Return the plan as a text table, at most 100 characters wide."""
        return plan_text(self)

    def _repr_html_(self) -> str:
        totals = self.totals
        lines = [f"{totals['planned']:,} planned of {totals['wanted']:,} wanted, for {totals['real']:,} real faces"]
        cells = [
            (
                cell.levels,
                {"real": cell.real, "wanted": cell.wanted, "planned": cell.planned},
                {"real": cell.real, "synthetic": cell.planned, "wanted": cell.wanted - cell.planned},
            )
            for cell in self.cells
        ]
        return notebook_html(f"Plan: {self.strategy}", [*lines, *self.notes], cells)


def plan(analysis: Analysis, strategy: SamplingStrategy = "uniform", budget: Budget | None = None) -> Plan:
    """Decide how many faces to synthesize in each cell (docs/formats.md, Plan).

    Parameters
    ----------
    analysis : Analysis
    strategy : str, mapping or list of records
        - ``"uniform"``: every cell, also an empty one, is raised to the largest cell.
        - ``"uniform-within:COL"``: within each level of COL, every combination of the other attributes is raised to
          the largest cell of that level.
        - ``"match:FILE"``: the fewest additions that reach the shares of a reference. FILE is a table (CSV, TSV,
          Parquet) with a row per face, or with a row per cell and a column "share" or "count"; or JSON or YAML of
          shares, in the form below. Whole numbers are counts and are divided by their sum; other shares must sum to 1.
          Each cell is rounded down, so it ends less than one face under its share. Nothing is added to a cell without
          a share.
        - ``"min:N"``: every cell has at least N faces.
        - a path to JSON or YAML with the wanted totals of cells, as a list ``[{"gender": "female", "ethnicity":
          "asian", "count": 500}, ...]`` or nested in the order of the axes ``{"female": {"asian": 500}}``; or such a
          value itself. Cells that are left out stay as they are.
    budget : Budget, optional
        `max_per_cell` first limits each cell. If the sum still exceeds the smaller of `max_total` and
        ``floor(max_synthetic_ratio * real)``, this bound is divided in proportion to the limited needs, by largest
        remainders; ties go to the larger need, then to the earlier cell.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        If the strategy is unknown or lacks its argument.
    PlanError
        If there is a single cell, the strategy asks for fewer faces than there are, or a file does not fit.
    """
    return plan_counts(analysis.axes, [int(count) for count in analysis.counts], strategy, budget)


def plan_counts(
    axes: Sequence[Axis], counts: Sequence[int], strategy: SamplingStrategy = "uniform", budget: Budget | None = None
) -> Plan:
    """Do the same as `plan`, from the axes and the number of real faces of each cell [cells], row-major."""
    budget = budget or Budget()
    if len(counts) == 1:
        by = ",".join(axis.name for axis in axes)
        only = f"level {axes[0].levels[0]!r}" if len(axes) == 1 else f"cell ({describe(cell_levels(axes, 0))})"
        raise PlanError(
            f"--by {by} has a single {only}, so there is nothing to balance; name another attribute, or add faces of "
            "another level"
        )
    wanted = wanted_totals(CellCounts(tuple(axes), tuple(counts)), strategy)
    needs = [total - count for total, count in zip(wanted.totals, counts, strict=True)]
    limited = needs if budget.max_per_cell is None else [min(need, budget.max_per_cell) for need in needs]
    bound = budget.total_bound(sum(counts))
    planned = limited if bound is None else apportion(limited, bound)
    cells = tuple(
        PlannedCell(index, cell_levels(axes, index), real, need, number)
        for index, (real, need, number) in enumerate(zip(counts, needs, planned, strict=True))
    )
    return Plan(tuple(axes), cells, wanted.strategy, budget, wanted.notes)
