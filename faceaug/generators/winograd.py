"""Modulated convolutions of 3 x 3 with a quarter of the multiplications, for drawing on a CPU.

Winograd's minimal filtering as Lavin and Gray put it, "Fast Algorithms for Convolutional Neural Networks" (arXiv
1509.09308): tiles of 6 x 6 pixels and kernels are taken to 36 points each, multiplied there and summed over the
channels, and taken back to 4 x 4 results, so that 36 multiplications do the work of 144. A band of tiles goes all the
way before the next one begins: what lies between stays near the processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

STEP, TAPS = 4, 3
TILE = STEP + TAPS - 1
# Where polynomials are evaluated, besides infinity. On random numbers and 256 channels the rounding error is 1.3 times
# that of a direct convolution; with the customary 0, 1, -1, 2 and -2 it is 2.8 times.
POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))
HELD = 128  # tiles at a time

Floats = npt.NDArray[np.float64]
Finish = Callable[[Tensor, slice, slice], object]


def kernels(weight: Tensor, *, up: bool) -> Tensor:
    """Take kernels to the points.

    Parameters
    ----------
    weight
        Kernels [O, I, 3, 3], as `torch.nn.functional.conv2d` has them.
    up
        The picture is doubled on the way: zeros between its pixels, the kernel as in a transposed convolution, and the
        filter (1, 3, 3, 1) with gain 4. Together these are four kernels of 3 x 3 at the side that is given, one for
        each pixel of the 2 x 2 that a pixel becomes.

    Returns
    -------
    float32 [36, I, O], with `up` [36, I, 4 O]
    """
    outputs, inputs = weight.shape[:2]
    line = _evaluation(TAPS) * _scales()[:, None]  # [6, 3]
    lines = np.stack([line @ taps for taps in (_phases() if up else np.eye(TAPS)[None])])  # [1 or 2, 6, 3]
    both = np.einsum("pam,qbn->abpqmn", lines, lines).reshape(TILE**2 * len(lines) ** 2, TAPS**2)
    flat = weight.detach().float().permute(2, 3, 1, 0).reshape(TAPS**2, inputs * outputs)
    found = (torch.from_numpy(both).float() @ flat).view(TILE**2, len(lines) ** 2, inputs, outputs)
    return found.transpose(1, 2).reshape(TILE**2, inputs, -1)


def pays(x: Tensor, *, up: bool) -> bool:
    """Tell whether `convolve` is faster for pictures x [N, I, H, W] than the library's convolution."""
    side, inputs = x.shape[-1], x.shape[1]
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    # With more channels than that, four times as many kernels no longer stay near the processor.
    return side >= 32 and inputs <= 256 if up else side >= 16


def convolve(
    x: Tensor, kernels: Tensor, style: Tensor, scale: Tensor, bias: Tensor, finish: Finish, *, up: bool
) -> Tensor:
    """Scale channels, convolve with zeros around the picture, scale what comes out and add to it.

    Parameters
    ----------
    x
        Pictures [N, I, H, W], channels-last in memory; the sides are multiples of 4.
    kernels
        As `kernels` made them with the same `up`.
    style, scale
        Factors of the channels before, [N, I], and after, [N, O].
    bias
        What is added then to the channels, [O] or any shape that fits to [n, h, W, O].
    finish
        Called with each band of results [n, h, W, O] while it is at hand, to change it in place, and with the slices of
        pictures and rows that it is.
    up
        Whether the sides are doubled.

    Returns
    -------
    float32 [N, O, H, W] or [N, O, 2 H, 2 W], channels-last in memory
    """
    factor, outputs = 2 if up else 1, scale.shape[1]
    n, inputs, height, width = x.shape
    rows, columns = height // STEP, width // STEP
    there, back = _there_and_back()
    x = x.movedim(1, -1)
    y = x.new_empty(n, factor * height, factor * width, outputs)
    for images, first, last in _bands(n, rows, columns):
        part = x[images, max(STEP * first - 1, 0) : STEP * last + 1]
        part = F.pad(part, (0, 0, 1, 1, int(first == 0), int(last == rows)))
        tiles = part.unfold(1, TILE, STEP).unfold(2, TILE, STEP).movedim(3, -1)  # [n, rows, columns, 6, 6, I]
        v = torch.mul(tiles, style[images, None, None, None, None], out=x.new_empty(tiles.shape))
        v = v.view(-1, TILE**2, inputs)
        v = torch.bmm(there.expand(len(v), -1, -1), v)
        v = torch.bmm(v.transpose(0, 1), kernels).transpose(0, 1)  # [tiles, 36, O or 4 O]
        v = torch.bmm(back.expand(len(v), -1, -1), v)
        band = slice(factor * STEP * first, factor * STEP * last)
        done = y[images, band]
        apart = v.view(len(part), last - first, columns, STEP, STEP, factor, factor, outputs)
        torch.addcmul(
            bias,
            apart.permute(0, 1, 3, 5, 2, 4, 6, 7),
            scale[images, None, None, None, None, None, None],
            out=done.view(len(part), last - first, STEP, factor, columns, STEP, factor, outputs),
        )
        finish(done, images, band)
    return y.movedim(-1, 1)


def _bands(n: int, rows: int, columns: int) -> Iterator[tuple[slice, int, int]]:
    """Yield the pictures and the first and last row of tiles of each band."""
    pictures, height = max(1, HELD // (rows * columns)), max(1, HELD // columns)
    for start in range(0, n, pictures):
        for first in range(0, rows, height):
            yield slice(start, start + pictures), first, min(first + height, rows)


def _evaluation(terms: int) -> Floats:
    """Return what takes a polynomial's coefficients to its values at the points and infinity, [6, terms]."""
    values = np.vander(POINTS, terms, increasing=True)
    return np.concatenate([values, np.eye(terms)[-1:]])


def _scales() -> Floats:
    """Return what each point's values are divided by in the pictures and multiplied by in the kernels, [6]."""
    scales: Floats = np.abs(np.linalg.inv(_evaluation(TILE))).max(0)
    return scales


@lru_cache(maxsize=1)
def _there_and_back() -> tuple[Tensor, Tensor]:
    """Return what takes tiles to the points, [36, 36], and what takes results from there, [16, 36].

    The filter is the transpose of a product of polynomials: evaluation, product, interpolation.
    """
    there = np.linalg.inv(_evaluation(TILE)).T / _scales()[:, None]
    back = _evaluation(STEP).T
    with torch.inference_mode(False):
        return torch.from_numpy(np.kron(there, there)).float(), torch.from_numpy(np.kron(back, back)).float()


def _phases() -> Floats:
    """Return what takes a kernel's line to those of the even and the odd pixels of a doubled line, [2, 3, 3]."""
    blur = np.array([1.0, 3.0, 3.0, 1.0]) / 4
    spread = np.stack([np.convolve(one, blur) for one in np.eye(TAPS)], 1)  # [6, 3]
    return np.stack([spread[[4 + odd, 2 + odd, odd]] for odd in (0, 1)])
