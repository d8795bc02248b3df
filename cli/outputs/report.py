"""`faceaug report`: the page of an output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..config_options import config_options
from ..options import SHARED_SETTINGS, label_options, load_estimator, measure_columns, read_unmeasured
from ..terminal.console import Console
from ..terminal.paths import SOURCE


@click.command()
@click.argument("out", metavar="OUT", type=SOURCE)
@click.option(
    "--dataset",
    "source",
    metavar="DATASET",
    type=SOURCE,
    help="The data set that was balanced, to show its faces beside.",
)
@label_options
@click.option("--split", metavar="NAME", help="Its split.  [default: that of the run]")
@click.option(
    "--real-faces/--no-real-faces",
    default=True,
    help="Show real faces, and samples that were made from photographs of real people.  [default: --real-faces]",
)
@config_options(SHARED_SETTINGS)
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def report(out: Path, real_faces: bool, quiet: bool, **options: Any) -> None:
    """Write the page of an output folder: report.html, and its pictures in report_files/.

    The page opens from the file system, without a network. Without --dataset it shows synthetic faces alone. It
    replaces the page that faceaug balance wrote.

    \b
    Example:
      faceaug report out/ --dataset faces/ --labels labels.csv
      faceaug report out/ --no-real-faces
    """
    from faceaug.places.mirrored import url_of
    from faceaug.places.uploads import check_destination, upload_report
    from faceaug.report.build import build_report
    from faceaug.shards.manifest import read_manifest

    console = Console(quiet=quiet)
    manifest = read_manifest(out)
    if (url := url_of(out)) is not None:
        check_destination(url)
    dataset = None
    if options["source"] is not None:
        axes = list(manifest.cells[0].attributes) if manifest.cells else []
        options |= {"strict": False, "check": "header", "split": options["split"] or manifest.dataset.split or "all"}
        unmeasured = read_unmeasured(options, console)
        dataset = measure_columns(unmeasured, axes, lambda: load_estimator(options), options, console)
    page: Path | str = build_report(out, dataset, real_faces=real_faces)
    if url is not None:
        upload_report(out, url)
        page = f"{url}/{Path(page).name}"
    console.show(f"The report is in {page}", {"page": str(page)})
