"""`faceaug split`: the samples of an output folder in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..terminal.console import Console, command_line
from ..terminal.paths import DESTINATION, SOURCE


@click.command()
@click.argument("folder", metavar="OUT", type=SOURCE)
@click.option(
    "--by",
    type=click.Choice(["cell"]),
    default="cell",
    show_default=True,
    help="What each part has the same shares of.",
)
@click.option("--shares", metavar="S,S...", required=True, help="Shares of the parts, with the sum 1: 0.9,0.1.")
@click.option("--names", metavar="NAME,NAME...", help="Folders of the parts.  [default: train, val, test]")
@click.option(
    "--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="Of the choice of samples."
)
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=DESTINATION, required=True, help="Where the parts are written."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor remarks.")
@click.pass_context
def split(context: click.Context, /, folder: Path, shares: str, out: Path | str, **options: Any) -> None:
    """Divide the samples of an output folder into parts, each an output folder that faceaug verify calls sound.

    Every cell is divided by the same shares, and samples of one photograph go to one part where that is possible.

    \b
    Example:
      faceaug split out/ --by cell --shares 0.9,0.1 -o parts/
    """
    from faceaug.curation.operations import split_output

    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    try:
        values = [float(share) for share in shares.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--shares {shares} must be numbers with commas between, as 0.9,0.1") from error
    names = [name.strip() for name in (options["names"] or "").split(",") if name.strip()]
    with console.counter("writing", "sample") as progress:
        parts = split_output(
            folder,
            out,
            values,
            names=names,
            seed=options["seed"],
            command=command_line(context.obj),
            progress=progress,
        )
    counts = {name: manifest.totals.accepted for name, manifest in parts.items()}
    text = ", ".join(f"{count:,} in {str(out).rstrip('/')}/{name}" for name, count in counts.items())
    console.show(f"Samples were divided: {text}", {"out": str(out), "samples": counts})
