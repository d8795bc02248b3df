"""Losses of the reconstruction, scaled so that 1 is an error that matters.

The photometric and the perceptual loss are those of Unsup3D (CVPR 2020, equations 3 and 7; docs/method.md, section 2).
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
"""Differences between factors that count as 1; angles in radians."""
MIN_RELIEF = 0.05
"""Depth by which the centre of a face should at least be nearer than its border."""


def laplace_loss(error: Tensor, log_sigma: Tensor, mask: Tensor) -> Tensor:
    """Return the negative log likelihood of absolute errors under Laplace distributions, up to a constant.

    Parameters
    ----------
    error : float32 [N, 1, S, S]
        Absolute errors, averaged over channels.
    log_sigma : float32 [N, 1, s, s]
        Logarithms of the expected standard deviations; resized to S.
    mask : bool [N, S, S]
        Pixels over which the mean is taken.
    """
    log_sigma = F.interpolate(log_sigma, size=error.shape[-2:], mode="bilinear", align_corners=False)
    likelihood = math.sqrt(2) * error * torch.exp(-log_sigma) + log_sigma
    return _weighted_mean(likelihood, mask[:, None].to(error.dtype))


def gaussian_loss(features: Tensor, expected: Tensor, log_sigma: Tensor, mask: Tensor) -> Tensor:
    """Return the negative log likelihood of differences of features under normal distributions, up to a constant.

    Parameters
    ----------
    features, expected : float32 [N, G, s, s]
    log_sigma : float32 [N, 1, s, s]
        Logarithms of the expected standard deviations.
    mask : bool [N, S, S]
        Pixels that count; a feature is weighted by their share of its cell.
    """
    square = (features - expected).square().mean(1, keepdim=True)
    share = F.adaptive_avg_pool2d(mask[:, None].to(square.dtype), square.shape[-1])
    return _weighted_mean(0.5 * square * torch.exp(-2 * log_sigma) + log_sigma, share)


def factor_distance(a: FaceFactors, b: FaceFactors) -> Tensor:
    """Return the mean absolute difference of all factors, in the units of this module."""
    return canonical_distance(a, b) + pose_distance(a, b)


def canonical_distance(a: FaceFactors, b: FaceFactors) -> Tensor:
    """Return the mean absolute difference of depth and albedo."""
    return (a.depth - b.depth).abs().mean() / DEPTH_UNIT + (a.albedo - b.albedo).abs().mean() / ALBEDO_UNIT


def pose_distance(a: FaceFactors, b: FaceFactors) -> Tensor:
    """Return the mean absolute difference of light and view."""
    light = ((a.light - b.light).abs() / a.light.new_tensor(LIGHT_UNITS)).mean()
    return light + ((a.view - b.view).abs() / a.view.new_tensor(VIEW_UNITS)).mean()


def convexity_loss(depth: Tensor) -> Tensor:
    """Return by how much the centres of depth maps [N, S, S] fail to be nearer than their borders by `MIN_RELIEF`."""
    grid = pixel_grid(depth.shape[-1], depth)
    centre = (grid.norm(dim=-1) < 0.5).to(depth.dtype)
    border = (grid.abs().amax(-1) > 0.75).to(depth.dtype)
    relief = (depth * border).sum((1, 2)) / border.sum() - (depth * centre).sum((1, 2)) / centre.sum()
    return F.relu(MIN_RELIEF - relief).mean() / DEPTH_UNIT


def roughness(depth: Tensor) -> Tensor:
    """Return the mean squared difference of neighbours in depth maps [N, S, S], along rows and along columns."""
    return depth.diff(dim=1).square().mean() + depth.diff(dim=2).square().mean()


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of errors [N, 1, S, S] over the pixels of a mask, bool [N, S, S]."""
    return _weighted_mean(error, mask[:, None].to(error.dtype))


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
