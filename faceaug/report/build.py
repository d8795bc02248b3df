"""The report of an output folder: report.html, with its pictures in report_files/ beside it.

It is derived: made from the manifest, the shards and, where real faces are to be shown, the dataset, as often as wanted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from faceaug.analysis.axes import attribute, cell_codes
from faceaug.appearance.image_stats import ImageStatsSample, measure_image_stats
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError
from faceaug.planning.plan import Plan
from faceaug.report.contact_sheets import cell_sheet, pair_sheet
from faceaug.report.html import (
    FACES_SHOWN,
    PAIRS_SHOWN,
    REAL_SHOWN,
    Report,
    ReportCell,
    ReportTable,
    Sheets,
    render_page,
)
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, output_error, write_bytes
from faceaug.utils.images import Rgb, decode_with_info, encode, resize
from faceaug.utils.threads import map_in_threads

PAGE, FOLDER = "report.html", "report_files"
LOOKED_AT = 300  # finished pictures whose photometry is measured
LOW_RECALL = 0.6  # a class that a probe finds less often than this is warned of
PAIR_SIDE = 192  # pixels of the shorter side of what is kept for a sheet of pairs
_OURS = re.compile(r"(cell|pairs)-\d{4,}\.png")

__all__ = ["FOLDER", "PAGE", "Report", "ReportCell", "ReportTable", "build_report", "write_report"]


def build_report(out: Path | str, dataset: FaceDataset | None = None, *, real_faces: bool = True) -> Path:
    """Write the report of an output folder from what lies in it.

    Parameters
    ----------
    out : path
        An output folder; an interrupted run has a report too.
    dataset : FaceDataset, optional
        What was balanced, for the real faces of each cell and for the photographs that samples began with; without it
        none is shown.
    real_faces : bool
        Whether real faces may be shown, and samples that began with them.

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
        sources = [source for shard in shards for source in _sources(shard)]
        made, pairs, lost = _faces(rows, cells, sources, len(manifest.cells), dataset, real_faces)
        finished = _finished(rows)
    finally:
        for shard in shards:
            shard.close()
    real = _real_faces(out, dataset) if dataset is not None and real_faces else {}
    report = Report(
        title=f"{manifest.dataset.name}, balanced",
        facts=_facts(manifest),
        cells=[
            ReportCell.of(cell, real_faces=real.get(k, ()), made_faces=made[k], pairs=pairs[k])
            for k, cell in enumerate(manifest.cells)
        ],
        tables=_tables(manifest.measured),
        looks=_looks(manifest.measured, finished),
        seconds=_numbers(manifest.measured.get("seconds")),
        warnings=[*_warnings(manifest), *_lost(lost, manifest.dataset.name)],
        complete=manifest.complete,
        people=_people(sum(map(bool, sources)), any(pairs), real_faces),
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
        sheets = {k: _write_sheets(folder, k, cell, real_faces) for k, cell in enumerate(report.cells)}
        kept = {address for cell in sheets.values() for address in cell.values()}
        write_bytes(out / PAGE, render_page(report, sheets, real_faces=real_faces).encode())
        for old in folder.iterdir():
            if _OURS.fullmatch(old.name) and f"{FOLDER}/{old.name}" not in kept:
                old.unlink()
    except OSError as error:
        raise output_error(folder, error) from error
    return out / PAGE


def _write_sheets(folder: Path, index: int, cell: ReportCell, real_faces: bool) -> Sheets:
    """Write a cell's contact sheets, those that have a face to show, and return their addresses from the page."""
    real = cell.real_faces[:REAL_SHOWN] if real_faces else ()
    made = cell.made_faces[:FACES_SHOWN]
    pairs = cell.pairs[:PAIRS_SHOWN] if real_faces else ()
    pictures: dict[Literal["cell", "pairs"], Rgb] = {}
    if len(real) or len(made):
        pictures["cell"] = cell_sheet(list(real), list(made))
    if len(pairs):
        pictures["pairs"] = pair_sheet(pairs)
    for kind, picture in pictures.items():
        write_bytes(folder / f"{kind}-{index:04d}.png", encode(picture, "png"))
    return {kind: f"{FOLDER}/{kind}-{index:04d}.png" for kind in pictures}


def _images(rows: Sequence[tuple[ShardReader, int]], chosen: npt.NDArray[np.int64]) -> list[Rgb]:
    """Return the images of some of the chosen rows, spread evenly over them."""
    return [rows[i][0].image(rows[i][1]) for i in _evenly(chosen, FACES_SHOWN)]


def _sources(shard: ShardReader) -> list[bytes]:
    """Return the SHA-256 of the photograph that each sample began with, b"" for those that began with none."""
    if "source_sha256" not in shard.keys:
        return [b""] * len(shard)
    return [mark.tobytes() if mark.any() else b"" for mark in shard.column("source_sha256")]


def _faces(
    rows: Sequence[tuple[ShardReader, int]], cells: npt.NDArray[np.int64], sources: Sequence[bytes], count: int,
    dataset: FaceDataset | None, real_faces: bool,
) -> tuple[list[list[Rgb]], list[list[tuple[Rgb, Rgb]]], int]:  # fmt: skip
    """Return each cell's made faces, its pairs of photograph and made face, and how many photographs are lost.

    A made face without its photograph stands among the others; where no real face may be shown, it does not.
    """
    begun = np.array([bool(source) for source in sources], bool)
    chosen = [
        list(_evenly(np.flatnonzero(begun & (cells == k)), PAIRS_SHOWN)) if real_faces else [] for k in range(count)
    ]
    wanted = {sources[i] for part in chosen for i in part} if dataset is not None else set()
    found = _photographs(dataset, wanted) if dataset is not None else {}
    made, pairs = [], []
    for k, part in enumerate(chosen):
        single = ~begun & (cells == k)
        single[[i for i in part if sources[i] not in found]] = True
        made.append(_images(rows, np.flatnonzero(single)))
        paired = ((found[sources[i]], rows[i]) for i in part if sources[i] in found)
        pairs.append([(photograph, _small(shard.image(row))) for photograph, (shard, row) in paired])
    return made, pairs, len(wanted - found.keys())


def _photographs(dataset: FaceDataset, wanted: set[bytes]) -> dict[bytes, Rgb]:
    """Return those photographs of the dataset whose files have these SHA-256; what cannot be read is not among them."""

    def look(row: int) -> tuple[bytes, Rgb] | None:
        try:
            data = dataset.encoded(row)
            mark = hashlib.sha256(data).digest()
            return (mark, _small(dataset.image(row))) if mark in wanted else None
        except (FaceaugError, OSError):
            return None

    found: dict[bytes, Rgb] = {}
    for photograph in map_in_threads(look, len(dataset)) if wanted else ():
        found.update([photograph] if photograph else [])
        if len(found) == len(wanted):
            break
    return found


def _small(image: Rgb) -> Rgb:
    """Make a large picture small: those of all cells are held together."""
    height, width = image.shape[:2]
    share = min(1.0, PAIR_SIDE / min(height, width))
    return resize(image, (round(height * share), round(width * share)))


def _finished(rows: Sequence[tuple[ShardReader, int]]) -> ImageStatsSample | None:
    """Measure made pictures as they lie in the shards."""
    some = [rows[i] for i in _evenly(np.arange(len(rows)), LOOKED_AT)]
    if not some:
        return None
    return measure_image_stats(
        decode_with_info(shard.encoded(row), name=f"{shard.path}, row {row}") for shard, row in some
    )


def _real_faces(out: Path, dataset: FaceDataset) -> dict[int, list[Rgb]]:
    """Return some real faces of each cell of the folder's plan, those that can be read."""
    axes = Plan.read(out / "plan.json").axes
    codes = cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in axes], axes)
    chosen = {int(k): _evenly(np.flatnonzero(codes == k), REAL_SHOWN) for k in np.unique(codes[codes >= 0])}
    return {k: list(_readable(dataset, indices)) for k, indices in chosen.items()}


