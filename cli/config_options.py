"""Command-line options that are derived from the fields of `RunConfig`, so that a setting is written in one place."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import annotated_types
import click

from faceaug.errors import UsageError
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.utils.text import nearest, shown

from .terminal.paths import PATH, SOURCE

if TYPE_CHECKING:
    from faceaug.recipes.recipe import Recipe
    from pydantic.fields import FieldInfo

_REMOTE = ("candidates", "candidate_labels")
"""Settings that may be URLs."""
_PATHS = ("directions", "reconstruction", *_REMOTE)
THRESHOLD_OPTION = "threshold"


def config_option(name: str) -> Callable[[Any], Any]:
    """Return the option of a setting: its flag, type, bounds, and its sentence of help with the default."""
    field = RunConfig.model_fields[name]
    flag = name.replace("_", "-")
    description = field.description or ""
    if field.annotation is bool:
        shown_default = f"--{flag}" if field.default else f"--no-{flag}"
        return click.option(
            f"--{flag}/--no-{flag}", name, default=field.default, help=f"{description}  [default: {shown_default}]"
        )
    kind, metavar = _type_of(name, field)
    if field.default not in (None, ()):
        description += f"  [default: {field.default}]"
    return click.option(
        f"--{flag}", name, type=kind, metavar=metavar, multiple=name == "keep", default=None, help=description
    )


def config_options(names: Iterable[str]) -> Callable[[Any], Any]:
    """Return one decorator for the options of several settings, which help lists in this order."""
    options = [config_option(name) for name in names]

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


threshold_option = click.option(
    "--threshold",
    THRESHOLD_OPTION,
    metavar="NAME=VALUE",
    multiple=True,
    help=f"A threshold of the gates: {', '.join(AcceptanceThresholds.model_fields)}. May be repeated; "
    "docs/configuration.md explains each.",
)


def read_config(options: dict[str, Any], recipe: Recipe | None) -> RunConfig:
    """Return the configuration that the options give; what neither they nor the recipe give has its default.

    Raises
    ------
    UsageError
        When a value is out of its bounds, or a threshold is unknown or no number.
    """
    given = {name: options[name] for name in RunConfig.model_fields if options.get(name) not in (None, ())}
    if "keep" in given:
        given["keep"] = tuple(name.strip() for names in given["keep"] for name in names.split(","))
    thresholds = dict(recipe.thresholds.given()) if recipe else {}
    thresholds |= dict(_threshold(text) for text in options[THRESHOLD_OPTION])
    return RunConfig(**given, thresholds=AcceptanceThresholds(**thresholds))


def _type_of(name: str, field: FieldInfo) -> tuple[Any, str | None]:
    """Return the type that click checks a setting by, and how help names its value."""
    if name in _PATHS:
        place = SOURCE if name in _REMOTE else PATH
        return place, "PATH" if name == "candidates" else "FILE"
    if name == "keep":
        return str, "ATTRIBUTE"
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    if get_origin(annotation) is Literal:
        return click.Choice(list(get_args(annotation))), None
    bounds: dict[str, Any] = {}
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge):
            bounds |= {"min": bound.ge}
        elif isinstance(bound, annotated_types.Gt):
            bounds |= {"min": bound.gt, "min_open": True}
        elif isinstance(bound, annotated_types.Le):
            bounds |= {"max": bound.le}
        elif isinstance(bound, annotated_types.Lt):
            bounds |= {"max": bound.lt, "max_open": True}
    if annotation is int:
        return click.IntRange(**bounds), "N"
    if annotation is float:
        return click.FloatRange(**bounds), "X"
    return str, "NAME"


def _threshold(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--threshold {shown(text)} must be NAME=VALUE, as --threshold confidence=0.8")
    name = name.replace("-", "_")
    if name not in AcceptanceThresholds.model_fields:
        known = list(AcceptanceThresholds.model_fields)
        raise UsageError(f"there is no threshold {shown(name)}: {nearest(name, known)}")
    whole = AcceptanceThresholds.model_fields[name].annotation is int
    try:
        return name, int(value) if whole else float(value)
    except ValueError as error:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"the threshold {name} is {shown(value)}; it must be {kind}") from error
