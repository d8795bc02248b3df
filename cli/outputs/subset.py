"""`faceaug subset`: samples of an output folder that meet a condition."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.console import Console, command_line
from ..terminal.paths import DESTINATION, SOURCE


@click.command()
@click.argument("folder", metavar="OUT", type=SOURCE)
@click.option(
    "--where",
    metavar="CONDITION",
    required=True,
    help="Comparisons of columns of samples.parquet with numbers or texts, joined by and, or, not. A column goes by "
    "the last part of its name, any name may stand in backticks, and a missing value meets no comparison.",
)
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=DESTINATION, required=True, help="Where the samples are written."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
@click.pass_context
def subset(context: click.Context, /, folder: Path, where: str, out: Path | str, as_json: bool, quiet: bool) -> None:
    """Write the samples of an output folder that meet a condition to another one, which faceaug verify calls sound.

    \b
    Example:
      faceaug subset out/ --where "abs(yaw) > 20 and engine == 'morph'" -o some/
      faceaug subset out/ --where "gender in ['female'] and not realism > 0.9" -o some/
    """
    from faceaug.curation.operations import subset_output

    console = Console(as_json=as_json, quiet=quiet)
    with console.counter("writing", "sample") as progress:
        command = command_line(context.obj)
        manifest = subset_output(folder, out, where, command=command, progress=progress)
    count = manifest.totals.accepted
    console.show(f"{count:,} samples were written to {out}", {"out": str(out), "samples": count})
