"""The embedder of dlib: 128 numbers a face. dlib finds and aligns it, `dlib_network` computes them.

Code and weights come from two packages of the extra ``faceaug[identity]``. Of face-recognition-models only the files of
weights are used: importing it would need pkg_resources, which new versions of setuptools do not have. The files are
checked by their hash before dlib reads them.

The five landmarks by which a face is aligned come from dlib's own 5-point model. The 68-point model that other programs
use was trained on iBUG 300-W, whose licence excludes commercial use; it is never opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from faceaug.errors import FaceaugError
from faceaug.identity.base import SamePerson
from faceaug.identity.dlib_network import CHIP_SIDE, DlibNetwork
from faceaug.utils.files import sha256_file
from faceaug.utils.images import Rgb, resize
from faceaug.utils.typing import Floats, Floats32

DLIB_INSTALL = "pip install dlib-bin and pip install --no-deps face-recognition-models==0.3.0"
WHOLE_PICTURE = (0.0, 0.0, 1.0, 1.0)
TIGHT_CROP = (0.07, 0.07, 0.91, 0.91)
"""Where the detector finds most faces of UTKFace, whose pictures are tight crops of one face."""
_WEIGHTS_PACKAGE = "face-recognition-models"
_RECOGNITION, _LANDMARKS = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"
_SHA256 = {
    _RECOGNITION: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    _LANDMARKS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
}
_DIMENSIONS = 128
_DETECTION_SIDE = 256
"""Pixels to which the shorter side is brought before detection. Of the sizes tried on UTKFace it finds the most faces,
at 200, 128 and 64 pixels alike (benchmarks/results/identity.json)."""
_LARGEST_SIDE = 1024  # of a picture in which a face may be small: second attempt at detection
_DETECTION_THRESHOLD = -0.3
"""Below dlib's 0: finds nearly all of the faces that 0 misses, most of them of young children. A picture is expected to
show a face, so that false detections matter less than missing ones."""
_CHIP_PADDING = 0.25  # of the aligned crops that the network was trained on


class DlibEmbedder:
    """Embeds faces by dlib's recognition network; a `FaceEmbedder`.

    Faces are found by the frontal detector (histograms of oriented gradients); of several, the one with the highest
    score counts. Pictures are processed one by one, so that a row is the same in any batch.

    Parameters
    ----------
    fallback : tuple of float, optional
        Left, top, right and bottom of the face in parts of width and height, for pictures in which no face is found:
        `WHOLE_PICTURE`, `TIGHT_CROP`, or others. When None, the row of such a picture is NaN.

    Raises
    ------
    FaceaugError
        When the packages are not installed, or the weights are not those of face-recognition-models 0.3.0.
    """

    licence = (
        "dlib: Boost Software License 1.0; weights: public domain or CC0 1.0, says their package. About half of the "
        "3 million training pictures of the recognition network are from FaceScrub and VGG Face, which were published "
        "for research; the rest was collected from the internet. The 68-point landmark model, whose training data "
        "exclude commercial use, is not used."
    )
    is_identity = True
    same_person = SamePerson(
        0.6,
        "the radius of the network's training loss; separates 99.38% of the pairs of Labeled Faces in the Wild, "
        "according to the author of dlib (dlib-models, dlib_face_recognition_resnet_model_v1)",
    )

    def __init__(self, fallback: tuple[float, float, float, float] | None = None) -> None:
        dlib, paths = _load_dlib(), _weight_files()
        self.sha256 = hashlib.sha256("".join(_SHA256[name] for name in sorted(_SHA256)).encode()).hexdigest()
        # With a fallback, some embeddings differ, which a cache of embeddings has to notice.
        self.name = "dlib" if fallback is None else f"dlib, fallback {fallback}"
        self._fallback = fallback
        self._dlib = dlib
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(paths[_LANDMARKS]))
        self._network = DlibNetwork(paths[_RECOGNITION].read_bytes()).eval()

    def __reduce__(self) -> tuple[Any, ...]:
        return DlibEmbedder, (self._fallback,)

    def embed(self, images: Sequence[Rgb], boxes: npt.ArrayLike | None = None) -> Floats32:
        """Return the embeddings float32 [N, 128] of pictures uint8 [H, W, 3].

        Parameters
        ----------
        images : sequence of uint8 [H, W, 3]
        boxes : float [N, 4], optional
            Left, top, right and bottom of each face in pixels, used where no face is found; NaN for unknown.
        """
        given = np.full((len(images), 4), np.nan) if boxes is None else np.asarray(boxes, np.float64)
        rows = np.full((len(images), _DIMENSIONS), np.nan, np.float32)
        for k, image in enumerate(images):
            chip = self._aligned(image, given[k])
            if chip is not None:
                face = torch.from_numpy(chip).permute(2, 0, 1)[None].float()
                with torch.inference_mode():
                    rows[k] = self._network(face)[0].numpy()
        return rows

    def landmarks(self, image: Rgb) -> Floats | None:
        """Return the five landmarks of a picture in its pixels, float64 [5, 2], or None where no face is found.

        They are the corners of both eyes, those of one eye after those of the other, and the base of the nose.
        """
        scaled, rectangle = self._detect(image)
        if rectangle is None:
            return None
        points = np.array([(point.x, point.y) for point in self._landmarks(scaled, rectangle).parts()], np.float64)
        return np.asarray(points * (image.shape[1] / scaled.shape[1]), np.float64)

    def _aligned(self, image: Rgb, box: Floats) -> Rgb | None:
        """Return the face upright at 150 pixels, or None where there is none."""
        scaled, rectangle = self._detect(image)
        if rectangle is None:
            height, width = image.shape[:2]
            if np.isfinite(box).all():
                shares = box / (width, height, width, height)
            elif self._fallback is not None:
                shares = np.array(self._fallback)
            else:
                return None
            rectangle = self._rectangle(shares, scaled)
        landmarks = self._landmarks(scaled, rectangle)
        return np.asarray(self._dlib.get_face_chip(scaled, landmarks, CHIP_SIDE, _CHIP_PADDING))

    def _detect(self, image: Rgb) -> tuple[Rgb, Any]:
        """Return the picture at the size of detection, and the box of its face there; None where none is found."""
        scaled = _with_shorter_side(image, _DETECTION_SIDE)
        found = self._detector.run(scaled, 0, _DETECTION_THRESHOLD)[0]
        shorter = min(image.shape[:2])
        if not len(found) and shorter > _DETECTION_SIDE:  # the face may be a small part of a large picture
            large = _with_shorter_side(image, min(shorter, _LARGEST_SIDE))
            found = self._detector.run(large, 0, 0.0)[0]
            scaled = large if len(found) else scaled
        return scaled, found[0] if len(found) else None

    def _rectangle(self, shares: Floats, scaled: Rgb) -> Any:
        height, width = scaled.shape[:2]
        return self._dlib.rectangle(*(round(float(v)) for v in shares * (width, height, width, height)))


def dlib_installed() -> bool:
    """Tell whether the packages of `DlibEmbedder` are installed."""
    try:
        return bool(_load_dlib() and distribution(_WEIGHTS_PACKAGE))
    except (FaceaugError, PackageNotFoundError):
        return False


def _load_dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise FaceaugError(
            f"people are compared by two packages that are not installed, those of faceaug[identity]: {DLIB_INSTALL}"
        ) from error
    return dlib


def _weight_files() -> dict[str, Path]:
    """Return the paths of the weights by name, once their hashes are checked."""
    try:
        files = {file.name: Path(str(file.locate())) for file in distribution(_WEIGHTS_PACKAGE).files or []}
    except PackageNotFoundError as error:
        raise FaceaugError(f"the package {_WEIGHTS_PACKAGE} is not installed: {DLIB_INSTALL}") from error
    for name, expected in _SHA256.items():
        if name not in files or not files[name].is_file():
            raise FaceaugError(f"the package {_WEIGHTS_PACKAGE} has no {name}; install it again: {DLIB_INSTALL}")
        sha256 = sha256_file(files[name])
        if sha256 != expected:
            raise FaceaugError(
                f"{name} of {_WEIGHTS_PACKAGE} has the SHA-256 {sha256[:16]}..., not {expected[:16]}...: another "
                f"version or a damaged file; install the right one: {DLIB_INSTALL}"
            )
    return files


def _with_shorter_side(image: Rgb, side: int) -> Rgb:
    height, width = image.shape[:2]
    scale = side / min(height, width)
    return resize(image, (max(side, round(height * scale)), max(side, round(width * scale))))
