"""Folders that Hugging Face's `save_to_disk` writes: Arrow files with a column of encoded images, and features."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from faceaug.datasets.arrow.image_columns import (
    IMAGE_BYTES,
    IMAGE_PATH,
    attribute_columns,
    attribute_table,
    class_names_of,
    image_column,
)
from faceaug.datasets.arrow.messages import RECORD_BATCH, SCHEMA, arrow_messages
from faceaug.datasets.base import ImageSource, RawDataset
from faceaug.datasets.image_tree import FolderImages
from faceaug.datasets.splits import add_splits
from faceaug.errors import DatasetError, ImageError
from faceaug.places.mirrored import images_behind
from faceaug.utils.files import inside, parse_json, read_document, require_regular
from faceaug.utils.images import check_size
from faceaug.utils.text import one_line, shown

_INFO, _STATE, _SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"


class ArrowFile:
    """A file in Arrow's format of streams, over a memory map. Nothing is copied but what is taken.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DatasetError
        When it is damaged, compressed, or has dictionaries.
    OSError
        When it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        require_regular(path)
        self._path = path
        self._map = pa.memory_map(str(path))
        try:
            self._offsets = self._record_batches()
            self._map.seek(0)
            self.schema: pa.Schema = pa.ipc.read_schema(self._map)
            if len(set(self.schema.names)) < len(self.schema.names):
                raise ValueError("two of its columns have one name")
        except (ValueError, OSError, pa.ArrowException) as error:  # OSError of damaged metadata
            self._map.close()
            raise DatasetError(
                f"{path} cannot be read as Arrow ({one_line(error)}); it is damaged: get a new copy"
            ) from error
        except DatasetError:
            self._map.close()
            raise

    def __len__(self) -> int:
        return len(self._offsets)

    def batch(self, number: int, columns: list[str]) -> pa.RecordBatch:
        """Return some columns of a record batch; DatasetError where their buffers do not fit together."""
        try:
            self._map.seek(self._offsets[number])
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(self._map), self.schema).select(columns)
            batch.validate(full=True)  # else an offset could lead out of the file
        except (ValueError, KeyError, OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{self._path} has a damaged record batch ({one_line(error)}); get a new copy of it"
            ) from error
        return batch

    def close(self) -> None:
        """Close the file."""
        self._map.close()

    def _record_batches(self) -> list[int]:
        """Return where the record batches begin."""
        messages = list(arrow_messages(memoryview(self._map.read_buffer()).cast("B")))
        if not messages or messages[0].kind != SCHEMA:
            raise ValueError("it does not begin with a schema")
        if any(message.kind != RECORD_BATCH for message in messages[1:]):
            raise DatasetError(
                f"{self._path} has dictionaries, which Hugging Face's save_to_disk does not write; write it as Parquet "
                "with Dataset.to_parquet(FILE)"
            )
        if any(message.compressed for message in messages):
            raise DatasetError(
                f"{self._path} is compressed, and Arrow files are read uncompressed, as Hugging Face's save_to_disk "
                "writes them; save it again with that, or write it as Parquet with Dataset.to_parquet(FILE)"
            )
        return [message.offset for message in messages[1:]]


