"""How far a reading is to be trusted, and when nothing can be told.

Four signs say how well a picture was read, and none needs a label: how much of the picture its own explanation leaves
unexplained; whether the mirrored picture is read as the mirrored reading; whether the framing came to rest; whether the
alignment saw a face. On generated pictures that were disturbed on purpose, what their clean originals read is the
truth; there the signs are turned into the probability that a value is within half a standard deviation of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.utils.typing import Floats

TOLERANCE = 0.5
"""Of the standard deviation over generated faces: a value that is at most so far off counts as right."""
NO_FACE, RESTLESS, UNEXPLAINED, TWOFOLD = (
    "no face found", "no steady framing", "not explained by the reconstruction", "mirrored copy read differently",
)  # fmt: skip
# Limits of error, disagreement and unrest lie so many times as far from the median as the 99th percentile of disturbed
# generated pictures: photographs are explained worse than those, but framed as steadily.
_FAR = (3.0, 2.0, 1.2)
_STRICTEST = (0.1, 0.1, 0.1)  # of those limits
_LEAST_FACE = 0.0  # log-odds: below, none is more likely than one, whatever the calibration says
_MOST_ODDS = 6.0
_ERRORS = (1e-3, 10.0)  # beyond these, errors tell no more; where nothing is seen they are infinite
_PARTS = ("spread", "centre", "scale", "weights", "bias", "limits", "presence")


@dataclass(frozen=True, eq=False)
class QualitySignals:
    """What tells a good reading from a bad one, for N pictures and S semantics.

    Attributes
    ----------
    error : float64 [N]
        Mean difference of the picture and its explanation, in standard deviations of the picture; infinite where the
        explanation shows nothing.
    mirror_disagreement : float64 [N, S]
        Half of the difference between the values read from the picture and from its mirror, in their units.
    residual_step : float64 [N]
        See `alignment.AlignedFaces`.
    face : float64 [N]
        Log-odds of a face.
    """

    error: Floats
    mirror_disagreement: Floats
    residual_step: Floats
    face: Floats


def concatenate_signals(signs: Sequence[QualitySignals]) -> QualitySignals:
    """Return signs one after the other."""
    return QualitySignals(
        *(np.concatenate([getattr(s, name) for s in signs]) for name in ("error", "twofold", "unrest", "face"))
    )


@dataclass(frozen=True, eq=False)
class ConfidenceModel:
    """Turns signs into confidence; see `fit_confidence`.

    Attributes
    ----------
    spread : float64 [S]
        Standard deviation of each semantic over generated faces.
    centre, scale : float64 [S, 5]
        Standardise the signs: error, disagreement of all semantics, of this one, unrest, absence of a face.
    weights, bias : float64 [S, 5], [S]
        Of the logistic regression; no weight is positive, for no trouble makes a reading better.
    limits : float64 [4]
        Largest error, disagreement and unrest, and least presence of a face, at which anything is told.
    presence : float64 [3]
        The presence of a face, in log-odds: weights of `QualitySignals.face` and of minus the logarithm of unrest, and a bias.
        Where there is no face the framing hardly ever comes to rest.
    """

    spread: Floats
    centre: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    limits: Floats
    presence: Floats

    def confidence(self, signs: QualitySignals) -> Floats:
        """Return the probability [N, S] that each value is within `TOLERANCE`; 0 where nothing can be told."""
        standard = (_troubles(signs, self.spread) - self.centre) / self.scale  # [N, S, 5]
        odds = np.clip(np.einsum("nsf,sf->ns", standard, self.weights) + self.bias, -_MOST_ODDS, _MOST_ODDS)
        told = np.array([not why for why in self.refusals(signs)])[:, None]
        return np.where(told, 1 / (1 + np.exp(-odds)), 0.0)

    def refusals(self, signs: QualitySignals) -> list[str]:
        """Say of each picture why nothing can be told of it; an empty text where something can."""
        error, mirror_disagreement, residual_step, face = self.limits
        reasons = (
            (NO_FACE, ~((_marks(signs) @ self.presence >= face) & (signs.face >= _LEAST_FACE))),
            (RESTLESS, ~(signs.residual_step <= residual_step)),
            (UNEXPLAINED, ~(signs.error <= error)),
            (TWOFOLD, ~(_overall(signs, self.spread) <= mirror_disagreement)),
        )
        return [next((why for why, bad in reasons if bad[k]), "") for k in range(len(signs.error))]

    def state(self) -> dict[str, Tensor]:
        """Return all numbers by name."""
        return {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _PARTS}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], semantics: int) -> ConfidenceModel:
        """Return what `state` described; IntegrityError unless it is for so many semantics."""
        shapes = dict(spread=(semantics,), centre=(semantics, 5), scale=(semantics, 5), weights=(semantics, 5),
                      bias=(semantics,), limits=(4,), presence=(3,))  # fmt: skip
        arrays = {}
        for name, shape in shapes.items():
            array = state[name].double().numpy() if name in state else np.empty(0)
            if array.shape != shape or not np.isfinite(array).all():
                raise IntegrityError(
                    f"the calibration has {name} of the shape {array.shape}, expected finite numbers {shape}: the file "
                    "is damaged, get it again"
                )
            arrays[name] = array
        return cls(**arrays)


def fit_confidence(signs: QualitySignals, off: Floats, spread: Floats, without: QualitySignals) -> ConfidenceModel:
    """Learn from disturbed pictures what the signs are worth.

    Parameters
    ----------
    signs
        Of N disturbed pictures.
    off : float64 [N, S]
        How far their readings are from those of the clean originals.
    spread : float64 [S]
        Standard deviation of the clean readings, positive.
    without
        Signs of pictures in which there is no face: every reading of those is wrong.

    Raises
    ------
    FaceaugError
        When the signs are not numbers, or no picture is explained at all, so that nothing can be learned from them.
    """
    both = concatenate_signals([signs, without])
    troubles, marks = _troubles(both, spread), _marks(both)
    high = (signs.error, _overall(signs, spread), signs.residual_step)
    limits = np.array([_limit(sign, far, least) for sign, far, least in zip(high, _FAR, _STRICTEST, strict=True)])
    # Before fitting: a fit to what is no number may stop where it began, and look fine.
    _check_finite(troubles, marks, limits, spread)
    right = np.zeros(troubles.shape[:2])
    right[: len(off)] = np.abs(off) <= TOLERANCE * spread
    centre, scale = troubles.mean(0), np.maximum(troubles.std(0), 1e-6)
    weights, bias = _logistic(torch.from_numpy((troubles - centre) / scale), torch.from_numpy(right))
    balance = torch.cat([torch.full((len(part.face),), 0.5 / len(part.face)) for part in (signs, without)]).double()
    there = torch.cat([torch.ones(len(signs.face)), torch.zeros(len(without.face))]).double()
    for_face = torch.from_numpy(marks[:, :2])[:, None]
    slopes, offset = _logistic(-for_face, there[:, None], balance[:, None])
    presence = np.array([*-slopes[0], offset[0]])
    _check_finite(weights, bias, presence)
    faces, others = (_marks(part) @ presence for part in (signs, without))
    # At most 1% of the faces lie below, and if that can be, at most 1% of what is none above.
    least = max(_LEAST_FACE, float(min(np.quantile(faces, 0.01), np.quantile(others, 0.99))))
    return ConfidenceModel(spread, centre, scale, weights, bias, np.array([*limits, least]), presence)


def _check_finite(*parts: Floats) -> None:
    if not all(np.isfinite(part).all() for part in parts):
        raise FaceaugError(
            "the calibration on disturbed pictures gave numbers that are not finite: expected a reconstruction that "
            "explains at least some of its generator's pictures; train it for longer"
        )


def _limit(sign: Floats, far: float, least: float) -> float:
    """Return how large a sign may be, from its finite values; NaN where there is none."""
    known = sign[np.isfinite(sign)]
    if not len(known):
        return float("nan")
    middle = np.median(known)
    return max(least, float(middle + far * (np.quantile(known, 0.99) - middle)))


def _marks(signs: QualitySignals) -> Floats:
    """Return what speaks for a face, [N, 3]: the more the better, and 1."""
    return np.stack([np.clip(signs.face, -8, 8), -np.log(signs.residual_step + 0.02), np.ones_like(signs.face)], 1)


def _overall(signs: QualitySignals, spread: Floats) -> Floats:
    """Return the disagreement over all semantics, root mean square in their standard deviations: [N]."""
    return np.asarray(np.sqrt(np.square(signs.mirror_disagreement / spread).mean(1)), np.float64)


def _troubles(signs: QualitySignals, spread: Floats) -> Floats:
    """Return what speaks against a reading, [N, S, 5]: the larger the worse, on scales that tell small ones apart."""
    shared = [
        np.log(np.clip(signs.error, *_ERRORS)),
        np.log(_overall(signs, spread) + 0.02),
        np.log(signs.residual_step + 0.02),
    ]
    own = np.log(np.abs(signs.mirror_disagreement) / spread + 0.02)
    columns = [*(np.broadcast_to(s[:, None], own.shape) for s in shared[:2]), own, shared[2][:, None] + 0 * own]
    return np.stack([*columns, np.clip(-signs.face, -8, 8)[:, None] + 0 * own], 2)


def _logistic(x: Tensor, y: Tensor, share: Tensor | None = None) -> tuple[Floats, Floats]:
    """Fit the probability of y [N, S] on x [N, S, F] with weights that are not positive; weights [S, F], bias [S].

    `share` [N, S] says how much each row counts, and adds up to 1 over the rows; all the same by default.
    """
    weight = torch.full(x.shape[1:], -1.0, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        odds = torch.einsum("nsf,sf->ns", x, -F.softplus(weight)) + bias
        each = F.binary_cross_entropy_with_logits(odds, y, reduction="none")
        value = each.mean() if share is None else (each * share).sum()
        value = value + 1e-4 * (F.softplus(weight).square().mean() + bias.square().mean())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    fit.step(loss)  # type: ignore[no-untyped-call]
    return -F.softplus(weight).detach().numpy(), bias.detach().numpy()
