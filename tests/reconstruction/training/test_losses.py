"""Losses: least where they should be, and indifferent to what is not seen."""

from __future__ import annotations

import math

import pytest
import torch

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.training.losses import (
    CONVEXITY,
    convexity,
    distance,
    faces_apart,
    gaussian,
    laplace,
    poses_apart,
)

SEEN = torch.ones(1, 8, 8, dtype=torch.bool)


def test_the_laplace_term_is_least_at_the_expected_error():
    """sqrt(2) e / s + ln s is least at s = sqrt(2) e."""
    error = torch.full((1, 1, 8, 8), 0.3)
    candidates = torch.linspace(-3, 1, 81)
    values = [laplace(error, torch.full((1, 1, 2, 2), float(c)), SEEN).item() for c in candidates]
    best = candidates[min(range(len(values)), key=values.__getitem__)].item()
    assert best == pytest.approx(math.log(math.sqrt(2) * 0.3), abs=0.06)
    assert laplace(error, torch.zeros(1, 1, 2, 2), SEEN).item() == pytest.approx(math.sqrt(2) * 0.3, abs=1e-6)


def test_the_gaussian_term_is_least_at_the_expected_error():
    """d² / 2 s² + ln s is least at s = d."""
    a, b = torch.zeros(1, 5, 4, 4), torch.full((1, 5, 4, 4), 0.5)
    candidates = torch.linspace(-3, 1, 81)
    values = [gaussian(a, b, torch.full((1, 1, 4, 4), float(c)), SEEN).item() for c in candidates]
    best = candidates[min(range(len(values)), key=values.__getitem__)].item()
    assert best == pytest.approx(math.log(0.5), abs=0.06)


def test_what_is_not_seen_does_not_count():
    error, log_sigma = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 2, 2)
    seen = SEEN.clone()
    seen[:, :4] = False
    error[:, :, :4] = 100.0
    assert laplace(error, log_sigma, seen) == 0
    features = torch.zeros(1, 2, 4, 4)
    features[:, :, :2] = 100.0
    assert gaussian(features, torch.zeros_like(features), torch.zeros(1, 1, 4, 4), seen) == 0
    assert laplace(error, log_sigma, torch.zeros_like(seen)) == 0


def reading(**changes: float) -> FaceFactors:
    light, view = torch.zeros(2, 4), torch.zeros(2, 6)
    light[:, 2] = changes.get("light_x", 0.0)
    view[:, 1] = changes.get("yaw", 0.0)
    depth, albedo = (
        torch.full(shape, changes.get(name, 1.0)) for name, shape in (("depth", (2, 4, 4)), ("albedo", (2, 3, 4, 4)))
    )
    return FaceFactors(depth, albedo, light, view)


def test_distances_are_in_units_one_would_mind():
    assert faces_apart(reading(), reading(depth=1.02, albedo=0.9)).item() == pytest.approx(2, abs=1e-3)
    assert poses_apart(reading(), reading(yaw=0.1)).item() == pytest.approx(1 / 6, abs=1e-5)
    assert poses_apart(reading(), reading(light_x=-0.3)).item() == pytest.approx(1 / 4, abs=1e-5)
    one, other = reading(), reading(depth=1.04, yaw=-0.1)
    assert distance(one, other).item() == pytest.approx((faces_apart(one, other) + poses_apart(one, other)).item())
    assert distance(one, one) == 0


def test_convexity_minds_hollow_faces_only():
    bump = torch.exp(-pixel_grid(16).square().sum(-1) / 0.3)[None]
    assert convexity(1 - 0.15 * bump) == 0
    flat, hollow = convexity(torch.ones(1, 16, 16)), convexity(1 + 0.05 * bump)
    assert flat.item() == pytest.approx(CONVEXITY / 0.02, rel=1e-4)
    assert hollow > flat
    depth = torch.ones(1, 16, 16, requires_grad=True)
    convexity(depth).backward()
    assert depth.grad is not None
    assert depth.grad[0, 8, 8] > 0  # descending brings the centre nearer
    assert depth.grad[0, 0, 0] < 0
