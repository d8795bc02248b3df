"""Options that several commands share, the recipe as a source of defaults, and reading of data sets by options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .config_options import config_option, config_options
from .terminal.paths import PATH, SOURCE

if TYPE_CHECKING:
    import pandas as pd
    from faceaug.recipes.recipe import Recipe

    from faceaug.analysis.analyze import Analysis
    from faceaug.cluster.placement import Placement
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.measurement.estimator import FaceEstimator
    from faceaug.planning.plan import Plan

    from .terminal.console import Console

_Command = TypeVar("_Command", bound=Callable[..., Any])
_RECIPE = "faceaug.recipes.recipe"  # key under which a context stores the recipe


SHARED_SETTINGS = ("workers", "reconstruction", "aligned")
"""Settings of a run that other commands have, too."""
PLACEMENT_SETTINGS = ("executor", "address")
"""Those of a run, and of other commands that a Ray cluster can compute."""


def decorated(*decorators: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Return one decorator for several options, in the order in which the help lists them."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _read_recipe(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    from faceaug.recipes import recipe

    content = recipe.load(value)
    parameters = {parameter.name for parameter in context.command.params}
    context.meta[_RECIPE] = (value, content)
    context.default_map = {name: given for name, given in content.options().items() if name in parameters}


def recipe_of(context: click.Context) -> tuple[str, Recipe] | None:
    """Return the name and the content of the recipe that was given, or None."""
    recipe: tuple[str, Recipe] | None = context.meta.get(_RECIPE)
    return recipe


def given(context: click.Context, name: str) -> bool:
    """Return whether an option was typed, and not taken from a recipe or left at its default."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


recipe_option = click.option(
    "--recipe",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read_recipe,
    help="Take options from a recipe (YAML). Options that are typed override it.",
)

label_options = decorated(
    click.option(
        "--labels",
        metavar="FILE",
        type=SOURCE,
        multiple=True,
        help="Label file (CSV, TSV or Parquet) with one row per image. May be repeated: files are joined by the names "
        "of the images.",
    ),
    click.option(
        "--reader",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="Format of DATASET: folder, classes, celeba, fairface, utkface, hdf5, arrow, parquet, tar, shards, "
        "unlabelled, or auto.",
    ),
    click.option(
        "--file-column", metavar="NAME", help="Column of the labels with file names.  [default: found automatically]"
    ),
    click.option(
        "--one-hot",
        metavar="COLUMNS",
        multiple=True,
        help="One-hot columns to read as one, as gender=male,female, or gender for all that begin with gender_; those "
        "that are 1 once in every row are found without it. May be repeated.",
    ),
    click.option(
        "--map",
        metavar="RULE",
        multiple=True,
        help="Rename and group values: ethnicity=black|african=black,else=other, or "
        "age=<13=child,<60=adult,else=senior. May be repeated.",
    ),
    click.option(
        "--follow-links/--no-follow-links",
        default=False,
        help="Admit links in a folder of images that lead to images elsewhere.  [default: --no-follow-links]",
    ),
)
source_options = decorated(click.argument("source", metavar="DATASET", type=SOURCE), label_options)
_check_options = decorated(
    click.option(
        "--strict/--no-strict", default=False, help="Stop with an error if an image or a label has to be left out."
    ),
    click.option(
        "--check",
        type=click.Choice(["decode", "header", "none"]),
        default="decode",
        show_default=True,
        help="How every image is checked before it is counted.",
    ),
    *(config_option(name) for name in SHARED_SETTINGS),
)
_training_split_option = click.option(
    "--split",
    metavar="NAME",
    help='The split to use, or "all".  [default: the training split, if there are splits]',
)
dataset_options = decorated(source_options, _training_split_option, _check_options)
dataset_detail_options = decorated(label_options, _training_split_option, _check_options)
"""The options of a data set, without its place."""
reference_options = decorated(
    click.option(
        "--dataset", "source", metavar="DATASET", type=SOURCE, required=True, help="The real faces to compare with."
    ),
    dataset_detail_options,
)
"""The options of a data set where the argument of a command is something else."""
measured_dataset_options = decorated(
    source_options, click.option("--split", metavar="NAME", help="The split to use.  [default: all]"), _check_options
)

