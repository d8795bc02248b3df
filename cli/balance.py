"""`faceaug balance`: make the faces that a plan asks for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceaug.errors import PlanError

from .console import Console
from .interrupt import Interrupted, Interruptible
from .options import (
    PATH,
    by_option,
    dataset_options,
    given,
    make_plan,
    output_options,
    plan_options,
    read_dataset,
    recipe_of,
    require_by,
)
from .summary import estimate_text, outcome, outcome_text

if TYPE_CHECKING:
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.planning.plan import Plan
    from faceaug.synthesis.balance import RunConfig, RunResult

_OF_A_PLAN = {
    "by": "--by",
    "strategy": "--strategy",
    "max_synthetic_ratio": "--max-synthetic-ratio",
    "max_per_cell": "--max-per-cell",
    "max_total": "--max-total",
}


@click.command(short_help="Make the faces, check each, write them.")
@dataset_options
@by_option
@plan_options
@click.option("--plan", "plan_file", metavar="FILE", type=PATH, help="Carry out this plan, as faceaug plan wrote it.")
@click.option("-o", "--output", "out", metavar="FOLDER", type=PATH, help="Where the faces are written.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run in the same folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the estimated time and size; write nothing.")
@click.option(
    "--require-full/--no-require-full", default=False, help="Exit with status 1 if any cell ends short of its plan."
)
@click.option(
    "--generator",
    metavar="NAME",
    default="embedded",
    show_default=True,
    help="What draws the faces: embedded, digiface, or a .safetensors file.",
)
@click.option(
    "--directions",
    metavar="FILE",
    type=PATH,
    help="What faceaug discover found in the generator: view and light are kept and steered by it.  [default: what "
    "comes with the generator]",
)
@click.option(
    "--engine",
    type=click.Choice(["generator", "rerender", "both"]),
    default="generator",
    show_default=True,
    help="Draw faces; or turn and relight the data set's own, which fills bins of yaw, pitch, roll, light_x, light_y "
    "and light and needs no generator; or this first, and draw what is still short.",
)
@click.option(
    "--from-real",
    is_flag=True,
    help="Begin with real faces of the labels that are short: what the generator can draw of them is turned and relit, "
    "and keeps their labels.",
)
@click.option(
    "--keep",
    metavar="ATTRIBUTE",
    multiple=True,
    help="An attribute, labelled or measured, that edits must leave alone. May be repeated.",
)
@click.option("--tries", metavar="N", type=click.IntRange(min=1), help="Attempts for each planned face.  [default: 8]")
@click.option(
    "--finish/--no-finish", default=True, help="Give faces the size and photometry of the data set, or leave them raw."
)
@click.option(
    "--image-format",
    type=click.Choice(["png", "jpeg", "webp"]),
    help="Codec of the faces.  [default: that of the data set]",
)
@click.option(
    "--layout",
    type=click.Choice(["blob", "raw"]),
    default="blob",
    show_default=True,
    help="Encoded images in the shards, or plain pixels.",
)
@click.option("--report/--no-report", default=True, help="Write report.html, a page to look at.")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same faces."
)
@click.option(
    "--device", metavar="NAME", default="cpu", show_default=True, help="Where to compute: cpu, cuda, cuda:1 ..."
)
@click.option(
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Faces computed together.",
)
@output_options
@click.pass_context
def balance(context: click.Context, /, **options: Any) -> int:
    """Make faces for the cells of a data set that have too few, check each, and write them to a folder.

    Every planned face ends as accepted or as short; a cell that cannot be filled says why. An interrupted run is
    continued by the same command with --resume.

    \b
    Example:
      faceaug balance faces/ --labels labels.csv --by gender,ethnicity \\
          --strategy uniform --max-synthetic-ratio 3 -o out/
      faceaug balance faces/ --labels labels.csv --plan plan.json -o out/
      faceaug balance faces/ --recipe balance_faces -o out/ --dry-run
    """
    console = Console(as_json=options["as_json"], quiet=options["quiet"])
    out: Path | None = options["out"]
    if out is None and not options["dry_run"]:
        raise click.UsageError("say where to write, as -o out/ (or look first with --dry-run)")
    _check_plan_options(context, options)
    _check_engine(context, options)
    try:
        settings = _settings(context, options)
        dataset = read_dataset(options, console)
        plan = _plan(dataset, options)
        if options["dry_run"] or out is None:
            return _dry_run(console, dataset, plan, options, settings)
        with Interruptible(lambda: _kept(out)):
            result = _make(context, console, dataset, plan, out, settings, options)
    except KeyboardInterrupt as error:
        raise Interrupted(_kept(out)) from error
    if not console.quiet or console.as_json:
        console.show(outcome_text(result, out), outcome(result, out))
    if options["require_full"] and result.short:
        click.echo(f"Error: {result.short:,} planned faces are short, and --require-full was given", err=True)
        return 1
    return 0


def _check_plan_options(context: click.Context, options: dict[str, Any]) -> None:
    if options["plan_file"] is None:
        require_by(options)
        return
    typed = [name for key, name in _OF_A_PLAN.items() if given(context, key)]
    if typed and not given(context, "plan_file"):  # the plan file is the recipe's, and the command line overrides it
        require_by(options)
        options["plan_file"] = None
    elif typed:
        raise click.UsageError(f"--plan says already what to make; leave out {', '.join(typed)}, or leave out --plan")


def _check_engine(context: click.Context, options: dict[str, Any]) -> None:
    if options["engine"] == "rerender":
        from faceaug.synthesis.balance import check_no_generator

        default = click.core.ParameterSource.DEFAULT  # what a recipe says is not
        named = [name for name in ("generator", "directions") if context.get_parameter_source(name) is not default]
        check_no_generator(named)


def _settings(context: click.Context, options: dict[str, Any]) -> RunConfig:
    from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
    from faceaug.synthesis.balance import RunConfig

    chosen = {
        name: options[name]
        for name in (
            "seed",
            "device",
            "workers",
            "batch_size",
            "finish",
            "image_format",
            "layout",
            "report",
            "tries",
            "engine",
            "from_real",
            "aligned",
        )
        if options[name] is not None
    }
    found = recipe_of(context)
    if found is not None:
        chosen |= found[1].settings() | {"limits": AcceptanceThresholds(**found[1].gates.given())}
    keep = tuple(name.strip() for names in options["keep"] for name in names.split(","))
    return RunConfig(**chosen, keep=keep)


def _plan(dataset: FaceDataset, options: dict[str, Any]) -> Plan:
    if options["plan_file"] is None:
        return make_plan(dataset, options)
    from faceaug.planning.plan import Plan

    plan = Plan.read(options["plan_file"])
    _check_counts(dataset, plan, options["plan_file"])
    return plan


def _check_counts(dataset: FaceDataset, plan: Plan, path: Path) -> None:
    """A plan is for the data set that it was made from: the real faces of each cell must be as it says."""
    import numpy as np

    from faceaug.analysis.axes import attribute, cell_codes, describe

    codes = cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in plan.axes], plan.axes)
    counts = np.bincount(codes[codes >= 0], minlength=len(plan.cells))
    for cell, found in zip(plan.cells, counts.tolist(), strict=True):
        if cell.real != found:
            raise PlanError(
                f"{path} was made for another data set or split: it counts {cell.real:,} faces in "
                f"({describe(cell.levels)}), but {dataset.name} has {found:,}; plan again"
            )


def _dry_run(console: Console, dataset: FaceDataset, plan: Plan, options: dict[str, Any], settings: RunConfig) -> int:
    from faceaug.synthesis.estimate import estimate

    estimated = estimate(dataset, plan, options["generator"], settings, options["reconstruction"], options["directions"])
    text = f"{plan.to_text()}\n\n{estimate_text(plan, estimated)}"
    console.show(text, {"plan": plan.to_dict(), "estimate": dict(estimated)})
    return 0


def _make(
    context: click.Context,
    console: Console,
    dataset: FaceDataset,
    plan: Plan,
    out: Path,
    settings: RunConfig,
    options: dict[str, Any],
) -> RunResult:
    from faceaug.synthesis import balance as run

    recipe = recipe_of(context)
    with console.stages() as progress:
        return run.balance(
            dataset,
            out,
            plan=plan,
            generator=options["generator"],
            directions=options["directions"],
            reconstruction=options["reconstruction"],
            settings=settings,
            resume=options["resume"],
            progress=progress,
            command=shlex.join(["faceaug", *context.obj]),
            recipe=recipe[0] if recipe else None,
        )


def _kept(out: Path | None) -> str:
    """What an interruption left, in a sentence."""
    if out is None or not (out / "manifest.json").exists():
        return "Interrupted before anything was written; run the same command again, with or without --resume."
    return f"Interrupted; what is finished is kept in {out}: run the same command with --resume to continue."
