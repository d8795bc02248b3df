"""The plan as a file, format "faceaug-plan": what it must hold, checked when it is read."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import pydantic

from faceaug.analysis.axes import Axis, cell_count, cell_levels, describe
from faceaug.errors import IntegrityError
from faceaug.utils.text import MOST_SHOWN, one_line, shown

FORMAT, VERSION = "faceaug-plan", 1

_Count = Annotated[int, pydantic.Field(ge=0)]


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class AxisEntry(_Model):
    """An axis; see `faceaug.analysis.analyze.axes.Axis`."""

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
    """The limits; see `faceaug.planning.plan.plan.Limits`."""

    max_synthetic_ratio: Annotated[float, pydantic.Field(ge=0)] | None
    max_per_cell: _Count | None
    max_total: _Count | None


class TotalsEntry(_Model):
    """Sums over the cells."""

    real: int
    wanted: int
    planned: int


class CellEntry(_Model):
    """A cell; see `faceaug.planning.plan.plan.PlannedCell`."""

    index: int
    levels: dict[str, str]
    real: _Count
    wanted: _Count
    planned: _Count


class PlanEntry(_Model):
    """The whole file."""

    format: Literal["faceaug-plan"]
    version: Literal[1]
    strategy: str
    limits: BudgetEntry
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
            found = sum(getattr(cell, name) for cell in self.cells)
            if total != found:
                raise ValueError(f"its total of {name} is {total:,}, but its cells sum to {found:,}")
        return self


def checked(content: Any, name: str) -> PlanEntry:
    """Return the content of a plan file once it is known to be sound.

    Raises
    ------
    IntegrityError
        When it is no plan, is of a version that is not known, or contradicts itself; `name` names it.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise IntegrityError(f"{name} is no plan of faceaug (its format is not {FORMAT!r}); write one: faceaug plan")
    if content.get("version") != VERSION:
        raise IntegrityError(
            f"{name} is a plan of version {shown(content.get('version'))}, but this faceaug reads version {VERSION}; "
            "use the faceaug that wrote it, or plan again"
        )
    try:
        return PlanEntry.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), MOST_SHOWN)
        said = one_line(first["msg"].removeprefix("Value error, "), 600)
        raise IntegrityError(
            f"{name} is damaged{' at ' + where if where else ''}: {said}; plan again or mend it"
        ) from error
