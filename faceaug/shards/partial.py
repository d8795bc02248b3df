"""Partial shards: a shard that is not full yet lies on disk as a part, so that an interruption loses no sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.shards.columns import MISSING_CODE, SOURCE_COLUMNS, Column
from faceaug.shards.manifest import ShardEntry
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import NO_IMAGE, EncodedSample, Sample


def shard_name(number: int, partial_rows: int | None = None) -> str:
    """Return the file name of a shard, or of a part with so many rows (a longer part is a different file)."""
    return f"{number:05d}.h5" if partial_rows is None else f"{number:05d}.part{partial_rows}.h5"


def is_part(entry: ShardEntry) -> bool:
    """Return whether a listed shard is a part, which the full shard will replace."""
    return ".part" in entry.name


def is_shard_name(name: str) -> bool:
    """Return whether a path inside an output folder is one that faceaug gives to shards and parts."""
    return re.fullmatch(r"shards/\d{5,}(\.part\d+)?\.h5", name) is not None


def read_encoded_samples(reader: ShardReader, columns: Sequence[Column]) -> list[EncodedSample]:
    """Return the samples of a shard as they were before they were written; writing them again gives the same bytes.

    Parameters
    ----------
    reader : ShardReader
    columns : sequence of Column
        All columns of the shard, as the manifest lists them.

    Raises
    ------
    IntegrityError
        When the shard is damaged.
    """
    values = reader.read_columns(columns)
    rows = range(reader.rows)
    return [
        EncodedSample(data, reader.pixel_shape, values["sha256"][row].tobytes(), _sample(row, values, columns))
        for row, data in zip(rows, reader.stored_many(rows), strict=True)
    ]


def _sample(row: int, values: Mapping[str, NDArray[Any]], columns: Sequence[Column]) -> Sample:
    by_group: dict[str, dict[str, Any]] = {"attr": {}, "attr_confidence": {}, "semantic": {}, "harmonize": {}}
    engine = ""
    for column in columns:
        if column.key == "engine":
            engine = column.levels[values["engine"][row]]
        if column.group in by_group:
            value = values[column.key][row]
            if column.levels and value >= 0:
                by_group[column.group][column.name] = column.levels[value]
            elif not column.levels and not np.isnan(value):
                by_group[column.group][column.name] = float(value)
    source, *donors = (values[name][row].tobytes() if name in values else b"" for name in SOURCE_COLUMNS)
    quality = int(values["quality"][row])
    return Sample(
        image=NO_IMAGE,
        w=_latent(values.get("w"), row),
        origin_w=_latent(values.get("origin_w"), row),
        engine=engine,
        source_sha256=source if any(source) else None,
        cell=int(values["cell"][row]),
        plausibility=float(values["plausibility"][row]),
        realism=float(values["realism"][row]),
        seed=int(values["seed"][row]),
        quality=None if quality == MISSING_CODE else quality,
        donors=tuple(donor for donor in donors if any(donor)),
        **by_group,
    )


def _latent(values: NDArray[np.float32] | None, row: int) -> NDArray[np.float32] | None:
    return None if values is None or np.isnan(values[row]).all() else values[row].copy()
