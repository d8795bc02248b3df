"""Which readings carry an attribute: a sparse regression, its penalty by cross-validation, judged on held-out rows.

Classes are told apart by a logistic regression under an L1 penalty, both sides weighing alike; numbers are regressed by
the lasso. Readings that only describe how the photograph was taken (view, light) are controls: what they tell of every
other reading, linearly, is taken off it first, so that no part of the face stands in for them. The penalty is the
strongest whose loss is within one standard error of the least (Breiman et al., "Classification and Regression Trees",
1984).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from faceaug.utils.typing import Floats

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

FOLDS = 5
PENALTIES = 12
WEAKEST = 0.003  # of the strongest penalty, at which every part is left out
_RESAMPLED = 2000


@dataclass(frozen=True, eq=False)
class SparseFit:
    """What a sparse regression found. P readings.

    Attributes
    ----------
    coefficients : float64 [P]
        Change of the log-odds, or of the number in its own unit, per standard deviation of a reading over the rows, of
        what is left of it when the controls are taken off. A control's own is what it carries together with the rest.
    stable : int64 [P]
        Of `resamples` bootstrap resamples of the rows, those in which the coefficient has the same sign; 0 for one
        that is 0.
    resamples : int
    score, low, high : float
        Balanced accuracy of classes or R² of a number on held-out rows, with its 95% interval over those rows.
    controls : float
        The same of the controls alone.
    shuffled, shuffled_most : float
        The same when answers are shuffled among rows: mean and largest.
    penalty : float
        As a share of the one at which every part is left out.
    rows, held_out : int
        Rows that were learnt from and rows that were judged; the same number where folds took turns.
    """

    coefficients: Floats
    stable: NDArray[np.int64]
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
    readings: Floats, answer: Floats | Mask, controls: Mask, held: Mask | None = None, *,
    resamples: int = 50, shuffles: int = 20, seed: int = 0,
) -> SparseFit:  # fmt: skip
    """Regress an answer sparsely on readings.

    Parameters
    ----------
    readings : float64 [N, P], finite
        One that is the same on all rows has the coefficient 0.
    answer : bool [N] for a class against the rest, float64 [N] for a number
        Not the same on all rows; of a class at least `FOLDS` rows on each side.
    controls : bool [P]
        Readings that describe the photograph and not the face.
    held : bool [N], optional
        Rows to judge on, from which nothing is learnt; without it `FOLDS` folds take turns, the penalty being chosen
        anew without each of them.
    resamples, shuffles : int
        Bootstrap resamples for the coefficients' stability, and shuffles of the answers for the baseline.
    seed : int
        Of folds, resamples and shuffles.

    Returns
    -------
    SparseFit
    """
    rows = np.arange(len(answer)) if held is None else np.flatnonzero(~held)
    model: _Model = _Classes() if answer.dtype == bool else _Numbers()
    y = answer.astype(np.float64)
    x = _cleared(readings, controls, rows)
    share = _choose(model, x[rows], y[rows], seed)
    if held is None:
        turns = [_Turn(rows[a], rows[b], _choose(model, x[a], y[a], seed)) for a, b in _folds(model, y, seed)]
    else:
        turns = [_Turn(rows, np.flatnonzero(held), share)]
    rng = np.random.default_rng(seed)
    truth, said = _judged(model, x, y, turns)
    low, high = model.interval(truth, said, rng)
    shuffled = [model.score(*_judged(model, x, _shuffled(y, rows, rng), turns)) for _ in range(shuffles)]
    alone = model.score(*_judged(model, x[:, controls], y, [replace(turn, share=WEAKEST) for turn in turns]))
    coefficients, stable = _stability(model, x[rows], y[rows], share, resamples, rng)
    return SparseFit(
        coefficients=coefficients,
        stable=stable,
        resamples=resamples,
        score=model.score(truth, said),
        low=low,
        high=high,
        controls=alone,
        shuffled=float(np.mean(shuffled)),
        shuffled_most=float(np.max(shuffled)),
        penalty=share,
        rows=len(rows),
        held_out=len(truth),
    )


@dataclass(frozen=True)
class _Turn:
    """Rows to learn from, rows to judge on, and the penalty as a share of the strongest."""

    learnt: Rows
    judged: Rows
    share: float


def _judged(model: _Model, x: Floats, y: Floats, turns: Sequence[_Turn]) -> tuple[Floats, Floats]:
    """Return the answers and the predictions of all rows that are judged."""
    said = []
    for turn in turns:
        own, answers = x[turn.learnt], y[turn.learnt]
        weights, bias = model.fit(own, answers, turn.share * model.strongest(own, answers))
        said.append(x[turn.judged] @ weights + bias)
    return np.concatenate([y[turn.judged] for turn in turns]), np.concatenate(said)


def _stability(
    model: _Model, x: Floats, y: Floats, share: float, resamples: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the weights [P] and in how many resamples each has the same sign."""
    penalty = share * model.strongest(x, y)
    weights, _ = model.fit(x, y, penalty)
    same = np.zeros(len(weights), np.int64)
    for _ in range(resamples):
        drawn = model.resample(y, rng)
        again, _ = model.fit(x[drawn], y[drawn], penalty)
        same += (np.sign(again) == np.sign(weights)) & (weights != 0)
    return weights, same


