"""A plan as a text table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faceaug.utils.text_table import flow, label_columns, render_table

if TYPE_CHECKING:
    from faceaug.planning.plan import Plan, PlannedCell

_MAX_ROWS = 60


def plan_text(plan: Plan) -> str:
    """Return the text of a plan without a final line feed; no line is longer than 100 characters."""
    cells, totals = shown_cells(plan), plan.totals
    names = label_columns([axis.name for axis in plan.axes])
    rows = [
        [*label_columns(list(cell.levels.values())), f"{cell.real:,}", f"{cell.wanted:,}", f"{cell.planned:,}"]
        for cell in cells
    ]
    rows.append(["all cells", *[""] * (len(names) - 1), *(f"{total:,}" for total in totals.values())])
    return "\n".join([*plan_head(plan), "", *render_table([*names, *totals], rows, left=len(names))])


def plan_head(plan: Plan) -> list[str]:
    """Return the lines above the table of cells."""
    totals = plan.totals
    lines = flow(
        [f"{plan.strategy}:", f"{plan.total:,} faces to synthesize", f"beside {totals['real']:,} real ones"],
        separator=" ",
    )
    bounds = [f"{name.replace('_', ' ')} {value:,}" for name, value in vars(plan.budget).items() if value is not None]
    if bounds:
        cut = totals["wanted"] - plan.total
        effect = f"reduces {totals['wanted']:,} wanted faces by {cut:,}" if cut else "reduces nothing"
        lines += flow([*bounds, effect], first="Budget: ")
    for note in plan.notes:
        lines += flow(note.split(" "), separator=" ")
    if len(plan.cells) > _MAX_ROWS:
        lines.append(f"The {_MAX_ROWS} of {len(plan.cells):,} cells with the most planned faces:")
    return lines


def shown_cells(plan: Plan) -> Sequence[PlannedCell]:
    """Return the cells that the table shows."""
    if len(plan.cells) <= _MAX_ROWS:
        return plan.cells
    return sorted(plan.cells, key=lambda cell: (-cell.planned, cell.index))[:_MAX_ROWS]
