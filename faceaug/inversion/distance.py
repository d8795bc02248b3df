"""A distance of face images whose unit is the distance of two people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import DatasetError

BANDS = 4
"""Levels of the Laplacian pyramid: three octaves of detail, and the rest at 8 pixels."""
WINDOW_SPREAD = 0.6
"""Standard deviation, in half images, of the Gaussian that weights pixels: the face counts more than the corners."""
MIN_PHOTOGRAPHS = 8


@dataclass(frozen=True)
class ImageDistance:
    """Root mean square difference over the bands of a Laplacian pyramid, each relative to its mean over pairs.

    The distance of equal images is 0; 1 is the mean distance of photographs of two people.

    Attributes
    ----------
    scale : tuple of BANDS floats
        Mean square difference of photographs of different people in each band.
    """

    scale: tuple[float, ...]

    @classmethod
    def from_photographs(cls, photographs: Tensor) -> ImageDistance:
        """Return the distance whose unit is that of photographs [N, 3, 64, 64] in [-1, 1] of different people.

        Raises
        ------
        DatasetError
            When there are too few, or they are all the same.
        """
        n = len(photographs)
        if n < MIN_PHOTOGRAPHS:
            raise DatasetError(
                f"{n} photographs are too few to measure how much people differ: at least {MIN_PHOTOGRAPHS} are needed"
            )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
        bands = laplacian_bands(photographs[order])
        scale = tuple(float(_weighted_square(band - band.roll(1, 0)).mean()) for band in bands)
        if min(scale) < 1e-7:
            raise DatasetError("the photographs are all the same, or blank: give photographs of different people")
        return cls(scale)

    def squared(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """Return the squared distances [N] of images, given their `laplacian_bands`; differentiable."""
        bands = zip(one, other, self.scale, strict=True)
        return torch.stack([_weighted_square(a - b) / scale for a, b, scale in bands]).mean(0)

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the distances [N] of images [N, 3, 64, 64] in [-1, 1]."""
        return self.squared(laplacian_bands(one), laplacian_bands(other)).sqrt()


def laplacian_bands(images: Tensor) -> list[Tensor]:
    """Return the Laplacian pyramid of images [N, 3, S, S], fine to coarse; the last band has the side S / 8."""
    bands = []
    for _ in range(BANDS - 1):
        reduced = F.avg_pool2d(images, 2)
        bands.append(images - F.interpolate(reduced, scale_factor=2, mode="bilinear", align_corners=False))
        images = reduced
    return [*bands, images]


def _weighted_square(difference: Tensor) -> Tensor:
    """Return the mean square [N] of differences [N, 3, S, S], weighted by the Gaussian of `WINDOW_SPREAD`."""
    side = difference.shape[-1]
    centres = (torch.arange(side, dtype=difference.dtype, device=difference.device) * 2 + 1) / side - 1
    weights = torch.exp(-(centres[:, None].square() + centres.square()) / (2 * WINDOW_SPREAD**2))
    return (difference.square().mean(1) * (weights / weights.sum())).sum((1, 2))
