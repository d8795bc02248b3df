"""The data set's photographs as an engine reads them, and samples as they will be stored."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.measurement.alignment import canvas_extent, lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator, Measurements
from faceaug.measurement.measure import load_estimator
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.writer import encoded
from faceaug.synthesis.request import RunRequest
from faceaug.utils.images import Codec, ImageInfo, Rgb, decode, decode_with_info
from faceaug.utils.typing import Floats, Floats32

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Photograph:
    """An image of the data set, decoded.

    Attributes
    ----------
    row : int
    sha256 : bytes
        Of its file.
    pixels : uint8 [H, W, 3]
    info : ImageInfo
    """

    row: int
    sha256: bytes
    pixels: Rgb
    info: ImageInfo


class OncePerPhotograph(Generic[_Value]):
    """What is computed of photographs, once each, by their rows; threads may ask at the same time.

    Parameters
    ----------
    compute : callable
        From the pixels uint8 [H, W, 3] of a photograph to the value.
    """

    def __init__(self, compute: Callable[[Rgb], _Value]) -> None:
        self._compute = compute
        self._known: dict[int, _Value] = {}
        self._lock = threading.Lock()

    def of(self, photograph: Photograph) -> _Value:
        """Return the value of a photograph."""
        return self.of_row(photograph.row, lambda row: photograph)

    def of_row(self, row: int, read: Callable[[int], Photograph]) -> _Value:
        """Return the value of the photograph of a row, which is read only where the value is not known."""
        with self._lock:
            if row in self._known:
                return self._known[row]
        value = self._compute(read(row).pixels)
        with self._lock:
            return self._known.setdefault(row, value)


def requested_estimator(request: RunRequest) -> FaceEstimator:
    """Return the estimator of a request; one that is loaded stays on the processor, as photographs do.

    Raises
    ------
    UsageError
        When a run is resumed with an estimator that has no hash.
    IntegrityError
        When the estimator's file cannot be read.
    """
    given = request.config.reconstruction
    estimator = given if isinstance(given, FaceEstimator) else load_estimator(given)
    if request.resume and not estimator.sha256:
        raise UsageError(
            "the estimator has no sha256, so faceaug cannot check that it is the one with which the run began: give it "
            "one, load it from a file with load_estimator, or run without resume in another folder"
        )
    return estimator


def read_photograph(dataset: FaceDataset, row: int) -> Photograph:
    """Read one image of a data set.

    Raises
    ------
    FaceaugError, OSError
        When its file cannot be read.
    """
    data = dataset.encoded(row)
    pixels, info = decode_with_info(data, name=dataset.keys[row], max_pixels=dataset.max_pixels)
    return Photograph(row, hashlib.sha256(data).digest(), pixels, info)


def stored_image(
    image: NDArray[np.uint8], codec: Codec | None, quality: int | None
) -> tuple[NDArray[np.uint8] | bytes, NDArray[np.uint8]]:
    """Return what of a picture is kept, and what a reader of the shard will see: uint8 [H, W, 3].

    Without a codec pixels are kept as they are.
    """
    if codec is None:
        return image, image
    data = encoded(image, codec, quality)
    return data, image if codec == "png" else decode(data)


def factor_values(measurements: Measurements, row: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """Return view and light of one of some measured pictures by name, and the confidence of each."""
    count = len(FACTOR_NAMES)
    values, confidence = measurements.values[row, :count].tolist(), measurements.confidence[row, :count].tolist()
    return dict(zip(FACTOR_NAMES, values, strict=True)), dict(zip(FACTOR_NAMES, confidence, strict=True))


def measured_near(
    estimator: FaceEstimator, canvases: Tensor, shorter: Tensor, near: Tensor, *, aligned: bool
) -> Floats:
    """Return view and light alone, float64 [N, 6], of pictures whose faces are near windows [N, 4].

    They are what `FaceEstimator.read` gives, also where that would refuse the picture and give NaN. An estimator with a
    reader needs no reconstruction for them.
    """
    aligner = estimator.aligner
    faces = aligner.crop_centre(canvases, shorter) if aligned else aligner.refine(canvases, near)
    values = estimator.read_framed(faces.images)
    values[:, FACTOR_NAMES.index("roll")] += np.degrees(faces.windows[:, 3].double().cpu().numpy())
    return values


def measured(
    estimator: FaceEstimator, pictures: Sequence[Rgb], *, aligned: bool, near: Tensor | None = None
) -> tuple[Measurements, Floats32]:
    """Measure pictures, and return where they lie on their canvases [N, 4], too; `near` as in `FaceEstimator.read`."""
    extents = np.array([canvas_extent(*picture.shape[:2]) for picture in pictures], np.float32)
    return estimator.read(*lay_on_canvases(pictures), aligned=aligned, near=near), extents
