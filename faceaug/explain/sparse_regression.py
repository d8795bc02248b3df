"""Sparse regression of an attribute, its penalty chosen by cross-validation, its score measured on held-out rows.

Classes are separated by a logistic regression with an L1 penalty and equal weight for both classes; numbers are
regressed by the lasso. Predictors that only describe how the photograph was taken (view, light) are controls: the part
of every other predictor that they explain linearly is subtracted first, so that no part of the face stands for them.
The penalty is the strongest whose loss is within one standard error of the smallest (Breiman et al., "Classification
and Regression Trees", 1984).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from faceaug.utils.typing import Bools, Floats, Indices

CV_FOLDS = 5
"""Folds of cross-validation."""
_PENALTIES = 12  # that are tried
_MIN_PENALTY = 0.003  # share of the strongest, at which all coefficients are 0
_INTERVAL_SAMPLES = 2000


@dataclass(frozen=True, eq=False)
class SparseFit:
    """The result of a sparse regression on P predictors.

    Attributes
    ----------
    coefficients : float64 [P]
        Change of the log-odds, or of the number in its own unit, per standard deviation of a predictor over the rows
        after subtracting what the controls explain of it. That of a control includes what it shares with the others.
    stable : int64 [P]
        Number of bootstrap resamples of the rows in which the coefficient has the same sign; 0 for a coefficient of 0.
    resamples : int
        Number of resamples.
    score, low, high : float
        Balanced accuracy of classes, or R² of a number, on held-out rows, and its 95% interval over those rows.
    controls : float
        Score of the controls alone.
    shuffled, shuffled_most : float
        Mean and largest score when labels are shuffled among rows.
    penalty : float
        As a share of the smallest one at which all coefficients are 0.
    rows, held_out : int
        Number of rows that were learned from and that were judged; the same number in cross-validation.
    """

    coefficients: Floats
    stable: Indices
    resamples: int
    score: float
    low: float
    high: float
    controls: float
    shuffled: float
    shuffled_most: float
    penalty: float
    rows: int
    held_out: int


def fit_sparse(
    predictors: Floats,
    labels: Floats | Bools,
    controls: Bools,
    held_out: Bools | None = None,
    *,
    resamples: int = 50,
    shuffles: int = 20,
    seed: int = 0,
) -> SparseFit:
    """Regress labels sparsely on predictors.

    Parameters
    ----------
    predictors : float64 [N, P], finite
        A constant one gets the coefficient 0.
    labels : bool [N] for a class against all others, float64 [N] for a number
        Not constant; at least `CV_FOLDS` rows of both classes.
    controls : bool [P]
        Predictors that describe the photograph and not the face.
    held_out : bool [N], optional
        Rows to judge on, which are not learned from. Without it `CV_FOLDS` folds take turns, and the penalty is chosen
        anew without each of them.
    resamples, shuffles : int
        Bootstrap resamples for the stability of coefficients, and shuffles of labels for the baseline.
    seed : int
        Of folds, resamples and shuffles.
    """
    rows = np.arange(len(labels)) if held_out is None else np.flatnonzero(~held_out)
    model: _Model = _Classes() if labels.dtype == bool else _Numbers()
    y = labels.astype(np.float64)
    x = _without_controls(predictors, controls, rows)
    share = _choose_penalty(model, x[rows], y[rows], seed)
    if held_out is None:
        splits = [_Split(rows[a], rows[b], _choose_penalty(model, x[a], y[a], seed)) for a, b in _folds(model, y, seed)]
    else:
        splits = [_Split(rows, np.flatnonzero(held_out), share)]
    rng = np.random.default_rng(seed)
    truth, predicted = _predict_test(model, x, y, splits)
    low, high = model.interval(truth, predicted, rng)
    shuffled = [model.score(*_predict_test(model, x, _shuffled(y, rows, rng), splits)) for _ in range(shuffles)]
    unpenalized = [replace(split, share=_MIN_PENALTY) for split in splits]
    controls_alone = model.score(*_predict_test(model, x[:, controls], y, unpenalized))
    coefficients, stable = _stability(model, x[rows], y[rows], share, resamples, rng)
    return SparseFit(
        coefficients=coefficients,
        stable=stable,
        resamples=resamples,
        score=model.score(truth, predicted),
        low=low,
        high=high,
        controls=controls_alone,
        shuffled=float(np.mean(shuffled)),
        shuffled_most=float(np.max(shuffled)),
        penalty=share,
        rows=len(rows),
        held_out=len(truth),
    )


@dataclass(frozen=True)
class _Split:
    """Rows to learn from, rows to judge on, and the penalty as a share of the strongest."""

    train: Indices
    test: Indices
    share: float


def _predict_test(model: _Model, x: Floats, y: Floats, splits: Sequence[_Split]) -> tuple[Floats, Floats]:
    """Return the labels and the predictions of all rows that are judged."""
    predictions = []
    for split in splits:
        own, labels = x[split.train], y[split.train]
        weights, bias = model.fit(own, labels, split.share * model.strongest(own, labels))
        predictions.append(x[split.test] @ weights + bias)
    return np.concatenate([y[split.test] for split in splits]), np.concatenate(predictions)


def _stability(
    model: _Model, x: Floats, y: Floats, share: float, resamples: int, rng: np.random.Generator
) -> tuple[Floats, Indices]:
    """Return the weights [P], and the number of resamples [P] in which each has the same sign."""
    penalty = share * model.strongest(x, y)
    weights, _ = model.fit(x, y, penalty)
    stable = np.zeros(len(weights), np.int64)
    for _ in range(resamples):
        rows = model.resample(y, rng)
        again, _ = model.fit(x[rows], y[rows], penalty)
        stable += (np.sign(again) == np.sign(weights)) & (weights != 0)
    return weights, stable


class _Model(Protocol):
    """A sparse linear model of y, which is 0 or 1, or a number."""

    def fit(self, x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
        """Return weights [P] and bias."""

    def strongest(self, x: Floats, y: Floats) -> float:
        """Return the smallest penalty at which all weights are 0."""

    def loss(self, y: Floats, predicted: Floats) -> float:
        """Return the mean loss of predictions."""

    def score(self, y: Floats, predicted: Floats) -> float:
        """Return the score of predictions, see `SparseFit`."""

    def interval(self, y: Floats, predicted: Floats, rng: np.random.Generator) -> tuple[float, float]:
        """Return the score's 95% interval over rows."""

    def resample(self, y: Floats, rng: np.random.Generator) -> Indices:
        """Return as many rows, sampled with replacement."""