by_option = click.option(
    "--by",
    metavar="ATTRIBUTES",
    multiple=True,
    help="Attributes that define cells: gender,ethnicity or age:5 (equal width), age:q4 (quantiles), yaw:-90/-25/25/90 "
    "(edges). yaw, pitch, roll, light_x, light_y, light and skin_tone are measured if they are not labelled. May be "
    "repeated.",
)

plan_options = decorated(
    click.option(
        "--marginal",
        metavar="ATTRIBUTES",
        multiple=True,
        help="Instead of --by and --strategy: attributes that shall each be even by themselves, with the fewest "
        "samples: gender, age:5, gender,age:5 (their combinations), gender=female:0.6,male:0.4 or gender=FILE (these "
        "shares). May be repeated.",
    ),
    click.option(
        "--strategy",
        metavar="STRATEGY",
        default="uniform",
        show_default=True,
        help="Sampling strategy: uniform, uniform-within:COL, match:FILE, min:N, or a JSON or YAML file of counts.",
    ),
    click.option(
        "--max-synthetic-ratio",
        metavar="R",
        type=float,
        help="Synthesize at most R faces per real face, over the whole data set.",
    ),
    click.option("--max-per-cell", metavar="N", type=int, help="Synthesize at most N faces per cell."),
    click.option("--max-total", metavar="N", type=int, help="Synthesize at most N faces in total."),
)

output_options = decorated(
    recipe_option,
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="Print the result only, without progress and remarks."),
)


placement_options = config_options(PLACEMENT_SETTINGS)


def read_placement(context: click.Context, options: dict[str, Any]) -> Placement:
    """Return where the options say that a command other than balance computes.

    The executors that only balance has are refused where they are typed, and say nothing in a recipe.
    """
    from faceaug.cluster.placement import LOCAL, RAY, Placement

    executor, address = options["executor"] or LOCAL, options["address"]
    if executor not in (LOCAL, RAY) and not given(context, "executor"):
        return Placement()
    return Placement(executor, address)


html_option = click.option("--html", metavar="FILE", type=PATH, help="Write a page with the result to this file.")


def check_files(*files: Path | None) -> None:
    """Refuse files that cannot be written, before images are read."""
    from faceaug.utils.files import check_writable

    for file in files:
        if file is not None:
            check_writable(file)


def write_page(file: Path | None, render: Callable[[], str], console: Console) -> None:
    """Write a page to a file if one was named."""
    if file is not None:
        from faceaug.utils.files import write_bytes

        write_bytes(file, render().encode())
        console.remark(f"The page was written to {file}.")


def read_dataset(options: dict[str, Any], console: Console) -> FaceDataset:
    """Read the data set that the options name, and measure the columns that the command needs and the labels lack."""
    needed, load = counted_columns(options), cache(lambda: load_estimator(options))
    if needed and _without_labels(options):
        from faceaug.measurement.measure import check_measurable

        check_measurable(options["source"], needed, load)
    return measure_columns(read_unmeasured(options, console), needed, load, options, console)


def measure_columns(
    dataset: FaceDataset,
    needed: Iterable[str],
    load: Callable[[], FaceEstimator],
    options: dict[str, Any],
    console: Console,
) -> FaceDataset:
    """Return the data set with those columns of `needed` that the labels lack and that can be measured."""
    names = [name for name in needed if name not in dataset.table.columns]
    if not names:
        return dataset
    from faceaug.measurement.measure import add_measured_columns

    with console.counter("measuring", "image", len(dataset)) as progress:
        return add_measured_columns(
            dataset,
            names,
            load,
            aligned=options["aligned"],
            workers=options["workers"],
            progress=progress,
        )


