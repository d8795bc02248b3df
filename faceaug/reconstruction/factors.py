"""The factors that explain an image of a face: canonical depth and albedo, light and view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from faceaug.reconstruction.geometry import mirror_light, mirror_view

VIEW_NAMES = ("pitch", "yaw", "roll", "tx", "ty", "tz")
LIGHT_NAMES = ("ambient", "diffuse", "light_x", "light_y")


@dataclass(frozen=True, eq=False)
class FaceFactors:
    """The factors of N images.

    Attributes
    ----------
    depth : float32 [N, S, S]
        Canonical depth, about 0.9 to 1.1; nearer is smaller.
    albedo : float32 [N, 3, S, S] in [0, 1]
        Canonical colour.
    light : float32 [N, 4]
        `LIGHT_NAMES`: ambient and diffuse strength, direction (x, y).
    view : float32 [N, 6]
        `VIEW_NAMES`: angles in radians, translation in units of the pivot's depth.
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor

    def __len__(self) -> int:
        return len(self.view)

    def mirrored(self) -> FaceFactors:
        """Return the factors of the mirrored images."""
        return FaceFactors(self.depth.flip(-1), self.albedo.flip(-1), mirror_light(self.light), mirror_view(self.view))

    def flipped(self) -> FaceFactors:
        """Return the factors with the canonical face mirrored and view and light unchanged.

        They give the same image where the face is symmetric.
        """
        return FaceFactors(self.depth.flip(-1), self.albedo.flip(-1), self.light, self.view)

    def map(self, function: Callable[[Tensor], Tensor]) -> FaceFactors:
        """Return the factors with `function` applied to each tensor."""
        return FaceFactors(*(function(getattr(self, field.name)) for field in fields(self)))

    def __getitem__(self, rows: slice | Tensor) -> FaceFactors:
        return self.map(lambda tensor: tensor[rows])

    def detach(self) -> FaceFactors:
        """Return the factors without their autograd graph."""
        return self.map(Tensor.detach)


def concatenate_factors(batches: Sequence[FaceFactors]) -> FaceFactors:
    """Return the factors of several batches as one batch."""
    return FaceFactors(*(torch.cat([getattr(batch, field.name) for batch in batches]) for field in fields(FaceFactors)))
