"""Losses: their minima, their units, and pixels that do not count."""

from __future__ import annotations

import math

import pytest
import torch

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.training.losses import (
    MIN_RELIEF,
    canonical_distance,
    convexity_loss,
    factor_distance,
    gaussian_loss,
    laplace_loss,
    masked_mean,
    pose_distance,
    roughness,
)

MASK = torch.ones(1, 8, 8, dtype=torch.bool)


def test_the_laplace_term_is_least_at_the_expected_error():
    """sqrt(2) e / s + ln s is least at s = sqrt(2) e."""
    error = torch.full((1, 1, 8, 8), 0.3)
    candidates = torch.linspace(-3, 1, 81)
    values = [laplace_loss(error, torch.full((1, 1, 2, 2), float(c)), MASK).item() for c in candidates]
    best = candidates[min(range(len(values)), key=values.__getitem__)].item()
    assert best == pytest.approx(math.log(math.sqrt(2) * 0.3), abs=0.06)
    assert laplace_loss(error, torch.zeros(1, 1, 2, 2), MASK).item() == pytest.approx(math.sqrt(2) * 0.3, abs=1e-6)


def test_the_gaussian_term_is_least_at_the_expected_error():
    """d² / 2 s² + ln s is least at s = d."""
    a, b = torch.zeros(1, 5, 4, 4), torch.full((1, 5, 4, 4), 0.5)
    candidates = torch.linspace(-3, 1, 81)
    values = [gaussian_loss(a, b, torch.full((1, 1, 4, 4), float(c)), MASK).item() for c in candidates]
    best = candidates[min(range(len(values)), key=values.__getitem__)].item()
    assert best == pytest.approx(math.log(0.5), abs=0.06)


def test_masked_pixels_do_not_count():
    error, log_sigma = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 2, 2)
    mask = MASK.clone()
    mask[:, :4] = False
    error[:, :, :4] = 100.0
    assert laplace_loss(error, log_sigma, mask) == 0
    features = torch.zeros(1, 2, 4, 4)
    features[:, :, :2] = 100.0
    assert gaussian_loss(features, torch.zeros_like(features), torch.zeros(1, 1, 4, 4), mask) == 0
    assert laplace_loss(error, log_sigma, torch.zeros_like(mask)) == 0


def factors(**changes: float) -> FaceFactors:
    light, view = torch.zeros(2, 4), torch.zeros(2, 6)
    light[:, 2] = changes.get("light_x", 0.0)
    view[:, 1] = changes.get("yaw", 0.0)
    depth, albedo = (
        torch.full(shape, changes.get(name, 1.0)) for name, shape in (("depth", (2, 4, 4)), ("albedo", (2, 3, 4, 4)))
    )
    return FaceFactors(depth, albedo, light, view)


def test_distances_are_in_their_units():
    assert canonical_distance(factors(), factors(depth=1.02, albedo=0.9)).item() == pytest.approx(2, abs=1e-3)
    assert pose_distance(factors(), factors(yaw=0.1)).item() == pytest.approx(1 / 6, abs=1e-5)
    assert pose_distance(factors(), factors(light_x=-0.3)).item() == pytest.approx(1 / 4, abs=1e-5)
    one, other = factors(), factors(depth=1.04, yaw=-0.1)
    assert factor_distance(one, other).item() == pytest.approx(
        (canonical_distance(one, other) + pose_distance(one, other)).item()
    )
    assert factor_distance(one, one) == 0


def test_convexity_penalizes_hollow_faces_only():
    bump = torch.exp(-pixel_grid(16).square().sum(-1) / 0.3)[None]
    assert convexity_loss(1 - 0.15 * bump) == 0
    flat, hollow = convexity_loss(torch.ones(1, 16, 16)), convexity_loss(1 + 0.05 * bump)
    assert flat.item() == pytest.approx(MIN_RELIEF / 0.02, rel=1e-4)
    assert hollow > flat
    depth = torch.ones(1, 16, 16, requires_grad=True)
    convexity_loss(depth).backward()
    assert depth.grad is not None
    assert depth.grad[0, 8, 8] > 0  # descending brings the centre nearer
    assert depth.grad[0, 0, 0] < 0


def test_roughness_is_the_mean_squared_step():
    depth = torch.tensor([[[0.0, 1.0], [2.0, 5.0]]])
    assert roughness(depth).item() == pytest.approx((4 + 16) / 2 + (1 + 9) / 2)


def test_a_masked_mean_is_over_the_mask_and_0_without_one():
    error = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    mask = torch.tensor([[[True, False], [False, True]]])
    assert masked_mean(error, mask) == 2.5
    assert masked_mean(error, torch.zeros_like(mask)) == 0
