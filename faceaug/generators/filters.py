"""Filters of StyleGAN3, and how a signal is sampled up and down through them quickly.

A filter is a banded matrix. Cut into blocks it is one small dense matrix that is used again and again, which the
libraries of linear algebra multiply several times faster than convolutions of a single channel go.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 32  # samples of the higher rate that one small matrix gives or takes


def lowpass(taps: int, cutoff: float, width: float, rate: float) -> npt.NDArray[np.float64]:
    """Design a low-pass filter under a Kaiser window, float64 [taps], its sum 1; frequencies in cycles a picture."""
    from scipy import signal

    return np.asarray(signal.firwin(taps, cutoff, width=width, fs=rate), np.float64)


def round_lowpass(taps: int, cutoff: float, width: float, rate: float) -> npt.NDArray[np.float64]:
    """Design the round counterpart, float64 [taps, taps], its sum 1: a jinc in place of the sinc."""
    from scipy import signal, special

    x = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(x[:, None], x[None])
    with np.errstate(invalid="ignore"):
        jinc = np.where(radius > 0, special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius), cutoff)
    window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, 2 * width / rate)))
    kernel: npt.NDArray[np.float64] = jinc * np.outer(window, window)
    kernel /= kernel.sum()
    return kernel


def separated(kernel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Split a symmetric kernel [T, T] into the sum of outer products of r rows with themselves, signed: [r, 2, T].

    The filters of published networks take two to four; what is left out is a hundred-thousandth of what is kept.
    """
    values, vectors = np.linalg.eigh(kernel)
    kept = np.abs(values) > 1e-5 * np.abs(values).max()
    return np.stack([vectors[:, kept].T * values[kept, None], vectors[:, kept].T], 1)


class Resampler(nn.Module):
    """Sampling up by zeros between samples, a filter, and sampling down, along one side of pictures.

    With z the signal [..., L] spread by `up` and moved by `low`: ``out[j] = sum_t line[t] z[j down + t]``.
    """

    matrix: Tensor

    def __init__(self, line: npt.NDArray[np.float64], *, up: int = 1, down: int = 1, low: int = 0) -> None:
        super().__init__()
        outputs = max(BLOCK // down // up, 1) * up  # of one block
        self.first = -(low // up)  # the sample that the first output begins with: low moves it, rounded up
        last = ((outputs - 1) * down - low + len(line) - 1) // up
        self.inputs, self.outputs, self.step = last - self.first + 1, outputs, outputs * down // up
        places = (self.first + np.arange(self.inputs))[:, None] * up + low - np.arange(outputs)[None] * down
        inside = (places >= 0) & (places < len(line))
        matrix = np.where(inside, line[places.clip(0, len(line) - 1)], 0.0)
        self.register_buffer(
            "matrix", torch.from_numpy(matrix.astype(np.float32)), persistent=False
        )  # [inputs, outputs]

    def along_width(self, x: Tensor, length: int) -> Tensor:
        """Sample rows of x [..., H, W]: [..., H, length]."""
        missing = self._missing(x.shape[-1], length)
        x = F.pad(x, (-self.first, missing)).unfold(-1, self.inputs, self.step)
        return (x @ self.matrix).flatten(-2)[..., :length]

    def along_height(self, x: Tensor, length: int) -> Tensor:
        """Sample columns of x [..., H, W]: [..., length, W]."""
        missing = self._missing(x.shape[-2], length)
        x = F.pad(x, (0, 0, -self.first, missing)).unfold(-2, self.inputs, self.step).transpose(-1, -2)
        return (self.matrix.T @ x).flatten(-3, -2)[..., :length, :]

    def _missing(self, given: int, length: int) -> int:
        """Return how many samples are needed behind the given ones for `length` outputs."""
        blocks = -(-length // self.outputs)
        return (blocks - 1) * self.step + self.inputs + self.first - given
