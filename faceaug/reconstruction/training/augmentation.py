"""Augmentation of training images, with the known effect on their factors.

An image is rotated, scaled, shifted, exposed and tinted, and its factors change accordingly: rotation, scale and shift
belong to the view, exposure to the light, the tint to the albedo. Blur and noise are added on top; they do not belong
to the factors and only make the network robust to photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import FOCAL, pixel_grid, sample_bilinear

MAX_ANGLE, MAX_LOG_ZOOM, MAX_SHIFT = math.radians(12), 0.1, 0.1
"""Largest rotation in the image plane in radians, logarithm of the scale, and shift in half images."""
EXPOSURE_SPREAD, TINT_SPREAD = 0.3, 0.05
"""Standard deviations of the logarithms of the gain of all channels and of each channel."""
MAX_NOISE = 0.05  # standard deviation, on images in [-1, 1]
_MOVED_SHARE = 0.8  # the other images are not augmented


@dataclass(frozen=True, eq=False)
class ImageAugmentation:
    """The augmentation of N images.

    Attributes
    ----------
    angle, zoom : float32 [N]
        Clockwise rotation in radians; factor of scale.
    shift : float32 [N, 2]
        Shift (right, down) in half images, after rotation and scale.
    gain : float32 [N]
        Factor on brightness in [0, 1].
    tint : float32 [N, 3]
        Further factor of each channel, near 1.
    """

    angle: Tensor
    zoom: Tensor
    shift: Tensor
    gain: Tensor
    tint: Tensor

    def apply_to_images(self, images: Tensor) -> Tensor:
        """Return the augmented images of images [N, 3, S, S] in [-1, 1]."""
        side = images.shape[-1]
        grid = (pixel_grid(side, images).view(1, -1, 2) - self.shift[:, None]) / self.zoom[:, None, None]
        cos, sin = torch.cos(self.angle), torch.sin(self.angle)
        inverse = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # undoes the rotation
        positions = (grid @ inverse.transpose(1, 2)).view(-1, side, side, 2)
        moved = sample_bilinear(images, positions, "reflection")
        factor = (self.gain[:, None] * self.tint)[:, :, None, None]
        return ((moved + 1) * factor - 1).clamp(-1, 1)

    def apply_to_factors(self, factors: FaceFactors) -> FaceFactors:
        """Return the factors of the augmented images, given those of the images."""
        albedo = (factors.albedo * self.tint[:, :, None, None]).clamp(0, 1)
        light = torch.cat([factors.light[:, :2] * self.gain[:, None], factors.light[:, 2:]], 1)
        pitch, yaw, roll, tx, ty, tz = factors.view.unbind(1)
        cos, sin = torch.cos(self.angle), torch.sin(self.angle)
        distance = (1 + tz) / self.zoom
        right, down = (self.shift * (distance / FOCAL)[:, None]).unbind(1)
        view = [pitch, yaw, roll + self.angle, cos * tx - sin * ty + right, sin * tx + cos * ty + down, distance - 1]
        return FaceFactors(factors.depth, albedo, light, torch.stack(view, 1))


def sample_augmentation(n: int, rng: torch.Generator, device: torch.device | None = None) -> ImageAugmentation:
    """Sample augmentations of n images; a fifth of them leave their image unchanged."""
    moved = (torch.rand(n, generator=rng) < _MOVED_SHARE).float()
    angle, zoom, right, down = ((torch.rand(n, generator=rng) * 2 - 1) * moved for _ in range(4))
    # The mean of the normal deviate is above 0: photographs are brighter than the images of many generators.
    gain = torch.exp(((torch.randn(n, generator=rng) + 0.5) * EXPOSURE_SPREAD).clamp(-0.6, 0.8) * moved)
    tint = torch.exp(torch.randn(n, 3, generator=rng) * TINT_SPREAD * moved[:, None])
    shift = torch.stack([right, down], 1) * MAX_SHIFT
    fields = (angle * MAX_ANGLE, torch.exp(zoom * MAX_LOG_ZOOM), shift, gain, tint)
    return ImageAugmentation(*(field.to(device) for field in fields))


def degrade(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return images [N, 3, S, S] in [-1, 1] with noise, half of them blurred; `rng` is the source of randomness."""
    side = images.shape[-1]
    share = (torch.rand(len(images), 1, 1, 1, generator=rng) * 2 - 1).clamp(min=0).to(images.device)
    small = F.interpolate(images, size=(side // 2, side // 2), mode="area")
    blurred = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    sigma = torch.rand(len(images), 1, 1, 1, generator=rng) * MAX_NOISE
    noise = torch.randn(images.shape, generator=rng) * sigma
    return (images.lerp(blurred, share) + noise.to(images.device)).clamp(-1, 1)
