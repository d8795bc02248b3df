"""Build the report of an output folder: report.html, and its contact sheets in report_files/.

The report is derived from the manifest, the shards and, where real faces are to be shown, the data set. It can be built
again at any time.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Literal

from faceaug.datasets.dataset import FaceDataset
from faceaug.report.contact_sheets import cell_sheet, pair_sheet
from faceaug.report.faces import (
    PAIRS_SHOWN,
    REAL_SHOWN,
    SYNTHETIC_SHOWN,
    StoredSamples,
    choose_real_faces,
    choose_synthetic_faces,
)
from faceaug.report.html import Report, ReportCell, Sheets, render_page
from faceaug.report.identity import read_identity
from faceaug.report.measurements import (
    numbers_in,
    report_facts,
    report_image_stats,
    report_tables,
    report_warnings,
)
from faceaug.shards.manifest import REPORT_NAMES, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, output_error, write_bytes
from faceaug.utils.images import Rgb, encode

REPORT_PAGE, REPORT_FOLDER = REPORT_NAMES
_SHEET_NAME = re.compile(r"(cell|pairs)-\d{4,}\.png")


def build_report(out: Path | str, dataset: FaceDataset | None = None, *, real_faces: bool = True) -> Path:
    """Build the report of an output folder from its content.

    Parameters
    ----------
    out : path
        An output folder; its run may be unfinished.
    dataset : FaceDataset, optional
        The data set that was balanced. Without it, the report shows no real faces and no photographs.
    real_faces : bool
        Whether the report may show real faces, and samples that were made from photographs.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    IntegrityError
        When the manifest, the plan or a shard is damaged.
    OutputError
        When the report cannot be written.
    """
    out = Path(out)
    manifest = read_manifest(out)
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(ShardReader(inside(out, entry.name))) for entry in manifest.shards]
        samples = StoredSamples.read(shards)
        synthetic = choose_synthetic_faces(samples, len(manifest.cells), dataset, real_faces)
        image_stats = samples.image_stats()
    real = choose_real_faces(out, dataset) if dataset is not None and real_faces else {}
    report = Report(
        title=f"{manifest.dataset.name}, balanced",
        facts=report_facts(manifest),
        cells=[
            ReportCell(cell, real.get(k, ()), synthetic.singles[k], synthetic.pairs[k])
            for k, cell in enumerate(manifest.cells)
        ],
        tables=report_tables(manifest.measured),
        image_stats=report_image_stats(manifest.measured, image_stats),
        seconds=numbers_in(manifest.measured.get("seconds")),
        warnings=report_warnings(manifest, synthetic.photographs_missing),
        complete=manifest.complete,
        people=_people_statement(sum(map(bool, samples.sources)), any(synthetic.pairs), real_faces),
        identity=read_identity(out),
    )
    return write_report_files(out, report, real_faces=bool(real))


def write_report_files(out: Path | str, report: Report, *, real_faces: bool = True) -> Path:
    """Write report.html and report_files/ to a folder; they replace those of an earlier report.

    Parameters
    ----------
    out : path
        The output folder; it exists.
    report : Report
        Content of the page.
    real_faces : bool
        Whether contact sheets may show real people. Otherwise none that does is written, and those of an earlier report
        are removed.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    out = Path(out)
    folder = out / REPORT_FOLDER
    try:
        folder.mkdir(exist_ok=True)
        # The sheets are written before the page that shows them; sheets that no page shows any more are removed last.
        sheets = {k: _write_sheets(folder, k, cell, real_faces) for k, cell in enumerate(report.cells)}
        shown = {address for cell in sheets.values() for address in cell.values()}
        write_bytes(out / REPORT_PAGE, render_page(report, sheets, real_faces=real_faces).encode())
        for file in folder.iterdir():
            if _SHEET_NAME.fullmatch(file.name) and f"{REPORT_FOLDER}/{file.name}" not in shown:
                file.unlink()
    except OSError as error:
        raise output_error(folder, error) from error
    return out / REPORT_PAGE


def _write_sheets(folder: Path, index: int, cell: ReportCell, real_faces: bool) -> Sheets:
    """Write the contact sheets of a cell that have a face to show, and return their addresses from the page."""
    real = cell.real_faces[:REAL_SHOWN] if real_faces else ()
    synthetic = cell.synthetic_faces[:SYNTHETIC_SHOWN]
    pairs = cell.pairs[:PAIRS_SHOWN] if real_faces else ()
    images: dict[Literal["cell", "pairs"], Rgb] = {}
    if len(real) or len(synthetic):
        images["cell"] = cell_sheet(list(real), list(synthetic))
    if len(pairs):
        images["pairs"] = pair_sheet(pairs)
    for kind, image in images.items():
        write_bytes(folder / f"{kind}-{index:04d}.png", encode(image, "png"))
    return {kind: f"{REPORT_FOLDER}/{kind}-{index:04d}.png" for kind in images}


def _people_statement(sourced: int, paired: bool, real_faces: bool) -> str:
    """Return the sentence that says whom the samples show, of which `sourced` were made from a photograph."""
    if not sourced:
        return Report.people
    statement = f"{sourced:,} of the synthetic faces were made from a photograph and show, or resemble, its person"
    if not real_faces:
        return f"{statement}; they are left out too."
    return f"{statement}; up to {PAIRS_SHOWN} per cell stand below their photographs." if paired else f"{statement}."
