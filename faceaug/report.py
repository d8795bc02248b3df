"""The report of an output folder: report.html, with its pictures in report_files/ beside it.

It is derived: made from the manifest, the shards and, where real faces are to be shown, the target, as often as wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from faceaug.axes import attribute, cell_codes
from faceaug.files import inside, output_error, write_bytes
from faceaug.images import Rgb, decode_with_info, encode
from faceaug.page import FACES_SHOWN, REAL_SHOWN, Report, ReportCell, Table, render
from faceaug.photometry import Photometry, measure_photometry
from faceaug.pictures import cell_sheet
from faceaug.planning import Plan
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.targets.table import Target

PAGE, FOLDER = "report.html", "report_files"
LOOKED_AT = 300  # finished pictures whose photometry is measured
LOW_RECALL = 0.6  # a class that a probe finds less often than this is warned of
_OURS = re.compile(r"cell-\d{4,}\.png")

__all__ = ["FOLDER", "PAGE", "Report", "ReportCell", "Table", "report_run", "write_report"]


def report_run(out: Path | str, target: Target | None = None, *, real_faces: bool = True) -> Path:
    """Write the report of an output folder from what lies in it.

    Parameters
    ----------
    out : path
        An output folder; an interrupted run has a report too.
    target : Target, optional
        What was balanced, for the real faces of each cell; without it none is shown.
    real_faces : bool
        Whether real faces may be shown.

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
    shards = [ShardReader(inside(out, entry.name)) for entry in manifest.shards]
    try:
        rows = [(shard, row) for shard in shards for row in range(len(shard))]
        cells = np.concatenate([np.zeros(0, np.int64), *(shard.column("cell") for shard in shards)])
        made = [_images(rows, np.flatnonzero(cells == k)) for k in range(len(manifest.cells))]
        finished = _finished(rows)
    finally:
        for shard in shards:
            shard.close()
    real = _real_faces(out, target) if target is not None and real_faces else {}
    report = Report(
        title=f"{manifest.target.name}, balanced",
        facts=_facts(manifest),
        cells=[
            ReportCell.of(cell, real_faces=real.get(k, ()), made_faces=made[k]) for k, cell in enumerate(manifest.cells)
        ],
        tables=_tables(manifest.measured),
        looks=_looks(manifest.measured, finished),
        seconds=_numbers(manifest.measured.get("seconds")),
        warnings=_warnings(manifest),
        complete=manifest.complete,
    )
    return write_report(out, report, real_faces=bool(real))


def write_report(out: Path | str, report: Report, *, real_faces: bool = True) -> Path:
    """Write report.html and report_files/ into a folder; what an earlier report left there is replaced.

    Parameters
    ----------
    out : path
        The output folder; it exists.
    report : Report
        What to show.
    real_faces : bool
        Whether the contact sheets may show real people. Without, none is written, and none of an earlier report stays.

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
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        # Sheets first, the page that shows them then, and last away with what is not shown any more.
        sheets = {k: _write_sheet(folder, k, cell, real_faces) for k, cell in enumerate(report.cells)}
        write_bytes(out / PAGE, render(report, sheets, real_faces=real_faces).encode())
        for old in folder.iterdir():
            if _OURS.fullmatch(old.name) and f"{FOLDER}/{old.name}" not in sheets.values():
                old.unlink()
    except OSError as error:
        raise output_error(folder, error) from error
    return out / PAGE


def _write_sheet(folder: Path, index: int, cell: ReportCell, real_faces: bool) -> str | None:
    """Write a cell's contact sheet and return its address from the page; None when there is no face to show."""
    real = cell.real_faces[:REAL_SHOWN] if real_faces else ()
    made = cell.made_faces[:FACES_SHOWN]
    if not len(real) and not len(made):
        return None
    name = f"cell-{index:04d}.png"
    write_bytes(folder / name, encode(cell_sheet(list(real), list(made)), "png"))
    return f"{FOLDER}/{name}"


def _images(rows: Sequence[tuple[ShardReader, int]], chosen: npt.NDArray[np.int64]) -> list[Rgb]:
    """Return the images of some of the chosen rows, spread evenly over them."""
    return [rows[i][0].image(rows[i][1]) for i in _evenly(chosen, FACES_SHOWN)]


def _finished(rows: Sequence[tuple[ShardReader, int]]) -> Photometry | None:
    """Measure made pictures as they lie in the shards."""
    some = [rows[i] for i in _evenly(np.arange(len(rows)), LOOKED_AT)]
    if not some:
        return None
    return measure_photometry(
        decode_with_info(shard.encoded(row), name=f"{shard.path}, row {row}") for shard, row in some
    )


