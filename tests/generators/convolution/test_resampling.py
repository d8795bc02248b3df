"""The (1, 3, 3, 1) filter on images and on kernels, and convolutions that change the side of an image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from faceaug.generators.convolution.resampling import blur, blurred_kernel, convolve_down, convolve_up, upsample


def test_filters_of_constants_and_of_a_point():
    ones = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(blur(ones, 2)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 5, 5))
    assert blur(ones, 1).shape == (1, 2, 7, 7)
    torch.testing.assert_close(upsample(ones)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    point = torch.zeros(1, 1, 7, 7)
    point[0, 0, 3, 3] = 64.0
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    torch.testing.assert_close(blur(point, 2)[0, 0, 2:6, 2:6], torch.outer(line, line))


@pytest.mark.parametrize(("size", "padding"), [(3, 2), (1, 1)])
def test_blurred_kernels_convolve_as_blurred_images(size, padding):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 16, 16, generator=rng, dtype=torch.float64)
    kernel = torch.randn(7, 5, size, size, generator=rng, dtype=torch.float64)
    found = F.conv2d(x, blurred_kernel(kernel), stride=2, padding=padding)
    torch.testing.assert_close(found, convolve_down(x, kernel))


def test_blurred_kernels_convolve_upward_as_blurred_images():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 16, 16, generator=rng, dtype=torch.float64)
    kernel = torch.randn(7, 5, 3, 3, generator=rng, dtype=torch.float64)
    found = F.conv_transpose2d(x, blurred_kernel(4 * kernel.transpose(0, 1)), stride=2, padding=2)
    torch.testing.assert_close(found, convolve_up(x, kernel))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("convolve", [convolve_down, convolve_up])
def test_gradients_on_a_gpu_equal_those_on_a_cpu(convolve):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 64, 16, 16, generator=rng, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3, generator=rng, dtype=torch.float64)
    weights = torch.randn(convolve(x, kernel).shape, generator=rng, dtype=torch.float64)
    gradients = []
    for device in ("cpu", "cuda"):
        image = x.to(device).requires_grad_(True)
        (convolve(image, kernel.to(device)) * weights.to(device)).sum().backward()
        gradients.append(image.grad.cpu())
    torch.testing.assert_close(*gradients)
