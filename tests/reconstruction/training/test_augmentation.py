"""Augmentation: the factors of an augmented image are the augmented factors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.augmentation import ImageAugmentation, degrade, sample_augmentation

torch.set_num_threads(1)


def identity(n: int) -> dict[str, Tensor]:
    return dict(
        angle=torch.zeros(n), zoom=torch.ones(n), shift=torch.zeros(n, 2), gain=torch.ones(n), tint=torch.ones(n, 3)
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict(angle=torch.full((2,), math.radians(12.0))),
        dict(zoom=torch.tensor([0.9, 1.1])),
        dict(shift=torch.tensor([[0.1, -0.05], [-0.08, 0.1]])),
        dict(angle=torch.full((2,), -0.2), zoom=torch.full((2,), 1.1), shift=torch.tensor([[0.1, 0.1], [0.0, -0.1]])),
        dict(gain=torch.tensor([0.6, 1.3]), tint=torch.tensor([[1.0, 0.9, 0.95], [0.95, 1.0, 0.9]])),
    ],
)
def test_augmented_factors_render_the_augmented_image(change):
    scenes = Scenes(32)
    true = scenes.truth(torch.randn(2, 40, generator=torch.Generator().manual_seed(1)) * 0.5)
    light = torch.cat([true.light[:, :2] * 0.6, true.light[:, 2:]], 1)  # far from white
    view = true.view.clone()
    view[:, 3:] += torch.tensor([0.01, -0.01, 0.05])
    factors = FaceFactors(true.depth, true.albedo, light, view)
    augmentation = ImageAugmentation(**{**identity(2), **change})
    original = render(factors.albedo, factors.depth, factors.light, factors.view).image
    expected = augmentation.apply_to_images(original)
    augmented = augmentation.apply_to_factors(factors)
    rendering = render(augmented.albedo, augmented.depth, augmented.light, augmented.view)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[8:24, 8:24] = True
    visible = rendering.mask & inside
    error = (rendering.image - expected).abs().mean(1)[visible]
    without = (original - expected).abs().mean(1)[visible]
    assert error.mean() < 0.03
    assert not change or error.mean() < 0.4 * without.mean()


def test_some_images_are_not_augmented():
    augmentation = sample_augmentation(200, torch.Generator().manual_seed(0))
    images = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    same = ((augmentation.apply_to_images(images) - images).abs().amax((1, 2, 3)) < 1e-5).sum().item()
    assert 20 < same < 60
    assert augmentation.angle.abs().max() <= math.radians(12)
    assert augmentation.gain.max() > 1.4
    assert augmentation.gain.min() < 0.8


def test_degrading_blurs_half_and_adds_noise():
    flat = torch.zeros(100, 3, 16, 16)
    noisy = degrade(flat, torch.Generator().manual_seed(0))
    assert 0.01 < noisy.std() < 0.05
    checked = torch.ones(100, 3, 16, 16)
    checked[..., ::2] = -1
    spread = degrade(checked * 0.5, torch.Generator().manual_seed(0)).std((1, 2, 3))
    assert 30 < (spread < 0.49).sum() < 70


def test_the_same_seed_augments_in_the_same_way():
    images = torch.rand(4, 3, 16, 16)
    rngs = [torch.Generator().manual_seed(5) for _ in range(2)]
    one, other = (degrade(sample_augmentation(4, rng).apply_to_images(images), rng) for rng in rngs)
    assert torch.equal(one, other)
