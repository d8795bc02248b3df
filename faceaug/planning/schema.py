"""The schema of a plan file (format "faceaug-plan"), which is checked when the file is read."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import pydantic

from faceaug.analysis.axes import Axis, cell_count, cell_levels, describe
from faceaug.analysis.cell_values import LARGEST_COUNT
from faceaug.errors import IntegrityError
from faceaug.utils.text import MOST_SHOWN, one_line, shown

PLAN_FORMAT, PLAN_VERSION = "faceaug-plan", 2

_Count = Annotated[int, pydantic.Field(ge=0, le=LARGEST_COUNT)]


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class AxisEntry(_Model):
    """An axis; see `faceaug.analysis.axes.Axis`."""

    name: str
    kind: Literal["categorical", "continuous"]
    levels: list[str] = pydantic.Field(min_length=1)
    edges: list[float] | None
    note: str

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> AxisEntry:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"the axis {shown(self.name)} names a level twice")
        if (self.edges is None) != (self.kind == "categorical"):
            raise ValueError(f"the axis {shown(self.name)} is {self.kind}, which does not go with its edges")
        if self.edges is not None:
            rising = all(low < high for low, high in itertools.pairwise(self.edges))
            if not rising or len(self.edges) != len(self.levels) + 1:
                raise ValueError(f"the edges of the axis {shown(self.name)} must rise and be one more than its levels")
        return self


class BudgetEntry(_Model):
    """The budget; see `faceaug.planning.Budget`."""

    max_synthetic_ratio: Annotated[float, pydantic.Field(ge=0)] | None
    max_per_cell: _Count | None
    max_total: _Count | None


class TotalsEntry(_Model):
    """Sums over the cells."""

    real: int
    wanted: int
    planned: int


class CellEntry(_Model):
    """A cell; see `faceaug.planning.PlannedCell`."""

    index: int
    levels: dict[str, str]
    real: _Count
    wanted: _Count
    planned: _Count


class PlanEntry(_Model):
    """The whole file."""

    format: Literal["faceaug-plan"]
    version: Literal[2]
    strategy: str
    budget: BudgetEntry
    notes: list[str]
    axes: list[AxisEntry] = pydantic.Field(min_length=1)
    totals: TotalsEntry
    cells: list[CellEntry]

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> PlanEntry:
        axes = [Axis(axis.name, axis.kind, tuple(axis.levels)) for axis in self.axes]
        if len({axis.name for axis in axes}) < len(axes):
            raise ValueError("an axis is named twice")
        if len(self.cells) != cell_count(axes):
            raise ValueError(f"it lists {len(self.cells):,} cells, but its axes span {cell_count(axes):,}")
        for index, cell in enumerate(self.cells):
            expected = cell_levels(axes, index)
            if cell.index != index or cell.levels != expected:
                raise ValueError(
                    f"cell {index} must be ({one_line(describe(expected))}), but is ({one_line(describe(cell.levels))})"
                )
            if cell.planned > cell.wanted:
                raise ValueError(
                    f"({one_line(describe(expected))}) plans {cell.planned:,}, more than the {cell.wanted:,} wanted"
                )
        for name, total in self.totals:
            expected_total = sum(getattr(cell, name) for cell in self.cells)
            if total != expected_total:
                raise ValueError(f"its total of {name} is {total:,}, but its cells sum to {expected_total:,}")
        return self


def validate_plan(content: Any, name: str) -> PlanEntry:
    """Check the content of a plan file and return it.

    Raises
    ------
    IntegrityError
        If the content is not a plan, has another version, or contradicts itself; `name` names it.
    """
    if not isinstance(content, dict) or content.get("format") != PLAN_FORMAT:
        raise IntegrityError(f"{name} is not a plan (its format is not {PLAN_FORMAT!r}); write one with faceaug plan")
    if content.get("version") != PLAN_VERSION:
        raise IntegrityError(
            f"{name} is a plan of version {shown(content.get('version'))}, but this faceaug reads version "
            f"{PLAN_VERSION}; write it again with faceaug plan"
        )
    try:
        return PlanEntry.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), MOST_SHOWN)
        message = one_line(first["msg"].removeprefix("Value error, "), 600)
        raise IntegrityError(
            f"{name} is damaged{' at ' + where if where else ''}: {message}; write it again with faceaug plan"
        ) from error
