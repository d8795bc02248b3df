"""Parts: a shard that is not full yet, on disk so that an interruption loses nothing, and taken back into memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.shards.columns import ENGINES, MISSING, Column
from faceaug.shards.manifest import ShardEntry
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import NO_IMAGE, EncodedSample, Sample


def shard_name(number: int, part: int | None = None) -> str:
    """Return the file name of a shard, or of a part with that many of its samples (a longer part is another file)."""
    return f"{number:05d}.h5" if part is None else f"{number:05d}.part{part}.h5"


def is_part(entry: ShardEntry) -> bool:
    """Say whether a listed shard is a part, to be replaced by the full one."""
    return ".part" in entry.name


def is_shard_name(name: str) -> bool:
    """Say whether a path in an output folder is one that faceaug gives to shards and parts."""
    return re.fullmatch(r"shards/\d{5,}(\.part\d+)?\.h5", name) is not None


def records_of(reader: ShardReader, columns: Sequence[Column]) -> list[EncodedSample]:
    """Return the samples of a shard as they were before they were written: writing them again gives the same bytes."""
    there = set(reader.keys)
    values = {c.key: reader.column(c.dataset) for c in columns if c.dataset in there}
    rows = range(reader.rows)
    return [
        EncodedSample(data, reader.pixel_shape, values["sha256"][row].tobytes(), _sample(row, values, columns))
        for row, data in zip(rows, reader.stored_many(rows), strict=True)
    ]


def _sample(row: int, values: Mapping[str, NDArray[Any]], columns: Sequence[Column]) -> Sample:
    named: dict[str, dict[str, Any]] = {"attr": {}, "attr_confidence": {}, "semantic": {}, "finish": {}}
    for column in columns:
        if column.group in named:
            value = values[column.key][row]
            if column.levels and value >= 0:
                named[column.group][column.name] = column.levels[value]
            elif not column.levels and not np.isnan(value):
                named[column.group][column.name] = float(value)
    source = values["source_sha256"][row].tobytes() if "source_sha256" in values else b""
    quality = int(values["quality"][row])
    return Sample(
        image=NO_IMAGE,
        w=_latent(values.get("w"), row),
        origin_w=_latent(values.get("origin_w"), row),
        engine=ENGINES[values["engine"][row]],
        source_sha256=source if any(source) else None,
        finish=named["finish"],
        cell=int(values["cell"][row]),
        attr=named["attr"],
        attr_confidence=named["attr_confidence"],
        semantic=named["semantic"],
        plausibility=float(values["plausibility"][row]),
        realism=float(values["realism"][row]),
        seed=int(values["seed"][row]),
        quality=None if quality == MISSING else quality,
    )


def _latent(values: NDArray[np.float32] | None, row: int) -> NDArray[np.float32] | None:
    return None if values is None or np.isnan(values[row]).all() else values[row].copy()
