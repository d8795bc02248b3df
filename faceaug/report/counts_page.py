"""The pages of an analysis and of a plan, which stand alone: counts of cells, their imbalance, and what is planned."""

from __future__ import annotations

from typing import Any

import numpy as np

from faceaug.analysis.analyze import Analysis, Marginal
from faceaug.analysis.axes import describe
from faceaug.analysis.text import interval_text
from faceaug.pages.template import page_template
from faceaug.planning.plan import Plan
from faceaug.report.before_after import CellBar, cell_panels, heat_map, imbalance_rows

_MOST_PAIRS, _MOST_LEVELS = 10, 24


def render_analysis_page(analysis: Analysis, name: str) -> str:
    """Return the page of an analysis as HTML.

    Parameters
    ----------
    analysis : Analysis
    name : str
        Of the data set.
    """
    bars = [
        CellBar(cell.levels, {"real": cell.count}, f"{cell.count:,} faces", f"{cell.count:,}{span}", cell.count)
        for cell, span in zip(analysis.cells, _spans(analysis), strict=True)
    ]
    panels = cell_panels(bars)
    pairs = sorted(zip(analysis.pairs, analysis.associations, strict=True), key=lambda pair: pair[0].figures.evenness)
    drawable = [(pair, tie) for pair, tie in pairs if max(pair.counts.shape) <= _MOST_LEVELS]
    return page_template("analysis.html.jinja", "faceaug.report").render(
        name=name,
        analysis=analysis,
        counted=analysis.rows - analysis.missing,
        panels=panels,
        left_out=len(bars) - sum(len(panel["rows"]) for panel in panels),
        figures=imbalance_rows(analysis.counts, analysis.counts),
        pairs=[(_pair_map(pair), tie) for pair, tie in drawable[:_MOST_PAIRS]],
    )


def _spans(analysis: Analysis) -> list[str]:
    """Return the interval of the share of each cell, as text to append; empty where nothing is measured."""
    if analysis.intervals is None:
        return [""] * len(analysis.counts)
    return [f" (95% interval {interval_text(interval)})" for interval in analysis.intervals]


def render_plan_page(plan: Plan, name: str) -> str:
    """Return the page of a plan for the data set called `name` as HTML."""
    bars = [
        CellBar(
            cell.levels,
            {"real": cell.real, "engine-0": cell.planned, "short": cell.wanted - cell.planned},
            f"{cell.real:,} real, {cell.planned:,} planned, {cell.wanted - cell.planned:,} more without the budget",
            f"{cell.real:,} → {cell.real + cell.planned:,}" if cell.planned else f"{cell.real:,}",
            cell.planned,
        )
        for cell in plan.cells
    ]
    panels = cell_panels(bars)
    before = np.array([cell.real for cell in plan.cells], np.int64)
    bounds = {name.replace("_", " "): f"{value:,}" for name, value in vars(plan.budget).items() if value is not None}
    return page_template("plan.html.jinja", "faceaug.report").render(
        name=name,
        plan=plan,
        bounds=bounds,
        panels=panels,
        left_out=len(bars) - sum(len(panel["rows"]) for panel in panels),
        figures=imbalance_rows(before, before + np.array([cell.planned for cell in plan.cells], np.int64)),
        cells=[(describe(cell.levels), cell) for cell in plan.cells],
    )


def _pair_map(pair: Marginal) -> dict[str, Any]:
    first, second = pair.axes
    largest = max(1, int(pair.counts.max()))
    return heat_map(" by ".join(pair.names), first.levels, second.levels, pair.counts, largest)
