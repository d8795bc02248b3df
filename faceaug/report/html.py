"""The page of a report: plain data in, HTML out.

The page needs nothing from a network. Its own script shows the faces that data.js beside it lists; all else can be read
without. All text is escaped, and the script sets text as text, so that labels and file names cannot change the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from faceaug.analysis.axes import describe
from faceaug.errors import UsageError
from faceaug.identity.summary import IdentitySummary
from faceaug.pages.histogram import HistogramPlot
from faceaug.pages.template import page_template
from faceaug.report.before_after import cell_panels, engines_by_colour, imbalance_rows, pair_maps, run_bars
from faceaug.report.faces.gallery import DATA_FILE, Gallery
from faceaug.report.people import render_people, render_people_line
from faceaug.report.refused import refusal_rows
from faceaug.shards.manifest import REPORT_NAMES, CellRecord, FileEntry, Totals
from faceaug.utils.text_table import Value
from faceaug.utils.typing import Indices

_COUNTS = ("real", "wanted", "planned", "accepted", "short", "tried")
_SECTIONS = {
    "counts": "Before and after",
    "faces": "Faces",
    "refused": "What was refused",
    "people": "People",
    "measurements": "Measurements",
    "card": "Data card",
}


@dataclass(frozen=True)
class ReportTable:
    """A table of measurements.

    Attributes
    ----------
    title, note : str
        Text above and below the table.
    columns : tuple of str
        Headings.
    rows : tuple of tuples
        Text or numbers; None and NaN are shown as a dash.
    bars : tuple of str
        Columns with values from 0 to 1, which are shown with a bar.

    Raises
    ------
    UsageError
        When a row does not have a value for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""
    bars: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise UsageError(f"the table {self.title!r} has rows that do not fit its {len(self.columns)} columns")

    @property
    def numeric(self) -> set[str]:
        """The columns of numbers, which are aligned to the right."""
        filled = zip(self.columns, zip(*self.rows, strict=True), strict=True) if self.rows else ()
        return {name for name, values in filled if not any(isinstance(value, str) for value in values)}


@dataclass(frozen=True, eq=False)
class Report:
    """Content of a report.

    Attributes
    ----------
    title : str
    facts : mapping of str to str
        The lines at the head of the page.
    cells : sequence of CellRecord
        As in the manifest.
    by_engine : mapping of str to int64 [cells]
        Accepted samples of each engine.
    histograms : sequence of (str, HistogramPlot)
        What was measured on the faces.
    tables : sequence of ReportTable
    image_stats : mapping of str to mapping
        Summaries of image statistics, by source.
    seconds : mapping of str to float
        Time of each stage.
    warnings : sequence of str
        What a reader has to know before using the samples.
    complete : bool
        Whether the run is finished.
    people : str
        The sentences that say whom the synthetic faces show.
    identity : IdentitySummary, optional
        The comparison of samples with real people, where it was made.
    gallery : Gallery, optional
        The faces that are shown.
    card : mapping of str to str
        The lines of the data card.
    files : sequence of FileEntry
        The files of the output folder with their hashes.
    """

    title: str
    facts: Mapping[str, str]
    cells: Sequence[CellRecord]
    by_engine: Mapping[str, Indices] = field(default_factory=dict)
    histograms: Sequence[tuple[str, HistogramPlot]] = ()
    tables: Sequence[ReportTable] = ()
    image_stats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    complete: bool = True
    people: str = ""
    identity: IdentitySummary | None = None
    gallery: Gallery | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[FileEntry] = ()


def render_page(report: Report) -> str:
    """Return the page as HTML."""
    before = np.array([record.real for record in report.cells], dtype=np.int64)
    after = before + np.array([record.accepted for record in report.cells], dtype=np.int64)
    totals = Totals.of(report.cells)
    panels = cell_panels(run_bars(report.cells, report.by_engine))
    colours = {
        colour: f"synthetic, {', '.join(names)}" for colour, names in engines_by_colour(list(report.by_engine)).items()
    }
    drawn = {bar["colour"] for _, plot in report.histograms for bar in plot.bars}
    refusals = refusal_rows(report.cells, totals.rejected)
    present = {"faces": report.gallery is not None, "refused": bool(refusals), "card": bool(report.card)}
    return page_template("report.html.jinja", "faceaug.report").render(
        report=report,
        sections={key: name for key, name in _SECTIONS.items() if present.get(key, True)},
        describe=describe,
        counts=_COUNTS,
        totals={**{name: getattr(totals, name) for name in _COUNTS if name != "wanted"}, "wanted": _wanted(report)},
        panels=panels,
        left_out=len(report.cells) - sum(len(panel["rows"]) for panel in panels),
        legend={"real": "real", **colours, "short": "planned, but missing"},
        plot_legend={**({"real": "real"} if "real" in drawn else {}), **colours, "line": "target distribution"},
        imbalance=imbalance_rows(before, after),
        pairs=pair_maps(report.cells),
        refusals=refusals,
        strips=_strips(report.image_stats),
        people_section=Markup(render_people(report.identity)),
        people_line=Markup(render_people_line(report.identity)),
        longest_step=max([1e-9, *report.seconds.values()]),
        data_file=f"{REPORT_NAMES[1]}/{DATA_FILE}",
        folder=REPORT_NAMES[1],
        script=Markup(files("faceaug.report").joinpath("report.js").read_text(encoding="utf-8")),
    )


def _wanted(report: Report) -> int:
    return sum(cell.wanted for cell in report.cells)


def _strips(image_stats: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each image statistic, where its quantiles lie on a common scale, in percent."""
    strips = []
    for name, unit in (("sharpness", "log2 of fine over coarse detail"), ("noise", "grey levels of 255")):
        quantiles = {source: summary[name] for source, summary in image_stats.items() if summary.get(name)}
        if not quantiles:
            continue
        low, high = min(values[0] for values in quantiles.values()), max(values[-1] for values in quantiles.values())
        width = max(high - low, 1e-9)
        marks = {source: [round(100 * (q - low) / width, 2) for q in values] for source, values in quantiles.items()}
        medians = {source: values[len(values) // 2] for source, values in quantiles.items()}
        strips.append({"name": name, "unit": unit, "low": low, "high": high, "marks": marks, "medians": medians})
    return strips
