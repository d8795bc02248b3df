"""`faceaug bench compare`: two experiments side by side."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.console import Console
from ..terminal.paths import PATH


@click.command("compare")
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def compare_command(first: Path, second: Path, as_json: bool) -> None:
    """Compare the arms that two experiments share, seed by seed.

    A and B are output folders of faceaug bench.

    \b
    Example:
      faceaug bench compare bench-a/ bench-b/
    """
    from faceaug.bench.results.comparison import compare_experiments, comparison_text
    from faceaug.bench.results.record import read_results

    comparison = compare_experiments(read_results(first), read_results(second))
    Console(as_json=as_json).show(comparison_text(comparison, str(first), str(second)), comparison)
