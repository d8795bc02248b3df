"""Results as tables with bars, for terminals that show colours. All text of labels is set as text, never as markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from faceaug.utils.text import plain_lines
from faceaug.utils.text_table import clip, label_columns, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from faceaug.analysis.analyze import Analysis
    from faceaug.planning.plan import Plan
    from faceaug.shards.manifest import CellRecord

_BAR, _LONGEST_LABEL = 24, 36
_REAL, _SYNTHETIC, _SHORT = "bright_black", "blue", "yellow"


def analysis_view(analysis: Analysis) -> Sequence[RenderableType]:
    """Return an analysis; of many cells as in its text, which shows the largest and the smallest."""
    from faceaug.analysis.text import MOST_ROWS, analysis_sections

    sections = [_plain(section) for section in analysis_sections(analysis)]
    if len(analysis.counts) > MOST_ROWS:
        return [part for section in sections for part in (section, Text())][:-1]
    table = _table([axis.name for axis in analysis.axes], ["count", "share"])
    total, largest = int(analysis.counts.sum()), analysis.figures.largest
    for cell in analysis.cells:
        bar = _bar([(cell.count, _SYNTHETIC)], largest)
        table.add_row(*_labels(list(cell.levels.values())), f"{cell.count:,}", percent(cell.count / total), bar)
    parts: list[RenderableType] = [sections[0], table]
    for section in sections[2:]:
        parts += [section, Text()]
    return parts[:-1]


def plan_view(plan: Plan) -> Sequence[RenderableType]:
    """Return a plan: real faces, planned ones, and what the budget leaves out."""
    from faceaug.planning.text import plan_head, shown_cells

    table = _table([axis.name for axis in plan.axes], ["real", "wanted", "planned"])
    largest = max(1, *(cell.real + cell.wanted for cell in plan.cells))
    for cell in shown_cells(plan):
        bar = _bar([(cell.real, _REAL), (cell.planned, _SYNTHETIC), (cell.wanted - cell.planned, _SHORT)], largest)
        numbers = (f"{cell.real:,}", f"{cell.wanted:,}", f"{cell.planned:,}")
        table.add_row(*_labels(list(cell.levels.values())), *numbers, bar)
    totals = [f"{total:,}" for total in plan.totals.values()]
    table.add_section()
    table.add_row("all cells", *[""] * (len(label_columns([axis.name for axis in plan.axes])) - 1), *totals, "")
    legend = _legend(("real", _REAL), ("planned", _SYNTHETIC), ("beyond the budget", _SHORT))
    return [_plain("\n".join(plan_head(plan))), table, legend]


def cell_table(cells: Sequence[CellRecord], reasons: Sequence[str]) -> Sequence[RenderableType]:
    """Return the outcome of cells: real faces, accepted samples and what is short, with a text for each."""
    table = _table(list(cells[0].attributes), ["real", "planned", "accepted", "short"])
    table.add_column("main reasons for rejection", overflow="ellipsis", no_wrap=True)
    largest = max(1, *(cell.real + cell.planned for cell in cells))
    for cell, reason in zip(cells, reasons, strict=True):
        bar = _bar([(cell.real, _REAL), (cell.accepted, _SYNTHETIC), (cell.short, _SHORT)], largest)
        numbers = (f"{count:,}" for count in (cell.real, cell.planned, cell.accepted, cell.short))
        table.add_row(*_labels(list(cell.attributes.values())), *numbers, bar, _plain(reason))
    return [table, _legend(("real", _REAL), ("synthetic", _SYNTHETIC), ("short", _SHORT))]


def _table(axes: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return a table with columns for labels, numbers and a bar."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in label_columns(list(axes)):
        table.add_column(_plain(clip(name, _LONGEST_LABEL)), overflow="ellipsis", no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    return table


def _labels(levels: Sequence[str]) -> list[Text]:
    return [_plain(clip(level, _LONGEST_LABEL)) for level in label_columns(list(levels))]


def _bar(parts: Sequence[tuple[int, str]], largest: int) -> Text:
    """Return counts as a bar of blocks; ends are rounded in place, so that the parts fill the whole."""
    bar, done, cells = Text(), 0, 0
    for count, colour in parts:
        done += count
        until = max(round(_BAR * done / largest), cells + (count > 0))
        bar.append("█" * (until - cells), colour)
        cells = until
    return bar


def _legend(*parts: tuple[str, str]) -> Text:
    legend = Text("  ")
    for words, colour in parts:
        legend.append("█ ", colour).append(f"{words}   ")
    return legend


def _plain(text: str) -> Text:
    """Return text without anything that a terminal would obey."""
    return Text(plain_lines(text))
