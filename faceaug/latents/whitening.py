"""Whitening: coordinates of latents whose covariance is the identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator
from faceaug.utils.typing import Floats

_MIN_VARIANCE = 1e-4
"""Share of the largest variance of w below which a direction is left out, since it does not change images visibly."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """White coordinates u = (w - mean) forward of latents: uncorrelated, each with variance 1.

    Attributes
    ----------
    mean : float64 [D]
        Mean of w.
    forward : float64 [D, K]
        From w to u; K < D where the covariance is deficient.
    back : float64 [K, D]
        From u to the likeliest w.
    """

    mean: Floats
    forward: Floats
    back: Floats

    @property
    def width(self) -> int:
        """Number K of white coordinates."""
        return int(self.forward.shape[1])

    def white(self, w: Tensor) -> Tensor:
        """Return the white coordinates u, float32 [N, K], of latents w [N, D], on their device."""
        return (w - _like(self.mean, w)) @ _like(self.forward, w)

    def latent(self, u: Tensor) -> Tensor:
        """Return the likeliest latents w, float32 [N, D], of white coordinates u [N, K], on their device."""
        return _like(self.mean, u) + u @ _like(self.back, u)


def whitening(generator: Generator) -> Whitening:
    """Return the whitening of a generator's w, the direction of most variance first.

    Raises
    ------
    GeneratorError
        When the generator has no usable mean and covariance of w.
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
    kept = variance > _MIN_VARIANCE * variance[0]
    spread, basis = np.sqrt(variance[kept]), basis[:, kept]
    # The sign of an eigenvector depends on the library, so the largest coordinate is made positive.
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    return Whitening(mean, basis / spread, (basis * spread).T)


def _array(value: object) -> Floats:
    return np.empty(0) if value is None else np.array(value, np.float64)


def _unusable(generator: Generator, why: str) -> GeneratorError:
    return GeneratorError(
        f"the generator {generator.name!r} has no usable mean and covariance of w ({why}): directions cannot be found "
        "without them; faceaug.generators.base.estimate_statistics estimates both from samples"
    )


def _like(array: Floats, tensor: Tensor) -> Tensor:
    return torch.tensor(array, dtype=torch.float32, device=tensor.device)
