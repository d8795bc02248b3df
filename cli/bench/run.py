"""`faceaug bench RECIPE`: run an experiment, or continue it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from faceaug.utils.files import expanded

from ..options import placement_options, read_placement
from ..terminal.console import Console, command_line
from ..terminal.interrupt import Interrupted, Interruptible
from ..terminal.paths import PATH


@click.command("run")
@click.argument("name", metavar="RECIPE")
@click.option("-o", "--output", "out", metavar="FOLDER", type=PATH, help="Where runs, results and report are written.")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Another value for a key of the recipe: seeds=[3,4], arms=[erm,rwg], imbalance.0.share=0.05, form=full. "
    "May be repeated.",
)
@click.option("--seeds", metavar="N", type=click.IntRange(1), help="Repeat with the seeds 0 to N-1.")
@placement_options
@click.option("--json", "as_json", is_flag=True, help="Print the content of results.json.")
@click.option("-q", "--quiet", is_flag=True, help="Print the table only, without progress and remarks.")
@click.pass_context
def run_command(
    context: click.Context,
    /,
    name: str,
    out: Path | None,
    overrides: tuple[str, ...],
    seeds: int | None,
    as_json: bool,
    quiet: bool,
    **placement: Any,
) -> None:
    """Train every arm of an experiment with every seed, and compare them on real faces that nothing has seen.

    An interrupted experiment is continued by the same command; finished runs are not repeated, and more arms or seeds
    can be added. The folder then holds results.json and report.html (docs/bench.md).

    \b
    Example:
      faceaug bench group-gap -o bench-out/
      faceaug bench group-gap -o bench-out/ --set form=full
    """
    from faceaug.recipes.experiment import load_experiment

    from faceaug.bench.directions.comparison import compare_directions
    from faceaug.bench.directions.direction_recipe import DirectionRecipe
    from faceaug.bench.execution.experiment_run import ExperimentRun
    from faceaug.bench.experiment import run_experiment
    from faceaug.bench.run_files import BENCH_REPORT

    place = read_placement(context, placement)
    console = Console(as_json=as_json, quiet=quiet)
    pairs = [_pair(text) for text in overrides]
    if seeds is not None:
        pairs.append(("seeds", str(seeds)))
    loaded = load_experiment(name, pairs)
    folder = out or (None if loaded.recipe.output is None else loaded.folder / expanded(loaded.recipe.output))
    if folder is None:
        raise click.UsageError("say where to write, as -o bench-out/")
    try:
        with Interruptible(lambda: _interruption(folder)), console.stages() as bars:
            progress: Any = bars or (lambda stage, done, total: None)
            command = command_line(context.obj)
            run = ExperimentRun(folder, loaded.folder, command, progress, place)
            if isinstance(loaded.recipe, DirectionRecipe):
                results: Any = compare_directions(loaded.recipe, run)
            else:
                results = run_experiment(loaded.recipe, run)
    except KeyboardInterrupt as error:
        raise Interrupted(_interruption(folder), error) from error
    console.show(results.to_text(), results.content)
    console.remark(f"Open {folder / BENCH_REPORT} to see the plots.")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.UsageError(f"--set {text!r} must be KEY=VALUE, as --set training.steps=500")
    return key.strip(), value


def _interruption(folder: Path) -> str:
    """Return what an interruption left, in a sentence."""
    from faceaug.bench.run_files import RUNS_FOLDER

    runs = len(list((folder / RUNS_FOLDER).glob("*.json"))) if (folder / RUNS_FOLDER).is_dir() else 0
    return f"Interrupted; {runs} finished runs are kept in {folder}: run the same command again to continue."