def _readable(dataset: FaceDataset, indices: Iterable[int]) -> Iterator[Rgb]:
    for i in indices:
        try:
            yield dataset.image(i)
        except (FaceaugError, OSError):
            continue


def _evenly(indices: npt.NDArray[np.int64], most: int) -> Iterator[int]:
    if len(indices) > most:
        indices = indices[np.linspace(0, len(indices) - 1, most).round().astype(int)]
    return (int(i) for i in indices)


def _facts(manifest: Manifest) -> dict[str, str]:
    made, dataset, generator = manifest.created_by, manifest.dataset, manifest.generator
    megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
    facts = {
        "dataset": f"{dataset.name} ({dataset.rows:,} images{f', split {dataset.split}' if dataset.split else ''})",
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


def _tables(measured: Mapping[str, Any]) -> list[ReportTable]:
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
        ReportTable("Probes on held-out real faces: classes",
              ("probe", "attribute", "accuracy", "mean recall", "calibration error", pull, "pictures"), classes,
              "Calibration error: mean gap between confidence and accuracy, all classes weighing alike. Pull of "
              "exposure: how far one stop of light moves a reading, in standard deviations.",
              ("accuracy", "mean recall")),
        ReportTable("How often each class is found", ("probe", "attribute", "level", "recall"), recall, bars=("recall",)),
        ReportTable("Probes on held-out real faces: values",
              ("probe", "attribute", "mean absolute error", "correlation", "R²", pull, "pictures"), values,
              bars=("R²",)),
        ReportTable("Directions: how linear each reading is in the latent", ("reading", "R²"), r2,
              "On draws that were held out. Where R² is low, an edit's first step goes astray and must be corrected.",
              ("R²",)),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def _people(begun: int, paired: bool, real_faces: bool) -> str:
    """Say whom made faces show of which `begun` began with a photograph."""
    if not begun:
        return Report.people
    told = f"{begun:,} of the made faces began with a photograph and show, or resemble, its person"
    if not real_faces:
        return f"{told}: they are left out, too."
    return f"{told}; up to {PAIRS_SHOWN} a cell stand below their photographs." if paired else f"{told}."


def _lost(lost: int, dataset: str) -> list[str]:
    """Return what is to be said of photographs that are not there any more."""
    return [
        f"{lost:,} of the photographs that made faces began with are not in {dataset} any more, as they were (by their "
        "SHA-256): these faces are shown without them."
    ] if lost else []  # fmt: skip


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


def _looks(measured: Mapping[str, Any], finished: ImageStatsSample | None) -> dict[str, Mapping[str, Any]]:
    dataset = _mapping(measured.get("photometry"))
    looks: dict[str, Mapping[str, Any]] = {"dataset": dataset} if dataset else {}
    return {**looks, "finished": finished.summary()} if finished else looks


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {name: float(v) for name, v in _mapping(value).items() if isinstance(v, int | float)}
