"""Disturbances: what is done to a picture is done to its reading, so that the two still belong together."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.augmentation import ImageAugmentation, degraded, sample_augmentation

torch.set_num_threads(1)


def still(n: int) -> dict[str, Tensor]:
    return dict(
        angle=torch.zeros(n), zoom=torch.ones(n), step=torch.zeros(n, 2), gain=torch.ones(n), tint=torch.ones(n, 3)
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict(angle=torch.full((2,), math.radians(12.0))),
        dict(zoom=torch.tensor([0.9, 1.1])),
        dict(step=torch.tensor([[0.1, -0.05], [-0.08, 0.1]])),
        dict(angle=torch.full((2,), -0.2), zoom=torch.full((2,), 1.1), step=torch.tensor([[0.1, 0.1], [0.0, -0.1]])),
        dict(gain=torch.tensor([0.6, 1.3]), tint=torch.tensor([[1.0, 0.9, 0.95], [0.95, 1.0, 0.9]])),
    ],
)
def test_the_disturbed_reading_gives_the_disturbed_picture(change):
    """Rendering what the disturbance says of a reading gives what it does to the rendered picture."""
    scenes = Scenes(32)
    truth = scenes.truth(torch.randn(2, 40, generator=torch.Generator().manual_seed(1)) * 0.5)
    light = torch.cat([truth.light[:, :2] * 0.6, truth.light[:, 2:]], 1)  # far from white
    view = truth.view.clone()
    view[:, 3:] += torch.tensor([0.01, -0.01, 0.05])
    reading = FaceFactors(truth.depth, truth.albedo, light, view)
    done = ImageAugmentation(**{**still(2), **change})
    wanted = done.images(render(reading.albedo, reading.depth, reading.light, reading.view).image)
    other = done.reading(reading)
    made = render(other.albedo, other.depth, other.light, other.view)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[8:24, 8:24] = True
    error = (made.image - wanted).abs().mean(1)[(made.mask & inside)]
    undone = render(reading.albedo, reading.depth, reading.light, reading.view).image
    before = (undone - wanted).abs().mean(1)[(made.mask & inside)]
    assert error.mean() < 0.03
    assert not change or error.mean() < 0.4 * before.mean()


def test_some_pictures_are_left_as_they_are():
    done = sample_augmentation(200, torch.Generator().manual_seed(0))
    images = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    same = ((done.images(images) - images).abs().amax((1, 2, 3)) < 1e-5).sum().item()
    assert 20 < same < 60
    assert done.angle.abs().max() <= math.radians(12)
    assert done.gain.max() > 1.4
    assert done.gain.min() < 0.8


def test_degrading_softens_half_and_adds_noise():
    flat = torch.zeros(100, 3, 16, 16)
    noisy = degraded(flat, torch.Generator().manual_seed(0))
    assert 0.01 < noisy.std() < 0.05
    checked = torch.ones(100, 3, 16, 16)
    checked[..., ::2] = -1
    spread = degraded(checked * 0.5, torch.Generator().manual_seed(0)).std((1, 2, 3))
    assert 30 < (spread < 0.49).sum() < 70


def test_the_same_source_disturbs_alike():
    images = torch.rand(4, 3, 16, 16)
    made = [degraded(sample_augmentation(4, rng).images(images), rng) for rng in _twice()]
    assert torch.equal(made[0], made[1])


def _twice() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(5) for _ in range(2)]
