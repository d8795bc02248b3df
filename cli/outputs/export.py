"""`faceaug export`: the samples of an output folder in a format that other tools open."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from ..options import label_options, read_unmeasured
from ..terminal.console import Console
from ..terminal.paths import DESTINATION, SOURCE

FORMATS = ("imagefolder", "webdataset", "parquet", "mds", "litdata", "coco-json")


@click.command()
@click.argument("out", metavar="OUT", type=SOURCE)
@click.option(
    "--to",
    "kind",
    type=click.Choice(FORMATS),
    required=True,
    help="imagefolder: image files in a folder for each class, with metadata.csv. webdataset: tar files. parquet: as "
    "Hugging Face reads it, with a data card. mds, litdata: by the packages mosaicml-streaming and litdata. coco-json: "
    "image files with annotations.json.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    metavar="FOLDER",
    type=DESTINATION,
    help="Where the files are written: a folder, or a URL.  [default: OUT-FORMAT]",
)
@click.option(
    "--by",
    metavar="ATTRIBUTES",
    multiple=True,
    help="For imagefolder and coco-json, the attributes that define a class: gender or gender,ethnicity.  [default: "
    "the cells]",
)
@click.option(
    "--with-real",
    "source",
    metavar="DATASET",
    type=SOURCE,
    help="Write these real images, too: one balanced training set, in which the field synthetic tells the two apart.",
)
@label_options
@click.option(
    "--split", metavar="NAME", help="The split of DATASET.  [default: the training split, if there are splits]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def export(out: Path, kind: str, destination: Path | str | None, by: tuple[str, ...], **options: Any) -> None:
    """Write the faces of an output folder in a format that other tools open, and read them back to check.

    \b
    Example:
      faceaug export out/ --to imagefolder -o folders/ --by gender
      faceaug export out/ --to parquet -o hub/ --with-real faces/ --labels labels.csv
    """
    from faceaug.exports.export import export_output
    from faceaug.places.mirrored import url_of
    from faceaug.places.uploads import check_new_destination

    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    if destination is None:
        resolved = out.resolve()
        if url_of(out) is not None:
            raise click.UsageError(f"say where to write, as -o {resolved.name}-{kind}/")
        destination = resolved.with_name(f"{resolved.name}-{kind}")
    check_new_destination(destination)
    real = None
    if options["source"] is not None:
        real = read_unmeasured({**options, "strict": False, "check": "header", "workers": None}, console)
    elif options["labels"]:
        raise click.UsageError("--labels are those of --with-real; name the real images, too")
    with console.counter("exporting", "image") as progress:
        report = export_output(out, destination, kind, by=by or None, real=real, progress=progress)
    if report.again:
        console.remark(f"An earlier export to {report.destination} was interrupted; what it had left was cleared away.")
    unit, units = {"imagefolder": ("folder", "folders"), "coco-json": ("class", "classes")}.get(kind, ("file", "files"))
    places = f"1 {unit}" if len(report.folders) == 1 else f"{len(report.folders):,} {units}"
    beside = {
        "imagefolder": ", with metadata.csv",
        "parquet": ", with a data card and croissant.json",
        "coco-json": ", with annotations.json",
    }.get(kind, "")
    text = f"{report.images:,} images in {places} were written to {report.destination}{beside}"
    if console.as_json or not console.quiet:
        console.show(text, dataclasses.asdict(report) | {"destination": str(report.destination)})