def read_unmeasured(options: dict[str, Any], console: Console) -> FaceDataset:
    """Read the data set that the options name, with or without labels, and measure nothing."""
    from faceaug.datasets.dataset import LoadOptions, load_dataset

    with console.counter("checking images", "image") as progress:
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
                follow_links=options["follow_links"],
                one_hot=tuple(options["one_hot"]),
                maps=tuple(options["map"]),
            ),
            progress=progress,
        )


def _without_labels(options: dict[str, Any]) -> bool:
    """Return whether the data set will be read as images without labels; a folder without images does not count."""
    from faceaug.datasets.image_tree import Listing
    from faceaug.datasets.registry import AUTO_READER, UNLABELLED_READER, detect_reader

    reader, source = options["reader"], options["source"]
    if reader == AUTO_READER:
        reader = detect_reader(source, next(iter(options["labels"]), None), needs_labels=False)
    if reader != UNLABELLED_READER:
        return False
    return source.is_file() or bool(Listing.of(source, follow_links=options["follow_links"]).images)


def load_estimator(options: dict[str, Any]) -> FaceEstimator:
    """Load the estimator that measures images."""
    from faceaug.measurement.measure import load_estimator

    return load_estimator(options["reconstruction"], options.get("device") or "cpu")


def counted_columns(options: dict[str, Any]) -> list[str]:
    """Return the columns that a command needs: those of --by, of the plan that it carries out, and of --keep."""
    from faceaug.analysis.axes import parse_by

    names = [axis.column for axis in parse_by(options["by"])] if options.get("by") else []
    names += [name.strip() for names_of_option in options.get("keep", ()) for name in names_of_option.split(",")]
    if options.get("plan_file") is not None:
        from faceaug.planning.plan import Plan

        names += [axis.name for axis in Plan.read(options["plan_file"]).axes]
    return names


def settle_marginals(context: click.Context, options: dict[str, Any]) -> None:
    """Let the attributes of --marginal stand for --by; what is typed has precedence over what a recipe says."""
    from faceaug.planning import Marginals

    rivals = [name for name in ("by", "strategy") if given(context, name)]
    if rivals and not given(context, "marginal"):
        options["marginal"] = ()
    if not options["marginal"]:
        return
    if not given(context, "marginal"):
        from_recipe = click.core.ParameterSource.DEFAULT_MAP
        rivals = [name for name in ("by", "strategy") if context.get_parameter_source(name) is from_recipe]
    if rivals:
        named = " and ".join(f"--{name}" for name in rivals)
        raise click.UsageError(f"--marginal says what to count by and what to reach; leave out {named}, or --marginal")
    options["by"] = Marginals.parse(options["marginal"]).by


def require_by(options: dict[str, Any]) -> list[str]:
    """Return the values of --by, or raise UsageError if there are none."""
    if not options["by"]:
        raise click.UsageError("--by is missing; name the attributes to count by, as --by gender,ethnicity")
    return list(options["by"])


def count(dataset: FaceDataset, by: list[str], **options: Any) -> Analysis:
    """Count the cells of the data set."""
    from faceaug.analysis.analyze import analyze

    return analyze(dataset, by, **options)


def make_plan(dataset: FaceDataset, options: dict[str, Any]) -> Plan:
    """Return the plan by the strategy, or the marginals, and the budget of the options."""
    from faceaug.planning import Budget, Marginals, plan

    budget = Budget(options["max_synthetic_ratio"], options["max_per_cell"], options["max_total"])
    strategy = Marginals.parse(options["marginal"]) if options["marginal"] else options["strategy"]
    return plan(count(dataset, require_by(options)), strategy, budget)


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table atomically, in the format of the file's suffix."""
    from faceaug.utils.files import atomic

    with atomic(file) as temporary:
        if file.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, sep="\t" if file.suffix.lower() == ".tsv" else ",")
