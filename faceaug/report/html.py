"""The report's page: plain data in, HTML out.

The page needs nothing from a network: no script, no font, no picture from elsewhere. Every word in it is escaped,
whatever a label or a file is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, Protocol

import jinja2
import numpy as np

from faceaug.analysis.imbalance import imbalance_metrics
from faceaug.errors import UsageError
from faceaug.utils.images import Rgb
from faceaug.utils.text_table import Value, duration, number

FACES_SHOWN = 36  # made faces of a cell, at most
REAL_SHOWN = 12  # real ones: a row
PAIRS_SHOWN = 24  # photographs and what became of them: two rows
OPEN_SHEETS = 24  # with more cells than this, contact sheets are folded

Sheets = Mapping[Literal["cell", "pairs"], str]
"""Relative addresses of a cell's contact sheets, those that there are: its faces, and photographs beside made ones."""


class CellSummary(Protocol):
    """What a manifest says of a cell."""

    @property
    def attributes(self) -> Mapping[str, str]: ...
    @property
    def real(self) -> int: ...
    @property
    def wanted(self) -> int: ...
    @property
    def planned(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def short(self) -> int: ...
    @property
    def rejected(self) -> Mapping[str, int]: ...
    @property
    def note(self) -> str: ...


@dataclass(frozen=True, eq=False)
class ReportCell:
    """One cell of the page.

    Attributes
    ----------
    attributes : mapping
        Axis to level.
    real, wanted, planned, accepted, short : int
        As in the manifest.
    rejected : mapping
        Reason to number of attempts.
    note : str
        Why the cell ended short, and what was nearest.
    real_faces, made_faces : sequences of uint8 [H, W, 3]
        For the contact sheet; the first 12 and 36 are shown. Both may be empty.
    pairs : sequence of (photograph, made), each uint8 [H, W, 3]
        Made faces beside the photographs that they began with; the first 24 are shown.
    """

    attributes: Mapping[str, str]
    real: int
    wanted: int
    planned: int
    accepted: int
    short: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    real_faces: Sequence[Rgb] = ()
    made_faces: Sequence[Rgb] = ()
    pairs: Sequence[tuple[Rgb, Rgb]] = ()

    @property
    def label(self) -> str:
        """The levels, in the order of the axes."""
        return ", ".join(self.attributes.values())

    @property
    def tried(self) -> int:
        """Attempts: accepted and rejected."""
        return self.accepted + sum(self.rejected.values())

    @classmethod
    def of(
        cls, record: CellSummary, *, real_faces: Sequence[Rgb] = (), made_faces: Sequence[Rgb] = (),
        pairs: Sequence[tuple[Rgb, Rgb]] = (),
    ) -> ReportCell:  # fmt: skip
        """Return the cell that a manifest's record describes."""
        return cls(
            attributes=dict(record.attributes),
            real=record.real,
            wanted=record.wanted,
            planned=record.planned,
            accepted=record.accepted,
            short=record.short,
            rejected=dict(record.rejected),
            note=record.note,
            real_faces=real_faces,
            made_faces=made_faces,
            pairs=pairs,
        )


@dataclass(frozen=True)
class ReportTable:
    """A table of measurements.

    Attributes
    ----------
    title, note : str
        Above the table, and below.
    columns : tuple of str
        Headings.
    rows : tuple of tuples
        Words or numbers; None and NaN are shown as a dash.
    bars : tuple of str
        Columns whose values lie in 0 to 1 and get a bar.
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
        """The columns that hold numbers, which are set flush right."""
        filled = zip(self.columns, zip(*self.rows, strict=True), strict=True) if self.rows else ()
        return {name for name, values in filled if not any(isinstance(value, str) for value in values)}


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page shows.

    Attributes
    ----------
    title : str
    facts : mapping
        What was made from what: dataset, generator, seed, versions ...
    cells : sequence of ReportCell
    tables : sequence of ReportTable
        Accuracy and calibration of probes, R² of directions, and whatever else was measured.
    looks : mapping
        Name to `ImageStatsSample.summary()`: of the dataset, of made pictures resized only, and of finished ones, read back
        from their files. (Sharpness counts from a picture's own pixels: compare at one size.)
    seconds : mapping
        Step to wall time in seconds.
    warnings : sequence of str
        What a reader must know before using the result.
    complete : bool
        Whether the run came to its end.
    people : str
        Whom the made faces show: a sentence.
    """

    title: str
    facts: Mapping[str, str]
    cells: Sequence[ReportCell]
    tables: Sequence[ReportTable] = ()
    looks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    complete: bool = True
    people: str = "These made faces show nobody."


def render_page(report: Report, sheets: Mapping[int, Sheets] | None = None, *, real_faces: bool = True) -> str:
    """Return the page as HTML; `sheets` maps the number of a cell to its contact sheets."""
    before = np.array([cell.real for cell in report.cells], dtype=np.int64)
    after = before + np.array([cell.accepted for cell in report.cells], dtype=np.int64)
    largest = max([1, *(max(cell.real + cell.planned, cell.real + cell.accepted) for cell in report.cells)])
    return _template().render(
        report=report,
        sheeted=[(cell, sheets[k]) for k, cell in enumerate(report.cells) if sheets and sheets.get(k)],
        real_faces=real_faces,
        faces_shown=FACES_SHOWN,
        real_shown=REAL_SHOWN,
        open_sheets=len(report.cells) <= OPEN_SHEETS,
        largest=largest,
        totals={name: sum(getattr(cell, name) for cell in report.cells) for name in _TOTALED},
        reasons=sorted({reason for cell in report.cells for reason in cell.rejected}),
        balance=_balance(before, after),
        strips=_strips(report.looks),
        longest_step=max([1e-9, *report.seconds.values()]),
    )


_TOTALED = ("real", "wanted", "planned", "accepted", "short", "tried")


def _balance(before: np.ndarray, after: np.ndarray) -> list[dict[str, Value]]:
    """Return how even the cells were and are: figures for the head of the page."""
    if not len(before):
        return []
    wished = np.full(len(before), 1 / len(before))
    was, now = imbalance_metrics(before, wished, 0), imbalance_metrics(after, wished, 0)
    return [
        {"name": "largest cell : smallest", "before": was.imbalance_ratio, "after": now.imbalance_ratio},
        {"name": "evenness (1 = all alike)", "before": was.evenness, "after": now.evenness},
        {"name": "empty cells", "before": was.empty, "after": now.empty},
    ]


def _strips(looks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each figure of photometry, where its quantiles lie on a common scale, in percent."""
    strips = []
    for name, words in (("sharpness", "log2 of fine over coarse detail"), ("noise", "grey levels of 255")):
        rows = {look: summary[name] for look, summary in looks.items() if summary.get(name)}
        if not rows:
            continue
        low, high = min(row[0] for row in rows.values()), max(row[-1] for row in rows.values())
        wide = max(high - low, 1e-9)
        marks = {look: [round(100 * (q - low) / wide, 2) for q in row] for look, row in rows.items()}
        medians = {look: row[len(row) // 2] for look, row in rows.items()}
        strips.append({"name": name, "unit": words, "low": low, "high": high, "marks": marks, "medians": medians})
    return strips


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    source = files("faceaug.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, duration=duration)
    return environment.from_string(source)
