"""What discovery draws from a generator: latents from numbered streams, pictures of any side, and white coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator

Floats = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-4
"""Share of the largest variance of w below which a direction is left out: no picture shows it."""


def latents(generator: Generator, n: int, stream: Sequence[int]) -> Tensor:
    """Draw n latents w, float32 [n, D] on the generator's device; the same numbers in `stream` give the same ones."""
    z = np.random.default_rng(tuple(stream)).standard_normal((n, generator.z_dim), dtype=np.float32)
    with torch.no_grad():
        return generator.map(torch.from_numpy(z).to(generator.device))


def pictures(generator: Generator, w: Tensor, side: int) -> Tensor:
    """Draw the pictures of w [N, D] at `side` pixels: float32 [N, 3, side, side] in [-1, 1], with no graph."""
    with torch.no_grad():
        return at_side(generator.synthesize(w), side)


def at_side(images: Tensor, side: int) -> Tensor:
    """Return pictures [N, C, R, R] at `side` pixels: averaged over areas when smaller, bilinear when larger."""
    if images.shape[-1] == side:
        return images
    if images.shape[-1] > side:
        return F.interpolate(images, size=(side, side), mode="area")
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The coordinates u = (w - mean) forward, of which each has the variance 1 and no two are correlated.

    Attributes
    ----------
    mean : float64 [D]
        Mean of w.
    forward : float64 [D, K]
        From w to u; K <= D where the covariance is deficient.
    back : float64 [K, D]
        From u to the likeliest w.
    """

    mean: Floats
    forward: Floats
    back: Floats

    @property
    def width(self) -> int:
        """Number K of white coordinates."""
        return self.forward.shape[1]

    def white(self, w: Tensor) -> Tensor:
        """Return u [N, K], float32 on the device of w [N, D]."""
        return (w - _like(self.mean, w)) @ _like(self.forward, w)

    def latent(self, u: Tensor) -> Tensor:
        """Return w [N, D], float32, of u [N, K]."""
        return _like(self.mean, u) + u @ _like(self.back, u)


def whitening(generator: Generator) -> Whitening:
    """Return the white coordinates of a generator's w, the direction of most variance first.

    Raises
    ------
    GeneratorError
        When the generator has no mean and covariance that can be used.
    """
    mean, covariance = (_array(getattr(generator, name, None)) for name in ("w_mean", "w_covariance"))
    d = generator.w_dim
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise _unusable(generator, f"their shapes are {mean.shape} and {covariance.shape}, not ({d},) and ({d}, {d})")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise _unusable(generator, "they hold numbers that are NaN or infinite")
    variance, basis = np.linalg.eigh((covariance + covariance.T) / 2)
    variance, basis = variance[::-1], basis[:, ::-1]
    if variance[0] <= 0 or variance[-1] < -1e-6 * variance[0]:
        raise _unusable(generator, f"the variances run from {variance[-1]:.3g} to {variance[0]:.3g}")
    kept = variance > SMALLEST_VARIANCE * variance[0]
    spread, basis = np.sqrt(variance[kept]), basis[:, kept]
    # An eigenvector's sign is the library's whim: the largest coordinate is made positive.
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    return Whitening(mean, basis / spread, (basis * spread).T)


def _array(value: object) -> Floats:
    return np.empty(0) if value is None else np.asarray(value, np.float64)


def _unusable(generator: Generator, why: str) -> GeneratorError:
    return GeneratorError(
        f"the generator {generator.name!r} has no usable mean and covariance of w ({why}): directions cannot be found "
        "without them; faceaug.generators.base.statistics estimates both from draws"
    )


def _like(array: Floats, tensor: Tensor) -> Tensor:
    return torch.from_numpy(array).to(tensor.device, torch.float32)
