"""`faceaug merge`: several output folders as one."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.console import Console, command_line
from ..terminal.paths import DESTINATION, SOURCE


@click.command()
@click.argument("folders", metavar="OUT OUT...", type=SOURCE, nargs=-1, required=True)
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=DESTINATION, required=True, help="Where the samples are written."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
@click.pass_context
def merge(context: click.Context, /, folders: tuple[Path, ...], out: Path | str, as_json: bool, quiet: bool) -> None:
    """Write the samples of several output folders to one, which faceaug verify calls sound.

    They must be of runs on one data set, with the same axes, and have no sample in common.

    \b
    Example:
      faceaug merge out-a/ out-b/ -o both/
    """
    from faceaug.curation.operations import merge_outputs

    console = Console(as_json=as_json, quiet=quiet)
    with console.counter("merging", "sample") as progress:
        manifest = merge_outputs(folders, out, command=command_line(context.obj), progress=progress)
    count = manifest.totals.accepted
    console.show(
        f"{count:,} samples of {len(folders)} folders were written to {out}", {"out": str(out), "samples": count}
    )