class _Classes:
    """Logistic regression with equal weight for both classes; predictions are log-odds."""

    def fit(self, x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
        model = LogisticRegression(
            **_l1_arguments(),
            C=1 / max(penalty * len(y), 1e-12),
            solver="liblinear",
            class_weight="balanced",
            tol=1e-3,
            max_iter=300,
            intercept_scaling=10,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few fits stop before they have converged
            model.fit(x, y > 0.5)
        return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])

    def strongest(self, x: Floats, y: Floats) -> float:
        slope = x.T @ (_class_weights(y) * (y - 0.5))
        return max(float(np.abs(slope).max(initial=0)) / len(y), 1e-6)

    def loss(self, y: Floats, predicted: Floats) -> float:
        return float(np.average(np.logaddexp(0, np.where(y > 0.5, -predicted, predicted)), weights=_class_weights(y)))

    def score(self, y: Floats, predicted: Floats) -> float:
        return float((_share(predicted > 0, y > 0.5) + _share(predicted <= 0, y < 0.5)) / 2)

    def interval(self, y: Floats, predicted: Floats, rng: np.random.Generator) -> tuple[float, float]:
        classes = ((y > 0.5, predicted > 0), (y < 0.5, predicted <= 0))
        recalls = [
            rng.binomial(own.sum(), _share(right, own), _INTERVAL_SAMPLES) / max(own.sum(), 1) for own, right in classes
        ]
        low, high = np.quantile(np.mean(recalls, 0), (0.025, 0.975))
        return float(low), float(high)

    def resample(self, y: Floats, rng: np.random.Generator) -> Indices:
        classes = (np.flatnonzero(y > 0.5), np.flatnonzero(y < 0.5))
        return np.concatenate([rows[rng.integers(len(rows), size=len(rows))] for rows in classes])


