"""`faceaug explore`: a local page to edit faces and photographs, and to look into data sets and output folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceaug.errors import FaceaugError, GeneratorError, MissingWeightsError, UsageError

from .config_options import config_option
from .options import (
    by_option,
    counted_columns,
    dataset_detail_options,
    given,
    load_estimator,
    measure_columns,
    read_dataset,
    read_unmeasured,
)
from .terminal.console import Console, echo
from .terminal.paths import PATH

if TYPE_CHECKING:
    from faceaug.datasets.dataset import FaceDataset
    from faceaug.explorer.cells import DatasetCells, OutputCells
    from faceaug.explorer.generated import GeneratedFaces

_UNLABELLED = "yaw:5"
"""What faces without labels are counted by at first."""
_IN_RECIPES = (
    "labels",
    "file_column",
    "one_hot",
    "map",
    "follow_links",
    "split",
    "reconstruction",
    "strict",
    "aligned",
)


@click.command()
@click.argument("place", metavar="[PLACE]", type=PATH, required=False)
@click.option(
    "--dataset", "real", metavar="DATASET", type=PATH, help="Where PLACE is an output folder: its real faces."
)
@dataset_detail_options
@by_option
@config_option("generator")
@config_option("directions")
@click.option(
    "--save-to",
    metavar="FOLDER",
    type=PATH,
    default=Path("."),
    help="Where pictures, plans and recipes are saved.  [default: the working folder]",
)
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Port of the page.  [default: a free one]"
)
@click.option("-q", "--quiet", is_flag=True, help="Print the address only.")
@click.pass_context
def explore(context: click.Context, /, place: Path | None, real: Path | None, **options: Any) -> None:
    """Open a page of this machine on which faces are edited by sliders, and data sets and samples are looked at.

    PLACE is a data set or an output folder of faceaug. Without it the page shows the generator's faces and takes
    photographs of your own. The page is served to this machine alone, under an address with a random token, until
    Ctrl-C; it writes what you save and, in faceaug's cache, what it has learnt and measured; no picture. Needs the
    extra faceaug[explore].

    \b
    Example:
      faceaug explore
      faceaug explore faces/ --labels labels.csv --by gender,age:5
      faceaug explore out/ --dataset faces/ --labels labels.csv
      faceaug explore --generator my-stylegan.safetensors --directions directions.safetensors
    """
    _check_installed()
    from faceaug.explorer.app import Exploration
    from faceaug.explorer.photographs import PhotographEditor
    from faceaug.explorer.saving import SaveFolder
    from faceaug.explorer.serve import serve

    console = Console(quiet=options["quiet"])
    output, dataset = _read(place, real, options, console)
    faces = _faces(options, typed=given(context, "generator") or given(context, "directions"), console=console)
    exploration = Exploration(
        saved=SaveFolder(options["save_to"]),
        faces=faces,
        photographs=PhotographEditor(load_estimator(options)),
        dataset=dataset,
        output=output,
        generator=_generator_section(options),
    )

    def announce(address: str) -> None:
        console.remark("Open this address in a browser of this machine; Ctrl-C ends it:")
        echo(address)

    serve(exploration, options["port"], announce)


def _check_installed() -> None:
    """Raise FaceaugError where the extra is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise FaceaugError(
            f"faceaug explore needs {' and '.join(missing)}, which is not installed: pip install 'faceaug[explore]'"
        )


def _read(
    place: Path | None, real: Path | None, options: dict[str, Any], console: Console
) -> tuple[OutputCells | None, DatasetCells | None]:
    """Read the output folder, the data set, or both."""
    from faceaug.datasets.readers import shards
    from faceaug.explorer.cells import OutputCells
    from faceaug.shards.manifest import PLAN_NAME

    is_output = place is not None and shards.detect(place, None)
    if real is not None and not is_output:
        raise UsageError("--dataset names the real faces of an output folder; give that folder before it")
    if place is None:
        return None, None
    if not is_output:
        return None, _dataset(place, options, console)
    dataset = None if real is None else _dataset(real, {**options, "plan_file": place / PLAN_NAME}, console)
    return OutputCells.read(place, dataset), dataset


def _dataset(place: Path, options: dict[str, Any], console: Console) -> DatasetCells:
    """Read a data set, with what it is counted by at first."""
    from faceaug.explorer.cells import DatasetCells, by_of_plan, first_attribute

    options = {**options, "source": place}
    by = ",".join(options["by"])
    if by or options.get("plan_file"):
        dataset = read_dataset(options, console)
        by = by or by_of_plan(options["plan_file"])
    else:
        dataset = read_unmeasured(options, console)
        by = first_attribute(dataset)
        if not by:
            by = _UNLABELLED
            dataset = _measured(dataset, {**options, "by": [by]}, console)
    section = {key: _as_written(options[key]) for key in _IN_RECIPES if options[key]}
    if options["reader"] != "auto":
        section["reader"] = options["reader"]
    return DatasetCells(dataset, by, {"path": str(place), **section})


def _as_written(value: Any) -> Any:
    """Return the value of an option as a recipe has it: paths as text, and a list where an option may be repeated."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _measured(dataset: FaceDataset, options: dict[str, Any], console: Console) -> FaceDataset:
    return measure_columns(dataset, counted_columns(options), lambda: load_estimator(options), options, console)


def _generator_section(options: dict[str, Any]) -> dict[str, str]:
    """Return the section of a recipe that names the generator and its directions, where they were given."""
    known = {"name": options["generator"], "directions": options["directions"]}
    return {key: str(value) for key, value in known.items() if value}


def _faces(options: dict[str, Any], *, typed: bool, console: Console) -> GeneratedFaces | None:
    """Load the generator and its directions; None where the default one is not installed and none was asked for."""
    from faceaug.explorer.generated import GeneratedFaces
    from faceaug.generators.registry import load_generator
    from faceaug.synthesis.config import RunConfig
    from faceaug.synthesis.editing.pose_readout import find_directions

    name = options["generator"] or RunConfig.model_fields["generator"].default
    try:
        generator = load_generator(name)
    except MissingWeightsError as error:
        if typed:
            raise
        console.remark(f"There is no page of generated faces: {error}")
        return None
    bundle = find_directions(generator, options["directions"])
    if bundle is None:
        raise GeneratorError(
            f"no directions come with the generator {name}: give those of faceaug discover, as --directions FILE"
        )
    return GeneratedFaces(generator, bundle)
