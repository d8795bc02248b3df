"""Near-copies: a perceptual hash of each image, and an index of those that were accepted or are real."""

from __future__ import annotations

from array import array
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance.scene import luminance
from faceaug.utils.typing import Floats, Floats32

SIDE, LOW = 32, 8
"""Images are hashed at 32 px by the 8x8 lowest frequencies of their cosine transform (the usual perceptual hash)."""


def _cosines() -> Tensor:
    k, n = torch.arange(LOW + 1, dtype=torch.float64)[1:, None], torch.arange(SIDE, dtype=torch.float64)[None]
    return torch.cos(torch.pi * k * (2 * n + 1) / (2 * SIDE))  # [8, 32]; the constant term says nothing of the shape


def hashes(images: Tensor) -> NDArray[np.uint64]:
    """Return the 64-bit perceptual hash [N] of images [N, 3, R, R]: which low frequencies exceed their median."""
    if not len(images):
        return np.empty(0, np.uint64)
    small = F.interpolate(
        luminance(images)[:, None], size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    cosines = _cosines()
    return _packed((cosines @ small[:, 0].double() @ cosines.T).flatten(1).numpy())


def map_hashes(maps: Floats32) -> NDArray[np.uint64]:
    """Return the hashes [N] of grey images float32 [N, H, W] of one small size in a fraction of the time of `hashes`.

    They are the same but for rounding.
    """
    rows, columns = (_frequencies(side) for side in maps.shape[1:])
    return _packed((rows @ maps.astype(np.float64) @ columns.T).reshape(len(maps), LOW * LOW))


@lru_cache(maxsize=8)
def _frequencies(side: int) -> Floats:
    """Return what `hashes` makes of the rows or columns of an image, [8, side]: resized, and their low frequencies."""
    each = torch.eye(side)[:, None, None]  # [side, 1, 1, side]: the resizing of one pixel
    resized = F.interpolate(each, size=(1, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return np.asarray((_cosines() @ resized[:, 0, 0].double().T).numpy())


def _packed(low: Floats) -> NDArray[np.uint64]:
    """Return as bits which of 64 low frequencies [N, 64] exceed their lower median."""
    bits = low > np.partition(low, LOW * LOW // 2 - 1, axis=1)[:, LOW * LOW // 2 - 1, None]
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def differing_bits(one: np.uint64, others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return in how many bits a hash differs from each of others [M]."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(np.bitwise_xor(others, one)).astype(np.int64)
    octets = np.bitwise_xor(others, one).view(np.uint8).reshape(-1, 8)
    return np.asarray(_ONES[octets].sum(1), np.int64)


_ONES = np.array([bin(i).count("1") for i in range(256)], np.uint8)


class DuplicateIndex:
    """Hashes of real faces and of accepted samples; what comes first stays.

    A few hashes are compared one by one. More of them are found by parts (multi-index hashing: Norouzi, Punjani, Fleet,
    "Fast Exact Search in Hamming Space With Multi-Index Hashing", PAMI 2014): where two hashes differ in at most k
    bits, they differ in at most k / 4 of one of their four parts of 16 bits.
    """

    def __init__(self, real: NDArray[np.uint64], within: int) -> None:
        self._known = real.copy()
        self._count = len(real)
        self._within = within
        self._added: set[int] = set()
        self._parts: list[list[array[int]]] = []  # for each part, the hashes by the value that they have there

    def near(self, value: np.uint64, but: np.uint64 | None = None) -> bool:
        """Return whether a hash of the index differs in at most the stated number of bits.

        Real faces with the hash `but`, such as the photograph from which a sample was synthesized, do not count.
        """
        near = self.near_hashes(value)
        return bool(len(near)) and (but is None or bool((near != but).any()) or int(but) in self._added)

    def near_hashes(self, value: np.uint64) -> NDArray[np.uint64]:
        """Return the hashes [M] of the index that differ in at most the stated number of bits, some several times."""
        known = self._candidates(value)
        return known[differing_bits(value, known) <= self._within]

    def add(self, value: np.uint64) -> None:
        """Add a hash."""
        if self._count == len(self._known):
            self._known = np.concatenate([self._known, np.zeros(max(1024, self._count), np.uint64)])
        self._known[self._count] = value
        self._count += 1
        self._added.add(int(value))
        for lists, part in zip(self._parts, _parts_of(value), strict=False):
            lists[part].append(int(value))

    def _candidates(self, value: np.uint64) -> NDArray[np.uint64]:
        """Return hashes among which are all that are near to `value`."""
        radius = self._within // _PARTS
        if radius >= len(_PATTERNS) or self._count < _MANY[radius]:
            return self._known[: self._count]
        if not self._parts:
            self._parts = [_by_value(self._known[: self._count], part) for part in range(_PARTS)]
        found = [
            lists[place]
            for lists, part in zip(self._parts, _parts_of(value), strict=True)
            for place in (part ^ _PATTERNS[radius]).tolist()
        ]
        return np.frombuffer(b"".join(found), np.uint64)


def _parts_of(value: np.uint64) -> list[int]:
    """Return the four parts of a hash, 16 bits each."""
    return [int(part) for part in np.array([value], np.uint64).view(np.uint16)]


def _by_value(known: NDArray[np.uint64], part: int) -> list[array[int]]:
    """Return hashes [N] by the value of one of their parts."""
    values = known.view(np.uint16).reshape(-1, _PARTS)[:, part]
    ordered = known[np.argsort(values, kind="stable")]
    ends = np.cumsum(np.bincount(values, minlength=1 << 16))
    return [array("Q", rows.tobytes()) for rows in np.split(ordered, ends[:-1])]


def _patterns() -> list[NDArray[np.int64]]:
    """Return the numbers of 16 bits of which at most 0, 1, 2, 3 are set."""
    numbers = np.arange(1 << 16)
    ones = _ONES[numbers & 255] + _ONES[numbers >> 8]
    return [numbers[ones <= most] for most in range(_MOST_RADIUS + 1)]


_PARTS, _MOST_RADIUS = 4, 2
_MANY = (1 << 14, 1 << 15, 1 << 17)  # hashes from which parts are faster, by the bits that may differ in a part
_PATTERNS = _patterns()
