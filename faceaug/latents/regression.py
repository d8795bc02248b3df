"""Streaming least squares of semantics on latents, y ≈ c + B (w − w̄), without storing the samples.

The state is the count, the means and the centred second moments in float64, merged batch by batch (Chan, Golub,
LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979). Only the diagonal of yᵀy is stored,
so memory is D² + D·P numbers for latents of width D and P values, for any number of samples (docs/method.md, section
3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.utils.typing import Floats

_EPSILON = float(np.finfo(np.float64).eps)
_MOMENTS = ("mean_x", "mean_y", "xx", "xy", "yy")


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A linear model of semantics on latents: ``y = c + B (w - w_mean)``.

    Attributes
    ----------
    w_mean
        Mean latent of the training samples, float64 [D].
    c
        Value at the mean latent, float64 [P].
    B
        Change of each value along each coordinate of the latent, float64 [P, D].
    r2_train
        Share of the training variance that is explained, float64 [P]; 0 for a value without variance.
    n
        Number of training samples.
    """

    w_mean: Floats
    c: Floats
    B: Floats
    r2_train: Floats
    n: int

    def predict(self, w: npt.ArrayLike | Tensor) -> Floats:
        """Return the values [N, P] of latents w [N, D]; FaceaugError when the shape does not fit."""
        rows = _float64(w)
        if rows.ndim != 2 or rows.shape[1] != len(self.w_mean):
            raise FaceaugError(
                f"latents of the shape {rows.shape} do not fit: this model takes (N, {len(self.w_mean)})"
            )
        return self.c + (rows - self.w_mean) @ self.B.T

    def r2(self, held_out: StreamingRegression) -> Floats:
        """Return the share of variance explained in the samples of another accumulator, float64 [P].

        It is negative where the held-out mean would have been a better prediction, and 0 where a value has no variance.
        """
        if (held_out.d, held_out.p) != self.B.shape[::-1]:
            raise FaceaugError(
                f"the held-out samples have {held_out.d} latent coordinates and {held_out.p} values; "
                f"the fit has {self.B.shape[1]} and {self.B.shape[0]}: they must be the same"
            )
        return _explained(held_out, self)


