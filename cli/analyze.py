"""`faceaug analyze`: how many faces are in each cell, and how uneven that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .console import Console
from .options import PATH, by_option, count, output_options, read_target, require_by, target_options


@click.command(short_help="Count faces in cells; measure the imbalance.")
@target_options
@by_option
@click.option(
    "--minimum",
    metavar="N",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Faces that a cell should have; cells with fewer are counted.",
)
@click.option(
    "--wished",
    metavar="FILE",
    type=PATH,
    help="Shares to compare with (JSON or YAML, nested as {female: {asian: 0.1}}).  [default: uniform]",
)
@output_options
def analyze(**options: Any) -> None:
    """Count the faces of a data set in cells and measure how uneven they are.

    TARGET is a folder of images, an HDF5 file, or an output folder of faceaug.

    \b
    Example:
      faceaug analyze faces/ --labels labels.csv --by gender,ethnicity
      faceaug analyze faces/ --labels labels.csv --by gender --by age:q4 --json
    """
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    by = require_by(options)
    wished = _read_wished(options["wished"])
    analysis = count(read_target(options, console), by, minimum=options["minimum"], wished=wished)
    console.show(analysis.to_text(), analysis.to_dict())


def _read_wished(path: Path | None) -> Any:
    if path is None:
        return None
    from faceaug.cellvalues import load_document

    return load_document(path, "the wished distribution")
