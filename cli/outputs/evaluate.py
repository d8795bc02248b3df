"""`faceaug evaluate`: how good the samples of an output folder are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config_options import config_options
from ..options import SHARED_SETTINGS, label_options, load_estimator, measure_columns, read_unmeasured
from ..terminal.console import Console
from ..terminal.paths import DESTINATION, SOURCE

if TYPE_CHECKING:
    from faceaug.datasets.dataset import FaceDataset


@click.command()
@click.argument("out", metavar="OUT", type=SOURCE)
@click.option(
    "--against", "source", metavar="DATASET", type=SOURCE, required=True, help="The data set that was balanced."
)
@label_options
@click.option("--split", metavar="NAME", help="Its split to compare with.  [default: that of the run]")
@click.option("--held-out", metavar="DATASET", type=SOURCE, help="Photographs that took no part in the run.")
@click.option("--held-out-labels", metavar="FILE", type=SOURCE, help="Their labels.  [default: --labels, or their own]")
@click.option("--held-out-split", metavar="NAME", help="Their split.  [default: all]")
@click.option(
    "--max-samples",
    metavar="N",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Compare at most N samples.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of pictures."
)
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="FOLDER",
    type=DESTINATION,
    help="Where evaluation.json and .html are written.  [default: OUT/report_files]",
)
@config_options(SHARED_SETTINGS)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def evaluate(out: Path, **options: Any) -> None:
    """Measure fidelity, diversity, separability, near copies and labels of samples, per cell and in all.

    Samples are compared with photographs of the same cells on features of EfficientNet-Lite0. The same figures of
    held-out photographs stand beside: what faces as good as real ones would reach.

    \b
    Example:
      faceaug evaluate out/ --against faces/ --labels labels.csv
      faceaug evaluate out/ --against faces/ --labels labels.csv --held-out test/ --held-out-labels test.csv
    """
    from faceaug.evaluation.output import evaluate_output
    from faceaug.evaluation.page import evaluation_text, render_evaluation_page
    from faceaug.places.mirrored import url_of
    from faceaug.places.uploads import check_destination, written_folder
    from faceaug.shards.manifest import read_manifest
    from faceaug.utils.files import write_bytes, write_json

    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    place = options["folder"] or (out / "report_files" if url_of(out) is None else f"{url_of(out)}/report_files")
    check_destination(place)
    manifest = read_manifest(out)
    axes = list(manifest.cells[0].attributes) if manifest.cells else []
    options |= {"strict": False, "check": "header", "split": options["split"] or manifest.dataset.split or "all"}
    dataset, held_out = _read(options, axes, console), None
    if options["held_out"] is not None:
        other = {
            **options,
            "source": options["held_out"],
            "labels": (options["held_out_labels"],) if options["held_out_labels"] else options["labels"],
            "split": options["held_out_split"] or "all",
        }
        held_out = _read(other, axes, console)
    with console.counter("features", "picture") as progress:
        found = evaluate_output(
            out, dataset, held_out, most=options["max_samples"], seed=options["seed"], progress=progress
        )
    content = found.to_dict()
    with written_folder(place) as folder:
        write_json(folder / "evaluation.json", content)
        write_bytes(folder / "evaluation.html", render_evaluation_page(content).encode())
    console.show(evaluation_text(content), content)
    console.remark(f"The figures are in {place}/evaluation.json, a page with them in {place}/evaluation.html.")


def _read(options: dict[str, Any], axes: list[str], console: Console) -> FaceDataset:
    """Read photographs, with the columns that the plan counts measured where they are not labelled."""
    return measure_columns(read_unmeasured(options, console), axes, lambda: load_estimator(options), options, console)
