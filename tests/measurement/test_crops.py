"""Windows: their points on the canvas, steps and their inverse, and crops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.measurement.crops import CanvasPyramid, apply_steps, halved, undo_steps, window_to_canvas


def random_windows(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.4


def test_the_whole_canvas_is_the_window_of_zeros():
    points = torch.tensor([[-1.0, -1.0], [0.3, 0.7], [1.0, 0.0]])
    assert torch.equal(window_to_canvas(points, torch.zeros(2, 4)), points.expand(2, 3, 2))


def test_shift_scale_and_a_clockwise_turn():
    window = torch.tensor([[0.1, -0.2, math.log(0.5), math.pi / 2]])
    right, bottom = window_to_canvas(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), window)[0]
    # Turned clockwise by a quarter, its right edge looks down and its lower edge to the left.
    torch.testing.assert_close(right, torch.tensor([0.1, 0.3]))
    torch.testing.assert_close(bottom, torch.tensor([-0.4, -0.2]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_undoing_a_step_is_its_inverse(seed):
    windows, steps = random_windows(5, seed), random_windows(5, seed + 1)
    torch.testing.assert_close(apply_steps(undo_steps(windows, steps), steps), windows)
    torch.testing.assert_close(undo_steps(apply_steps(windows, steps), steps), windows)


def test_a_step_is_in_the_coordinates_of_the_window():
    windows, step = random_windows(4, 0), torch.tensor([[0.4, -0.3, 0.0, 0.0]]).double().expand(4, 4)
    torch.testing.assert_close(apply_steps(windows, step)[:, :2], window_to_canvas(step[0, None, :2], windows)[:, 0])


def bright(x: float, y: float, side: int = 96) -> torch.Tensor:
    """A canvas with a soft bright spot."""
    steps = (torch.arange(side) * 2 + 1) / side - 1
    spot = torch.exp(-((steps[None, :] - x) ** 2 + (steps[:, None] - y) ** 2) / 0.005)
    return spot.expand(1, 3, side, side)


def centre(image: torch.Tensor) -> tuple[float, float]:
    steps = (torch.arange(image.shape[-1]) * 2 + 1) / image.shape[-1] - 1
    mass = image[0, 0] / image[0, 0].sum()
    return float((mass.sum(0) * steps).sum()), float((mass.sum(1) * steps).sum())


@pytest.mark.parametrize("window", [(0.2, 0.1, -0.5, 0.4), (-0.1, 0.3, 0.5, -0.8), (0.0, 0.0, 0.8, 0.1)])
def test_a_point_of_the_window_is_at_its_place_in_the_crop(window):
    windows = torch.tensor([window])
    inside = torch.tensor([[0.3, -0.2]])
    x, y = window_to_canvas(inside, windows)[0, 0].tolist()
    position = centre(CanvasPyramid(bright(x, y)).crop(windows, 48))
    assert position == pytest.approx((0.3, -0.2), abs=0.02)


def test_reducing_averages_pixels():
    checker = ((torch.arange(256)[:, None] + torch.arange(256)) % 2 * 2.0 - 1).expand(1, 3, 256, 256)
    small = CanvasPyramid(checker).crop(torch.zeros(1, 4), 64)
    assert small.abs().max() < 1e-6


@pytest.mark.parametrize("side", [192, 96, 47, 2])
def test_halving_averages_as_pooling_does(side):
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(side)) * 2 - 1
    for layout in (torch.contiguous_format, torch.channels_last):
        found = halved(images.contiguous(memory_format=layout))
        torch.testing.assert_close(found, F.avg_pool2d(images, 2), rtol=0, atol=1e-6)


def test_each_image_is_cropped_at_its_own_level():
    canvases = torch.cat([bright(0, 0, 256)] * 2)
    windows = torch.tensor([[0, 0, -1.5, 0.0], [0, 0, 0.3, 0.0]])
    both = CanvasPyramid(canvases).crop(windows)
    for k in range(2):
        torch.testing.assert_close(both[k : k + 1], CanvasPyramid(canvases[k : k + 1]).crop(windows[k : k + 1]))


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("window", [(NAN, 0, 0, 0), (0, -INF, 0, 0), (0, 0, NAN, 0), (0, 0, INF, 0), (0, 0, 0, NAN)])
def test_a_window_that_is_not_finite_is_grey(window):
    canvases = bright(0.2, 0.1).repeat(2, 1, 1, 1) + 0.5
    fine = (0.1, 0.2, -0.3, 0.4)
    crops = CanvasPyramid(canvases).crop(torch.tensor([window, fine]))
    assert torch.equal(crops[0], torch.zeros(3, 64, 64))
    torch.testing.assert_close(crops[1:], CanvasPyramid(canvases[1:]).crop(torch.tensor([fine])))


@pytest.mark.parametrize("size", [20.0, 100.0, 1e30])
def test_a_window_of_no_size_is_a_point_and_an_endless_one_shows_the_border(size):
    corner = torch.tensor([[-0.5, 0.1], [0.3, 0.7]])  # of each quarter
    canvas = corner.repeat_interleave(48, 0).repeat_interleave(48, 1).expand(2, 3, 96, 96).clone()
    crops = CanvasPyramid(canvas).crop(torch.tensor([[0.5, -0.5, -size, 0.0], [0.0, 0.0, size, 0.0]]), 8)
    torch.testing.assert_close(crops[0], torch.full((3, 8, 8), 0.1))
    torch.testing.assert_close(crops[1, 0], corner.repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_a_window_that_is_far_away_shows_the_border():
    canvas = torch.full((1, 3, 96, 96), 0.5)
    assert torch.equal(
        CanvasPyramid(canvas).crop(torch.tensor([[3e38, -3e38, 0.0, 0.3]])), torch.full((1, 3, 64, 64), 0.5)
    )


def test_no_pictures():
    assert CanvasPyramid(torch.zeros(0, 3, 96, 96)).crop(torch.zeros(0, 4)).shape == (0, 3, 64, 64)
