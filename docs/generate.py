"""Write docs/cli.md and docs/configuration.md anew from the code: ``python docs/generate.py``.

With ``--check`` nothing is written; the exit status is 1 where a page differs from the code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from faceaug.cli.main import cli
from faceaug.recipes.recipe import Recipe

from faceaug.bench.directions.direction_recipe import DirectionRecipe
from faceaug.bench.recipe import ExperimentRecipe
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig

DOCS = Path(__file__).resolve().parent
WIDTH = 100
_HEAD = ("| key | type | default | what it does |", "| --- | --- | --- | --- |")


def cli_page() -> str:
    """Return the help of every command, as it is printed."""
    parts = [
        "# Command line",
        "Written by `python docs/generate.py` from the commands themselves. `faceaug COMMAND --help` prints the same.",
    ]
    for path, command in _commands(cli, ("faceaug",)):
        context = click.Context(command, info_name=" ".join(path), max_content_width=WIDTH, terminal_width=WIDTH)
        parts += [f"## {' '.join(path)}", f"```text\n{command.get_help(context).rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def configuration_page() -> str:
    """Return a table of the keys of a recipe for each of its sections."""
    parts = [
        "# Configuration",
        "Written by `python docs/generate.py` from `faceaug.synthesis.config` and `faceaug.recipes.recipe`. A run is "
        "configured by `faceaug.RunConfig(...)` in Python, by options of `faceaug balance`, or by a recipe "
        "([recipes/](../recipes/README.md)): the names are the same, with dashes on the command line. A threshold is "
        "`--threshold NAME=VALUE` there. What is typed overrides the recipe.",
    ]
    for section, field in Recipe.model_fields.items():
        model: Any = field.annotation
        if not hasattr(model, "model_fields"):
            continue
        schema = model.model_json_schema()
        rows = [_row(key, schema["properties"][key]) for key in model.model_fields]
        title = (model.__doc__ or "").strip().splitlines()[0]
        parts += [
            f"## `{section}:`",
            title,
            "\n".join([*_HEAD, *rows]),
        ]
    parts += [
        "## Experiments",
        "A recipe of `faceaug bench` ([docs/bench.md](bench.md)) has the keys below, which `--set KEY=VALUE` changes: "
        "`--set training.steps=500`. `imbalance:` is a list: `--set imbalance.0.share=0.05`.",
        *_experiment_parts(ExperimentRecipe),
        "## Comparisons of directions",
        "The recipe of a comparison of directions ([docs/bench.md](bench.md#directions)) has these keys.",
        *_experiment_parts(DirectionRecipe),
    ]
    return "\n\n".join(parts) + "\n"


def _experiment_parts(recipe: type[ExperimentRecipe] | type[DirectionRecipe]) -> Iterator[str]:
    """Yield the tables of the keys of an experiment: those of its top level, then of each section."""
    schema = recipe.model_json_schema()
    sections = {name: _references(part) for name, part in schema["properties"].items()}
    plain = {name: part for name, part in schema["properties"].items() if not sections[name]}
    yield "\n".join([*_HEAD, *(_row(key, part, _stated(part)) for key, part in plain.items())])
    for section, references in sections.items():
        for place, reference in enumerate(references):
            own = schema["$defs"][reference.rpartition("/")[2]]
            rows = [_row(key, part, _stated(part)) for key, part in own["properties"].items()]
            yield f"### `{section}:`" + (", or" if place else "")
            yield own["description"].splitlines()[0]
            yield "\n".join([*_HEAD, *rows])


def _references(part: dict[str, Any]) -> list[str]:
    """Return the references of a key that is a section, a list of sections, or one of several sections."""
    branches = [part, part.get("items", {}), *part.get("anyOf", []), *part.get("oneOf", [])]
    return [branch["$ref"] for branch in branches if "$ref" in branch]


def _stated(part: dict[str, Any]) -> str:
    """Return the default that a schema states, or nothing."""
    default = part.get("default")
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "" if default in (None, "", [], {}) else f"`{default}`"


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, (*path, name))


def _row(key: str, schema: dict[str, Any], default: str | None = None) -> str:
    branches = [branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null"]
    kind = " or ".join(dict.fromkeys(_kind(branch) for branch in branches))
    description = schema.get("description", "")
    default = _default(key) if default is None else default
    return f"| `{key}` | {kind} | {default} | {description.replace('|', chr(92) + '|')} |"


def _default(key: str) -> str:
    """Return the default of a setting, or nothing for a key that is no setting or has none."""
    for model in (RunConfig, AcceptanceThresholds):
        field = model.model_fields.get("generator" if key == "name" else key)
        if field is not None and field.default not in (None, ()):
            return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    return ""


def _kind(branch: dict[str, Any]) -> str:
    if "const" in branch:
        return f"`{branch['const']}`"
    if "enum" in branch:
        return ", ".join(f"`{value}`" for value in branch["enum"])
    names = {
        "integer": "integer",
        "number": "number",
        "boolean": "true or false",
        "string": "text",
        "array": "list",
        "object": "mapping",
    }
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = ", ".join(f"{sign} {_number(branch[name])}" for name, sign in bounds.items() if name in branch)
    return names[branch["type"]] + (f" {limits}" if limits else "")


def _number(value: float) -> str:
    """Return whole numbers with all their digits, others in short."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    for name, text in (("cli.md", cli_page()), ("configuration.md", configuration_page())):
        path = DOCS / name
        if check and (not path.exists() or path.read_text("utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    if stale:
        print(f"{', '.join(stale)} differ from the code: run python docs/generate.py", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
