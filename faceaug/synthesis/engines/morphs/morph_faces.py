"""The faces of a data set that morphs are made of, read once and kept in the canonical frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError
from faceaug.measurement.estimator import FaceEstimator
from faceaug.morphing.donors import DonorIndex
from faceaug.morphing.face import (
    BYTES_PER_FACE,
    DESCRIPTOR_SHAPE,
    CanonicalFace,
    canonical_faces,
    measured_descriptors,
)
from faceaug.planning.plan import Plan
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.synthesis.acceptance.near_duplicates import map_hashes
from faceaug.synthesis.engines.morphs.attempt import MeasuredMorph
from faceaug.synthesis.engines.photographs import Photograph, measured, read_photograph
from faceaug.synthesis.request import cells_of
from faceaug.synthesis.sample_columns import KeptLabels
from faceaug.utils.images import Rgb
from faceaug.utils.threads import map_in_order
from faceaug.utils.typing import Floats, Floats32

MEASURED_TOGETHER = 4
"""Morphs that are measured together. Fewer are filled up: among another number of pictures, the last bits would be
others, and what is read off a morph must be the same when an interrupted run reads it again."""
READ_TOGETHER = 16
"""Photographs that are measured together, whatever the number of workers."""
MAX_FACES = 20_000
"""Faces that are kept at most; of more, each cell gives the same share, drawn by the seed."""


@dataclass(frozen=True, eq=False)
class MorphFaces:
    """The faces of the cells of a plan.

    Attributes
    ----------
    by_cell : dict of int to DonorIndex
        Cells with at least one face.
    skipped : dict of int to int
        By cell, its photographs in which no face was found or that cannot be read.
    """

    by_cell: dict[int, DonorIndex]
    skipped: dict[int, int]

    @property
    def count(self) -> int:
        """Number of faces."""
        return sum(len(index) for index in self.by_cell.values())

    @property
    def byte_count(self) -> int:
        """Memory that they take."""
        return self.count * BYTES_PER_FACE

    @property
    def rows(self) -> list[int]:
        """Rows of all faces, sorted."""
        return sorted(face.row for index in self.by_cell.values() for face in index.faces)

    @cached_property
    def windows(self) -> dict[bytes, Floats32]:
        """The window [4] of the face in each file, by its hash; of copies of a file, that of the first row."""
        faces = (face for index in self.by_cell.values() for face in index.faces)
        return {face.sha256: face.window for face in sorted(faces, key=lambda face: -face.row)}

    def hashes(self) -> NDArray[np.uint64]:
        """Return the perceptual hashes of all faces."""
        faces = [face for index in self.by_cell.values() for face in index.faces]
        return face_hashes(faces) if faces else np.empty(0, np.uint64)


def face_hashes(faces: Sequence[CanonicalFace]) -> NDArray[np.uint64]:
    """Return perceptual hashes [N] of the features of faces, whatever surrounds them."""
    return descriptor_hashes(np.stack([face.descriptor for face in faces]))


def descriptor_hashes(descriptors: Floats32) -> NDArray[np.uint64]:
    """Return the same of descriptors of faces, float32 [N, D]."""
    return map_hashes(descriptors.reshape(-1, *DESCRIPTOR_SHAPE))


def rows_of_cells(dataset: FaceDataset, plan: Plan, seed: int, *, every: bool = False) -> dict[int, NDArray[np.int64]]:
    """Return the rows that are read for each cell that is planned, or for every cell, sorted."""
    codes = cells_of(dataset, plan.axes)
    rows = {cell.index: np.flatnonzero(codes == cell.index) for cell in plan.cells if cell.planned or every}
    if sum(map(len, rows.values())) <= MAX_FACES:
        return rows
    share = max(2, MAX_FACES // len(rows))
    chosen = {}
    for cell, all_rows in rows.items():
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(cell, _SUBSET))))
        chosen[cell] = np.sort(rng.permutation(all_rows)[:share])
    return chosen


def read_faces(
    dataset: FaceDataset,
    rows: dict[int, NDArray[np.int64]],
    estimator: FaceEstimator,
    labels: LabelDistances,
    *,
    aligned: bool,
    workers: int,
    progress: Callable[[int, int], None],
) -> MorphFaces:
    """Read the faces of cells."""
    found: dict[int, CanonicalFace] = {}
    every = np.sort(np.concatenate([*rows.values(), np.empty(0, np.int64)])).tolist()

    def read(batch: list[int]) -> list[CanonicalFace | None]:
        torch.set_num_threads(1)
        photographs = list(_readable(dataset, batch))
        if not photographs:
            return []
        pixels = [photograph.pixels for photograph in photographs]
        values, extents = measured(estimator, pixels, aligned=aligned)
        digests = [photograph.sha256 for photograph in photographs]
        return canonical_faces([photograph.row for photograph in photographs], digests, pixels, extents, values)

    batches = (every[start : start + READ_TOGETHER] for start in range(0, len(every), READ_TOGETHER))
    progress(0, len(every))
    with ThreadPoolExecutor(workers, thread_name_prefix="faceaug-faces") as pool:
        for number, faces in enumerate(map_in_order(pool, read, batches, 2 * workers), 1):
            found.update({face.row: face for face in faces if face is not None})
            progress(min(number * READ_TOGETHER, len(every)), len(every))
    by_cell, skipped = {}, {}
    for cell, own in rows.items():
        faces_of_cell = [found[row] for row in own.tolist() if row in found]
        skipped[cell] = len(own) - len(faces_of_cell)
        if faces_of_cell:
            by_cell[cell] = labels.index(faces_of_cell)
    return MorphFaces(by_cell, skipped)


def measure_morphs(
    estimator: FaceEstimator, pictures: Sequence[Rgb], windows: Sequence[Floats32], *, aligned: bool
) -> Iterator[MeasuredMorph]:
    """Yield what is read off morphs, the same whatever other morphs there are.

    Parameters
    ----------
    estimator : FaceEstimator
    pictures : sequence of uint8 [H, W, 3]
    windows : sequence of float32 [4]
        Where the faces of their hosts are, and so theirs.
    aligned : bool
    """
    count = len(FACTOR_NAMES)
    for start in range(0, len(pictures), MEASURED_TOGETHER):
        few = list(pictures[start : start + MEASURED_TOGETHER])
        rows = [start + min(k, len(few) - 1) for k in range(MEASURED_TOGETHER)]
        near = torch.from_numpy(np.stack([windows[row] for row in rows]))
        read, extents = measured(estimator, [pictures[row] for row in rows], aligned=aligned, near=near)
        for k, descriptor in enumerate(measured_descriptors(few, extents, read)):
            yield MeasuredMorph(descriptor, read.values[k, :count], read.confidence[k, :count])


class LabelDistances:
    """What of the labels of a data set donors should share with their host.

    Parameters
    ----------
    labels : KeptLabels
        Labels that samples can carry.
    axes : sequence of Axis
        Of the plan; a class of these is the same for all faces of a cell.
    furthest : float
        Threshold `label_distance`.
    """

    def __init__(self, labels: KeptLabels, axes: Sequence[Axis], furthest: float) -> None:
        classes = {axis.name for axis in axes if axis.edges is None}
        self._furthest = furthest
        columns = [column for column in labels.columns if column.name not in classes]
        self.is_numeric = np.array([column.type != "category" for column in columns], bool)
        self._values = [
            _quantiles(labels.values[column.name]) if numeric else _codes(labels.values[column.name])
            for column, numeric in zip(columns, self.is_numeric, strict=True)
        ]

    def index(self, faces: Sequence[CanonicalFace]) -> DonorIndex:
        """Return the index of the faces of one cell."""
        rows = [face.row for face in faces]
        values = np.stack([column[rows] for column in self._values], 1) if self._values else np.empty((len(rows), 0))
        return DonorIndex(faces, values, self.is_numeric, self._furthest)


def _readable(dataset: FaceDataset, rows: Sequence[int]) -> Iterator[Photograph]:
    for row in rows:
        try:
            yield read_photograph(dataset, row)
        except (FaceaugError, OSError):
            continue


def _quantiles(values: Sequence[Any]) -> Floats:
    """Return the share of faces with a lower value, in [0, 1]; NaN where there is none."""
    array = np.array([np.nan if value is None else float(value) for value in values])
    finite = np.sort(array[np.isfinite(array)])
    middle = (np.searchsorted(finite, array, "left") + np.searchsorted(finite, array, "right")) / 2
    return np.where(np.isfinite(array), middle / max(1, len(finite)), np.nan)


def _codes(values: Sequence[Any]) -> Floats:
    known = {value: code for code, value in enumerate(sorted({str(v) for v in values if v is not None}))}
    return np.array([np.nan if value is None else float(known[str(value)]) for value in values])


_SUBSET = 2**32 - 5  # spawn key of the faces that are read of a large cell
