"""Experiments as YAML: found by path or by name, read, and listed with the runs.

``python -m faceaug.recipes.experiment`` writes their JSON Schemas anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceaug.bench.directions.direction_recipe import (
    DIRECTION_RECIPE_FORMAT,
    DirectionRecipe,
    parse_direction_recipe,
)
from faceaug.bench.recipe import BENCH_RECIPE_FORMAT, ExperimentRecipe, parse_experiment, with_overrides
from faceaug.errors import UsageError
from faceaug.utils.documents import load_document, parse_value
from faceaug.utils.files import expanded, read_document, write_json
from faceaug.utils.text import shown

from .recipe import EXPERIMENTS, find, own_recipes, parse

EXPERIMENT_SCHEMA, DIRECTIONS_SCHEMA = "experiment.schema.json", "directions.schema.json"
_PATHS = ("dataset.path", "dataset.labels", "labelled.path", "labelled.labels", "directions", "output")
_PARSERS: dict[str, Callable[[Any, str], ExperimentRecipe | DirectionRecipe]] = {
    BENCH_RECIPE_FORMAT: parse_experiment,
    DIRECTION_RECIPE_FORMAT: parse_direction_recipe,
}


@dataclass(frozen=True)
class LoadedExperiment:
    """A recipe of an experiment that was read.

    Attributes
    ----------
    recipe : ExperimentRecipe or DirectionRecipe
    folder : Path
        From which its relative paths are meant.
    """

    recipe: ExperimentRecipe | DirectionRecipe
    folder: Path


@dataclass(frozen=True)
class ListedRecipe:
    """A recipe that comes with faceaug.

    Attributes
    ----------
    name : str
    command : str
        That which takes it: "balance" or "bench".
    about, data, cost : str
        One line, what data it needs, and how long it takes.
    """

    name: str
    command: str
    about: str
    data: str
    cost: str


def experiment_schema() -> dict[str, Any]:
    """Return the JSON Schema of experiments."""
    return ExperimentRecipe.model_json_schema()


def directions_schema() -> dict[str, Any]:
    """Return the JSON Schema of comparisons of directions."""
    return DirectionRecipe.model_json_schema()


def load_experiment(name: str, overrides: Sequence[tuple[str, str]] = ()) -> LoadedExperiment:
    """Read the recipe of an experiment, by its path or by the name of one that comes with faceaug.

    Parameters
    ----------
    name : str
    overrides : sequence of (str, str)
        Keys with dots, and values as YAML writes them. Paths among them are meant from the working folder, those of the
        recipe from its own folder.

    Raises
    ------
    UsageError
        When there is no such recipe, it is one of a run, a key is unknown, or a value is of the wrong kind.
    """
    path = find(name)
    content = load_document(path, "the recipe")
    what = f"the recipe {path}"
    if isinstance(content, dict):
        if _format(content) not in _PARSERS:
            raise UsageError(
                f"{what} has the format {shown(content['format'])}, and faceaug bench takes {' or '.join(_PARSERS)}; "
                "a run is given to faceaug balance --recipe"
            )
        values = [(key, _value(key, text)) for key, text in overrides]
        content = with_overrides(content, values, what)
    return LoadedExperiment(_PARSERS[_format(content)](content, what), path.parent)


def list_recipes() -> list[ListedRecipe]:
    """Return the recipes that come with faceaug: runs first, then experiments, by name."""
    listed = []
    for name, path in own_recipes().items():
        is_experiment = path.parent.name == EXPERIMENTS
        content = load_document(path, "the recipe")
        what = f"the recipe {path}"
        recipe = _PARSERS[_format(content)](content, what) if is_experiment else parse(content, what)
        listed.append(
            ListedRecipe(name, "bench" if is_experiment else "balance", recipe.about, recipe.data, recipe.cost)
        )
    return sorted(listed, key=lambda each: (each.command, each.name))


def recipe_text(name: str) -> str:
    """Return the YAML of a recipe, with its comments; UsageError if there is none of that name."""
    path = find(name)
    try:
        return read_document(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the recipe {path} cannot be read: {error}") from error


def _format(content: Any) -> Any:
    """Return the format that a recipe states, that of experiments where it states none."""
    return content.get("format", BENCH_RECIPE_FORMAT) if isinstance(content, dict) else BENCH_RECIPE_FORMAT


def _value(key: str, text: str) -> Any:
    value = parse_value(text, f"--set {key}")
    is_path = key in _PATHS or (key == "generator" and text.endswith(".safetensors"))
    if is_path and isinstance(value, str) and "${" not in value:
        return str(expanded(value).absolute())
    return value


if __name__ == "__main__":
    folder = Path(__file__).with_name(EXPERIMENTS)
    write_json(folder / EXPERIMENT_SCHEMA, experiment_schema())
    write_json(folder / DIRECTIONS_SCHEMA, directions_schema())
