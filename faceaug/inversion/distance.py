"""How far apart two pictures of faces are, in a unit that one can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import DatasetError

BANDS = 4
"""Levels of the pyramid: what is finer than 32, 16 and 8 pixels, and what is left at 8 pixels."""
MIDDLE = 0.6
"""Standard deviation, in half pictures, of the bell that weighs pixels: the face counts, the corners hardly do."""
MIN_PHOTOGRAPHS = 8


@dataclass(frozen=True)
class ImageDistance:
    """Compares pictures band by band, each band in units of what tells two photographs of different people apart.

    The distance of two pictures is the root of the mean over the bands: 0 is the same picture, and 1 is as far apart
    as the photographs of two people are on average.

    Attributes
    ----------
    scale : tuple of BANDS floats
        Mean square difference of different photographs, in each band.
    """

    scale: tuple[float, ...]

    @classmethod
    def among(cls, photographs: Tensor) -> ImageDistance:
        """Find the unit on photographs [N, 3, 64, 64] of different people, in [-1, 1].

        Raises
        ------
        DatasetError
            When there are too few to tell, or they are all the same.
        """
        n = len(photographs)
        if n < MIN_PHOTOGRAPHS:
            raise DatasetError(
                f"{n} photographs are too few to say how different two people look: at least {MIN_PHOTOGRAPHS} are needed"
            )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(n))
        one = bands(photographs[order])
        scale = tuple(float(_weighed(part - part.roll(1, 0)).mean()) for part in one)
        if min(scale) < 1e-7:
            raise DatasetError("the photographs are all the same, or blank: nothing tells two of them apart")
        return cls(scale)

    def squares(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """Return the squared distances [N] of pictures of which the `bands` are given; differentiable."""
        parts = [_weighed(a - b) / scale for a, b, scale in zip(one, other, self.scale, strict=True)]
        return torch.stack(parts).mean(0)

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the distances [N] of pictures [N, 3, 64, 64]."""
        return self.squares(bands(one), bands(other)).sqrt()


def bands(pictures: Tensor) -> list[Tensor]:
    """Return the bands of pictures [N, 3, S, S], fine to coarse: what each halving takes away, and the rest."""
    found = []
    for _ in range(BANDS - 1):
        smaller = F.avg_pool2d(pictures, 2)
        found.append(pictures - F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False))
        pictures = smaller
    return [*found, pictures]


def _weighed(difference: Tensor) -> Tensor:
    """Return the mean square [N] of differences [N, 3, S, S], the middle counting most."""
    side = difference.shape[-1]
    steps = (torch.arange(side, dtype=difference.dtype, device=difference.device) * 2 + 1) / side - 1
    bell = torch.exp(-(steps[:, None].square() + steps.square()) / (2 * MIDDLE**2))
    return (difference.square().mean(1) * (bell / bell.sum())).sum((1, 2))
