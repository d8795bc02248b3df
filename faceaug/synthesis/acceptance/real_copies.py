"""Copies of real images, also mirrored, shifted, zoomed or turned, which the hash of an engine alone does not see.

The hash of an image is taken of its central window, so that the same part of the scene is seen in both pictures after
a change is undone. A candidate is looked at in many ways (`VIEWS`), and each view is compared with all real images by
the hash. The few real images that are nearest are then laid on the candidate and compared in detail: all of them in a
few steps, and the two nearest of them in more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
_COMPARED, _FIRST_STEPS = 8, 3  # real images that are compared in detail, and steps of the registration of each
_LAID, _MORE_STEPS = 2, 9  # real images that are nearest after these steps, and their further steps
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
        rows = np.argsort(bits.min(0, initial=_HASH_BITS + 1), kind="stable")[:_COMPARED]
        details = _details(small)
        laid = sorted(
            (
                _laid(_details(self._thumbnails[row]), details, VIEWS[int(bits[:, row].argmin())].pixel_map(len(small)))
                for row in rows.tolist()
                if bits[:, row].min() <= _HASH_BITS
            ),
            key=lambda one: -one.correlation,
        )
        further = (_laid(one.real, details, one.warp, _MORE_STEPS) for one in laid[:_LAID])
        return max((one.correlation for one in (*laid, *further)), default=0.0)


def _details(image: Rgb) -> Floats32:
    """Return the luminance [S, S] without what changes slowly, of the same contrast everywhere."""
    import cv2  # only here, since it takes a tenth of a second

    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _FINEST)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), _COARSEST)
    contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), _AROUND)) + _LEAST_CONTRAST
    return np.asarray(fine / contrast, np.float32)


@dataclass(frozen=True, eq=False)
class _Laid:
    """A candidate laid on a real image.

    Attributes
    ----------
    real : float32 [S, S]
        Details of the real image.
    warp : float32 [2, 3]
        From its pixels to those of the candidate.
    correlation : float in [-1, 1]
        Of the centres of both.
    """

    real: Floats32
    warp: Floats32
    correlation: float


def _laid(real: Floats32, candidate: Floats32, warp: Floats32, steps: int = _FIRST_STEPS) -> _Laid:
    """Lay the details of a candidate on those of a real image by an affine registration that begins at a warp.

    The registration maximizes the enhanced correlation coefficient (Evangelidis and Psarakis, PAMI 2008).
    """
    import cv2

    side = len(real)
    edge = round(side * (1 - _WINDOW) / 2)
    mask = np.zeros((side, side), np.uint8)
    mask[edge : side - edge, edge : side - edge] = 255
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    with contextlib.suppress(cv2.error):  # it does not converge: the warp stays
        warp = np.asarray(cv2.findTransformECC(real, candidate, warp.copy(), cv2.MOTION_AFFINE, ends, mask, 1)[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(candidate, warp, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    centre = slice(edge, side - edge)
    one, two = (part[centre, centre] - part[centre, centre].mean() for part in (real, laid))
    return _Laid(real, warp, float((one * two).sum() / np.sqrt((one * one).sum() * (two * two).sum() + 1e-9)))
