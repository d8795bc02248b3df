"""An analysis as text tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faceaug.analysis.axes import describe
from faceaug.utils.text_table import clip, flow, label_columns, percent, render_table

if TYPE_CHECKING:
    from faceaug.analysis.analyze import Analysis, Association, Cell, Marginal
    from faceaug.analysis.imbalance import ImbalanceMetrics

MOST_ROWS = 40  # with more cells, only the largest and the smallest are shown
_EXTREMES = 12  # how many of the largest, and of the smallest
_MAX_PAIRS = 10
_MAX_LEVELS = 30
_BAR_WIDTH = 20


def analysis_text(analysis: Analysis) -> str:
    """Return the text of an analysis without a final line feed; no line is longer than 100 characters."""
    return "\n\n".join(analysis_sections(analysis))


def analysis_sections(analysis: Analysis) -> list[str]:
    """Return the sections of the text: what was counted, the cells, figures, attributes, and what concerns pairs."""
    sections = [_head(analysis), _cells(analysis), _figures(analysis), _attributes(analysis)]
    if len(analysis.axes) > 2:
        sections.append(_worst_pairs(analysis))
    if analysis.associations:
        sections.append(_associations(analysis.associations))
    return ["\n".join(lines) for lines in sections]


def _head(analysis: Analysis) -> list[str]:
    names = " x ".join(axis.name for axis in analysis.axes)
    counted = analysis.rows - analysis.missing
    cells = "1 cell" if len(analysis.counts) == 1 else f"{len(analysis.counts):,} cells"
    lines = flow([f"{counted:,} of {analysis.rows:,} rows", f"counted in {cells}", f"of {names}"], separator=" ")
    if analysis.missing:
        reasons = [f"{count:,} without {name}" for name, count in analysis.unlabelled.items() if count]
        reasons += [f"{count:,} with {name} outside of its edges" for name, count in analysis.outside.items() if count]
        lines += flow(reasons, first=f"{analysis.missing:,} left out: ")
    for axis in analysis.axes:
        if axis.note:
            lines += flow(axis.note.split(" "), first=f"{clip(axis.name, 40)}: ", separator=" ")
    return lines


def _cells(analysis: Analysis) -> list[str]:
    cells = analysis.cells
    if len(cells) <= MOST_ROWS:
        return ["Cells", *_cell_table(analysis, cells)]
    filled = sorted((cell for cell in cells if cell.count), key=lambda cell: (-cell.count, cell.index))
    empty = [cell for cell in cells if not cell.count]
    if len(filled) <= 2 * _EXTREMES:
        lines = [f"Cells, the {len(filled)} that are not empty, the largest first", *_cell_table(analysis, filled)]
    else:
        lines = [
            f"Cells, the {_EXTREMES} largest",
            *_cell_table(analysis, filled[:_EXTREMES]),
            f"Cells, the {_EXTREMES} smallest that are not empty",
            *_cell_table(analysis, filled[-_EXTREMES:]),
        ]
    if empty:
        examples = ["(" + describe(cell.levels) + ")" for cell in empty[:3]]
        lines += flow(examples, first=f"{len(empty):,} cells are empty, such as ")
    return lines


def _cell_table(analysis: Analysis, cells: Sequence[Cell]) -> list[str]:
    total, largest = int(analysis.counts.sum()), analysis.figures.largest
    names = label_columns([axis.name for axis in analysis.axes])
    rows = []
    for cell in cells:
        bar = "#" * max(round(_BAR_WIDTH * cell.count / largest), cell.count > 0)
        numbers = [f"{cell.count:,}", percent(cell.count / total), bar.ljust(_BAR_WIDTH)]
        rows.append([*label_columns(list(cell.levels.values())), *numbers])
    return render_table([*names, "count", "share", " " * _BAR_WIDTH], rows, left=len(names))


def _figures(analysis: Analysis) -> list[str]:
    figures = analysis.figures
    rows = [
        ["imbalance, largest over smallest that is not empty", _ratio(figures)],
        ["Shannon evenness, 1 is even", f"{figures.evenness:.3f}"],
        [f"effective groups, of {figures.groups:,}", f"{figures.effective_groups:.2f}"],
        ["KL from the reference distribution, nats", f"{figures.kl_from_reference:.3f}"],
        ["empty cells", f"{figures.empty:,}"],
        [f"cells under {analysis.minimum:,}, with the empty ones", f"{figures.under_minimum:,}"],
    ]
    return ["Imbalance of the cells", *render_table(["", ""], rows)[1:]]


def _attributes(analysis: Analysis) -> list[str]:
    lines = ["Single attributes", *_marginals(analysis.attributes, analysis.minimum)]
    for marginal in analysis.attributes:
        axis, counts = marginal.axes[0], marginal.counts.tolist()
        words = [
            f"{clip(level, 40)}: {count:,} ({percent(count / sum(counts))})"
            for level, count in zip(axis.levels, counts, strict=True)
        ]
        if len(words) > _MAX_LEVELS:
            words = [*words[:_MAX_LEVELS], f"and {len(words) - _MAX_LEVELS:,} more"]
        lines += flow(words, first=f"  {clip(axis.name, 40)} - ", indent="    ")
    return lines


def _worst_pairs(analysis: Analysis) -> list[str]:
    pairs = sorted(analysis.pairs, key=lambda pair: pair.figures.evenness)[:_MAX_PAIRS]
    return ["Pairs of attributes, the least even first", *_marginals(pairs, analysis.minimum)]


def _marginals(marginals: Sequence[Marginal], minimum: int) -> list[str]:
    header = ["", "groups", "empty", f"under {minimum:,}", "imbalance", "evenness", "effective", "KL", "missing"]
    rows = []
    for marginal in marginals:
        figures = marginal.figures
        rows.append(
            [
                " x ".join(marginal.names),
                *(f"{count:,}" for count in (figures.groups, figures.empty, figures.under_minimum)),
                _ratio(figures),
                f"{figures.evenness:.3f}",
                f"{figures.effective_groups:.2f}",
                f"{figures.kl_from_reference:.3f}",
                f"{marginal.missing:,}",
            ]
        )
    return render_table(header, rows)


def _associations(associations: Sequence[Association]) -> list[str]:
    strongest = sorted(associations, key=lambda one: -(one.cramers_v or 0.0))[:_MAX_PAIRS]
    rows = [
        [
            f"{one.first} x {one.second}",
            _or_dash(one.cramers_v),
            _or_dash(one.normalized_mutual_information),
            f"{one.rows:,}",
        ]
        for one in strongest
    ]
    title = "Associations, 0 independent to 1 tied, the strongest first"
    return [title, *render_table(["", "Cramér's V", "mutual information", "rows"], rows)]


def _ratio(figures: ImbalanceMetrics) -> str:
    return f"{figures.imbalance_ratio:,.1f}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
