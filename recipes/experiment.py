"""Experiments as YAML: found by path or by name, read, and listed with the runs.

``python -m faceaug.recipes.experiment`` writes their JSON Schema anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceaug.bench.recipe import BENCH_RECIPE_FORMAT, ExperimentRecipe, parse_experiment, with_overrides
from faceaug.errors import UsageError
from faceaug.utils.documents import load_document, parse_value
from faceaug.utils.files import expanded, read_document, write_json
from faceaug.utils.text import shown

from .recipe import EXPERIMENTS, find, own_recipes, parse

EXPERIMENT_SCHEMA = "experiment.schema.json"
_PATHS = ("dataset.path", "dataset.labels", "output")


@dataclass(frozen=True)
class LoadedExperiment:
    """A recipe of an experiment that was read.

    Attributes
    ----------
    recipe : ExperimentRecipe
    folder : Path
        From which its relative paths are meant.
    """

    recipe: ExperimentRecipe
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
        if content.get("format", BENCH_RECIPE_FORMAT) != BENCH_RECIPE_FORMAT:
            raise UsageError(
                f"{what} has the format {shown(content['format'])}, and faceaug bench takes {BENCH_RECIPE_FORMAT}; "
                "a run is given to faceaug balance --recipe"
            )
        values = [(key, _value(key, text)) for key, text in overrides]
        content = with_overrides(content, values, what)
    return LoadedExperiment(parse_experiment(content, what), path.parent)


def list_recipes() -> list[ListedRecipe]:
    """Return the recipes that come with faceaug: runs first, then experiments, by name."""
    listed = []
    for name, path in own_recipes().items():
        is_experiment = path.parent.name == EXPERIMENTS
        content = load_document(path, "the recipe")
        what = f"the recipe {path}"
        recipe = parse_experiment(content, what) if is_experiment else parse(content, what)
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


def _value(key: str, text: str) -> Any:
    value = parse_value(text, f"--set {key}")
    if key in _PATHS and isinstance(value, str) and "${" not in value:
        return str(expanded(value).absolute())
    return value


if __name__ == "__main__":
    write_json(Path(__file__).with_name(EXPERIMENTS) / EXPERIMENT_SCHEMA, experiment_schema())
