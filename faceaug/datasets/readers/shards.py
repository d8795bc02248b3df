"""Output folders of faceaug, read as data sets."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.datasets.base import RawDataset
from faceaug.datasets.label_file import refuse_reserved
from faceaug.errors import DatasetError, FaceaugError, ImageError, IntegrityError
from faceaug.shards.columns import Column
from faceaug.shards.manifest import MANIFEST_FORMAT, read_manifest, stated_format
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, sha256_file
from faceaug.utils.text import shown

GROUPS = ("attr", "semantic")  # columns that describe the face; the others describe how the sample was synthesized


class ShardImages:
    """An ImageSource over the shards of a folder; a key is the shard's name, a colon, and the row.

    At most `max_open` shards are open at a time, those that were read last.
    """

    def __init__(self, paths: Mapping[str, Path], max_open: int = 16) -> None:
        self._paths = dict(paths)
        self._max_open = max_open
        self._open: OrderedDict[str, ShardReader] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        """Return the encoded image of a row, raw pixels as PNG."""
        name, _, row = key.rpartition(":")
        try:
            with self._lock:  # HDF5 reads one at a time anyway
                return self._reader(name).encoded(int(row))
        except (KeyError, ValueError, IndexError) as error:
            raise ImageError(
                f"there is no image {shown(key)}; a key is a name of a shard, a colon and a row"
            ) from error
        except FaceaugError as error:
            raise ImageError(str(error)) from error

    def close(self) -> None:
        """Close all shards; a later read opens its own again."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _reader(self, name: str) -> ShardReader:
        reader = self._open.pop(name, None) or ShardReader(self._paths[name])
        self._open[name] = reader
        if len(self._open) > self._max_open:
            self._open.popitem(last=False)[1].close()
        return reader

    def __reduce__(self) -> tuple[type[ShardImages], tuple[dict[str, Path], int]]:
        return ShardImages, (self._paths, self._max_open)


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a folder has a manifest.json of faceaug, of any version."""
    try:
        return bool(stated_format(path) == MANIFEST_FORMAT)
    except IntegrityError:  # there is none, or it is no JSON
        return False


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read an output folder; its columns are the attributes (by their name) and semantics ("semantic/yaw").

    Raises
    ------
    DatasetError
        If the run that wrote it did not finish or wrote no sample, or labels are given.
    IntegrityError
        If the manifest or a shard does not match its hash, has an unknown version, or a name leads out of the folder.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("an output folder of faceaug contains its labels; leave the label file out")
    manifest = read_manifest(path)
    if not manifest.complete:
        raise DatasetError(f"the run that writes {path} has not finished; let it finish, or continue it with --resume")
    if not manifest.shards:
        raise DatasetError(f"{path} has no samples, because no cell of its plan could be filled")
    columns = [column for column in manifest.columns if column.group in GROUPS]
    refuse_reserved([column.key for column in columns])
    paths: dict[str, Path] = {}
    parts = []
    for entry in manifest.shards:
        file = inside(path, entry.name)
        if not file.is_file() or sha256_file(file) != entry.sha256:
            raise IntegrityError(f"the shard {file} is missing or does not match its hash; run faceaug verify {path}")
        paths[entry.name] = file.resolve()
        parts.append(_rows(entry.name, ShardReader(file), columns))
    return RawDataset(pd.concat(parts, ignore_index=True), ShardImages(paths))


def _rows(name: str, reader: ShardReader, columns: list[Column]) -> pd.DataFrame:
    with reader:
        present = set(reader.keys)
        table: dict[str, Any] = {"key": [f"{name}:{row}" for row in range(reader.rows)]}
        for column in columns:
            if column.path not in present:  # a shard without the column has no values
                table[column.key] = np.full(reader.rows, np.nan)
                continue
            values = reader.values(column)
            if column.type == "category":
                levels = np.array([*column.levels, np.nan], dtype=object)
                values = levels[values]
            table[column.key] = values
    return pd.DataFrame(table)
