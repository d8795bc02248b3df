"""Copies of real images, also mirrored, shifted, zoomed or turned, which the hash of an engine alone does not see.

The hash of an image is taken of its central window, so that the same part of the scene is seen in both pictures after
a change is undone. A candidate is looked at in many ways (`VIEWS`), and each view is compared with all real images by
the hash. The details of the real images that are nearest are then compared in the view in which they are, and the few
that are most alike are laid on the candidate first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance.scene import luminance
from faceaug.datasets.thumbnails import thumbnail
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats32

_HASH_BITS, _SAME_BITS = 128, 20  # of the hash, and how many of them differ at most between near-copies
_WINDOW, _SIDE, _FREQUENCIES = 0.7, 32, 12
_DEGREES, _ZOOMS, _SHIFT = (-10.0, -5.0, 5.0, 10.0), (1 / 1.2, 1 / 1.1, 1.1, 1.2), 3 / 64
_TOGETHER = 256  # real images that are hashed at once
_COMPARED, _REGISTERED = 32, 2  # real images whose details are compared, and those that are registered for it
_STEPS, _KEPT = 12, 2048  # of the registration, and real images whose details are kept in memory
_FINEST, _COARSEST, _AROUND, _LEAST_CONTRAST = 1.0, 5.0, 7.0, 3.0  # pixels of 64, and levels of 255


@dataclass(frozen=True)
class View:
    """A way to look at an image: turned by degrees, zoomed, shifted by shares of its side, and mirrored."""

    degrees: float = 0.0
    zoom: float = 1.0
    right: float = 0.0
    down: float = 0.0
    mirrored: bool = False

    def grid(self) -> Tensor:
        """Return where in an image the window is sampled, [1, 2 S, 2 S, 2]."""
        cosine, sine = np.cos(np.deg2rad(self.degrees)), np.sin(np.deg2rad(self.degrees))
        scale, sign = _WINDOW * self.zoom, -1 if self.mirrored else 1
        rows = [
            [sign * scale * cosine, -scale * sine, 2 * self.right],
            [sign * scale * sine, scale * cosine, 2 * self.down],
        ]
        size = [1, 1, 2 * _SIDE, 2 * _SIDE]
        return F.affine_grid(torch.tensor([rows], dtype=torch.float32), size, align_corners=False)

    def pixel_map(self, side: int) -> Floats32:
        """Return the map [2, 3] from pixels of a real image to those of its changed copy, both of a side."""
        cosine, sine = self.zoom * np.cos(np.deg2rad(self.degrees)), self.zoom * np.sin(np.deg2rad(self.degrees))
        turn = np.array([[-cosine if self.mirrored else cosine, -sine], [-sine if self.mirrored else sine, cosine]])
        centre = np.full(2, (side - 1) / 2)
        moved = centre + side * np.array([self.right, self.down]) - turn @ centre
        return np.hstack([turn, moved[:, None]]).astype(np.float32)


def _views() -> tuple[View, ...]:
    plain = [
        View(),
        *(View(degrees=degrees) for degrees in _DEGREES),
        *(View(zoom=zoom) for zoom in _ZOOMS),
        *(View(right=x * _SHIFT, down=y * _SHIFT) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y),
    ]
    mirrored = [View(view.degrees, view.zoom, view.right, view.down, mirrored=True) for view in plain]
    return (*plain, *mirrored)


VIEWS = _views()
"""As it is, turned by 5 and 10 degrees, zoomed by 10% and 20%, shifted by 3 of 64 pixels; and the same mirrored."""
_GRIDS = torch.cat([view.grid() for view in VIEWS])


def window_hashes(images: Tensor, grids: Tensor = _GRIDS[:1]) -> NDArray[np.uint64]:
    """Return the hashes of images in some views.

    Parameters
    ----------
    images : float32 [N, 3, R, R]
    grids : float32 [V, 2 S, 2 S, 2]
        Of the views; by default of the image as it is.

    Returns
    -------
    uint64 [N, V, 2]
        128 bits: which of the lowest frequencies of the cosine transform exceed their median.
    """
    count, views = len(images), len(grids)
    grey = luminance(images)[:, None].repeat_interleave(views, 0)
    sampled = F.grid_sample(grey, grids.repeat(count, 1, 1, 1), padding_mode="border", align_corners=False)
    small = F.avg_pool2d(sampled, 2)[:, 0].double()  # [N V, S, S], sampled twice as finely against aliasing
    low = (_COSINES @ small @ _COSINES.T).flatten(1)[:, _LOWEST]
    bits = (low > low.median(1, keepdim=True).values).numpy()
    return np.packbits(bits, axis=1).view(np.uint64).reshape(count, views, 2)


def _cosines() -> Tensor:
    k = torch.arange(1, _FREQUENCIES + 1, dtype=torch.float64)[:, None]
    n = torch.arange(_SIDE, dtype=torch.float64)[None]
    return torch.cos(torch.pi * k * (2 * n + 1) / (2 * _SIDE))


_COSINES = _cosines()
_LOWEST = np.argsort(np.add.outer(range(_FREQUENCIES), range(_FREQUENCIES)).ravel(), kind="stable")[:_HASH_BITS].copy()
_ONES = np.array([bin(i).count("1") for i in range(256)], np.uint8)


def _differing_bits(views: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the bits [V, N] in which hashes [N, 2] differ from those of some views [V, 2]."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        halves = [np.bitwise_count(views[:, None, k] ^ np.ascontiguousarray(known[:, k])) for k in range(2)]
        return np.asarray(halves[0] + halves[1], np.uint8)
    bits = np.empty((len(views), len(known)), np.uint8)
    for row, view in enumerate(views):
        octets = np.bitwise_xor(known, view).view(np.uint8).reshape(-1, 16)
        bits[row] = _ONES[octets].sum(1, dtype=np.uint8)
    return bits


class RealCopies:
    """The real images of a run, to find the one that a candidate resembles most.

    Parameters
    ----------
    thumbnails : uint8 [N, S, S, 3]
    digests : sequence of bytes
        SHA-256 of the file of each.
    aspect : float
        The proportions that thumbnails are cropped to (`faceaug.datasets.thumbnails.common_aspect`).
    limit : float
        The threshold `resemblance`.
    """

    def __init__(self, thumbnails: Rgb, digests: Sequence[bytes], aspect: float, limit: float) -> None:
        self.limit = limit
        parts = [thumbnails[start : start + _TOGETHER] for start in range(0, len(thumbnails), _TOGETHER)]
        hashed = [window_hashes(as_tensor(part))[:, 0] for part in parts]
        self._hashes = np.concatenate([np.empty((0, 2), np.uint64), *hashed])
        self._rows = {digest: row for row, digest in enumerate(digests)}
        self._thumbnails, self._aspect = thumbnails, aspect
        self._details = lru_cache(_KEPT)(lambda row: _details(thumbnails[row]))

    def resemblance(self, image: Rgb, sources: Collection[bytes] = ()) -> float:
        """Return how much an image looks like the real one that is nearest to it.

        Parameters
        ----------
        image : uint8 [H, W, 3]
        sources : collection of bytes
            SHA-256 of the files of real images that it was made from, which it may resemble. They do not count, nor
            real images that are near-copies of them.

        Returns
        -------
        float
            Correlation of the details of both in the central part, once they are laid on each other: 1 for a copy, 0
            where nothing is alike.
        """
        small = thumbnail(image, self._aspect, self._thumbnails.shape[1])
        bits = _differing_bits(window_hashes(as_tensor(small[None]), _GRIDS)[0], self._hashes)  # [V, N]
        for row in (self._rows[source] for source in sources if source in self._rows):
            bits[:, _differing_bits(self._hashes[row : row + 1], self._hashes)[0] <= _SAME_BITS] = _HASH_BITS + 1
        rows = np.argsort(bits.min(0, initial=_HASH_BITS + 1), kind="stable")[:_COMPARED].tolist()
        rows = [row for row in rows if bits[:, row].min() <= _HASH_BITS]
        details = _details(small)
        maps = {row: VIEWS[int(bits[:, row].argmin())].pixel_map(len(small)) for row in rows}
        alike = {row: _correlation(self._details(row), details, maps[row]) for row in rows}
        nearest = sorted(rows, key=lambda row: -alike[row])[:_REGISTERED]
        for row in nearest:
            real = self._details(row)
            alike[row] = max(alike[row], _correlation(real, details, _registered(real, details, maps[row])))
        return max(alike.values(), default=0.0)


def _details(image: Rgb) -> Floats32:
    """Return the luminance [S, S] without what changes slowly, of the same contrast everywhere."""
    import cv2  # only here, since it takes a tenth of a second

    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _FINEST)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), _COARSEST)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), _AROUND)) + _LEAST_CONTRAST
    return np.asarray(fine / contrast, np.float32)


def _registered(real: Floats32, candidate: Floats32, start: Floats32) -> Floats32:
    """Return the affine map [2, 3] from pixels of a real image to those of a candidate, searched from a map near it.

    The search maximizes the enhanced correlation coefficient (Evangelidis and Psarakis, PAMI 2008).
    """
    import cv2

    centre = _centre(len(real))
    mask = np.zeros(real.shape, np.uint8)
    mask[centre, centre] = 255
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, 1e-4)
    try:
        found = cv2.findTransformECC(real, candidate, start.copy(), cv2.MOTION_AFFINE, ends, mask, 1)
    except cv2.error:  # it does not converge
        return start
    return np.asarray(found[1], np.float32)


def _correlation(real: Floats32, candidate: Floats32, warp: Floats32) -> float:
    """Return the correlation [-1, 1] of the centres of two images, the second laid on the first by a map."""
    import cv2

    centre, flags = _centre(len(real)), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(candidate, warp, real.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    one, two = (part - part.mean() for part in (real[centre, centre], laid[centre, centre]))
    return float((one * two).sum() / np.sqrt((one * one).sum() * (two * two).sum() + 1e-9))


def _centre(side: int) -> slice:
    edge = round(side * (1 - _WINDOW) / 2)
    return slice(edge, side - edge)
