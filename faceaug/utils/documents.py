"""YAML and JSON documents, read strictly; sections and keys that people write, errors naming the nearest key."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml

from faceaug.errors import PlanError, UsageError
from faceaug.utils.files import parse_json, read_document, without_twins
from faceaug.utils.text import MOST_SHOWN, nearest, one_line, shown

DOCUMENTS = (".json", ".yaml", ".yml")
_MOST_DIGITS = 100


def load_document(path: Path, what: str) -> Any:
    """Return the content of a JSON or YAML file; duplicate keys and YAML's aliases are refused.

    Raises
    ------
    PlanError
        When the file is missing, is of another kind, or cannot be read; `what` names its role.
    """
    if path.suffix.lower() not in DOCUMENTS:
        raise PlanError(f"{what} {path} must be a .json, .yaml or .yml file")
    try:
        text = read_document(path)
        if path.suffix.lower() == ".json":
            return parse_json(text)
        return _parse_yaml(text)
    except FileNotFoundError as error:
        raise PlanError(f"{what} {path} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 300)
        raise PlanError(f"{what} {path} cannot be read: {reason}") from error


def _parse_yaml(text: str) -> Any:
    """Return the value of a text of YAML; ValueError where it is none."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except ValueError:
        raise
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # constructors of tags raise errors of any type: "!!bool maybe" a KeyError
        raise ValueError(f"a value does not fit its tag ({type(error).__name__}: {one_line(error)})") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader that refuses duplicate keys, of which the last one would win otherwise, and aliases.

    A few hundred bytes of aliases to aliases stand for millions of values; and YAML reads 1:30:00 as a number in base
    60, for which a long text takes hours.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        name = getattr(event, "anchor", None)
        if name is not None:
            kind = "alias" if isinstance(event, yaml.AliasEvent) else "anchor"
            raise ValueError(
                f"line {event.start_mark.line + 1} has the {kind} {shown(name)}, and neither aliases nor anchors are "
                "read; write the value out wherever it is needed"
            )
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and len(node.value) > _MOST_DIGITS:
            raise ValueError(f"line {node.start_mark.line + 1} has a number of more than {_MOST_DIGITS} digits")
        return super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        without_twins((key if isinstance(key, Hashable) else str(key), None) for key in keys)
        return super().construct_mapping(node, deep=deep)


def parse_value(text: str, what: str) -> Any:
    """Return a value as YAML writes it on one line: a number, true or false, text, or a list in brackets.

    Raises
    ------
    UsageError
        When it cannot be read; `what` names it.
    """
    try:
        return _parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"{what} has the value {shown(text)}, which cannot be read: {one_line(error)}") from error


class StrictSection(pydantic.BaseModel):
    """A section of a document, or the whole of it: unknown keys and values of another type are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """Return the keys that the file gives (an empty one counts as not given)."""
        return {name: value for name, value in self if value is not None}


_Document = TypeVar("_Document", bound=StrictSection)


def read_sections(model: type[_Document], content: Any, what: str) -> _Document:
    """Return a document as its model; a key of the document whose value is None counts as not given.

    Parameters
    ----------
    model : type of StrictSection
    content
        Of the file, None for an empty one.
    what : str
        Names the document in errors.

    Raises
    ------
    UsageError
        When it is no mapping, a key is unknown (the nearest is named), or a value is of the wrong kind.
    """
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UsageError(
            f"{what} must be a mapping of sections ({', '.join(sections_of(model))}), but is {_kind(content)}"
        )
    try:
        return model.model_validate({key: value for key, value in content.items() if value is not None})
    except pydantic.ValidationError as error:
        # A misspelt key is named rather than the key that is missing for it.
        first = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
        raise UsageError(f"{what} {_sentence(model, first)}") from error


def sections_of(model: type[StrictSection]) -> dict[str, type[StrictSection]]:
    """Return the sections of a document by their names, without lists of sections."""
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, StrictSection)
    }


def _sentence(model: type[StrictSection], error: Any) -> str:
    """Return what pydantic found wrong as the end of a sentence."""
    place: Sequence[str | int] = error["loc"]
    if error["type"] != "extra_forbidden":
        path, _ = _keys(model, place)
        where = f" at {'.'.join(path)}" if path else ""
        if error["type"] == "value_error":  # raised by a check of the model, which says what it found
            return f"is wrong{where}: {one_line(error['msg'].removeprefix('Value error, '))}"
        said = error["msg"][:1].lower() + one_line(error["msg"][1:])
        return f"is wrong{where}: {said}, but found {shown(error['input'])}"
    key = one_line(place[-1], MOST_SHOWN)
    path, section = _keys(model, place[:-1])
    hint = nearest(key, list((section or model).model_fields))
    homes = [name for name, home in sections_of(model).items() if key in home.model_fields]
    if homes and not hint.startswith("did you mean"):
        hint = f"it belongs under {' or '.join(f'{home}:' for home in homes)}"
    return f"has an unknown key {'.'.join([*path, key])}; {hint}"


def _keys(model: type[StrictSection], place: Sequence[str | int]) -> tuple[list[str], type[StrictSection] | None]:
    """Return the part of a place that names keys, and the section in which it ends, if it ends in one.

    After the keys, pydantic names the branches of a union; a branch that has the name of a section is that section.
    """
    path: list[str] = []
    sections = [model]
    for part in place:
        if isinstance(part, int):
            path.append(str(part))
            continue
        named = [section for section in sections if section.__name__ == part]
        if named:
            sections = named
            continue
        if not sections or part not in sections[0].model_fields:
            break
        path.append(one_line(part, MOST_SHOWN))
        sections = _sections_in(sections[0].model_fields[part].annotation)
    return path, sections[0] if sections else None


def _sections_in(annotation: Any) -> list[type[StrictSection]]:
    """Return the sections that a type is, or that it is a list or a choice of."""
    if isinstance(annotation, type) and issubclass(annotation, StrictSection):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections_in(part)]


def _kind(content: Any) -> str:
    return {"list": "a list", "str": "a text"}.get(type(content).__name__, shown(content))
