"""`faceaug verify`: read an output folder again, all of it, and name what is damaged."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH
from .terminal.console import Console


@click.command(short_help="Re-read an output folder; name what is damaged.")
@click.argument("out", metavar="OUT", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("-q", "--quiet", is_flag=True, help="Print problems only.")
def verify(out: Path, as_json: bool, quiet: bool) -> int:
    """Re-read everything in an output folder and name what is damaged: file, shard and row.

    The exit status is 1 when anything is damaged. A run that goes on or was interrupted is sound as far as it is.

    \b
    Example:
      faceaug verify out/
    """
    from faceaug.shards import verify as checks

    console = Console(as_json=as_json, quiet=quiet)
    with console.counter("verifying", "sample") as progress:
        report = checks.verify(out, progress)
    if as_json or not quiet or not report.ok:
        console.show(report.to_text(), report.to_dict())
    return 0 if report.ok else 1
