"""The faces that a report shows: samples from the shards, real faces of each cell, and photographs of samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faceaug.analysis.axes import attribute, cell_codes
from faceaug.appearance.image_stats import ImageStatsSample, measure_image_stats
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError
from faceaug.planning.plan import Plan
from faceaug.shards.columns import EXTERNAL_ENGINE
from faceaug.shards.manifest import PLAN_NAME
from faceaug.shards.reader import ShardReader
from faceaug.utils.images import Rgb, decode_with_info, resize
from faceaug.utils.threads import map_in_threads

REAL_SHOWN = 12
"""Most real faces of a cell on a contact sheet: one row."""
SYNTHETIC_SHOWN = 36
"""Most synthetic faces of a cell on a contact sheet: three rows."""
PAIRS_SHOWN = 24
"""Most pairs of a photograph and the face made from it on a contact sheet: two rows."""
_IMAGES_MEASURED = 300  # samples whose image statistics are measured
_PAIR_SIDE = 192  # pixels of the shorter side to which images of pairs are reduced


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """The samples of all shards, in their order.

    Attributes
    ----------
    rows : sequence of (ShardReader, int)
        Shard and row of each sample.
    cells : int64 [N]
        Cell of each sample.
    sources : sequence of bytes
        SHA-256 of the photograph that each sample was made from; empty for a sample without one.
    """

    rows: Sequence[tuple[ShardReader, int]]
    cells: npt.NDArray[np.int64]
    sources: Sequence[bytes]

    @classmethod
    def read(cls, shards: Sequence[ShardReader]) -> StoredSamples:
        """Read the cells and sources of the samples in open shards."""
        return cls(
            rows=[(shard, row) for shard in shards for row in range(len(shard))],
            cells=np.concatenate([np.zeros(0, np.int64), *(shard.column("cell") for shard in shards)]),
            sources=[source for shard in shards for source in _sources(shard)],
        )

    def image(self, index: int) -> Rgb:
        """Return the image of a sample, uint8 [H, W, 3]."""
        shard, row = self.rows[index]
        return shard.image(row)

    def image_stats(self) -> ImageStatsSample | None:
        """Measure the statistics of some stored images, spread evenly; None without a sample."""
        rows = [self.rows[i] for i in _spread(np.arange(len(self.rows)), _IMAGES_MEASURED)]
        if not rows:
            return None
        return measure_image_stats(
            decode_with_info(shard.encoded(row), name=f"{shard.path}, row {row}") for shard, row in rows
        )


@dataclass(frozen=True, eq=False)
class SyntheticFaces:
    """The samples that a report shows.

    Attributes
    ----------
    singles : list of lists of uint8 [H, W, 3]
        By cell: samples that are shown alone.
    pairs : list of lists of (photograph, sample), each uint8 [H, W, 3]
        By cell: samples that are shown below the photograph that they were made from.
    photographs_missing : int
        Photographs that the data set does not have any more.
    """

    singles: list[list[Rgb]]
    pairs: list[list[tuple[Rgb, Rgb]]]
    photographs_missing: int


def choose_synthetic_faces(
    samples: StoredSamples, cell_count: int, dataset: FaceDataset | None, real_faces: bool
) -> SyntheticFaces:
    """Choose the samples that are shown of each cell, and find the photographs that they were made from.

    A sample whose photograph is not found is shown alone. Without `real_faces`, samples made from photographs are left
    out, since they show, or resemble, real people.
    """
    has_source = np.array([bool(source) for source in samples.sources], bool)
    sourced = [
        list(_spread(np.flatnonzero(has_source & (samples.cells == k)), PAIRS_SHOWN)) if real_faces else []
        for k in range(cell_count)
    ]
    requested = {samples.sources[i] for chosen in sourced for i in chosen} if dataset is not None else set()
    photographs = _find_photographs(dataset, requested) if dataset is not None else {}
    singles, pairs = [], []
    for k, chosen in enumerate(sourced):
        alone = ~has_source & (samples.cells == k)
        alone[[i for i in chosen if samples.sources[i] not in photographs]] = True
        singles.append([samples.image(i) for i in _spread(np.flatnonzero(alone), SYNTHETIC_SHOWN)])
        paired = [i for i in chosen if samples.sources[i] in photographs]
        pairs.append([(photographs[samples.sources[i]], _reduced(samples.image(i))) for i in paired])
    return SyntheticFaces(singles, pairs, len(requested - photographs.keys()))


def choose_real_faces(out: Path, dataset: FaceDataset) -> dict[int, list[Rgb]]:
    """Return some real faces of each cell of the plan in an output folder; images that cannot be read are left out."""
    axes = Plan.read(out / PLAN_NAME).axes
    codes = cell_codes([axis.assign(attribute(dataset.table, axis.name)) for axis in axes], axes)
    chosen = {int(k): _spread(np.flatnonzero(codes == k), REAL_SHOWN) for k in np.unique(codes[codes >= 0])}
    return {k: list(_readable_images(dataset, indices)) for k, indices in chosen.items()}


def _sources(shard: ShardReader) -> list[bytes]:
    if "source_sha256" not in shard.keys:
        return [b""] * len(shard)
    made_elsewhere = shard.made_by(EXTERNAL_ENGINE)  # their source is no photograph of the data set
    digests = zip(shard.column("source_sha256"), made_elsewhere, strict=True)
    return [digest.tobytes() if digest.any() and not elsewhere else b"" for digest, elsewhere in digests]


def _find_photographs(dataset: FaceDataset, digests: set[bytes]) -> dict[bytes, Rgb]:
    """Return the images of a data set whose files have these SHA-256; files that cannot be read are left out."""

    def read_if_requested(row: int) -> tuple[bytes, Rgb] | None:
        try:
            digest = hashlib.sha256(dataset.encoded(row)).digest()
            return (digest, _reduced(dataset.image(row))) if digest in digests else None
        except (FaceaugError, OSError):
            return None

    photographs: dict[bytes, Rgb] = {}
    for photograph in map_in_threads(read_if_requested, len(dataset)) if digests else ():
        photographs.update([photograph] if photograph else [])
        if len(photographs) == len(digests):
            break
    return photographs


def _reduced(image: Rgb) -> Rgb:
    """Reduce a large image, since those of all cells are in memory together."""
    height, width = image.shape[:2]
    scale = min(1.0, _PAIR_SIDE / min(height, width))
    return resize(image, (round(height * scale), round(width * scale)))


def _readable_images(dataset: FaceDataset, indices: Iterator[int]) -> Iterator[Rgb]:
    for i in indices:
        try:
            yield dataset.image(i)
        except (FaceaugError, OSError):
            continue


def _spread(indices: npt.NDArray[np.int64], most: int) -> Iterator[int]:
    """Return at most `most` of the indices, spread evenly over them."""
    if len(indices) > most:
        indices = indices[np.linspace(0, len(indices) - 1, most).round().astype(int)]
    return (int(i) for i in indices)