class _Model(Protocol):
    """A sparse linear model: y is 0 or 1, or a number."""

    def fit(self, x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
        """Return weights [P] and bias."""

    def strongest(self, x: Floats, y: Floats) -> float:
        """Return the least penalty at which all weights are 0."""

    def loss(self, y: Floats, said: Floats) -> float:
        """Return the mean loss of predictions."""

    def score(self, y: Floats, said: Floats) -> float:
        """Return what is told of predictions."""

    def interval(self, y: Floats, said: Floats, rng: np.random.Generator) -> tuple[float, float]:
        """Return the score's 95% interval over rows."""

    def resample(self, y: Floats, rng: np.random.Generator) -> Rows:
        """Return as many rows, drawn with replacement."""


class _Classes:
    """A logistic regression whose two sides weigh alike; predictions are log-odds."""

    def fit(self, x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
        model = LogisticRegression(
            **_l1(), C=1 / max(penalty * len(y), 1e-12), solver="liblinear", class_weight="balanced", tol=1e-3,
            max_iter=300, intercept_scaling=10, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a few that stop before they have converged
            model.fit(x, y > 0.5)
        return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])

    def strongest(self, x: Floats, y: Floats) -> float:
        slope = x.T @ (_even(y) * (y - 0.5))
        return max(float(np.abs(slope).max(initial=0)) / len(y), 1e-6)

    def loss(self, y: Floats, said: Floats) -> float:
        return float(np.average(np.logaddexp(0, np.where(y > 0.5, -said, said)), weights=_even(y)))

    def score(self, y: Floats, said: Floats) -> float:
        return float((_share(said > 0, y > 0.5) + _share(said <= 0, y < 0.5)) / 2)

    def interval(self, y: Floats, said: Floats, rng: np.random.Generator) -> tuple[float, float]:
        sides = ((y > 0.5, said > 0), (y < 0.5, said <= 0))
        drawn = [rng.binomial(own.sum(), _share(right, own), _RESAMPLED) / max(own.sum(), 1) for own, right in sides]
        low, high = np.quantile(np.mean(drawn, 0), (0.025, 0.975))
        return float(low), float(high)

    def resample(self, y: Floats, rng: np.random.Generator) -> Rows:
        sides = (np.flatnonzero(y > 0.5), np.flatnonzero(y < 0.5))
        return np.concatenate([side[rng.integers(len(side), size=len(side))] for side in sides])


class _Numbers:
    """The lasso; predictions are in the number's unit."""

    def fit(self, x: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = Lasso(alpha=max(penalty, 1e-12), precompute=True, tol=1e-4, max_iter=2000).fit(x, y)
        return np.asarray(model.coef_, np.float64), float(model.intercept_)

    def strongest(self, x: Floats, y: Floats) -> float:
        slope = x.T @ (y - y.mean())
        return max(float(np.abs(slope).max(initial=0)) / len(y), 1e-6 * float(y.std()))

    def loss(self, y: Floats, said: Floats) -> float:
        return float(np.square(y - said).mean())

    def score(self, y: Floats, said: Floats) -> float:
        return float(1 - np.square(y - said).sum() / max(np.square(y - y.mean()).sum(), 1e-300))

    def interval(self, y: Floats, said: Floats, rng: np.random.Generator) -> tuple[float, float]:
        scores = []
        for _ in range(_RESAMPLED // 4):
            rows = rng.integers(len(y), size=len(y))
            scores.append(self.score(y[rows], said[rows]))
        low, high = np.quantile(scores, (0.025, 0.975))
        return float(low), float(high)

    def resample(self, y: Floats, rng: np.random.Generator) -> Rows:
        return rng.integers(len(y), size=len(y))


def _choose(model: _Model, x: Floats, y: Floats, seed: int) -> float:
    """Return the penalty, as a share of the strongest, by cross-validation and the rule of one standard error."""
    shares = np.geomspace(1, WEAKEST, PENALTIES)
    strongest = model.strongest(x, y)
    folds = _folds(model, y, seed + 1)
    losses: list[list[float]] = []
    for share in shares:  # from strong to weak: the weak ones take longest, and need not be tried once it gets worse
        fits = [(model.fit(x[a], y[a], share * strongest), b) for a, b in folds]
        losses.append([model.loss(y[b], x[b] @ weights + bias) for (weights, bias), b in fits])
        mean = np.mean(losses, 1)
        if len(mean) > 2 and mean[-1] > mean[-2] > mean[-3]:
            break
    best = int(mean.argmin())
    near = mean <= mean[best] + np.std(losses[best], ddof=1) / np.sqrt(FOLDS)
    return float(shares[int(np.argmax(near))])


def _cleared(readings: Floats, controls: Mask, learnt: Rows) -> Floats:
    """Return readings in standard deviations, what controls tell of the others taken off, as it is on `learnt` rows."""

    def standard(x: Floats) -> Floats:
        spread = x[learnt].std(0)
        return np.asarray((x - x[learnt].mean(0)) / np.where(spread > 1e-9, spread, np.inf), np.float64)

    x = standard(readings)
    told = np.linalg.lstsq(x[learnt][:, controls], x[learnt][:, ~controls], rcond=None)[0]
    x[:, ~controls] -= x[:, controls] @ told
    return standard(x)


def _folds(model: _Model, y: Floats, seed: int) -> list[tuple[Rows, Rows]]:
    kind = StratifiedKFold if isinstance(model, _Classes) else KFold
    return list(kind(FOLDS, shuffle=True, random_state=seed).split(y, y))


def _shuffled(y: Floats, learnt: Rows, rng: np.random.Generator) -> Floats:
    """Return the answers with those that are learnt from shuffled, and the others among each other."""
    mixed = y.copy()
    others = np.setdiff1d(np.arange(len(y)), learnt)
    for part in (learnt, others):
        mixed[part] = rng.permutation(y[part])
    return mixed


def _even(y: Floats) -> Floats:
    """Return weights by which both sides weigh alike, 1 on average."""
    ones = float((y > 0.5).mean())
    return np.where(y > 0.5, 0.5 / max(ones, 1e-12), 0.5 / max(1 - ones, 1e-12))


def _share(of: Mask, among: Mask) -> float:
    return float(of[among].mean()) if among.any() else 0.0


def _l1() -> dict[str, Any]:
    """Return how this scikit-learn is asked for an L1 penalty: `penalty` is on its way out since 1.8."""
    known = LogisticRegression().get_params().get("penalty", "deprecated")
    return {"l1_ratio": 1.0} if known == "deprecated" else {"penalty": "l1"}
