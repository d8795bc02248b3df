"""Distances between sets of pictures, on features whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.gan_training.metrics import frechet_distance, kernel_distance, nearest_distances, precision_recall

RNG = np.random.default_rng(0)


def test_frechet_of_normals_is_the_formula():
    """Diagonal covariances: the sum of squared differences of means and of standard deviations."""
    spread, shift = np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.0, -2.0])
    a = RNG.standard_normal((40_000, 3))
    b = RNG.standard_normal((40_000, 3)) * spread + shift
    assert frechet_distance(a, b) == pytest.approx((shift**2).sum() + ((spread - 1) ** 2).sum(), rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_with_fewer_samples_than_features_is_the_same_formula():
    a, b = RNG.standard_normal((20, 50)), RNG.standard_normal((30, 50)) @ np.diag(RNG.uniform(0.5, 2, 50)) + 0.3
    one, other = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(one)
    root = vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_unbiased_and_grows():
    same = [kernel_distance(*RNG.standard_normal((2, 60, 8))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    a, b = RNG.standard_normal((2, 300, 8))
    assert kernel_distance(a, b + 0.5) > 10 * abs(np.mean(same))


def test_kernel_distance_by_hand():
    a, b = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    # k(x, y) = (x y + 1)^3: k(1, 2) = 27, k(0, 1) = 1; between: 1, 8, 1, 27.
    assert kernel_distance(a, b) == pytest.approx(27 + 1 - 2 * (1 + 8 + 1 + 27) / 4)


def test_precision_and_recall_tell_what_is_wrong():
    real = RNG.standard_normal((400, 2))
    precision, recall = precision_recall(real, RNG.standard_normal((400, 2)))
    assert precision > 0.85
    assert recall > 0.85
    narrow = precision_recall(real, 0.05 * RNG.standard_normal((400, 2)))
    assert narrow[0] > 0.9
    assert narrow[1] < 0.1, "collapsed: all good, but nothing of the rest"
    wide = precision_recall(real, 10 * RNG.standard_normal((400, 2)))
    assert wide[0] < 0.3
    assert precision_recall(real, real + 100) == (0.0, 0.0)


def test_nearest():
    points = np.array([[0.0], [1.0], [3.0]])
    assert nearest_distances(points, points).tolist() == [0, 0, 0]
    assert nearest_distances(points, points, 2).tolist() == [1, 1, 2]
