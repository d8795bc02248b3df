"""The page of a report: plain data in, HTML out.

The page needs nothing from a network: it has no script, and no font or image from elsewhere. All text is escaped, so
that labels and file names cannot change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from faceaug.analysis.imbalance import imbalance_metrics
from faceaug.errors import UsageError
from faceaug.identity.summary import IdentitySummary
from faceaug.pages.template import page_template
from faceaug.report.faces import REAL_SHOWN, SYNTHETIC_SHOWN
from faceaug.report.people import render_people, render_people_line
from faceaug.shards.manifest import CellRecord
from faceaug.utils.images import Rgb
from faceaug.utils.text_table import Value

_MAX_OPEN_SHEETS = 24  # with more cells, contact sheets are folded
_COUNTS = ("real", "wanted", "planned", "accepted", "short", "tried")

Sheets = Mapping[Literal["cell", "pairs"], str]
"""Addresses of the contact sheets of a cell, relative to the page: its faces, and its pairs. Either may be absent."""


@dataclass(frozen=True, eq=False)
class ReportCell:
    """One cell of the page.

    Attributes
    ----------
    record : CellRecord
        Its attributes, counts, reasons and note, as in the manifest.
    real_faces, synthetic_faces : sequences of uint8 [H, W, 3]
        For the contact sheet, which shows the first 12 and 36. Both may be empty.
    pairs : sequence of (photograph, synthetic face), each uint8 [H, W, 3]
        Faces with the photographs that they were made from; the first 24 are shown.
    """

    record: CellRecord
    real_faces: Sequence[Rgb] = ()
    synthetic_faces: Sequence[Rgb] = ()
    pairs: Sequence[tuple[Rgb, Rgb]] = ()

    @property
    def label(self) -> str:
        """The levels, in the order of the axes."""
        return ", ".join(self.record.attributes.values())


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
    """Everything that the page shows.

    Attributes
    ----------
    title : str
    facts : mapping
        Name to text: data set, generator, seed, versions and more.
    cells : sequence of ReportCell
    tables : sequence of ReportTable
        Accuracy and calibration of classifiers, R² of directions.
    image_stats : mapping
        Name to `ImageStatsSample.summary()`: of the data set, and of the samples as stored. Sharpness depends on the
        size of an image: compare it at one size.
    seconds : mapping
        Step to wall time in seconds.
    warnings : sequence of str
        What a reader has to know before using the samples.
    complete : bool
        Whether the run is finished.
    people : str
        A sentence that says whom the synthetic faces show.
    identity : IdentitySummary, optional
        The comparison of samples with real people, where it was made.
    """

    title: str
    facts: Mapping[str, str]
    cells: Sequence[ReportCell]
    tables: Sequence[ReportTable] = ()
    image_stats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    complete: bool = True
    people: str = "These synthetic faces show no real person."
    identity: IdentitySummary | None = None


def render_page(report: Report, sheets: Mapping[int, Sheets] | None = None, *, real_faces: bool = True) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    report : Report
    sheets : mapping of int to Sheets, optional
        Contact sheets by index of the cell.
    real_faces : bool
        Whether the contact sheets show real faces.
    """
    records = [cell.record for cell in report.cells]
    before = np.array([record.real for record in records], dtype=np.int64)
    after = before + np.array([record.accepted for record in records], dtype=np.int64)
    return page_template("report.html.jinja", "faceaug.report").render(
        report=report,
        sheets=[(cell, sheets[k]) for k, cell in enumerate(report.cells) if sheets and sheets.get(k)],
        real_faces=real_faces,
        synthetic_shown=SYNTHETIC_SHOWN,
        real_shown=REAL_SHOWN,
        open_sheets=len(report.cells) <= _MAX_OPEN_SHEETS,
        largest=max([1, *(record.real + record.planned for record in records)]),
        counts=_COUNTS,
        totals={name: sum(getattr(record, name) for record in records) for name in _COUNTS},
        reasons=sorted({reason for record in records for reason in record.rejected}),
        balance=_balance(before, after),
        strips=_strips(report.image_stats),
        people_section=Markup(render_people(report.identity)),
        people_line=Markup(render_people_line(report.identity)),
        longest_step=max([1e-9, *report.seconds.values()]),
    )


def _balance(before: np.ndarray, after: np.ndarray) -> list[dict[str, Value]]:
    """Return how even the cells were and are: figures for the head of the page."""
    if not len(before):
        return []
    uniform = np.full(len(before), 1 / len(before))
    old, new = imbalance_metrics(before, uniform, 0), imbalance_metrics(after, uniform, 0)
    return [
        {"name": "largest cell : smallest", "before": old.imbalance_ratio, "after": new.imbalance_ratio},
        {"name": "evenness (1 = all equal)", "before": old.evenness, "after": new.evenness},
        {"name": "empty cells", "before": old.empty, "after": new.empty},
    ]


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
