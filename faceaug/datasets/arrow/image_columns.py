"""The columns of a table of Arrow that holds images, as Hugging Face stores it in Parquet and in Arrow files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from faceaug.datasets.label_file import refuse_reserved
from faceaug.errors import DatasetError
from faceaug.utils.text import one_line

IMAGE_BYTES, IMAGE_PATH = "bytes", "path"
"""Fields of the structure in which Hugging Face stores an image."""
_USUAL_NAMES = ("image", "img", "jpg", "png", "webp", "picture", "photo", "face", "bytes")


def image_column(schema: pa.Schema, path: Path) -> str:
    """Return the column of images: the only one of bytes, or the one with a usual name.

    Raises
    ------
    DatasetError
        If there is none, or there are several.
    """
    columns: list[str] = [field.name for field in schema if _holds_bytes(field.type)]
    usual = [name for wanted in _USUAL_NAMES for name in columns if name.lower() == wanted]
    if not columns or (len(columns) > 1 and not usual):
        listed = one_line(", ".join(field.name for field in schema))
        found = "several columns" if columns else "no column"
        raise DatasetError(
            f"{path} has {found} of encoded images (binary, or a structure with the field 'bytes'); a table of labels "
            f"is given with --labels, beside a folder of images; its columns are {listed}"
        )
    return usual[0] if usual else columns[0]


def attribute_columns(schema: pa.Schema, images: str) -> list[str]:
    """Return the other columns of numbers, booleans and text; DatasetError where one has a reserved name."""
    names = [field.name for field in schema if field.name != images and _is_attribute(field.type)]
    refuse_reserved(names)
    return names


def attribute_table(attributes: pd.DataFrame, class_names: Mapping[str, Sequence[str]], file: str) -> pd.DataFrame:
    """Return the table of one file: keys, which are its name, a colon and the row, and attributes.

    Parameters
    ----------
    attributes : DataFrame
        A row for each image, with numbers for classes.
    class_names : mapping of str to sequence of str
        Names of the classes of a column, by their numbers; a number without a name is a missing value.
    file : str
        Its name in keys.
    """
    table = attributes.reset_index(drop=True)
    for label, levels in class_names.items():
        if label in table:
            table[label] = [
                levels[int(code)] if 0 <= code < len(levels) else np.nan
                for code in pd.to_numeric(table[label], errors="coerce").astype(float)
            ]
    table.insert(0, "key", [f"{file}:{row}" for row in range(len(table))])
    return table


def class_names_in(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes of the columns that the metadata of Hugging Face marks as `ClassLabel`."""
    try:
        return class_names_of(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}


def class_names_of(features: Any) -> dict[str, list[str]]:
    """Return the names of classes in a description of features; none where it is no such description."""
    described = features.items() if isinstance(features, dict) else ()
    names = {
        str(name): feature.get("names")
        for name, feature in described
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    return {name: [str(level) for level in levels] for name, levels in names.items() if isinstance(levels, list)}


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(
            kind.field(k).name == IMAGE_BYTES and _holds_bytes(kind.field(k).type) for k in range(kind.num_fields)
        )
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_attribute(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    checks = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(check(kind) for check in checks)
