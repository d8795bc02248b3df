"""faceaug's own output folders, read as a data set again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.errors import FaceaugError, ImageError, IntegrityError, TargetError
from faceaug.files import inside, sha256_file
from faceaug.shards.columns import Column
from faceaug.shards.manifest import FORMAT, NAME, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.targets.labels import refuse_reserved
from faceaug.targets.raw import RawTarget

GROUPS = ("attr", "semantic")  # what says something of the face; the rest says how the sample was made


@dataclass(frozen=True)
class ShardImages:
    """An ImageSource over the shards of a folder; a key is the shard's name, a colon, and the row."""

    readers: dict[str, ShardReader]

    def read(self, key: str) -> bytes:
        """Return the encoded image of a row, raw pixels as PNG."""
        name, _, row = key.rpartition(":")
        try:
            return self.readers[name].encoded(int(row))
        except (KeyError, ValueError, IndexError) as error:
            raise ImageError(f"no image is called {key!r}: a key is a shard's name, a colon and a row") from error
        except FaceaugError as error:
            raise ImageError(str(error)) from error


def detect(path: Path, labels: Path | None) -> bool:
    """A folder with a manifest.json of faceaug's, whatever its version."""
    try:
        manifest = json.loads((path / NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawTarget:
    """Read an output folder; its columns are the attributes (by their name) and semantics ("semantic/yaw").

    Raises
    ------
    TargetError
        When the run that wrote it did not finish, or wrote no sample, or labels are given besides.
    IntegrityError
        When the manifest or a shard does not match its hash, has an unknown version, or a name leads elsewhere.
    """
    if labels is not None or file_column is not None:
        raise TargetError("faceaug's shards hold their labels themselves: leave the labels out")
    manifest = read_manifest(path)
    if not manifest.complete:
        raise TargetError(f"the run that writes {path} has not finished: let it finish, or continue it with --resume")
    if not manifest.shards:
        raise TargetError(f"{path} holds no samples: no cell of its plan could be filled, so there is nothing to read")
    columns = [column for column in manifest.columns if column.group in GROUPS]
    refuse_reserved([column.key for column in columns])
    readers: dict[str, ShardReader] = {}
    parts = []
    for entry in manifest.shards:
        file = inside(path, entry.name)
        if not file.is_file() or sha256_file(file) != entry.sha256:
            raise IntegrityError(f"the shard {file} is missing or does not match its hash: run faceaug verify {path}")
        readers[entry.name] = ShardReader(file.resolve())
        parts.append(_rows(entry.name, readers[entry.name], columns))
    return RawTarget(pd.concat(parts, ignore_index=True), ShardImages(readers))


def _rows(name: str, reader: ShardReader, columns: list[Column]) -> pd.DataFrame:
    with reader:
        there = set(reader.keys)
        table: dict[str, Any] = {"key": [f"{name}:{row}" for row in range(reader.rows)]}
        for column in columns:
            if column.dataset not in there:  # a shard without the column: nothing is known
                table[column.key] = np.full(reader.rows, np.nan)
                continue
            values = reader.column(column.dataset)
            if column.type == "category":
                levels = np.array([*column.levels, np.nan], dtype=object)
                values = levels[np.where((values >= 0) & (values < len(column.levels)), values, -1)]
            table[column.key] = values
    return pd.DataFrame(table)
