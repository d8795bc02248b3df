"""Modulated 3 x 3 convolutions with a quarter of the multiplications, for synthesis on a CPU.

Winograd's minimal filtering after Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv
1509.09308): tiles of 6 x 6 pixels and kernels are transformed to 36 points each, multiplied there and summed over the
channels, and transformed back to 4 x 4 results, so that 36 multiplications replace 144. A band of tiles is finished
before the next one begins, so that intermediate values stay in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.utils.typing import Floats

STEP, TAPS = 4, 3
TILE = STEP + TAPS - 1
# Points at which polynomials are evaluated, besides infinity. On random numbers and 256 channels the rounding error is
# 1.3 times that of a direct convolution; with the customary 0, 1, -1, 2 and -2 it is 2.8 times.
POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))
TILES_PER_BAND = 128

Epilogue = Callable[[Tensor, slice, slice], object]
"""Called with a band of results [n, h, W, O], to change it in place, and its slices of images and rows."""


def transform_kernels(weight: Tensor, *, up: bool) -> Tensor:
    """Transform kernels to the points.

    Parameters
    ----------
    weight
        Kernels [O, I, 3, 3], as `torch.nn.functional.conv2d` takes them.
    up
        The convolution also doubles the side: zeros between the pixels, the kernel as in a transposed convolution, and
        the filter (1, 3, 3, 1) with gain 4. Together these are four 3 x 3 kernels at the side of the input, one for
        each of the 2 x 2 pixels that a pixel becomes.

    Returns
    -------
    float32 [36, I, O], with `up` [36, I, 4 O]
    """
    outputs, inputs = weight.shape[:2]
    line = _evaluation(TAPS) * _scales()[:, None]  # [6, 3]
    lines = np.stack([line @ taps for taps in (_phases() if up else np.eye(TAPS)[None])])  # [1 or 2, 6, 3]
    both = np.einsum("pam,qbn->abpqmn", lines, lines).reshape(TILE**2 * len(lines) ** 2, TAPS**2)
    flat = weight.detach().float().permute(2, 3, 1, 0).reshape(TAPS**2, inputs * outputs)
    points = (torch.from_numpy(both).float() @ flat).view(TILE**2, len(lines) ** 2, inputs, outputs)
    return points.transpose(1, 2).reshape(TILE**2, inputs, -1)


def is_faster(x: Tensor, *, up: bool) -> bool:
    """Tell whether `convolve` is faster for images x [N, I, H, W] than torch's convolution."""
    side, inputs = x.shape[-1], x.shape[1]
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    # With more channels, four times as many kernels no longer fit into the processor's cache.
    return side >= 32 and inputs <= 256 if up else side >= 16


def convolve(
    x: Tensor, kernels: Tensor, style: Tensor, scale: Tensor, bias: Tensor, epilogue: Epilogue, *, up: bool
) -> Tensor:
    """Scale channels, convolve with zero padding, scale the results and add a bias.

    Parameters
    ----------
    x
        Images [N, I, H, W], channels-last in memory; the sides are multiples of 4.
    kernels
        Result of `transform_kernels` with the same `up`.
    style, scale
        Factors of the input channels, [N, I], and of the output channels, [N, O].
    bias
        Added to the scaled results, [O] or any shape that broadcasts to [n, h, W, O].
    epilogue
        Called with each band of results while it is in the processor's cache.
    up
        Whether the sides are doubled.

    Returns
    -------
    float32 [N, O, H, W] or [N, O, 2 H, 2 W], channels-last in memory
    """
    factor, outputs = 2 if up else 1, scale.shape[1]
    n, inputs, height, width = x.shape
    rows, columns = height // STEP, width // STEP
    forward, inverse = _transforms()
    x = x.movedim(1, -1)
    y = x.new_empty(n, factor * height, factor * width, outputs)
    for images, first, last in _bands(n, rows, columns):
        padded = x[images, max(STEP * first - 1, 0) : STEP * last + 1]
        padded = F.pad(padded, (0, 0, 1, 1, int(first == 0), int(last == rows)))
        tiles = padded.unfold(1, TILE, STEP).unfold(2, TILE, STEP).movedim(3, -1)  # [n, rows, columns, 6, 6, I]
        v = torch.mul(tiles, style[images, None, None, None, None], out=x.new_empty(tiles.shape))
        v = v.view(-1, TILE**2, inputs)
        v = torch.bmm(forward.expand(len(v), -1, -1), v)
        v = torch.bmm(v.transpose(0, 1), kernels).transpose(0, 1)  # [tiles, 36, O or 4 O]
        v = torch.bmm(inverse.expand(len(v), -1, -1), v)
        band = slice(factor * STEP * first, factor * STEP * last)
        results = y[images, band]
        pixels = v.view(len(padded), last - first, columns, STEP, STEP, factor, factor, outputs)
        torch.addcmul(
            bias,
            pixels.permute(0, 1, 3, 5, 2, 4, 6, 7),
            scale[images, None, None, None, None, None, None],
            out=results.view(len(padded), last - first, STEP, factor, columns, STEP, factor, outputs),
        )
        epilogue(results, images, band)
    return y.movedim(-1, 1)


def _bands(n: int, rows: int, columns: int) -> Iterator[tuple[slice, int, int]]:
    """Yield the images and the first and last row of tiles of each band."""
    images, height = max(1, TILES_PER_BAND // (rows * columns)), max(1, TILES_PER_BAND // columns)
    for start in range(0, n, images):
        for first in range(0, rows, height):
            yield slice(start, start + images), first, min(first + height, rows)


def _evaluation(terms: int) -> Floats:
    """Return the matrix from a polynomial's coefficients to its values at the points and infinity, [6, terms]."""
    values = np.vander(POINTS, terms, increasing=True)
    return np.concatenate([values, np.eye(terms)[-1:]])


def _scales() -> Floats:
    """Return by what each point's values are divided in images and multiplied in kernels, [6]."""
    scales: Floats = np.abs(np.linalg.inv(_evaluation(TILE))).max(0)
    return scales


@lru_cache(maxsize=1)
def _transforms() -> tuple[Tensor, Tensor]:
    """Return the matrices from tiles to the points, [36, 36], and from the points to results, [16, 36].

    The filter is the transpose of a product of polynomials: evaluation, product, interpolation.
    """
    forward = np.linalg.inv(_evaluation(TILE)).T / _scales()[:, None]
    inverse = _evaluation(STEP).T
    with torch.inference_mode(False):
        return torch.from_numpy(np.kron(forward, forward)).float(), torch.from_numpy(np.kron(inverse, inverse)).float()


def _phases() -> Floats:
    """Return the matrices from a kernel's line to those of even and odd pixels of a doubled line, [2, 3, 3]."""
    blur = np.array([1.0, 3.0, 3.0, 1.0]) / 4
    spread = np.stack([np.convolve(one, blur) for one in np.eye(TAPS)], 1)  # [6, 3]
    return np.stack([spread[[4 + odd, 2 + odd, odd]] for odd in (0, 1)])