class ArrowImages:
    """An ImageSource over Arrow files; a key is the path of a file below the folder, a colon, and the row.

    Parameters
    ----------
    folder : Path
        Of the data set.
    named : ImageSource
        The images of the folder, some of which may be named by their paths alone.
    paths : mapping of str to Path
        The files by their names in keys.
    column : str
        The column of images.
    """

    def __init__(self, folder: Path, named: ImageSource, paths: Mapping[str, Path], column: str) -> None:
        self._folder, self._named, self._paths, self._column = folder, named, dict(paths), column
        self._files: dict[str, tuple[ArrowFile, list[Any], list[int]]] = {}
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        """Return the encoded image of a row."""
        name, _, row = key.rpartition(":")
        try:
            with self._lock:
                value = self._value(name, int(row))
        except (KeyError, ValueError, IndexError, OSError, DatasetError) as error:
            raise ImageError(f"there is no image {shown(key)} ({one_line(error)}); read the data set again") from error
        path = value.get(IMAGE_PATH) if isinstance(value, dict) else None
        value = value.get(IMAGE_BYTES) if isinstance(value, dict) else value
        if value is None and isinstance(path, str):
            return self._named_image(PurePosixPath(name).parent, path.removeprefix(f"{self._folder}/"))
        if not isinstance(value, bytes):
            raise ImageError(f"{key} has neither bytes of an image nor the path of one")
        check_size(key, len(value))
        return value

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        with self._lock:
            for file, _, _ in self._files.values():
                file.close()
            self._files.clear()

    def _named_image(self, split: PurePosixPath, path: str) -> bytes:
        """Return an image by its path from the folder of its split, or else from that of the data set."""
        own = str(split / path)
        try:
            return self._named.read(own)
        except ImageError:
            if own == path:
                raise
        return self._named.read(path)

    def _value(self, name: str, row: int) -> object:
        if name not in self._files:
            file = ArrowFile(self._paths[name])
            columns = [file.batch(number, [self._column]).column(0) for number in range(len(file))]
            starts = np.cumsum([0, *map(len, columns)]).tolist()
            self._files[name] = file, columns, starts
        _, columns, starts = self._files[name]
        if not 0 <= row < starts[-1]:
            raise IndexError(f"it has rows 0 to {starts[-1] - 1}")
        batch = int(np.searchsorted(starts, row, "right")) - 1
        return columns[batch][row - starts[batch]].as_py()

    def __reduce__(self) -> tuple[type[ArrowImages], tuple[Path, ImageSource, dict[str, Path], str]]:
        return ArrowImages, (self._folder, self._named, self._paths, self._column)


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a folder holds a data set of Hugging Face, or one for each of its splits."""
    return labels is None and ((path / _SPLITS).is_file() or ((path / _STATE).is_file() and (path / _INFO).is_file()))


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    The column of images is an `Image`, or binary; the other columns of numbers, booleans and text are the attributes,
    those of `ClassLabel` with the names of their classes. Images that are only named by a path are read where they are
    in the folder, of a split's own or of the data set, also behind a URL. A column "split" of the data itself is kept.

    Raises
    ------
    DatasetError
        If it is no such folder, a file is damaged or compressed, the files have other columns than each other, or
        labels are given.
    IntegrityError
        If the name of a file leads out of the folder.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("a data set of Hugging Face contains its labels; leave the label file out")
    splits = _names(path / _SPLITS, "splits") if (path / _SPLITS).is_file() else None
    paths: dict[str, Path] = {}
    tables: list[pd.DataFrame] = []
    of_split: list[str] = []
    column = None
    for split in [""] if splits is None else splits:
        folder = inside(path, split)
        class_names = class_names_of(_document(folder / _INFO).get("features"))
        for entry in _names(folder / _STATE, "_data_files"):
            name = f"{split}/{entry}".lstrip("/")
            paths[name] = inside(folder, entry)
            found, table = _read_table(paths[name], name, class_names)
            of_split.append(split)
            if column is not None and (found != column or list(table.columns) != list(tables[0].columns)):
                raise DatasetError(f"{paths[name]} has other columns than the first file of {path}; give one table")
            column = found
            tables.append(table)
    if column is None:
        raise DatasetError(f"{path} names no Arrow files in {_STATE}; save the data set again with save_to_disk")
    if splits is not None:
        add_splits(tables, of_split, path.resolve().name)
    folder = path.resolve()
    images = ArrowImages(folder, images_behind(folder) or FolderImages(folder), paths, column)
    return RawDataset(pd.concat(tables, ignore_index=True), images)


def _document(path: Path) -> dict[str, Any]:
    """Return a JSON object of the folder."""
    try:
        content = parse_json(read_document(path))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read ({one_line(error)}); a folder as Hugging Face's save_to_disk writes it was expected"
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no JSON object; save the data set again with save_to_disk")
    return content


def _names(path: Path, key: str) -> list[str]:
    """Return the names in a list of a JSON object, each given as a text or as its "filename"."""
    listed = _document(path).get(key)
    entries = listed if isinstance(listed, list) else [None]
    names = [each.get("filename") if isinstance(each, dict) else each for each in entries]
    texts = [name for name in names if isinstance(name, str) and name]
    if len(texts) < len(names):
        raise DatasetError(f"{path} has no list of names as {shown(key)}; save the data set again with save_to_disk")
    if len(set(texts)) < len(texts):
        raise DatasetError(f"{path} has a name twice in {shown(key)}; save the data set again with save_to_disk")
    return texts


def _read_table(path: Path, name: str, class_names: Mapping[str, list[str]]) -> tuple[str, pd.DataFrame]:
    """Return the name of the column of images, and the table of keys and attributes of one file."""
    try:
        file = ArrowFile(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}); get a new copy") from error
    try:
        column = image_column(file.schema, path)
        names = attribute_columns(file.schema, column)
        batches = [file.batch(number, [column, *names]) for number in range(len(file))]
        rows = sum(batch.num_rows for batch in batches)
        schema = pa.schema([file.schema.field(each) for each in names])
        attributes = pa.Table.from_batches([batch.select(names) for batch in batches], schema).to_pandas()
        return column, attribute_table(attributes.reindex(range(rows)), class_names, name)
    except (ValueError, pa.ArrowException) as error:  # also a name in the schema that is no UTF-8
        raise DatasetError(
            f"{path} cannot be read as Arrow ({one_line(error)}); it is damaged: get a new copy"
        ) from error
    finally:
        file.close()
