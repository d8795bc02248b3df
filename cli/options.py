"""Options that commands share, and how a recipe fills in what the command line leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .config_options import config_option

if TYPE_CHECKING:
    from faceaug.recipes.recipe import Recipe

    from faceaug.analysis.analyze import Analysis
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.measurement.estimator import FaceEstimator
    from faceaug.planning.plan import Plan

    from .terminal.console import Console

_Command = TypeVar("_Command", bound=Callable[..., Any])
_RECIPE = "faceaug.recipes.recipe"  # where a context keeps the recipe that was read
PATH = click.Path(path_type=Path)
SHARED_SETTINGS = ("workers", "reconstruction", "aligned")
"""Settings of a run that other commands have, too."""


def decorated(*decorators: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Return one decorator that does what several do, in the order in which help lists them."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _read_recipe(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    from faceaug.recipes import recipe

    found = recipe.load(value)
    known = {parameter.name for parameter in context.command.params}
    context.meta[_RECIPE] = (value, found)
    context.default_map = {name: given for name, given in found.options().items() if name in known}


def recipe_of(context: click.Context) -> tuple[str, Recipe] | None:
    """Return the recipe that was given, by name and content."""
    found: tuple[str, Recipe] | None = context.meta.get(_RECIPE)
    return found


def given(context: click.Context, name: str) -> bool:
    """Tell whether an option was typed, as against taken from a recipe or left at its default."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


recipe_option = click.option(
    "--recipe",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read_recipe,
    help="Take options from a recipe (YAML); what is typed here overrides it.",
)

_source_options = decorated(
    click.argument("source", metavar="DATASET", type=PATH),
    click.option("--labels", metavar="FILE", type=PATH, help="Labels: CSV, TSV or Parquet, a row an image."),
    click.option(
        "--reader",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="How DATASET is laid out: folder, classes, celeba, fairface, utkface, hdf5, shards, unlabelled, or auto.",
    ),
    click.option("--file-column", metavar="NAME", help="The labels' column of file names, if it is not found."),
)
_check_options = decorated(
    click.option("--strict/--no-strict", default=False, help="Stop if any image or label has to be left out."),
    click.option(
        "--check",
        type=click.Choice(["decode", "header", "none"]),
        default="decode",
        show_default=True,
        help="How every image is looked at before it is counted.",
    ),
    *(config_option(name) for name in SHARED_SETTINGS),
)
dataset_options = decorated(
    _source_options,
    click.option(
        "--split",
        metavar="NAME",
        help='The split to use, or "all".  [default: the training part where there are splits]',
    ),
    _check_options,
)
measured_dataset_options = decorated(
    _source_options, click.option("--split", metavar="NAME", help="The split to use.  [default: all]"), _check_options
)

by_option = click.option(
    "--by",
    metavar="ATTRIBUTES",
    multiple=True,
    help="What to count by: gender,ethnicity or age:5 (equal width), age:q4 (quantiles), yaw:-90/-25/25/90 (edges). "
    "yaw, pitch, roll, light_x, light_y and light are measured where they are not labelled. May be repeated.",
)

plan_options = decorated(
    click.option(
        "--strategy",
        metavar="STRATEGY",
        default="uniform",
        show_default=True,
        help="What to reach: uniform, uniform-within:COL, match:FILE, min:N, or a JSON or YAML file of counts.",
    ),
    click.option(
        "--max-synthetic-ratio",
        metavar="R",
        type=float,
        help="Make at most R faces for each real one, over the whole set.",
    ),
    click.option("--max-per-cell", metavar="N", type=int, help="Make at most N faces in a cell."),
    click.option("--max-total", metavar="N", type=int, help="Make at most N faces in all."),
)

output_options = decorated(
    recipe_option,
    click.option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks, only what was asked for."),
)


def read_dataset(options: dict[str, Any], console: Console) -> FaceDataset:
    """Read the data set that the options name, and measure what they ask for beyond its labels."""
    needed, measurer = counted_columns(options), cache(lambda: load_estimator(options))
    if needed and _without_labels(options):
        from faceaug.measurement.measure import check_measurable

        check_measurable(options["source"], needed, measurer)
    return measure_columns(read_unmeasured(options, console), needed, measurer, options, console)


def measure_columns(
    dataset: FaceDataset,
    needed: Iterable[str],
    measurer: Callable[[], FaceEstimator],
    options: dict[str, Any],
    console: Console,
) -> FaceDataset:
    """Measure those columns of `needed` that the labels lack and that can be measured."""
    names = [name for name in needed if name not in dataset.table.columns]
    if not names:
        return dataset
    from faceaug.measurement.measure import add_measured_columns

    with console.counter("measuring", "image", len(dataset)) as progress:
        return add_measured_columns(
            dataset,
            names,
            measurer,
            aligned=options["aligned"],
            workers=options["workers"],
            progress=progress,
        )


def read_unmeasured(options: dict[str, Any], console: Console) -> FaceDataset:
    """Read the data set that the options name, also where it has no labels."""
    from faceaug.datasets.dataset import LoadOptions, load_dataset

    with console.counter("looking at images", "image") as progress:
        return load_dataset(
            options["source"],
            options["labels"],
            reader=options["reader"],
            split=options["split"],
            strict=options["strict"],
            options=LoadOptions(
                file_column=options["file_column"],
                check=options["check"],
                workers=options["workers"],
                needs_labels=False,
            ),
            progress=progress,
        )


def _without_labels(options: dict[str, Any]) -> bool:
    """Tell whether the data set will be read as images of which nothing is known; a folder without any is none."""
    from faceaug.datasets.image_tree import Listing
    from faceaug.datasets.registry import AUTO_READER, UNLABELLED_READER, detect_reader

    reader, source = options["reader"], options["source"]
    if reader == AUTO_READER:
        reader = detect_reader(source, options["labels"], needs_labels=False)
    return reader == UNLABELLED_READER and (source.is_file() or bool(Listing.of(source).images))


def load_estimator(options: dict[str, Any]) -> FaceEstimator:
    """Load what measures photographs."""
    from faceaug.measurement.measure import load_estimator

    return load_estimator(options["reconstruction"], options.get("device", "cpu"))


def counted_columns(options: dict[str, Any]) -> list[str]:
    """Return the columns that a command needs: what it counts by, also in a plan that it carries out, and keeps."""
    from faceaug.analysis.axes import parse_by

    names = [axis.column for axis in parse_by(options["by"])] if options.get("by") else []
    names += [name.strip() for kept in options.get("keep", ()) for name in kept.split(",")]
    if options.get("plan_file") is not None:
        from faceaug.planning.plan import Plan

        names += [axis.name for axis in Plan.read(options["plan_file"]).axes]
    return names


def require_by(options: dict[str, Any]) -> list[str]:
    """Return what to count by, or raise a usage error that says how to name it."""
    if not options["by"]:
        raise click.UsageError("say what to count by, as --by gender,ethnicity")
    return list(options["by"])


def count(dataset: FaceDataset, by: list[str], **settings: Any) -> Analysis:
    """Count the dataset's cells."""
    from faceaug.analysis.analyze import analyze

    return analyze(dataset, by, **settings)


def make_plan(dataset: FaceDataset, options: dict[str, Any]) -> Plan:
    """Plan what the options ask for."""
    from faceaug.planning import Budget, plan

    budget = Budget(options["max_synthetic_ratio"], options["max_per_cell"], options["max_total"])
    return plan(count(dataset, require_by(options)), options["strategy"], budget)
