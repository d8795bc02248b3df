"""`faceaug export`: the samples of an output folder as image files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from ..options import PATH
from ..terminal.console import Console


@click.command()
@click.argument("out", metavar="OUT", type=PATH)
@click.option("--to", "kind", type=click.Choice(["imagefolder"]), required=True, help="One folder of images per class.")
@click.option(
    "-o",
    "--output",
    "destination",
    metavar="FOLDER",
    type=PATH,
    help="Where the files are written.  [default: OUT-imagefolder]",
)
@click.option(
    "--by",
    metavar="ATTRIBUTES",
    multiple=True,
    help="Attributes that define a class: gender or gender,ethnicity.  [default: the cells]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def export(out: Path, kind: str, destination: Path | None, by: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Write the faces of an output folder as image files in one folder per class, with a labels.csv.

    \b
    Example:
      faceaug export out/ --to imagefolder -o folders/ --by gender
    """
    from faceaug.shards.export import export_imagefolder

    console = Console(as_json=as_json, quiet=quiet)
    if destination is None:
        resolved = out.resolve()
        destination = resolved.with_name(f"{resolved.name}-{kind}")
    with console.counter("exporting", "image") as progress:
        report = export_imagefolder(out, destination, by=by or None, progress=progress)
    folders = "1 folder" if len(report.folders) == 1 else f"{len(report.folders):,} folders"
    text = f"{report.images:,} images in {folders} were written to {report.destination}, with labels.csv"
    if as_json or not quiet:
        console.show(text, dataclasses.asdict(report) | {"destination": str(report.destination)})