def _real_faces(out: Path, target: Target) -> dict[int, list[Rgb]]:
    """Return some real faces of each cell of the folder's plan."""
    axes = Plan.read(out / "plan.json").axes
    codes = cell_codes([axis.assign(attribute(target.table, axis.name)) for axis in axes], axes)
    chosen = {int(k): _evenly(np.flatnonzero(codes == k), REAL_SHOWN) for k in np.unique(codes[codes >= 0])}
    return {k: [target.image(i) for i in indices] for k, indices in chosen.items()}


def _evenly(indices: npt.NDArray[np.int64], most: int) -> Iterator[int]:
    if len(indices) > most:
        indices = indices[np.linspace(0, len(indices) - 1, most).round().astype(int)]
    return (int(i) for i in indices)


def _facts(manifest: Manifest) -> dict[str, str]:
    made, target, generator = manifest.created_by, manifest.target, manifest.generator
    megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
    facts = {
        "target": f"{target.name} ({target.rows:,} images{f', split {target.split}' if target.split else ''})",
        "generator": f"{generator.name} ({generator.licence})" if generator else "none: real faces rendered anew",
        "command": made.command,
        "recipe": made.recipe or "",
        "seed": str(manifest.seed),
        "made by": f"faceaug {made.faceaug}, {made.date}".rstrip(", "),
        "files": f"{len(manifest.shards)} shards, {megabytes:,.1f} MB, {manifest.codec}",
    }
    window = _numbers(manifest.measured.get("framing"))
    if {"scale", "dx", "dy"} <= set(window):
        facts["framing"] = (
            f"a window of {window['scale']:.0%} of the generator's picture, "
            f"moved by {window['dx']:+.1%} across and {window['dy']:+.1%} down"
        )
    return {name: words for name, words in facts.items() if words}


def _probe_lines(measured: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what is known of each probe and attribute."""
    return [(probe, line) for probe, lines in _mapping(measured.get("probes")).items() for line in lines]


def _tables(measured: Mapping[str, Any]) -> list[Table]:
    """Return the figures of probes and directions, as far as they are known."""
    lines = _probe_lines(measured)
    classes = tuple(
        (probe, line["attribute"], line.get("accuracy"), line.get("mean_recall"), line.get("calibration_error"),
         line.get("exposure_pull"), line.get("pictures"))
        for probe, line in lines if line.get("kind") == "classes"
    )  # fmt: skip
    recall = tuple(
        (probe, line["attribute"], level, value)
        for probe, line in lines for level, value in _mapping(line.get("recall")).items()
    )  # fmt: skip
    values = tuple(
        (probe, line["attribute"], line.get("mean_absolute_error"), line.get("correlation"), line.get("r2"),
         line.get("exposure_pull"), line.get("pictures"))
        for probe, line in lines if line.get("kind") == "value"
    )  # fmt: skip
    r2 = tuple(_numbers(measured.get("r2")).items())
    pull = "pull of exposure"
    tables = [
        Table("Probes on held-out real faces: classes",
              ("probe", "attribute", "accuracy", "mean recall", "calibration error", pull, "pictures"), classes,
              "Calibration error: mean gap between confidence and accuracy, all classes weighing alike. Pull of "
              "exposure: how far one stop of light moves a reading, in standard deviations.",
              ("accuracy", "mean recall")),
        Table("How often each class is found", ("probe", "attribute", "level", "recall"), recall, bars=("recall",)),
        Table("Probes on held-out real faces: values",
              ("probe", "attribute", "mean absolute error", "correlation", "R²", pull, "pictures"), values,
              bars=("R²",)),
        Table("Directions: how linear each reading is in the latent", ("reading", "R²"), r2,
              "On draws that were held out. Where R² is low, an edit's first step goes astray and must be corrected.",
              ("R²",)),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def _warnings(manifest: Manifest) -> list[str]:
    """Return what a reader must know: cells that stayed short, and classes that a probe hardly finds."""
    warnings = []
    short = [cell for cell in manifest.cells if cell.short]
    if manifest.complete and short:
        total = sum(cell.short for cell in short)
        warnings.append(
            f"{len(short)} of {len(manifest.cells)} cells ended short, by {total:,} samples together: what did not "
            "pass the gates was left out rather than let in. The set is more even than it was, not even."
        )
    for probe, line in _probe_lines(manifest.measured):
        low = [f"{level} ({value:.0%})" for level, value in _numbers(line.get("recall")).items() if value < LOW_RECALL]
        if low:
            warnings.append(
                f"The {probe} probe finds few of these on real faces, so labels of samples made there are less "
                f"certain: {line['attribute']} {', '.join(low)}."
            )
    return warnings


def _looks(measured: Mapping[str, Any], finished: Photometry | None) -> dict[str, Mapping[str, Any]]:
    target = _mapping(measured.get("photometry"))
    looks: dict[str, Mapping[str, Any]] = {"target": target} if target else {}
    return {**looks, "finished": finished.summary()} if finished else looks


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {name: float(v) for name, v in _mapping(value).items() if isinstance(v, int | float)}
