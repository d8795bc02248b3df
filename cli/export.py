"""`faceaug export`: an output folder as plain image files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from .options import PATH
from .terminal.console import Console


@click.command(short_help="Write the faces as plain image files.")
@click.argument("out", metavar="OUT", type=PATH)
@click.option(
    "--to", "kind", type=click.Choice(["imagefolder"]), required=True, help="A folder of images for each class."
)
@click.option("-o", "--output", "destination", metavar="FOLDER", type=PATH, help="[default: OUT-imagefolder]")
@click.option(
    "--by",
    metavar="ATTRIBUTES",
    multiple=True,
    help="What makes a folder: gender or gender,ethnicity.  [default: a cell]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
def export(out: Path, kind: str, destination: Path | None, by: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Write the faces of an output folder as plain files that any trainer reads, with a labels.csv.

    \b
    Example:
      faceaug export out/ --to imagefolder -o folders/ --by gender
    """
    from faceaug.shards.export import export_imagefolder

    console = Console(as_json=as_json, quiet=quiet)
    if destination is None:
        whole = out.resolve()
        destination = whole.with_name(f"{whole.name}-{kind}")
    with console.counter("exporting", "image") as progress:
        report = export_imagefolder(out, destination, by=by or None, progress=progress)
    folders = "1 folder" if len(report.folders) == 1 else f"{len(report.folders):,} folders"
    text = f"{report.images:,} images in {folders} are in {report.destination}, with labels.csv"
    if as_json or not quiet:
        console.show(text, dataclasses.asdict(report) | {"destination": str(report.destination)})