@dataclass
class StreamingRegression:
    """Least squares of P values on latents of width D, fed batch by batch.

    Parameters
    ----------
    d
        Width D of the latents.
    p
        Number P of values to explain.
    ridge
        Penalty on the sum of squares of B, in units of the sum of squared errors; c is not penalized.
    """

    d: int
    p: int
    ridge: float = 0.0
    n: int = field(default=0, init=False)
    mean_x: Floats = field(init=False, repr=False)  # [D]
    mean_y: Floats = field(init=False, repr=False)  # [P]
    xx: Floats = field(init=False, repr=False)  # [D, D] sum of centred products
    xy: Floats = field(init=False, repr=False)  # [D, P]
    yy: Floats = field(init=False, repr=False)  # [P] diagonal only

    def __post_init__(self) -> None:
        if self.d < 1 or self.p < 1 or not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise FaceaugError(
                f"a regression of {self.p} values on {self.d} coordinates with ridge {self.ridge} cannot be made: "
                "the widths must be at least 1 and the ridge a number not below 0"
            )
        self.mean_x, self.mean_y = np.zeros(self.d), np.zeros(self.p)
        self.xx, self.xy, self.yy = np.zeros((self.d, self.d)), np.zeros((self.d, self.p)), np.zeros(self.p)

    def update(self, x: npt.ArrayLike | Tensor, y: npt.ArrayLike | Tensor) -> None:
        """Add a batch of latents x [n, D] and their values y [n, P].

        Raises
        ------
        FaceaugError
            When the shapes do not fit or a number is NaN or infinite; the state is then unchanged.
        """
        rows, values = _float64(x), _float64(y)
        if rows.ndim != 2 or rows.shape[1] != self.d or values.shape != (len(rows), self.p):
            raise FaceaugError(
                f"a batch of latents {rows.shape} and values {values.shape} does not fit: "
                f"expected (n, {self.d}) and (n, {self.p}) with the same n"
            )
        if not (np.isfinite(rows).all() and np.isfinite(values).all()):
            raise FaceaugError("a batch holds NaN or infinite numbers: leave such samples out before the regression")
        if not len(rows):
            return
        mean_x, mean_y = rows.mean(0), values.mean(0)
        rows, values = rows - mean_x, values - mean_y
        self._merge(len(rows), mean_x, mean_y, rows.T @ rows, rows.T @ values, np.einsum("np,np->p", values, values))

    def merge(self, other: StreamingRegression) -> None:
        """Add the samples of `other`. The result depends on the order of merges in its last bits only.

        Raises
        ------
        FaceaugError
            When the two differ in their widths or in the ridge.
        """
        if (self.d, self.p, self.ridge) != (other.d, other.p, other.ridge):
            raise FaceaugError(
                f"regressions of widths ({self.d}, {self.p}), ridge {self.ridge}, and ({other.d}, {other.p}), "
                f"ridge {other.ridge}, cannot be merged: they must be the same"
            )
        self._merge(other.n, other.mean_x, other.mean_y, other.xx, other.xy, other.yy)

    def _merge(self, n: int, mean_x: Floats, mean_y: Floats, xx: Floats, xy: Floats, yy: Floats) -> None:
        if n == 0:
            return
        total = self.n + n
        dx, dy = mean_x - self.mean_x, mean_y - self.mean_y
        weight = self.n * n / total  # 0 for the first batch: its moments are taken as they are
        self.xx += xx + np.outer(dx * weight, dx)
        self.xy += xy + np.outer(dx * weight, dy)
        self.yy += yy + weight * dy**2
        self.mean_x += dx * (n / total)
        self.mean_y += dy * (n / total)
        self.n = total

    def solve(self) -> LinearFit:
        """Return the fit of all samples.

        Directions without variance of the latents get the coefficient 0, which is the solution of least length.

        Raises
        ------
        FaceaugError
            When there are fewer than two samples.
        """
        if self.n < 2:
            raise FaceaugError(f"a regression needs at least 2 samples, and there are {self.n}")
        scale, basis = np.linalg.eigh((self.xx + self.xx.T) / 2)
        floor = self.d * _EPSILON * max(float(scale[-1]), 0.0)
        varies = scale > floor
        inverse = np.divide(1.0, scale + self.ridge, out=np.zeros_like(scale), where=varies)
        coefficients = (basis * inverse) @ (basis.T @ self.xy)  # [D, P]
        fit = LinearFit(
            w_mean=self.mean_x.copy(),
            c=self.mean_y.copy(),
            B=np.ascontiguousarray(coefficients.T),
            r2_train=np.zeros(self.p),
            n=self.n,
        )
        fit.r2_train[:] = _explained(self, fit)
        return fit

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return the state as arrays (copies), for `from_state`."""
        return {
            "n": np.array(self.n, dtype=np.int64),
            "ridge": np.array(self.ridge, dtype=np.float64),
            **{name: np.array(getattr(self, name)) for name in _MOMENTS},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, npt.ArrayLike]) -> StreamingRegression:
        """Return the accumulator of a `state_dict`; it continues with the same numbers.

        Raises
        ------
        FaceaugError
            When an array is missing, has the wrong shape, or is not finite.
        """
        names = {"n", "ridge", *_MOMENTS}
        if missing := sorted(names - set(state)):
            raise FaceaugError(
                f"the state of the regression lacks {', '.join(missing)}: it is damaged or of another kind"
            )
        arrays = {name: np.array(state[name], dtype=np.float64) for name in names}
        d, p = arrays["mean_x"].size, arrays["mean_y"].size
        shapes = {"n": (), "ridge": (), "mean_x": (d,), "mean_y": (p,), "xx": (d, d), "xy": (d, p), "yy": (p,)}
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise FaceaugError(
                    f"{name} in the state of the regression has the shape {arrays[name].shape} or numbers that are not "
                    f"finite; expected the shape {shape}: the state is damaged"
                )
        regression = cls(d, p, float(arrays["ridge"]))
        regression.n = int(arrays["n"])
        for name in _MOMENTS:
            setattr(regression, name, arrays[name])
        return regression


def _explained(samples: StreamingRegression, fit: LinearFit) -> Floats:
    """Return 1 - squared error / variance of a fit on the samples of an accumulator, float64 [P]."""
    if samples.n < 2:
        raise FaceaugError(f"R² needs at least 2 samples, and {samples.n} have been taken in")
    coefficients = fit.B.T  # [D, P]
    within = samples.yy - 2 * np.einsum("dp,dp->p", coefficients, samples.xy)
    within += np.einsum("dp,dp->p", coefficients, samples.xx @ coefficients)
    offset = samples.mean_y - fit.c - (samples.mean_x - fit.w_mean) @ coefficients
    error = np.maximum(within, 0.0) + samples.n * offset**2
    # A value that is constant up to the rounding of its mean has no variance to explain.
    varies = samples.yy > samples.n * (4 * _EPSILON * np.abs(samples.mean_y)) ** 2
    return np.where(varies, 1 - np.divide(error, samples.yy, out=np.ones_like(error), where=varies), 0.0)


def _float64(values: npt.ArrayLike | Tensor) -> Floats:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
