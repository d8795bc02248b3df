"""Convolutions of StyleGAN2 that change the side of an image, with its (1, 3, 3, 1) filter (arXiv 1912.04958)."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def blur(x: Tensor, pad: int) -> Tensor:
    """Filter x [N, C, H, W] with the outer product of (1, 3, 3, 1) / 8, zeros around it: [N, C, H + 2 pad - 3, ...].

    The filter is the mean of 2 x 2 taken three times; on channels-last memory that is far faster than a convolution by
    channel, forward and backward.
    """
    x = F.avg_pool2d(F.pad(x, (pad - 1,) * 4) if pad > 1 else x, 2, 1, padding=1)
    return F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1)


def blurred_kernel(kernel: Tensor) -> Tensor:
    """Return convolution kernels [O, I, k, k] that filter as `blur` does, too: [O, I, k + 3, k + 3].

    They are for GPUs: one convolution with larger kernels replaces passes over the activations, and the gradient of
    `blur` is wrong there, since torch 2.11 computes that of `avg_pool2d` wrongly for channels-last memory on CUDA.
    """
    size = kernel.shape[-1]
    blurred = kernel.flatten(2) @ _blurring_matrix(size, kernel.device, kernel.dtype)
    return blurred.view(*kernel.shape[:2], size + 3, size + 3)


def convolve_down(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter x [N, C, H, W] with (1, 3, 3, 1) and convolve to half the side, kernels [O, C, k, k] with k 1 or 3."""
    is_large = kernel.shape[-1] == 3
    if x.is_cuda:
        return F.conv2d(x, blurred_kernel(kernel).to(x.dtype), stride=2, padding=2 if is_large else 1)
    if is_large:
        return F.conv2d(blur(x, 2), kernel.to(x.dtype), stride=2)
    return F.conv2d(blur(x, 1)[:, :, ::2, ::2], kernel.to(x.dtype))


def convolve_up(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve x [N, C, H, W] at twice the side, kernels [O, C, 3, 3], and filter with (1, 3, 3, 1) and gain 4."""
    kernel = 4 * kernel.transpose(0, 1)
    # A transposed convolution with stride 2 puts the zeros between the pixels itself.
    if x.is_cuda:
        return F.conv_transpose2d(x, blurred_kernel(kernel).to(x.dtype), stride=2, padding=2)
    return blur(F.conv_transpose2d(x, kernel.to(x.dtype), stride=2), 1)


@lru_cache(maxsize=8)
def _blurring_matrix(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the matrix [k k, (k + 3) (k + 3)] that filters flattened kernels; cached for the sake of CUDA graphs."""
    with torch.inference_mode(False):
        units = torch.eye(size * size, device=device, dtype=dtype).view(-1, 1, size, size)
        return F.conv2d(units, _upsampling_filter(device, dtype)[None, None] / 4, padding=3).flatten(1)


@lru_cache(maxsize=8)
def _upsampling_filter(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the (1, 3, 3, 1) filter with gain 4, [4, 4]; cached, since a CUDA graph cannot copy it to the device."""
    with torch.inference_mode(False):
        line = torch.tensor([1.0, 3.0, 3.0, 1.0], device=device, dtype=dtype) / 4
        return torch.outer(line, line)


def upsample(x: Tensor) -> Tensor:
    """Double the side of x [N, C, H, W]: zeros between the pixels, then the (1, 3, 3, 1) filter with gain 4."""
    kernel = _upsampling_filter(x.device, x.dtype).expand(x.shape[1], 1, 4, 4)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])
