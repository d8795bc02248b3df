"""Random changes of training images, so that networks do not learn framing, exposure, colour, sharpness or noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def jitter(
    x: Tensor, rng: torch.Generator, *, mirror: bool, rotate: bool = True, exposure: bool = True, contrast: bool = True
) -> Tensor:
    """Vary framing, exposure, contrast, colour, sharpness and noise of images.

    Parameters
    ----------
    x : Tensor of float32 [N, 3, S, S]
        In [-1, 1].
    rng : torch.Generator
        The only source of randomness.
    mirror : bool
        Mirror half of the images. Leave it out where an attribute has a side (yaw, light from one side).
    rotate : bool
        Rotate by up to 10 degrees. Leave it out where an attribute is an angle in the image (roll, that of the light).
    exposure, contrast : bool
        Vary them. Leave both out where an attribute is a brightness. Exposure does not change the share of the light
        that has a direction, since it is a factor on all light; contrast about mid-grey does.

    Returns
    -------
    Tensor of float32 [N, 3, S, S]
        In [-1, 1].
    """
    return photometric_jitter(_geometry(x, rng, mirror, rotate), rng, exposure=exposure, contrast=contrast)


def expose(x: Tensor, stops: Tensor | float) -> Tensor:
    """Change the exposure of images by a factor of 2 per stop on linear light (gamma 2.2).

    Parameters
    ----------
    x : Tensor of float32 [N, 3, S, S]
        In [-1, 1].
    stops : Tensor or float
        Positive is brighter; broadcast against `x`.

    Returns
    -------
    Tensor of float32 [N, 3, S, S]
        In [-1, 1]; clipped at white.
    """
    gain = torch.as_tensor(2.0, dtype=x.dtype) ** (torch.as_tensor(stops, dtype=x.dtype) / 2.2)
    return ((x + 1) * gain - 1).clamp(-1, 1)


def _geometry(x: Tensor, rng: torch.Generator, mirror: bool, rotate: bool) -> Tensor:
    n = len(x)
    angle = _uniform(n, rng, -10, 10) * (math.pi / 180 if rotate else 0.0)
    zoom = torch.exp(_uniform(n, rng, -0.16, 0.16))
    shift = torch.stack([_uniform(n, rng, -0.1, 0.1), _uniform(n, rng, -0.1, 0.1)], 1)
    side = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0) if mirror else torch.ones(n)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack([torch.stack([cos * side, -sin], 1), torch.stack([sin * side, cos], 1)], 1)  # [N, 2, 2]
    grid = F.affine_grid(torch.cat([theta, shift[:, :, None]], 2), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def photometric_jitter(x: Tensor, rng: torch.Generator, *, exposure: bool = True, contrast: bool = True) -> Tensor:
    """Vary exposure, contrast, colour, sharpness and noise of images, without moving any pixel; see `jitter`."""
    n = len(x)
    x = _soften(x, rng)
    x = expose(x, _normal(n, rng, 0.6 * exposure).clamp(-1.5, 1.5)[:, None, None, None])
    x = x * torch.exp(_normal(n, rng, 0.15 * contrast))[:, None, None, None]  # contrast about mid-grey
    tint = torch.exp(_normal(n * 3, rng, 0.06).view(n, 3, 1, 1))
    grey = x.mean(1, keepdim=True)
    saturation = torch.exp(_normal(n, rng, 0.25))[:, None, None, None]
    saturation = torch.where(torch.rand(n, 1, 1, 1, generator=rng) < 0.08, torch.zeros(()), saturation)
    x = ((grey + (x - grey) * saturation) + 1) * tint - 1
    noise = torch.randn(x.shape, generator=rng) * (_uniform(n, rng, 0, 0.05)[:, None, None, None])
    return (x + noise).clamp(-1, 1)


def _soften(x: Tensor, rng: torch.Generator) -> Tensor:
    """Blur half of the images by resizing them down and up: generated faces and photographs differ in sharpness."""
    side = x.shape[-1]
    soft = x.clone()
    chosen = torch.rand(len(x), generator=rng)
    for low, size in ((0.5, side * 3 // 4), (0.7, side // 2), (0.9, side * 3 // 8)):
        pick = chosen > low
        if pick.any():
            small = F.interpolate(x[pick], size=(size, size), mode="bilinear", antialias=True, align_corners=False)
            soft[pick] = F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    return soft


def _uniform(n: int, rng: torch.Generator, low: float, high: float) -> Tensor:
    return torch.rand(n, generator=rng) * (high - low) + low


def _normal(n: int, rng: torch.Generator, sigma: float) -> Tensor:
    return torch.randn(n, generator=rng) * sigma
