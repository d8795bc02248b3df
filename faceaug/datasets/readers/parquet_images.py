"""Parquet with images: a file, or a folder of files, with a column of encoded images, as Hugging Face writes it."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faceaug.datasets.arrow.image_columns import (
    IMAGE_BYTES,
    attribute_columns,
    attribute_table,
    class_names_in,
    image_column,
)
from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import is_image_name
from faceaug.datasets.label_file import is_parquet
from faceaug.datasets.splits import add_splits, canonical_splits
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.images import check_size
from faceaug.utils.text import one_line, shown

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
        check_size(key, len(value))
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
            file = pq.ParquetFile(path, read_dictionary=[f"{column}.{IMAGE_BYTES}" if nested else column])
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
        return value.get(IMAGE_BYTES) if isinstance(value, dict) else value

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
    `ClassLabel` have the names of their classes. Files whose names begin with train, validation or test, or that lie in
    folders of these names, as on the hub of Hugging Face, are splits. Images that a path alone names are not read.

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
    _add_file_splits(tables, list(paths), path.resolve().name)
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


def _add_file_splits(tables: list[pd.DataFrame], names: list[str], source: str) -> None:
    """Add the splits that names of files begin with, as train-00000-of-00002 on the hub, or those of their folders.

    They are splits where there are several and some are known ones; others keep their names.
    """
    begins = [re.split(r"[-_.]", Path(name).name, maxsplit=1)[0] for name in names]
    for words in (begins, [Path(name).parent.name for name in names]):
        known = [canonical_splits(pd.Series([word])) for word in words]
        splits = [word if one is None else str(one[0]) for word, one in zip(words, known, strict=True)]
        if any(one is not None for one in known) and len(set(splits)) > 1:
            add_splits(tables, splits, source)
            return


def _read_table(path: Path, name: str) -> tuple[str, pd.DataFrame]:
    """Return the name of the column of images, and the table of keys and attributes of one file."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            column = image_column(schema, path)
            names = attribute_columns(schema, column)
            rows = int(file.metadata.num_rows)
            attributes = file.read(columns=names).to_pandas() if names else pd.DataFrame(index=range(rows))
    except DatasetError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {one_line(error)}") from error
    return column, attribute_table(attributes, class_names_in(schema), name)
