"""The samples of an output folder as a report shows them: columns, pictures, and what each was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from faceaug.appearance.image_stats import ImageStatsSample, measure_image_stats
from faceaug.shards.columns import EXTERNAL_ENGINE, SOURCE_COLUMNS, Column
from faceaug.shards.manifest import Manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.images import Rgb, decode_with_info
from faceaug.utils.typing import Floats

_IMAGES_MEASURED = 300  # samples whose image statistics are measured


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """The samples of all shards, in their order.

    Attributes
    ----------
    rows : sequence of (ShardReader, int)
        Shard and row of each sample.
    cells : int64 [N]
        Cell of each sample.
    engines : sequence of str, length N
        Engine of each sample.
    seeds : sequence of int, length N
    sources : sequence of tuples of bytes
        SHA-256 of the photographs that each sample was made from, the host first. Images that were made elsewhere are
        no photographs of the data set and are not among them.
    numbers : dict of str to float64 [N]
        Numeric columns by key; NaN where a sample has no value.
    edits : float64 [N]
        Euclidean length of the edit in the latent space; NaN without latents.
    columns : tuple of Column
        Of the manifest.
    """

    rows: Sequence[tuple[ShardReader, int]]
    cells: npt.NDArray[np.int64]
    engines: Sequence[str]
    seeds: Sequence[int]
    sources: Sequence[tuple[bytes, ...]]
    numbers: Mapping[str, Floats]
    edits: Floats
    columns: tuple[Column, ...]

    @classmethod
    def read(cls, shards: Sequence[ShardReader], manifest: Manifest) -> StoredSamples:
        """Read the columns of the samples in open shards."""
        by_key = {column.key: column for column in manifest.columns}
        numeric = [c for c in manifest.columns if c.type in ("float32", "float64")]
        levels = by_key["engine"].levels
        values = [shard.read_columns(manifest.columns) for shard in shards]
        engines = [levels[code] for each in values for code in each["engine"]]
        return cls(
            rows=[(shard, row) for shard in shards for row in range(len(shard))],
            cells=np.concatenate([np.zeros(0, np.int64), *(each["cell"] for each in values)]).astype(np.int64),
            engines=engines,
            seeds=[int(seed) for each in values for seed in each["seed"]],
            sources=[source for each, shard in zip(values, shards, strict=True) for source in _sources(each, shard)],
            numbers={column.key: _joined(column.key, values) for column in numeric},
            edits=np.concatenate([np.zeros(0), *map(_edit_lengths, values)]),
            columns=manifest.columns,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> Rgb:
        """Return the image of a sample, uint8 [H, W, 3]."""
        shard, row = self.rows[index]
        return shard.image(row)

    def latents(self, index: int) -> Floats:
        """Return the latents of a sample before and after its edit, float64 [2, D]."""
        shard, row = self.rows[index]
        return np.stack([shard.column(key, [row])[0] for key in ("origin_w", "w")]).astype(np.float64)

    def engine_counts(self, cells: int) -> dict[str, npt.NDArray[np.int64]]:
        """Return, for each engine that made a sample, the number of its samples in each cell: int64 [cells]."""
        names = np.array(self.engines, object)
        return {
            name: np.bincount(self.cells[names == name], minlength=cells).astype(np.int64)
            for name in dict.fromkeys(self.engines)
        }

    def image_stats(self) -> ImageStatsSample | None:
        """Measure the statistics of some stored images, spread evenly; None without a sample."""
        rows = [self.rows[i] for i in spread_evenly(np.arange(len(self.rows)), _IMAGES_MEASURED)]
        if not rows:
            return None
        return measure_image_stats(
            decode_with_info(shard.encoded(row), name=f"{shard.path}, row {row}") for shard, row in rows
        )


def spread_evenly(indices: npt.NDArray[np.int64], most: int) -> list[int]:
    """Return at most `most` of the indices, spread evenly over them."""
    if len(indices) > most:
        indices = indices[np.linspace(0, len(indices) - 1, most).round().astype(int)]
    return [int(i) for i in indices]


def _sources(values: Mapping[str, npt.NDArray[Any]], shard: ShardReader) -> Iterator[tuple[bytes, ...]]:
    known = [values[name] for name in SOURCE_COLUMNS if name in values]
    for row, elsewhere in enumerate(shard.made_by(EXTERNAL_ENGINE)):
        yield () if elsewhere else tuple(each[row].tobytes() for each in known if each[row].any())


def _joined(key: str, values: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Floats:
    parts = [each[key] if key in each else np.full(len(each["cell"]), np.nan) for each in values]
    return np.concatenate([np.zeros(0), *parts]).astype(np.float64)


def _edit_lengths(values: Mapping[str, npt.NDArray[Any]]) -> Floats:
    if "w" not in values or "origin_w" not in values:
        return np.full(len(values["cell"]), np.nan)
    return np.asarray(np.linalg.norm(values["w"].astype(np.float64) - values["origin_w"], axis=1))