class _Numbers:
    """The lasso; predictions are in the unit of the number."""

    def fit(self, x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Lasso(alpha=max(penalty, 1e-12), precompute=True, tol=1e-4, max_iter=2000).fit(x, y)
        return np.asarray(model.coef_, np.float64), float(model.intercept_)

    def strongest(self, x: Floats, y: Floats) -> float:
        slope = x.T @ (y - y.mean())
        return max(float(np.abs(slope).max(initial=0)) / len(y), 1e-6 * float(y.std()))

    def loss(self, y: Floats, predicted: Floats) -> float:
        return float(np.square(y - predicted).mean())

    def score(self, y: Floats, predicted: Floats) -> float:
        return float(1 - np.square(y - predicted).sum() / max(np.square(y - y.mean()).sum(), 1e-300))

    def interval(self, y: Floats, predicted: Floats, rng: np.random.Generator) -> tuple[float, float]:
        scores = []
        for _ in range(_INTERVAL_SAMPLES // 4):
            rows = rng.integers(len(y), size=len(y))
            scores.append(self.score(y[rows], predicted[rows]))
        low, high = np.quantile(scores, (0.025, 0.975))
        return float(low), float(high)

    def resample(self, y: Floats, rng: np.random.Generator) -> Indices:
        return rng.integers(len(y), size=len(y))


def _choose_penalty(model: _Model, x: Floats, y: Floats, seed: int) -> float:
    """Return the penalty, as a share of the strongest, by cross-validation and the one-standard-error rule."""
    shares = np.geomspace(1, _MIN_PENALTY, _PENALTIES)
    strongest = model.strongest(x, y)
    folds = _folds(model, y, seed + 1)
    losses: list[list[float]] = []
    for share in shares:  # from strong to weak: weak ones take longest, and are not tried once the loss increases
        fits = [(model.fit(x[a], y[a], share * strongest), b) for a, b in folds]
        losses.append([model.loss(y[b], x[b] @ weights + bias) for (weights, bias), b in fits])
        mean = np.mean(losses, 1)
        if len(mean) > 2 and mean[-1] > mean[-2] > mean[-3]:
            break
    best = int(mean.argmin())
    near = mean <= mean[best] + np.std(losses[best], ddof=1) / np.sqrt(CV_FOLDS)
    return float(shares[int(np.argmax(near))])


def _without_controls(predictors: Floats, controls: Bools, train: Indices) -> Floats:
    """Return predictors in standard deviations, without what controls explain of the others, fitted on `train` rows."""

    def standardized(x: Floats) -> Floats:
        spread = x[train].std(0)
        return np.asarray((x - x[train].mean(0)) / np.where(spread > 1e-9, spread, np.inf), np.float64)

    x = standardized(predictors)
    slopes = np.linalg.lstsq(x[train][:, controls], x[train][:, ~controls], rcond=None)[0]
    x[:, ~controls] -= x[:, controls] @ slopes
    return standardized(x)


def _folds(model: _Model, y: Floats, seed: int) -> list[tuple[Indices, Indices]]:
    kind = StratifiedKFold if isinstance(model, _Classes) else KFold
    return list(kind(CV_FOLDS, shuffle=True, random_state=seed).split(y, y))


def _shuffled(y: Floats, train: Indices, rng: np.random.Generator) -> Floats:
    """Return the labels with those of the training rows shuffled, and those of the other rows shuffled."""
    mixed = y.copy()
    others = np.setdiff1d(np.arange(len(y)), train)
    for rows in (train, others):
        mixed[rows] = rng.permutation(y[rows])
    return mixed


def _class_weights(y: Floats) -> Floats:
    """Return weights [N] that give both classes the same total weight, 1 on average."""
    ones = float((y > 0.5).mean())
    return np.where(y > 0.5, 0.5 / max(ones, 1e-12), 0.5 / max(1 - ones, 1e-12))


def _share(of: Bools, among: Bools) -> float:
    return float(of[among].mean()) if among.any() else 0.0


def _l1_arguments() -> dict[str, Any]:
    """Return the arguments of this scikit-learn for an L1 penalty: `penalty` is deprecated since 1.8."""
    default = LogisticRegression().get_params().get("penalty", "deprecated")
    return {"l1_ratio": 1.0} if default == "deprecated" else {"penalty": "l1"}
