"""`faceaug verify`: read all files of an output folder and report damage."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.console import Console
from ..terminal.paths import PATH, SOURCE


@click.command()
@click.argument("out", metavar="OUT", type=SOURCE)
@click.option(
    "--key",
    metavar="FILE",
    type=PATH,
    help="The public key (Ed25519 in PEM) that must have signed the folder; see faceaug sign.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print problems only.")
def verify(out: Path, key: Path | None, as_json: bool, quiet: bool) -> int:
    """Read everything in an output folder and report damage by file, shard and row.

    The exit status is 1 if there is damage. A run that is in progress or was interrupted is not damaged.

    \b
    Example:
      faceaug verify out/
    """
    from faceaug.shards import verify as checks

    console = Console(as_json=as_json, quiet=quiet)
    with console.counter("verifying", "sample") as progress:
        report = checks.verify(out, progress, key)
    if as_json or not quiet or not report.ok:
        console.show(report.to_text(), report.to_dict())
    return 0 if report.ok else 1
