"""Filters of StyleGAN3, and how a signal is sampled up, bent and sampled down through them quickly.

A filter is a banded matrix. A picture cut into tiles, channels last in memory, meets four small dense pieces of such
matrices, along height and width and back; the libraries of linear algebra multiply those at nearly the speed of the
processor, which convolutions of single channels do not come near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]

# Outputs a side of a tile, and numbers at the nonlinearity that are held at a time: tiles stay near the processor, but
# are wide beside the filters' overlap. The GPU's are chosen for few calls, and not measured.
CPU_SPAN, CPU_HELD = 24, 2**20
GPU_SPAN, GPU_HELD = 96, 2**26


def lowpass(taps: int, cutoff: float, width: float, rate: float) -> Floats:
    """Design a low-pass filter under a Kaiser window, float64 [taps], its sum 1; frequencies in cycles a picture."""
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

    The filters of published networks take two to four; what is left out is a hundred-thousandth of what is kept.
    """
    values, vectors = np.linalg.eigh(kernel)
    kept = np.abs(values) > 1e-5 * np.abs(values).max()
    return np.stack([vectors[:, kept].T * values[kept, None], vectors[:, kept].T], 1)


@dataclass(frozen=True)
class Resampling:
    """Sampling up by zeros between samples, a filter, and sampling down, along one side of pictures.

    With z the signal spread by `up` and moved by `low`: ``out[j] = sum_t line[t] z[j down + t]``.
    """

    line: tuple[float, ...]
    up: int = 1
    down: int = 1
    low: int = 0

    def needed(self, start: int, stop: int, given: int) -> tuple[int, int]:
        """Return the range of the `given` samples that the outputs from start to stop are made of."""
        first = -((self.low - start * self.down) // self.up)  # rounded up
        last = ((stop - 1) * self.down + len(self.line) - 1 - self.low) // self.up
        return max(first, 0), min(last + 1, given)

    def matrix(self, start: int, stop: int, first: int, last: int) -> Floats:
        """Return what takes the samples from first to last to the outputs from start to stop, [outputs, samples]."""
        places = np.arange(first, last)[None] * self.up + self.low - np.arange(start, stop)[:, None] * self.down
        inside = (places >= 0) & (places < len(self.line))
        return np.where(inside, np.array(self.line)[places.clip(0, len(self.line) - 1)], 0.0)


@dataclass(frozen=True)
class FilteredNonlinearity:
    """A signal sampled up, to where a nonlinearity is applied, and down again: the same along both sides.

    Parameters
    ----------
    rise
        The way up.
    falls
        Ways down, along height and along width; what the pairs give is summed.
    given, between, side
        Samples a side before, at the nonlinearity and after.
    """

    rise: Resampling
    falls: tuple[tuple[Resampling, Resampling], ...]
    given: int
    between: int
    side: int

    def __call__(self, x: Tensor, nonlinearity: Callable[[Tensor], Tensor]) -> Tensor:
        """Filter x [N, given, given, C], contiguous: [N, side, side, C]; `nonlinearity` may write into its argument."""
        on_cpu = x.device.type == "cpu"
        spans = _spans(self, CPU_SPAN if on_cpu else GPU_SPAN, x.device, x.dtype)
        held = max(len(span.rise) for span in spans) ** 2 * x.shape[-1]
        done = []
        for part in torch.split(x, max(1, (CPU_HELD if on_cpu else GPU_HELD) // held)):
            rows = [torch.cat([_tile(part, a, b, nonlinearity) for b in spans], 2) for a in spans]
            done.append(torch.cat(rows, 1))
        return torch.cat(done)


@dataclass(frozen=True)
class Span:
    """The pieces of a `FilteredNonlinearity`'s matrices that make some of its outputs, from the samples first to last.

    `rise` is [B, last - first], `fall_height` [outputs, B r] and `fall_width` [r outputs, B], for r pairs.
    """

    first: int
    last: int
    rise: Tensor
    fall_height: Tensor
    fall_width: Tensor


@lru_cache(maxsize=128)
def _spans(bend: FilteredNonlinearity, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Span, ...]:
    """Return the matrices of a `FilteredNonlinearity` for outputs from 0 on, `length` at a time."""
    spans = []
    for start in range(0, bend.side, length):
        stop = min(start + length, bend.side)
        low, high = bend.falls[0][0].needed(start, stop, bend.between)
        first, last = bend.rise.needed(low, high, bend.given)
        heights = np.stack([fall.matrix(start, stop, low, high) for fall, _ in bend.falls], 2)  # [outputs, B, r]
        widths = np.concatenate([fall.matrix(start, stop, low, high) for _, fall in bend.falls])
        pieces = (bend.rise.matrix(low, high, first, last), heights.reshape(stop - start, -1), widths)
        with torch.inference_mode(False):
            spans.append(Span(first, last, *(torch.tensor(piece, dtype=dtype, device=device) for piece in pieces)))
    return tuple(spans)


def _tile(x: Tensor, rows: Span, columns: Span, nonlinearity: Callable[[Tensor], Tensor]) -> Tensor:
    """Return one tile [n, height, width, C] of what a `FilteredNonlinearity` makes of x [n, given, given, C]."""
    n, channels = len(x), x.shape[-1]
    z = x[:, rows.first : rows.last, columns.first : columns.last].flatten(2)
    z = _times(rows.rise, z).view(n * len(rows.rise), -1, channels)
    z = nonlinearity(_times(columns.rise, z))
    z = _times(columns.fall_width, z)  # [n B, r width, C], as the rows [n, B r, width C] that come next
    z = _times(rows.fall_height, z.view(n, rows.fall_height.shape[1], -1))
    return z.view(n, len(rows.fall_height), -1, channels)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply each of x [n, K, L] by a matrix [M, K], in place of matmul, which would first copy x."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)
