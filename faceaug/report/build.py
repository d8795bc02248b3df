"""Build the report of an output folder: report.html, and its faces in report_files/.

The report is derived from the manifest, the shards and, where real faces are to be shown, the data set. It can be built
again at any time.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from faceaug.datasets.dataset import FaceDataset
from faceaug.planning.plan import Plan
from faceaug.report.data_card import card_facts
from faceaug.report.distributions import measured_histograms
from faceaug.report.faces.gallery import Gallery, GalleryWriter, remove_unlisted
from faceaug.report.faces.photographs import Photographs
from faceaug.report.faces.samples import StoredSamples
from faceaug.report.html import Report, render_page
from faceaug.report.identity import read_identity
from faceaug.report.measurements import (
    numbers_in,
    report_facts,
    report_image_stats,
    report_tables,
    report_warnings,
)
from faceaug.report.refused import kept_examples
from faceaug.shards.description.data_card import people_statement
from faceaug.shards.manifest import PLAN_NAME, REPORT_NAMES, Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, output_error, write_bytes

REPORT_PAGE, REPORT_FOLDER = REPORT_NAMES


def build_report(out: Path | str, dataset: FaceDataset | None = None, *, real_faces: bool = True) -> Path:
    """Build the report of an output folder from its content; it replaces an earlier one.

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
    manifest, plan = read_manifest(out), Plan.read(out / PLAN_NAME)
    folder = out / REPORT_FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(ShardReader(inside(out, entry.name))) for entry in manifest.shards]
        samples = StoredSamples.read(shards, manifest)
        photographs = None
        if dataset is not None and real_faces:
            photographs = Photographs.read(dataset, {digest for each in samples.sources for digest in each})
        writer = GalleryWriter(folder, manifest, samples, photographs, real_faces=real_faces)
        gallery = writer.write(plan, kept_examples(out, manifest, real_faces=real_faces))
        image_stats = samples.image_stats()
    report = Report(
        title=f"{manifest.dataset.name}, balanced",
        facts=report_facts(manifest),
        cells=manifest.cells,
        by_engine=samples.engine_counts(len(manifest.cells)),
        histograms=measured_histograms(samples, plan, dataset),
        tables=report_tables(manifest.measured),
        image_stats=report_image_stats(manifest.measured, image_stats),
        seconds=numbers_in(manifest.measured.get("seconds")),
        warnings=report_warnings(manifest, gallery.missing if photographs else 0),
        complete=manifest.complete,
        people=_whom_they_show(manifest, sum(map(bool, samples.sources)), gallery),
        identity=read_identity(out),
        gallery=gallery,
        card=card_facts(manifest),
        files=(*manifest.shards, *manifest.files),
    )
    # The sheets are written before the page that shows them; sheets that no page shows any more are removed last.
    write_bytes(out / REPORT_PAGE, render_page(report).encode())
    remove_unlisted(folder, gallery.files)
    return out / REPORT_PAGE


def _whom_they_show(manifest: Manifest, sourced: int, gallery: Gallery) -> str:
    """Return the statement of the data card, and how many samples were made from a photograph."""
    statement = people_statement(manifest)
    if not sourced:
        return statement
    left_out = "; they are left out of this page" if gallery.withheld else ""
    return f"{statement} {sourced:,} of the synthetic faces were made from a photograph{left_out}."
