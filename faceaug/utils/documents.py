"""YAML and JSON documents, read strictly."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from faceaug.analysis.cell_values import (
    DOCUMENTS,
)
from faceaug.errors import PlanError


def load_document(path: Path, what: str) -> Any:
    """Return the content of a JSON or YAML file; a key that stands twice is refused.

    Raises
    ------
    PlanError
        When the file is missing, is of another kind, or cannot be read; `what` names its role.
    """
    if path.suffix.lower() not in DOCUMENTS:
        raise PlanError(f"{what} {path} must be a .json, .yaml or .yml file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_no_twins)
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except FileNotFoundError as error:
        raise PlanError(f"{what} {path} does not exist; check the path") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise PlanError(f"{what} {path} cannot be read: {' '.join(str(error).split())}") from error


def _no_twins(pairs: Iterable[tuple[Hashable, Any]]) -> dict[Hashable, Any]:
    result: dict[Hashable, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} stands twice")
        result[key] = value
    return result


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice in a mapping is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        _no_twins((key if isinstance(key, Hashable) else str(key), None) for key in keys)
        return super().construct_mapping(node, deep=deep)
