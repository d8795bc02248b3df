"""`faceaug upgrade`: an output folder of an earlier version in the format of today."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.console import Console
from ..terminal.paths import PATH


@click.command()
@click.argument("folder", metavar="OUT", type=PATH)
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=PATH, help="Where the new folder is written.  [default: OUT-v3]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
def upgrade(folder: Path, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write an output folder of an earlier version anew, with shards that other readers of HDF5 open row by row.

    The old folder stays as it is. The new one appears complete or not at all, and an unfinished run can be continued
    in it.

    \b
    Example:
      faceaug upgrade out/
    """
    from faceaug.curation.upgrade import upgrade_output

    console = Console(as_json=as_json, quiet=quiet)
    if out is None:
        resolved = folder.resolve()
        out = resolved.with_name(f"{resolved.name}-v3")
    with console.counter("upgrading", "sample") as progress:
        manifest = upgrade_output(folder, out, progress=progress)
    count = manifest.totals.accepted
    console.show(f"{count:,} samples were written to {out}", {"out": str(out), "samples": count})
