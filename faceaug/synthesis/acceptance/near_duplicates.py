"""Near-copies: a perceptual hash of each image, and an index of those that were accepted or are real."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance.scene import luminance

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
    low = (cosines @ small[:, 0].double() @ cosines.T).flatten(1)  # [N, 64]
    bits = (low > low.median(1, keepdim=True).values).numpy()
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def differing_bits(one: np.uint64, others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return in how many bits a hash differs from each of others [M]."""
    octets = np.bitwise_xor(others, one).view(np.uint8).reshape(-1, 8)
    return np.asarray(_ONES[octets].sum(1), np.int64)


_ONES = np.array([bin(i).count("1") for i in range(256)], np.uint8)


class DuplicateIndex:
    """Hashes of real faces and of accepted samples; what comes first stays."""

    def __init__(self, real: NDArray[np.uint64], within: int) -> None:
        self._known = real.copy()
        self._real = self._count = len(real)
        self._within = within

    def near(self, value: np.uint64, but: np.uint64 | None = None) -> bool:
        """Return whether a hash of the index differs in at most the stated number of bits.

        Real faces with the hash `but`, such as the photograph from which a sample was synthesized, do not count.
        """
        known = self._known[: self._count]
        if but is not None:
            known = np.concatenate([known[: self._real][known[: self._real] != but], known[self._real :]])
        return bool(len(known)) and int(differing_bits(value, known).min()) <= self._within

    def add(self, value: np.uint64) -> None:
        """Add a hash."""
        if self._count == len(self._known):
            self._known = np.concatenate([self._known, np.zeros(max(1024, self._count), np.uint64)])
        self._known[self._count] = value
        self._count += 1
