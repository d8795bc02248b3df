"""What is read off a picture of a face: its canonical depth and albedo, its light and its view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from faceaug.reconstruction.geometry import mirror_light, mirror_view

VIEW_NAMES = ("pitch", "yaw", "roll", "tx", "ty", "tz")
LIGHT_NAMES = ("ambient", "diffuse", "light_x", "light_y")


@dataclass(frozen=True, eq=False)
class FaceFactors:
    """The explanation of N pictures.

    Attributes
    ----------
    depth : Tensor [N, S, S]
        Canonical depth, about 0.9 to 1.1, nearer being smaller.
    albedo : Tensor [N, 3, S, S]
        Canonical colour, in [0, 1].
    light : Tensor [N, 4]
        (ambient, diffuse, x, y).
    view : Tensor [N, 6]
        (pitch, yaw, roll, tx, ty, tz), radians and lengths.
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor

    def __len__(self) -> int:
        return len(self.view)

    def mirrored(self) -> FaceFactors:
        """Return the readings of the mirrored pictures."""
        return FaceFactors(self.depth.flip(-1), self.albedo.flip(-1), mirror_light(self.light), mirror_view(self.view))

    def flipped(self) -> FaceFactors:
        """Return the same view and light with the canonical face mirrored: a symmetric face gives the same picture."""
        return FaceFactors(self.depth.flip(-1), self.albedo.flip(-1), self.light, self.view)

    def map(self, change: Callable[[Tensor], Tensor]) -> FaceFactors:
        """Return the reading with `change` done to each of its parts."""
        return FaceFactors(change(self.depth), change(self.albedo), change(self.light), change(self.view))

    def __getitem__(self, rows: slice | Tensor) -> FaceFactors:
        return self.map(lambda part: part[rows])

    def detach(self) -> FaceFactors:
        """Return the reading without its graph."""
        return self.map(Tensor.detach)


def concatenate_factors(readings: list[FaceFactors]) -> FaceFactors:
    """Return readings one after the other."""
    parts = ([getattr(reading, name) for reading in readings] for name in ("depth", "albedo", "light", "view"))
    return FaceFactors(*map(torch.cat, parts))
