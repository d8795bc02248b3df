"""`faceaug balance`: synthesize the faces of a plan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceaug.errors import PlanError
from faceaug.synthesis.config import RunConfig

from .config_options import config_options, read_config, threshold_option
from .options import (
    PLACEMENT_SETTINGS,
    SHARED_SETTINGS,
    by_option,
    dataset_options,
    decorated,
    given,
    make_plan,
    output_options,
    plan_options,
    read_dataset,
    recipe_of,
    require_by,
    settle_marginals,
)
from .terminal.console import Console, command_line, echo
from .terminal.interrupt import Interrupted, Interruptible
from .terminal.paths import DESTINATION, PATH
from .terminal.summary import estimate_text, outcome, outcome_text, outcome_view

if TYPE_CHECKING:
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.planning.plan import Plan
    from faceaug.synthesis.balance import RunResult

_OF_A_PLAN = {
    "by": "--by",
    "marginal": "--marginal",
    "strategy": "--strategy",
    "max_synthetic_ratio": "--max-synthetic-ratio",
    "max_per_cell": "--max-per-cell",
    "max_total": "--max-total",
}


_SETTINGS = tuple(name for name in RunConfig.model_fields if name not in {*SHARED_SETTINGS, "thresholds"})


run_options = decorated(
    dataset_options,
    by_option,
    plan_options,
    click.option(
        "--plan", "plan_file", metavar="FILE", type=PATH, help="Carry out this plan, as faceaug plan wrote it."
    ),
)
"""The options that say what is synthesized of what, which a worker shares."""
setting_options = decorated(config_options(_SETTINGS), threshold_option)
worker_setting_options = decorated(
    config_options(name for name in _SETTINGS if name not in {*PLACEMENT_SETTINGS, "worker_timeout"}), threshold_option
)
"""Those of a worker, which has no executor of its own, and takes from the driver when that takes it for lost."""


@click.command()
@run_options
@click.option(
    "-o", "--output", "out", metavar="FOLDER", type=DESTINATION, help="Where the faces are written: a folder, or a URL."
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run in the same folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the estimated time and size; write nothing.")
@click.option(
    "--require-full/--no-require-full", default=False, help="Exit with status 1 if any cell ends short of its plan."
)
@setting_options
@output_options
@click.pass_context
def balance(context: click.Context, /, **options: Any) -> int:
    """Synthesize faces for the cells of a data set that have too few, check each, and write them.

    Every planned face ends as accepted or as short; a cell that cannot be filled says why. An interrupted run is
    continued by the same command with --resume.

    \b
    Example:
      faceaug balance faces/ --labels labels.csv --by gender,ethnicity \\
          --strategy uniform --max-synthetic-ratio 3 -o out/
      faceaug balance faces/ --labels labels.csv --plan plan.json -o out/
      faceaug balance faces/ --recipe balance_faces -o out/ --dry-run
    """
    from faceaug.places.published import check_run_destination

    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    out: Path | str | None = options["out"]
    if out is None and not options["dry_run"]:
        raise click.UsageError("say where to write, as -o out/ (or look first with --dry-run)")
    try:
        if not options["dry_run"] and out is not None:
            check_run_destination(out, resume=options["resume"])
        dataset, plan, config = read_run(context, options, console)
        if options["dry_run"] or out is None:
            return _dry_run(console, dataset, plan, config)
        with Interruptible(lambda: _kept(out)):
            result = _run(context, console, dataset, _Run(plan, out, config, options["resume"]))
    except KeyboardInterrupt as error:
        raise Interrupted(_kept(out), error) from error
    if not console.quiet or console.as_json:
        console.show(outcome_text(result, out), outcome(result, out), lambda: outcome_view(result, out))
    if options["require_full"] and result.short:
        echo(f"Error: {result.short:,} planned faces are short, and --require-full was given", err=True)
        return 1
    return 0


def read_run(context: click.Context, options: dict[str, Any], console: Console) -> tuple[FaceDataset, Plan, RunConfig]:
    """Return the data set, the plan and the configuration that `run_options` and `setting_options` give."""
    _check_plan_options(context, options)
    recipe = recipe_of(context)
    config = read_config(options, recipe[1] if recipe else None)
    _check_engine(config)
    dataset = read_dataset(options, console)
    return dataset, _plan(dataset, options), config


def _check_plan_options(context: click.Context, options: dict[str, Any]) -> None:
    settle_marginals(context, options)
    if options["plan_file"] is None:
        require_by(options)
        return
    typed = [name for key, name in _OF_A_PLAN.items() if given(context, key)]
    if typed and not given(context, "plan_file"):  # the plan file is the recipe's, and the command line overrides it
        require_by(options)
        options["plan_file"] = None
    elif typed:
        raise click.UsageError(f"--plan says what to synthesize; leave out {', '.join(typed)}, or leave out --plan")


def _check_engine(config: RunConfig) -> None:
    """Refuse an unknown engine or executor, and settings that they do not use, before anything is read."""
    from faceaug.synthesis.engines.registry import engine_specs
    from faceaug.synthesis.executors.registry import check_executor

    engine_specs(config)
    check_executor(config)


def _plan(dataset: FaceDataset, options: dict[str, Any]) -> Plan:
    if options["plan_file"] is None:
        return make_plan(dataset, options)
    from faceaug.planning.plan import Plan

    plan = Plan.read(options["plan_file"])
    _check_counts(dataset, plan, options["plan_file"])
    return plan


def _check_counts(dataset: FaceDataset, plan: Plan, path: Path) -> None:
    """Refuse a plan that was made from another data set: the real faces of each cell must be as it says."""
    import numpy as np

    from faceaug.analysis.axes import attribute, cell_codes, describe

    codes = cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in plan.axes], plan.axes)
    counts = np.bincount(codes[codes >= 0], minlength=len(plan.cells))
    for cell, counted in zip(plan.cells, counts.tolist(), strict=True):
        if cell.real != counted:
            raise PlanError(
                f"{path} was made for another data set or split: it counts {cell.real:,} faces in "
                f"({describe(cell.levels)}), but {dataset.name} has {counted:,}; plan again"
            )


def _dry_run(console: Console, dataset: FaceDataset, plan: Plan, config: RunConfig) -> int:
    from faceaug.synthesis.estimate import estimate

    estimated = dataclasses.asdict(estimate(dataset, plan, config))
    text = f"{plan.to_text()}\n\n{estimate_text(plan, estimated)}"
    console.show(text, {"plan": plan.to_dict(), "estimate": estimated})
    return 0


@dataclasses.dataclass(frozen=True)
class _Run:
    """What is to be done, and where."""

    plan: Plan
    out: Path | str
    config: RunConfig
    resume: bool


def _run(context: click.Context, console: Console, dataset: FaceDataset, run: _Run) -> RunResult:
    from faceaug._version import __version__
    from faceaug.shards.manifest import CreatedBy
    from faceaug.synthesis.balance import balance

    recipe = recipe_of(context)
    created_by = CreatedBy(
        faceaug=__version__, command=command_line(context.obj), recipe=Path(recipe[0]).name if recipe else None
    )
    with console.stages() as progress:
        return balance(
            dataset,
            run.out,
            plan=run.plan,
            config=run.config,
            resume=run.resume,
            progress=progress,
            created_by=created_by,
        )


def _kept(out: Path | str | None) -> str:
    """What an interruption left, in a sentence."""
    if isinstance(out, str):
        return f"Interrupted; what was uploaded to {out} is whole: run the same command with --resume to continue."
    if out is None or not (out / "manifest.json").exists():
        return "Interrupted before anything was written; run the same command again, with or without --resume."
    return f"Interrupted; what is finished is kept in {out}: run the same command with --resume to continue."
