"""YAML and JSON documents, read strictly."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from faceaug.errors import PlanError, UsageError
from faceaug.utils.files import read_document
from faceaug.utils.text import one_line, shown

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
            return json.loads(text, object_pairs_hook=_no_twins)
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except FileNotFoundError as error:
        raise PlanError(f"{what} {path} does not exist; check the path") from error
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise PlanError(f"{what} {path} cannot be read: {one_line(error, 300)}") from error


def _no_twins(pairs: Iterable[tuple[Hashable, Any]]) -> dict[Hashable, Any]:
    result: dict[Hashable, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {shown(key)} occurs twice")
        result[key] = value
    return result


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
        _no_twins((key if isinstance(key, Hashable) else str(key), None) for key in keys)
        return super().construct_mapping(node, deep=deep)


def parse_value(text: str, what: str) -> Any:
    """Return a value as YAML writes it on one line: a number, true or false, text, or a list in brackets.

    Raises
    ------
    UsageError
        When it cannot be read; `what` names it.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except (ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{what} has the value {shown(text)}, which cannot be read: {one_line(error)}") from error
