"""The choice of donors: faces of a cell that are near the host in expression, view, light, sharpness and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faceaug.morphing.face import DESCRIPTOR_SHAPE, CanonicalFace
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.typing import Floats, Floats32

COMPARED_FACES = 1024
"""Faces of a cell with which a host is compared at most: the cost does not grow with the square of their number."""
_WEIGHTS = {"pitch": 0.5, "yaw": 1.0, "roll": 0.1, "light_x": 0.15, "light_y": 0.1}
"""What a difference of a radian counts beside that of the descriptors, whose half is 0.4 on average."""
_PARTS = 4
_WORST_PART = 0.5
"""Descriptors are compared in 4 by 4 parts; the worst counts as well: glasses of one of two faces change one part."""
_BLURRED, _SHARPER = 0.25, 0.1  # what a donor counts that is e times less or more sharp than the host
_LABELS = 0.6  # what a difference of the whole range of a numeric label counts, or another class of another label


class DonorIndex:
    """The faces of one cell, compared with one another.

    Parameters
    ----------
    faces : sequence of CanonicalFace, length N
    labels : float64 [N, L]
        What donors should share with the host: quantiles of numeric labels in [0, 1], codes of classes; NaN unknown.
    is_numeric : bool [L]
    furthest : float
        The largest difference of quantiles of a numeric label between host and donor.
    """

    def __init__(
        self, faces: Sequence[CanonicalFace], labels: Floats, is_numeric: NDArray[np.bool_], furthest: float
    ) -> None:
        self.faces = tuple(faces)
        numbers: dict[bytes, int] = {}  # of files: a second copy of the host's file is the host, too
        self._files = np.array([numbers.setdefault(face.sha256, len(numbers)) for face in faces])
        self._labels, self._is_numeric, self._furthest = labels, is_numeric, furthest
        rows, columns = DESCRIPTOR_SHAPE
        shape = (-1, _PARTS, rows // _PARTS, _PARTS, columns // _PARTS)
        self._descriptors: Floats32 = np.stack([face.descriptor for face in faces]).reshape(shape)
        self._sharpness = np.log([face.sharpness for face in faces])
        factors = [FACTOR_NAMES.index(name) for name in _WEIGHTS]
        self._view = np.radians(np.stack([face.measured[factors] for face in faces])) * list(_WEIGHTS.values())

    def __len__(self) -> int:
        return len(self.faces)

    def nearest(self, host: int, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
        """Return the numbers of the faces nearest to a face, at most `count`, and their distances, nearest first.

        In a large cell the host is compared with a random part of the faces.
        """
        others = np.flatnonzero(self._files != self._files[host])
        if len(others) > COMPARED_FACES:
            others = np.sort(rng.choice(others, COMPARED_FACES, replace=False))
        differences = np.abs(self._descriptors[others] - self._descriptors[host])  # [M, 4, 8, 4, 6], in parts 8 by 6
        parts = differences.mean((2, 4)).reshape(len(others), _PARTS**2).astype(np.float64)
        distance = parts.mean(1) + _WORST_PART * parts.max(1)
        distance += np.nan_to_num(np.abs(self._view[others] - self._view[host])).sum(1)
        blur = self._sharpness[host] - self._sharpness[others]
        distance += np.where(blur > 0, _BLURRED * blur, -_SHARPER * blur)
        difference = np.nan_to_num(np.abs(self._labels[others] - self._labels[host]))
        difference[:, ~self._is_numeric] = difference[:, ~self._is_numeric] > 0
        distance += _LABELS * difference.sum(1)
        allowed = (difference[:, self._is_numeric] <= self._furthest).all(1)
        others, distance = others[allowed], distance[allowed]
        order = np.argsort(distance, kind="stable")[:count]
        return others[order], distance[order]

    def in_rings(self, host: int, size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the numbers of at least `count` faces, or of all: the `size` nearest in random order, then the next.

        More of them begin with the same ones.
        """
        nearest, _ = self.nearest(host, -(-count // size) * size, rng)
        rings = [rng.permutation(nearest[start : start + size]) for start in range(0, len(nearest), size)]
        return np.concatenate([*rings, np.empty(0, np.int64)])
