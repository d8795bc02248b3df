"""Confidence in the estimated factors of a photograph, and reasons to refuse an estimate.

Four quality signals need no label: the error of the rendered explanation, the disagreement between the image and its
mirror image, the residual step of the alignment, and the log-odds of a face. On augmented samples, for which the
estimate of the clean sample is taken as the truth, logistic regressions map the signals to the probability that a value
is within half a standard deviation of the truth (docs/method.md, section 2, "Photographs").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.utils.typing import Floats

TOLERANCE = 0.5
"""Largest error of a value that counts as right, in standard deviations over samples."""
NO_FACE, UNSTEADY_FRAMING = "no face found", "no steady framing"
UNEXPLAINED, MIRROR_DIFFERS = "not explained by the reconstruction", "mirrored copy read differently"
# The limits of error, mirror disagreement and residual step lie at so many times the distance of the 99th percentile of
# augmented samples from their median: photographs are explained worse than samples, but framed as steadily.
_LIMIT_FACTORS = (3.0, 2.0, 1.2)
_LEAST_LIMITS = (0.1, 0.1, 0.1)
MIN_FACE_LOG_ODDS = 0.0  # below, the absence of a face is more likely, whatever the calibration says
_MAX_LOG_ODDS = 6.0
_ERROR_RANGE = (1e-3, 10.0)  # differences beyond carry no information; the error is infinite where nothing is visible
_CONFIDENCE_RANGE = (0.05, 0.995)  # beyond, an error as large or as small says more than a confidence can
_OFFSET = 0.02  # under logarithms, so that small signals do not dominate


@dataclass(frozen=True, eq=False)
class QualitySignals:
    """Signals of the quality of N estimates of S semantics.

    Attributes
    ----------
    error : float64 [N]
        Mean difference of the image and its rendered explanation, in standard deviations of the image; infinite where
        the explanation shows nothing.
    mirror_disagreement : float64 [N, S]
        Half of the difference between the values estimated from the image and from its mirror image, in their units.
    residual_step : float64 [N]
        Of the alignment (`alignment.AlignedFaces`).
    face : float64 [N]
        Log-odds of a face.
    """

    error: Floats
    mirror_disagreement: Floats
    residual_step: Floats
    face: Floats


def standard_errors(confidence: Floats, spread: float) -> Floats:
    """Return the standard error [N] of values, in their unit, from their confidence [N]; NaN where that is 0.

    A normal error with it stays within `TOLERANCE` spreads with the probability that the confidence states.

    Parameters
    ----------
    confidence : float64 [N]
    spread : float
        `ConfidenceModel.spread` of the semantic.
    """
    likely = np.clip(confidence, *_CONFIDENCE_RANGE)
    return np.where(confidence > 0, TOLERANCE * spread / norm.ppf((1 + likely) / 2), np.nan)


def concatenate_signals(batches: Sequence[QualitySignals]) -> QualitySignals:
    """Return the signals of several batches as one batch."""
    return QualitySignals(
        *(np.concatenate([getattr(batch, field.name) for batch in batches]) for field in fields(QualitySignals))
    )


@dataclass(frozen=True, eq=False)
class ConfidenceModel:
    """Maps quality signals to confidence; see `fit_confidence`.

    Attributes
    ----------
    spread : float64 [S]
        Standard deviation of each semantic over samples.
    centre, scale : float64 [S, 5]
        Standardization of the predictors: error, mirror disagreement of all semantics, mirror disagreement of this one,
        residual step, absence of a face.
    weights, bias : float64 [S, 5], [S]
        Of the logistic regressions; no weight is positive, since no larger signal makes an estimate better.
    limits : float64 [4]
        Largest error, mirror disagreement and residual step, and least presence of a face, of an estimate that is not
        refused.
    presence : float64 [3]
        Presence of a face, in log-odds: weights of `QualitySignals.face` and of minus the logarithm of the residual
        step, and a bias. Where there is no face, the alignment hardly ever converges.
    """

    spread: Floats
    centre: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    limits: Floats
    presence: Floats

    def confidence(self, signals: QualitySignals) -> Floats:
        """Return the probability [N, S] that each value is within `TOLERANCE` of the truth; 0 for refused images."""
        accepted = np.array([not reason for reason in self.refusals(signals)])[:, None]
        return np.where(accepted, self.probability(signals), 0.0)

    def probability(self, signals: QualitySignals) -> Floats:
        """Return `confidence` [N, S] also where the limits of this model would refuse an image."""
        standardized = (_predictors(signals, self.spread) - self.centre) / self.scale  # [N, S, 5]
        log_odds = np.einsum("nsf,sf->ns", standardized, self.weights) + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS))), np.float64)

    def refusals(self, signals: QualitySignals) -> list[str]:
        """Return for each image why its estimate is refused, or an empty text."""
        max_error, max_disagreement, max_residual_step, min_presence = self.limits
        presence = _presence_predictors(signals) @ self.presence
        checks = (
            (NO_FACE, (presence >= min_presence) & (signals.face >= MIN_FACE_LOG_ODDS)),
            (UNSTEADY_FRAMING, signals.residual_step <= max_residual_step),
            (UNEXPLAINED, signals.error <= max_error),
            (MIRROR_DIFFERS, _overall_disagreement(signals, self.spread) <= max_disagreement),
        )
        return [next((reason for reason, passed in checks if not passed[k]), "") for k in range(len(signals.error))]

    def state(self) -> dict[str, Tensor]:
        """Return all numbers by name."""
        return {f.name: torch.from_numpy(np.ascontiguousarray(getattr(self, f.name))) for f in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], semantics: int) -> ConfidenceModel:
        """Return the model of a `state`; IntegrityError unless it is for so many semantics and finite."""
        per_semantic, per_predictor = (semantics,), (semantics, 5)
        shapes = dict(spread=per_semantic, centre=per_predictor, scale=per_predictor, weights=per_predictor)
        arrays = {}
        for name, shape in {**shapes, "bias": per_semantic, "limits": (4,), "presence": (3,)}.items():
            array = state[name].double().numpy() if name in state else np.empty(0)
            if array.shape != shape or not np.isfinite(array).all():
                raise IntegrityError(
                    f"the calibration has {name} of the shape {array.shape}, expected finite numbers {shape}: the file "
                    "is damaged, get it again"
                )
            arrays[name] = array
        return cls(**arrays)


def fit_confidence(
    signals: QualitySignals, errors: Floats, spread: Floats, without_face: QualitySignals
) -> ConfidenceModel:
    """Fit a confidence model to augmented samples.

    Parameters
    ----------
    signals
        Of N augmented samples.
    errors : float64 [N, S]
        Differences of their estimates to those of the clean samples.
    spread : float64 [S]
        Standard deviations of the estimates of clean samples, positive.
    without_face
        Signals of images in which there is no face: every estimate of those is wrong.

    Raises
    ------
    FaceaugError
        When the signals are not finite, or no image is explained at all, so that nothing can be fitted.
    """
    both = concatenate_signals([signals, without_face])
    predictors, presence_predictors = _predictors(both, spread), _presence_predictors(both)
    bounded = (signals.error, _overall_disagreement(signals, spread), signals.residual_step)
    limits = np.array([_limit(*of_one) for of_one in zip(bounded, _LIMIT_FACTORS, _LEAST_LIMITS, strict=True)])
    # Checked before the fit, which would stop at its start with numbers that are not finite, and look fine.
    _check_finite(predictors, presence_predictors, limits, spread)
    right = np.zeros(predictors.shape[:2])
    right[: len(errors)] = np.abs(errors) <= TOLERANCE * spread
    centre, scale = predictors.mean(0), np.maximum(predictors.std(0), 1e-6)
    weights, bias = _logistic(torch.from_numpy((predictors - centre) / scale), torch.from_numpy(right))
    sizes = (len(signals.face), len(without_face.face))
    balance = torch.cat([torch.full((size,), 0.5 / size) for size in sizes]).double()
    there = torch.cat([torch.ones(sizes[0]), torch.zeros(sizes[1])]).double()
    for_face = torch.from_numpy(presence_predictors[:, :2])[:, None]
    slopes, offset = _logistic(-for_face, there[:, None], balance[:, None])
    presence = np.array([*-slopes[0], offset[0]])
    _check_finite(weights, bias, presence)
    with_face, without = (_presence_predictors(batch) @ presence for batch in (signals, without_face))
    # At most 1% of the faces lie below, and where possible at most 1% of the images without a face above.
    min_presence = max(MIN_FACE_LOG_ODDS, float(min(np.quantile(with_face, 0.01), np.quantile(without, 0.99))))
    return ConfidenceModel(spread, centre, scale, weights, bias, np.array([*limits, min_presence]), presence)


def _check_finite(*arrays: Floats) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise FaceaugError(
            "the calibration on augmented samples gave numbers that are not finite: expected a reconstruction that "
            "explains at least some images of its generator; train it for longer"
        )


def _limit(signal: Floats, factor: float, least: float) -> float:
    """Return the largest accepted value of a signal, from its finite values; NaN where there is none."""
    finite = signal[np.isfinite(signal)]
    if not len(finite):
        return float("nan")
    median = np.median(finite)
    return max(least, float(median + factor * (np.quantile(finite, 0.99) - median)))


def _presence_predictors(signals: QualitySignals) -> Floats:
    """Return predictors of a face, [N, 3]: larger values speak for a face; the last is 1."""
    steady = -np.log(signals.residual_step + _OFFSET)
    return np.stack([np.clip(signals.face, -8, 8), steady, np.ones_like(signals.face)], 1)


def _overall_disagreement(signals: QualitySignals, spread: Floats) -> Floats:
    """Return the mirror disagreement over all semantics, [N]: root mean square in their standard deviations."""
    return np.asarray(np.sqrt(np.square(signals.mirror_disagreement / spread).mean(1)), np.float64)


def _predictors(signals: QualitySignals, spread: Floats) -> Floats:
    """Return predictors of a wrong value, [N, S, 5]: larger is worse; logarithms tell small signals apart."""
    error = np.log(np.clip(signals.error, *_ERROR_RANGE))
    overall = np.log(_overall_disagreement(signals, spread) + _OFFSET)
    residual_step = np.log(signals.residual_step + _OFFSET)
    own = np.log(np.abs(signals.mirror_disagreement) / spread + _OFFSET)
    no_face = np.clip(-signals.face, -8, 8)
    columns = (error[:, None], overall[:, None], own, residual_step[:, None], no_face[:, None])
    return np.stack([np.broadcast_to(column, own.shape) for column in columns], 2)


def _logistic(x: Tensor, y: Tensor, share: Tensor | None = None) -> tuple[Floats, Floats]:
    """Fit logistic regressions with weights that are not positive.

    Parameters
    ----------
    x, y : float64 [N, S, F], [N, S]
        Predictors and outcomes in [0, 1].
    share : float64 [N, S], optional
        Weight of each row; adds up to 1 over the rows. All rows have the same weight by default.

    Returns
    -------
    weights, bias : float64 [S, F], [S]
    """
    weight = torch.full(x.shape[1:], -1.0, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        log_odds = torch.einsum("nsf,sf->ns", x, -F.softplus(weight)) + bias
        losses = F.binary_cross_entropy_with_logits(log_odds, y, reduction="none")
        value = losses.mean() if share is None else (losses * share).sum()
        value = value + 1e-4 * (F.softplus(weight).square().mean() + bias.square().mean())
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return -F.softplus(weight).detach().numpy(), bias.detach().numpy()
