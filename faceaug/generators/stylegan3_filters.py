"""Filters of StyleGAN3, and nonlinearities between up-sampling and down-sampling by small dense matrices.

A filter is a banded matrix. An image is cut into tiles, channels last in memory, and each tile is multiplied by four
small dense blocks of such matrices, up along width and height and down again. Linear algebra libraries multiply those
at nearly the peak speed of the processor, unlike convolutions of single channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from faceaug.utils.typing import Floats


@dataclass(frozen=True)
class TileSizes:
    """Sizes of the work of a `FilteredNonlinearity`.

    Parameters
    ----------
    span
        Outputs a side of a tile: tiles fit into the processor's cache, but are wide beside the filters' overlap.
    values
        Values at the nonlinearity that are in memory at a time.
    """

    span: int
    values: int


CPU_TILES = TileSizes(24, 2**20)
GPU_TILES = TileSizes(96, 2**26)  # for few calls; not measured


def lowpass(taps: int, cutoff: float, width: float, rate: float) -> Floats:
    """Design a low-pass filter under a Kaiser window, float64 [taps], its sum 1; frequencies in cycles an image."""
    from scipy import signal

    return np.asarray(signal.firwin(taps, cutoff, width=width, fs=rate), np.float64)


def round_lowpass(taps: int, cutoff: float, width: float, rate: float) -> Floats:
    """Design the round counterpart, float64 [taps, taps], its sum 1: a jinc in place of the sinc."""
    from scipy import signal, special

    x = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(x[:, None], x[None])
    with np.errstate(invalid="ignore"):
        jinc = np.where(radius > 0, special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius), cutoff)
    window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, 2 * width / rate)))
    kernel: Floats = jinc * np.outer(window, window)
    kernel /= kernel.sum()
    return kernel


def separated(kernel: Floats) -> Floats:
    """Split a symmetric kernel [T, T] into the sum of outer products of r rows with themselves, signed: [r, 2, T].

    The filters of published networks take two to four; eigenvalues below 1e-5 of the largest are left out.
    """
    values, vectors = np.linalg.eigh(kernel)
    large = np.abs(values) > 1e-5 * np.abs(values).max()
    return np.stack([vectors[:, large].T * values[large, None], vectors[:, large].T], 1)


@dataclass(frozen=True)
class Resampling:
    """Up-sampling by zeros between samples, a filter, and down-sampling, along one side of images.

    With z the signal spread by `up` and shifted by `low`: ``out[j] = sum_t taps[t] z[j down + t]``.
    """

    taps: tuple[float, ...]
    up: int = 1
    down: int = 1
    low: int = 0

    def support(self, start: int, stop: int, samples: int) -> tuple[int, int]:
        """Return the range of the input's samples on which the outputs from start to stop depend."""
        first = -((self.low - start * self.down) // self.up)  # rounded up
        last = ((stop - 1) * self.down + len(self.taps) - 1 - self.low) // self.up
        return max(first, 0), min(last + 1, samples)

    def matrix(self, start: int, stop: int, first: int, last: int) -> Floats:
        """Return the matrix from the samples first to last to the outputs start to stop, [outputs, samples]."""
        places = np.arange(first, last)[None] * self.up + self.low - np.arange(start, stop)[:, None] * self.down
        inside = (places >= 0) & (places < len(self.taps))
        return np.where(inside, np.array(self.taps)[places.clip(0, len(self.taps) - 1)], 0.0)


@dataclass(frozen=True)
class FilteredNonlinearity:
    """Up-sampling, a nonlinearity, and down-sampling, with the same filters along both sides.

    Parameters
    ----------
    up
        The up-sampling.
    down
        Pairs of down-samplings, along height and along width; the results of the pairs are summed.
    input_side, inner_side, output_side
        Samples a side before, at the nonlinearity and after.
    tiles
        Sizes of the work; by default those of the device.
    """

    up: Resampling
    down: tuple[tuple[Resampling, Resampling], ...]
    input_side: int
    inner_side: int
    output_side: int
    tiles: TileSizes | None = None

    def __call__(self, x: Tensor, nonlinearity: Callable[[Tensor], Tensor]) -> Tensor:
        """Filter x [N, input_side, input_side, C], contiguous; `nonlinearity` may write into its argument.

        Returns
        -------
        [N, output_side, output_side, C]
        """
        tiles = self.tiles or (CPU_TILES if x.device.type == "cpu" else GPU_TILES)
        spans = _spans(self, tiles.span, x.device, x.dtype)
        values = max(len(span.up) for span in spans) ** 2 * x.shape[-1]
        results = []
        for batch in torch.split(x, max(1, tiles.values // values)):
            rows = [torch.cat([_filter_tile(batch, a, b, nonlinearity) for b in spans], 2) for a in spans]
            results.append(torch.cat(rows, 1))
        return torch.cat(results)


@dataclass(frozen=True)
class Span:
    """The blocks of a `FilteredNonlinearity`'s matrices for some of its outputs, from the samples first to last.

    `up` is [B, last - first], `down_height` [outputs, B r] and `down_width` [r outputs, B], for r pairs.
    """

    first: int
    last: int
    up: Tensor
    down_height: Tensor
    down_width: Tensor


@lru_cache(maxsize=128)
def _spans(filtered: FilteredNonlinearity, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Span, ...]:
    """Return the matrices of a `FilteredNonlinearity` for outputs from 0 on, `length` at a time."""
    spans = []
    for start in range(0, filtered.output_side, length):
        stop = min(start + length, filtered.output_side)
        low, high = filtered.down[0][0].support(start, stop, filtered.inner_side)
        first, last = filtered.up.support(low, high, filtered.input_side)
        heights = np.stack([down.matrix(start, stop, low, high) for down, _ in filtered.down], 2)  # [outputs, B, r]
        widths = np.concatenate([down.matrix(start, stop, low, high) for _, down in filtered.down])
        blocks = (filtered.up.matrix(low, high, first, last), heights.reshape(stop - start, -1), widths)
        with torch.inference_mode(False):
            spans.append(Span(first, last, *(torch.tensor(block, dtype=dtype, device=device) for block in blocks)))
    return tuple(spans)


def _filter_tile(x: Tensor, rows: Span, columns: Span, nonlinearity: Callable[[Tensor], Tensor]) -> Tensor:
    """Return one tile [n, height, width, C] of the result of a `FilteredNonlinearity` for x [n, side, side, C]."""
    n, channels = len(x), x.shape[-1]
    z = x[:, rows.first : rows.last, columns.first : columns.last].flatten(2)
    z = _multiply(rows.up, z).view(n * len(rows.up), -1, channels)
    z = nonlinearity(_multiply(columns.up, z))
    z = _multiply(columns.down_width, z)  # [n B, r width, C], as the rows [n, B r, width C] that come next
    z = _multiply(rows.down_height, z.view(n, rows.down_height.shape[1], -1))
    return z.view(n, len(rows.down_height), -1, channels)


def _multiply(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply each of x [n, K, L] by a matrix [M, K]; unlike matmul, without a copy of x."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)
