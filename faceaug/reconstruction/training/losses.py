"""What the network is asked for: terms of the loss, each a number near 1 when its error is as large as one would mind.

The photometric and the perceptual term are those of Unsup3D (CVPR 2020, equations 3 and 7).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid

DEPTH_UNIT, ALBEDO_UNIT = 0.02, 0.1
LIGHT_UNITS = (0.1, 0.1, 0.3, 0.3)
VIEW_UNITS = (0.1, 0.1, 0.1, 0.01, 0.01, 0.03)
"""Differences between readings that count as 1; angles in radians."""
CONVEXITY = 0.05
"""By how much the centre of a face should at least be nearer than its border."""


def laplace(error: Tensor, log_sigma: Tensor, seen: Tensor) -> Tensor:
    """Return the negative log likelihood of absolute errors under Laplace's distribution, up to a constant.

    Parameters
    ----------
    error
        Absolute errors [N, 1, S, S], means over channels.
    log_sigma
        Logarithms of the standard deviations that were expected, [N, 1, s, s]; enlarged to S.
    seen
        Where errors count, bool [N, S, S]; the mean is over these.
    """
    log_sigma = F.interpolate(log_sigma, size=error.shape[-2:], mode="bilinear", align_corners=False)
    return _mean(math.sqrt(2) * error * torch.exp(-log_sigma) + log_sigma, seen[:, None].to(error.dtype))


def gaussian(found: Tensor, wanted: Tensor, log_sigma: Tensor, seen: Tensor) -> Tensor:
    """Return the negative log likelihood of differences of features [N, G, s, s] under normal distributions.

    `log_sigma` is [N, 1, s, s]; `seen`, bool [N, S, S], is taken by the share of each cell.
    """
    square = (found - wanted).square().mean(1, keepdim=True)
    share = F.adaptive_avg_pool2d(seen[:, None].to(square.dtype), square.shape[-1])
    return _mean(0.5 * square * torch.exp(-2 * log_sigma) + log_sigma, share)


def distance(a: FaceFactors, b: FaceFactors) -> Tensor:
    """Return the mean absolute difference of two readings, in units that make their parts comparable."""
    return faces_apart(a, b) + poses_apart(a, b)


def faces_apart(a: FaceFactors, b: FaceFactors) -> Tensor:
    """Return the mean absolute difference of depth and albedo."""
    return (a.depth - b.depth).abs().mean() / DEPTH_UNIT + (a.albedo - b.albedo).abs().mean() / ALBEDO_UNIT


def poses_apart(a: FaceFactors, b: FaceFactors) -> Tensor:
    """Return the mean absolute difference of light and view."""
    light = ((a.light - b.light).abs() / a.light.new_tensor(LIGHT_UNITS)).mean()
    return light + ((a.view - b.view).abs() / a.view.new_tensor(VIEW_UNITS)).mean()


def convexity(depth: Tensor) -> Tensor:
    """Return how much less than `CONVEXITY` the centres of depth maps [N, S, S] are nearer than their borders."""
    grid = pixel_grid(depth.shape[-1], depth)
    centre = (grid.norm(dim=-1) < 0.5).to(depth.dtype)
    border = (grid.abs().amax(-1) > 0.75).to(depth.dtype)
    nearer = (depth * border).sum((1, 2)) / border.sum() - (depth * centre).sum((1, 2)) / centre.sum()
    return F.relu(CONVEXITY - nearer).mean() / DEPTH_UNIT


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
