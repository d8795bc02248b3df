"""Sparse regression: planted predictors are found, chance scores as chance, and controls take their part."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.explain.sparse_regression import CV_FOLDS, fit_sparse

N, P = 400, 12
CONTROLS = np.arange(P) >= P - 2
FEW = dict(resamples=6, shuffles=4)


def predictors(seed: int = 0) -> np.ndarray:
    """Correlated predictors whose scales and means differ; the last two are controls."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(N, P)) @ (np.eye(P) + 0.1 * rng.normal(size=(P, P)))
    return mixed * np.geomspace(0.01, 100, P) + 5


def standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.slow
def test_a_class_is_explained_by_its_predictors():
    x = predictors()
    z = standard(x)
    labels = 2 * z[:, 1] - 1.5 * z[:, 4] + np.random.default_rng(1).logistic(size=N) > 0
    fit = fit_sparse(x, labels, CONTROLS, **FEW)
    order = np.argsort(-np.abs(fit.coefficients))
    assert set(order[:2]) == {1, 4}
    assert fit.coefficients[1] > 0 > fit.coefficients[4]
    assert fit.stable[1] == fit.stable[4] == fit.resamples == 6
    assert (fit.stable[fit.coefficients == 0] == 0).all()
    assert 0.7 < fit.low < fit.score < fit.high < 1
    assert fit.shuffled == pytest.approx(0.5, abs=0.1)  # 0.05 over other samples
    assert fit.shuffled_most < fit.low
    assert (fit.rows, fit.held_out) == (N, N)


@pytest.mark.slow
def test_a_number_is_explained_in_its_own_unit():
    x = predictors()
    labels = 40 + 12 * standard(x)[:, 3] + 4 * np.random.default_rng(1).normal(size=N)
    fit = fit_sparse(x, labels, CONTROLS, **FEW)
    assert fit.coefficients[3] == pytest.approx(12, rel=0.15)
    assert np.abs(np.delete(fit.coefficients, [3, P - 2, P - 1])).max() < 1
    assert 0.8 < fit.score < 0.95
    assert fit.shuffled < 0.05
    assert fit.low < fit.score < fit.high


@pytest.mark.slow
def test_random_labels_are_not_explained():
    labels = np.random.default_rng(3).random(N) < 0.3
    fit = fit_sparse(predictors(), labels, CONTROLS, **FEW)
    assert fit.low < 0.5 < fit.high or fit.score == 0.5
    assert np.abs(fit.coefficients).max() < 0.4


@pytest.mark.slow
def test_a_part_that_follows_the_light_is_not_credited_with_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, P))
    x[:, 2] = x[:, -1] + 0.3 * rng.normal(size=N)  # a part that follows the light
    labels = 3 * x[:, -1] + rng.logistic(size=N) > 0
    fit = fit_sparse(x, labels, CONTROLS, **FEW)
    assert abs(fit.coefficients[-1]) > 5 * abs(fit.coefficients[2])
    assert fit.controls == pytest.approx(fit.score, abs=0.05)  # 0.02 over other samples
    blind = fit_sparse(x[:, [*range(P - 2), P - 2, P - 2]], labels, CONTROLS, **FEW)
    assert blind.coefficients[2] > 1  # it would, if nobody looked at the light


def test_held_out_rows_are_not_learned_from():
    x = predictors()
    labels = standard(x)[:, 1] + 0.5 * np.random.default_rng(1).logistic(size=N) > 0
    held_out = np.arange(N) % 4 == 0
    fit = fit_sparse(x, labels, CONTROLS, held_out, **FEW)
    assert (fit.rows, fit.held_out) == (N - 100, 100)
    wrong = np.where(held_out, ~labels, labels)
    against = fit_sparse(x, wrong, CONTROLS, held_out, **FEW)
    np.testing.assert_array_equal(against.coefficients, fit.coefficients)
    assert against.score == pytest.approx(1 - fit.score)


@pytest.mark.slow
def test_it_repeats_bit_for_bit():
    x = predictors()
    labels = standard(x)[:, 1] + np.random.default_rng(1).normal(size=N)
    one, two = (fit_sparse(x, labels, CONTROLS, **FEW) for _ in range(2))
    np.testing.assert_array_equal(one.coefficients, two.coefficients)
    assert (one.score, one.low, one.shuffled) == (two.score, two.low, two.shuffled)


@pytest.mark.slow
def test_a_constant_predictor_gets_the_coefficient_0():
    x = predictors()
    x[:, 5] = 7.0
    fit = fit_sparse(x, standard(x[:, :5])[:, 1] > 0, CONTROLS, **FEW)
    assert fit.coefficients[5] == 0
    assert np.isfinite(fit.coefficients).all()


@pytest.mark.slow
def test_a_rare_class_weighs_as_much_as_the_rest():
    x = predictors()
    z = standard(x)[:, 1]
    labels = z > np.sort(z)[-3 * CV_FOLDS]
    fit = fit_sparse(x, labels, CONTROLS, **FEW)
    assert fit.score > 0.8  # calling everybody the rest would be right 96 times in a hundred, and score 0.5
