"""Registration of canonical pictures: a small smooth displacement that brings the features of one face onto another's.

Dense inverse search optical flow (Kroeger, Timofte, Dai, Van Gool, ECCV 2016, arXiv 1603.03590) runs between canonical
pictures whose local contrast is normalized, forwards and backwards. Where the two directions disagree, the displacement
is that of the surroundings.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from faceaug.utils.typing import Floats32

_MEAN_SIGMA, _CONTRAST_SIGMA = 8.0, 12.0  # pixels, of the local mean and of the local contrast
_CONTRAST, _LEAST_CONTRAST = 48.0, 6.0  # grey levels
_FINEST_SCALE = 1  # of the pyramid of the flow: at half resolution, since finer flow follows skin and hair
_DESCENT_STEPS, _REFINEMENTS = 12, 2  # of the flow, half as many as OpenCV's medium preset: landmarks agree as well
_TOLERANCE = 1.5  # pixels by which the two directions may disagree
_SMOOTHING = 4.0  # pixels
_LARGEST = 9.0  # pixels; faces in the frame are nearer than this
_flows = threading.local()


@dataclass(frozen=True, eq=False)
class Registration:
    """The displacement from one canonical picture to another.

    Attributes
    ----------
    flow : float32 [P, P, 2]
        What the first picture shows at x, the second shows at x + flow, in half sides of the canonical square.
    confidence : float32 [P, P] in [0, 1]
        How well the directions forwards and backwards agree.
    residual : float32 [P, P]
        Difference of the pictures after registration, in local standard deviations.
    """

    flow: Floats32
    confidence: Floats32
    residual: Floats32


def normalize_contrast(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the details of a canonical picture uint8 [P, P, 3], whatever its light and colour: uint8 [P, P]."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), _MEAN_SIGMA)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _CONTRAST_SIGMA)) + _LEAST_CONTRAST
    return np.clip(128 + detail / contrast * _CONTRAST, 0, 255).astype(np.uint8)


def register(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Registration:
    """Register pictures with normalized contrast, uint8 [P, P]."""
    side = len(first)
    flow, back = _flow(first, second), _flow(second, first)
    ys, xs = _positions(side)
    returned = _look_up(back, xs + flow[..., 0], ys + flow[..., 1])
    agreement = np.exp(-((np.linalg.norm(flow + returned, axis=-1) / _TOLERANCE) ** 2)).astype(np.float32)
    weight = cv2.GaussianBlur(agreement, (0, 0), _SMOOTHING)
    smooth = cv2.GaussianBlur(flow * agreement[..., None], (0, 0), _SMOOTHING) / (weight + 1e-3)[..., None]
    smooth = np.clip(smooth, -_LARGEST, _LARGEST)
    moved = _look_up(second.astype(np.float32), xs + smooth[..., 0], ys + smooth[..., 1])
    residual = cv2.GaussianBlur(np.abs(moved - first.astype(np.float32)) / _CONTRAST, (0, 0), 1.5)
    flow, confidence = smooth * (2 / side), np.minimum(weight, 1)
    return Registration(*(np.asarray(maps, np.float32) for maps in (flow, confidence, residual)))


def moved_picture(picture: NDArray[np.uint8], flow: Floats32) -> Floats32:
    """Return a picture [P, P] read at x + flow, float32 [P, P]; the flow [P, P, 2] is in half sides."""
    side = len(picture)
    ys, xs = _positions(side)
    return _look_up(picture.astype(np.float32), xs + flow[..., 0] * (side / 2), ys + flow[..., 1] * (side / 2))


@lru_cache(maxsize=2)
def _positions(side: int) -> Floats32:
    """Return the rows and the columns of the pixels of a picture, [2, P, P]."""
    return np.mgrid[:side, :side].astype(np.float32)


def _flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats32:
    if not hasattr(_flows, "search"):  # an object of OpenCV keeps buffers, so each thread has its own
        _flows.search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        _flows.search.setFinestScale(_FINEST_SCALE)
        _flows.search.setGradientDescentIterations(_DESCENT_STEPS)
        _flows.search.setVariationalRefinementIterations(_REFINEMENTS)
    flow: Floats32 = _flows.search.calc(first, second, None)
    return flow


def _look_up(maps: Floats32, x: Floats32, y: Floats32) -> Floats32:
    return np.asarray(cv2.remap(maps, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
