"""Parquet with images: a file, or a folder of files, with a column of encoded images, as Hugging Face writes it."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import MAX_BYTES, is_image_name
from faceaug.datasets.label_file import is_parquet, refuse_reserved
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.text import one_line, shown

_USUAL_NAMES = ("image", "img", "jpg", "png", "webp", "picture", "photo", "face", "bytes")
_BYTES = "bytes"  # field of the structure in which Hugging Face stores an image beside its path
_MOST_OPEN = 2  # row groups whose images are kept, since neighbours are read one after the other


class ParquetImages:
    """An ImageSource over Parquet files; a key is the name of a file, a colon, and the row.

    Parameters
    ----------
    paths : mapping of str to Path
        The files by their names in keys.
    column : str
        The column of images.
    """

    def __init__(self, paths: Mapping[str, Path], column: str) -> None:
        self._paths, self._column = dict(paths), column
        self._files: dict[str, tuple[pq.ParquetFile, list[int]]] = {}
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        """Return the encoded image of a row."""
        name, _, row = key.rpartition(":")
        try:
            with self._lock:
                value = self._value(name, int(row))
        except (KeyError, ValueError, IndexError, OSError, pa.ArrowException) as error:
            raise ImageError(f"there is no image {shown(key)} ({one_line(error)}); read the data set again") from error
        if not isinstance(value, bytes):
            raise ImageError(f"{key} has no bytes of an image; a file that it names elsewhere is not opened")
        if len(value) > MAX_BYTES:
            raise ImageError(f"{key} has {len(value):,} bytes, more than the {MAX_BYTES:,} that an image may have")
        return value

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        with self._lock:
            for file, _ in self._files.values():
                file.close()
            self._files.clear()
            self._groups.clear()

    def _value(self, name: str, row: int) -> object:
        if name not in self._files:
            # As a dictionary: one image that many rows repeat takes its memory once.
            path, column = self._paths[name], self._column
            nested = pa.types.is_struct(pq.read_schema(path).field(column).type)
            file = pq.ParquetFile(path, read_dictionary=[f"{column}.{_BYTES}" if nested else column])
            starts = [0]
            for group in range(file.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
            self._files[name] = file, starts
        file, starts = self._files[name]
        if not 0 <= row < starts[-1]:
            raise IndexError(f"it has rows 0 to {starts[-1] - 1}")
        group = int(np.searchsorted(starts, row, "right")) - 1
        place = (name, group)
        images = self._groups.pop(place, None)
        if images is None:
            images = file.read_row_group(group, columns=[self._column]).column(self._column).combine_chunks()
        self._groups[place] = images
        if len(self._groups) > _MOST_OPEN:
            self._groups.popitem(last=False)
        value = images[row - starts[group]].as_py()
        return value.get(_BYTES) if isinstance(value, dict) else value

    def __reduce__(self) -> tuple[type[ParquetImages], tuple[dict[str, Path], str]]:
        return ParquetImages, (self._paths, self._column)


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a path is a Parquet file, or a folder that holds such files and no image files."""
    if labels is not None:
        return False
    if path.is_file():
        return is_parquet(path)
    found = _files(path)
    return bool(found) and not any(
        is_image_name(p.name) for folder in {path, *(f.parent for f in found)} for p in folder.iterdir()
    )


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read Parquet files; the other columns of numbers, booleans and text are the attributes.

    The column of images is binary, or a structure with the field "bytes". Columns that Hugging Face marks as
    `ClassLabel` have the names of their classes. Images that are only named by a path are not read.

    Raises
    ------
    DatasetError
        If there is no such file or column, the files have other columns than each other, or labels are given.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("Parquet with images contains its labels; leave the label file out")
    files = [path] if path.is_file() else _files(path)
    if not files:
        raise DatasetError(f"{path} has no Parquet files; give a .parquet file or a folder of them")
    root = path.parent if path.is_file() else path
    paths = {file.relative_to(root).as_posix(): file.resolve() for file in files}
    tables: list[pd.DataFrame] = []
    column = None
    for name, file in paths.items():
        found, table = _read_table(file, name)
        if column is not None and (found != column or list(table.columns) != list(tables[0].columns)):
            raise DatasetError(f"{file} has other columns than the first file of {path}; give files of one table")
        column = found
        tables.append(table)
    assert column is not None
    return RawDataset(pd.concat(tables, ignore_index=True), ParquetImages(paths, column))


def _files(folder: Path) -> list[Path]:
    """Return the Parquet files under a folder that are not hidden, nor lead out of it."""
    root = folder.resolve()
    return sorted(
        file
        for file in folder.rglob("*")
        if is_parquet(file)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
        and file.resolve().is_relative_to(root)
    )


def _read_table(path: Path, name: str) -> tuple[str, pd.DataFrame]:
    """Return the name of the column of images, and the table of keys and attributes of one file."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            column = _image_column(schema, path)
            names = [field.name for field in schema if field.name != column and _is_attribute(field.type)]
            refuse_reserved(names)
            attributes = file.read(columns=names).to_pandas() if names else pd.DataFrame(index=range(_rows(file)))
    except DatasetError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {one_line(error)}") from error
    for label, levels in _class_labels(schema).items():
        if label in attributes:
            attributes[label] = [
                levels[int(code)] if code == code and 0 <= int(code) < len(levels) else np.nan
                for code in attributes[label].astype(float)
            ]
    table = attributes.reset_index(drop=True)
    table.insert(0, "key", [f"{name}:{row}" for row in range(len(table))])
    return column, table


def _rows(file: pq.ParquetFile) -> int:
    return int(file.metadata.num_rows)


def _image_column(schema: pa.Schema, path: Path) -> str:
    """Return the column of images: the only one of bytes, or the one with a usual name."""
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


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(k).name == _BYTES and _holds_bytes(kind.field(k).type) for k in range(kind.num_fields))
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


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes of the columns that Hugging Face marks as `ClassLabel`."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        marked = {name: f["names"] for name, f in features.items() if f.get("_type") == "ClassLabel"}
        return {str(name): [str(level) for level in levels] for name, levels in marked.items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
