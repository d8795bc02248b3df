"""Conversions and resizing of image tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.utils.tensors import as_tensor, normalize_pixels, quantize_pixels, resize_tensor, thumbnails, to_uint8

EVERY_PIXEL_VALUE = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)


def test_every_pixel_value_survives_the_way_there_and_back():
    assert np.array_equal(to_uint8(as_tensor(EVERY_PIXEL_VALUE)), EVERY_PIXEL_VALUE)
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantize_pixels(normalize_pixels(pixels)), pixels)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_channels_move_and_leading_dimensions_stay(leading):
    images = np.random.default_rng(0).integers(0, 256, (*leading, 4, 5, 3), dtype=np.uint8)
    x = as_tensor(images)
    assert x.shape == (*leading, 3, 4, 5)
    assert x.dtype == torch.float32
    assert (x.min() >= -1) & (x.max() <= 1)
    assert np.array_equal(to_uint8(x), images)
    images[..., 0, 0, :] = [0, 255, 51]
    torch.testing.assert_close(as_tensor(images)[..., 0, 0][(0,) * len(leading)], torch.tensor([-1.0, 1.0, -0.6]))


def test_values_out_of_range_are_clipped_and_a_half_goes_to_the_even_number():
    values = torch.tensor([-9.0, -1.001, 1.001, 9.0, 0.0])
    assert quantize_pixels(values).tolist() == [0, 0, 255, 255, 128]


def test_thumbnails_are_small_copies():
    images = as_tensor(np.broadcast_to(EVERY_PIXEL_VALUE, (2, 16, 16, 3)).copy())
    assert np.array_equal(thumbnails(images, 16)[0], EVERY_PIXEL_VALUE)
    small = thumbnails(images, 8)
    assert small.shape == (2, 8, 8, 3)
    assert small.mean() == pytest.approx(EVERY_PIXEL_VALUE.mean(), abs=1)


def test_smaller_sides_are_means_and_larger_ones_are_interpolated():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(resize_tensor(images, 2)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert resize_tensor(images, 4) is images
    assert resize_tensor(images, 8).shape == (1, 1, 8, 8)
