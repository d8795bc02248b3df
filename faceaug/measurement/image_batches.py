"""Photographs to measure, and the measurement of a batch of them: the same wherever it is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from faceaug.cluster.ray_cluster import RayCluster, RemoteTask, prepared
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError, FaceaugError
from faceaug.measurement.alignment import lay_on_canvas, stack_canvases
from faceaug.measurement.estimator import FaceEstimator
from faceaug.utils.images import Rgb, decode
from faceaug.utils.typing import Floats

MIN_SIDE = 24
"""Shorter side of an image in pixels below which it is refused."""
UNREADABLE, TOO_SMALL, BLANK = "unreadable", f"smaller than {MIN_SIDE} pixels", "blank"
_BLANK_CONTRAST = 4.0  # standard deviation of all values in 0 to 255 below which an image is blank


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images to measure.

    Attributes
    ----------
    names : tuple of str
        For error messages and the table.
    encoded : callable
        From index to the encoded bytes.
    max_pixels : int
        Largest number of pixels of an image that is decoded.
    """

    names: tuple[str, ...]
    encoded: Callable[[int], bytes]
    max_pixels: int

    @classmethod
    def of_dataset(cls, dataset: FaceDataset) -> EncodedImages:
        """Return the images of a data set."""
        return cls(tuple(dataset.keys), dataset.encoded, dataset.max_pixels)

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> EncodedImages:
        """Return the images in files."""
        files = [path.absolute() for path in paths]  # the nodes of a cluster may be at work in another folder
        return cls(tuple(map(str, paths)), lambda index: files[index].read_bytes(), FaceDataset.max_pixels)

    def __len__(self) -> int:
        return len(self.names)

    def load_canvas(self, index: int) -> tuple[Rgb, float] | str:
        """Return an image on its canvas (`alignment.lay_on_canvas`), or why it cannot be measured."""
        return self.load_hashed(index)[0]

    def load_hashed(self, index: int) -> tuple[tuple[Rgb, float] | str, bytes]:
        """Return what `load_canvas` does, and the SHA-256 of the bytes that were read; nothing where none were."""
        try:
            data = self.encoded(index)
        except (FaceaugError, OSError):
            return UNREADABLE, b""
        return self._canvas_of(index, data), hashlib.sha256(data).digest()

    def _canvas_of(self, index: int, data: bytes) -> tuple[Rgb, float] | str:
        try:
            image = decode(data, name=self.names[index], max_pixels=self.max_pixels)
        except (FaceaugError, OSError):
            return UNREADABLE
        if min(image.shape[:2]) < MIN_SIDE:
            return TOO_SMALL
        canvas, shorter = lay_on_canvas(image)
        return BLANK if _contrast(canvas) < _BLANK_CONTRAST else (canvas, shorter)


def _contrast(canvas: Rgb) -> float:
    """Return the standard deviation of all values, a tenth as slow as numpy's."""
    import cv2  # only here, since it takes a tenth of a second

    return float(cv2.meanStdDev(canvas.reshape(-1, 1))[1][0, 0])


@dataclass(frozen=True, eq=False)
class MeasuredBatch:
    """Measurements of N images.

    Attributes
    ----------
    values : float64 [N, S]
        A column for each of `FaceEstimator.column_names`; NaN where the estimate is refused.
    confidence : float64 [N, S]
    reasons : list of str
        Why the estimate is refused, or an empty text.
    digests : list of bytes
        SHA-256 of the encoded bytes that were read; nothing where none could be.
    """

    values: Floats
    confidence: Floats
    reasons: list[str]
    digests: list[bytes]


def measure_batch(images: EncodedImages, estimator: FaceEstimator, aligned: bool, rows: range) -> MeasuredBatch:
    """Measure some images together, in one thread.

    Parameters
    ----------
    images : EncodedImages
    estimator : FaceEstimator
    aligned : bool
        As in `faceaug.measurement.measure.measure`.
    rows : range
        The images.
    """
    hashed = [images.load_hashed(row) for row in rows]
    loaded, digests = [canvas for canvas, _ in hashed], [digest for _, digest in hashed]
    found = [k for k, canvas in enumerate(loaded) if not isinstance(canvas, str)]
    reasons = [canvas if isinstance(canvas, str) else "" for canvas in loaded]
    shape = len(rows), len(estimator.column_names)
    values, confidence = np.full(shape, np.nan), np.zeros(shape)
    if found:
        canvases = [canvas for canvas in loaded if not isinstance(canvas, str)]
        read = estimator.read(*stack_canvases(canvases), aligned=aligned)
        values[found] = np.column_stack([read.values, read.skin_tone])
        confidence[found] = np.column_stack([read.confidence, read.skin_tone_confidence])
        for k, reason in zip(found, read.refusals, strict=True):
            reasons[k] = reason
    return MeasuredBatch(values, confidence, reasons, digests)


def measure_on_ray(
    cluster: RayCluster, box: list[Any], images: EncodedImages, first: int, batches: Sequence[range], ended: Event
) -> Iterator[MeasuredBatch]:
    """Yield the measurements of batches, computed by a cluster.

    Parameters
    ----------
    cluster : RayCluster
    box : list
        Shared by it: all images, the estimator and `aligned`, as in `measure_batch`.
    images : EncodedImages
        Those of the batches, as this process reads them.
    first : int
        The place of the first of `images` among all.
    batches : sequence of range
        Rows of `images`.
    ended : Event
        Set where the measurements are not wanted any more: CancelledError is raised with the next one.

    Raises
    ------
    DatasetError
        When a node cannot read an image that this process can read.
    """

    def begin(rows: range) -> RemoteTask[MeasuredBatch]:
        moved = range(first + rows.start, first + rows.stop)
        return cluster.submit(_measure_remotely, box, moved, arrived=partial(arrived, rows))

    def arrived(rows: range, batch: MeasuredBatch) -> MeasuredBatch:
        if ended.is_set():  # so that the batches that wait for a worker are cancelled
            raise CancelledError
        _check_read(images, rows, batch)
        return batch

    yield from cluster.in_order(map(begin, batches))


def _measure_remotely(box: list[Any], rows: range) -> MeasuredBatch:
    shared: tuple[EncodedImages, FaceEstimator, bool] = prepared(box)
    return measure_batch(*shared, rows)


def _check_read(images: EncodedImages, rows: range, batch: MeasuredBatch) -> None:
    """Raise DatasetError where a node could not read an image that this process can read."""
    for row, reason in zip(rows, batch.reasons, strict=True):
        if reason == UNREADABLE and images.load_canvas(row) != UNREADABLE:
            raise DatasetError(
                f"a node of the Ray cluster cannot read {images.names[row]}, which can be read here: let all nodes "
                "have the images under the same path, and run the same command again"
            )
