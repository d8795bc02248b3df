"""Disturbed pictures for the network to learn on, so that it reads photographs and not only clean draws.

A picture is turned, zoomed, shifted, exposed and tinted; what that does to its reading is known and is done to it, too:
turns and shifts belong to the view, exposure to the light, a tint to the albedo. On top the network sees softness and
noise that it is not asked to explain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import FOCAL, pixel_grid, sample_bilinear

ANGLE, ZOOM, STEP = math.radians(12), 0.1, 0.1
"""Largest turn in the picture's plane, logarithm of a zoom, and shift in half pictures."""
EXPOSURE, TINT = 0.3, 0.05
"""Standard deviations of the logarithms of a gain for all channels and for each."""
NOISE = 0.05


@dataclass(frozen=True, eq=False)
class ImageAugmentation:
    """What is done to N pictures.

    Attributes
    ----------
    angle, zoom : Tensor [N]
        Clockwise as seen, radians; factor of size.
    step : Tensor [N, 2]
        Shift (right, down) in half pictures, after turn and zoom.
    gain : Tensor [N]
        Factor on brightness (0 to 1).
    tint : Tensor [N, 3]
        Further factor of each channel, near 1.
    """

    angle: Tensor
    zoom: Tensor
    step: Tensor
    gain: Tensor
    tint: Tensor

    def images(self, images: Tensor) -> Tensor:
        """Do it to pictures [N, 3, S, S] in [-1, 1]."""
        side = images.shape[-1]
        grid = (pixel_grid(side, images).view(1, -1, 2) - self.step[:, None]) / self.zoom[:, None, None]
        cos, sin = torch.cos(self.angle), torch.sin(self.angle)
        back = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # undoes the turn
        moved = sample_bilinear(images, (grid @ back.transpose(1, 2)).view(-1, side, side, 2), "reflection")
        factor = (self.gain[:, None] * self.tint)[:, :, None, None]
        return ((moved + 1) * factor - 1).clamp(-1, 1)

    def reading(self, reading: FaceFactors) -> FaceFactors:
        """Return the readings of the disturbed pictures."""
        albedo = (reading.albedo * self.tint[:, :, None, None]).clamp(0, 1)
        light = torch.cat([reading.light[:, :2] * self.gain[:, None], reading.light[:, 2:]], 1)
        pitch, yaw, roll, tx, ty, tz = reading.view.unbind(1)
        cos, sin = torch.cos(self.angle), torch.sin(self.angle)
        far = (1 + tz) / self.zoom
        across, down = (self.step * (far / FOCAL)[:, None]).unbind(1)
        view = [pitch, yaw, roll + self.angle, cos * tx - sin * ty + across, sin * tx + cos * ty + down, far - 1]
        return FaceFactors(reading.depth, albedo, light, torch.stack(view, 1))


def sample_augmentation(n: int, rng: torch.Generator, device: torch.device | None = None) -> ImageAugmentation:
    """Draw what to do to n pictures; a fifth of them stay where they are, as they are."""
    moved = (torch.rand(n, generator=rng) < 0.8).float()
    angle, zoom, across, down = ((torch.rand(n, generator=rng) * 2 - 1) * moved for _ in range(4))
    # A normal deviate with the mean above 0: photographs are brighter than many a generator's pictures.
    gain = torch.exp(((torch.randn(n, generator=rng) + 0.5) * EXPOSURE).clamp(-0.6, 0.8) * moved)
    tint = torch.exp(torch.randn(n, 3, generator=rng) * TINT * moved[:, None])
    parts = (angle * ANGLE, torch.exp(zoom * ZOOM), torch.stack([across, down], 1) * STEP, gain, tint)
    return ImageAugmentation(*(part.to(device) for part in parts))


def degraded(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures [N, 3, S, S] of which half are softened, with noise."""
    side = images.shape[-1]
    share = (torch.rand(len(images), 1, 1, 1, generator=rng) * 2 - 1).clamp(min=0).to(images.device)
    small = F.interpolate(images, size=(side // 2, side // 2), mode="area")
    soft = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    strength = torch.rand(len(images), 1, 1, 1, generator=rng) * NOISE
    noise = torch.randn(images.shape, generator=rng) * strength
    return (images.lerp(soft, share) + noise.to(images.device)).clamp(-1, 1)
