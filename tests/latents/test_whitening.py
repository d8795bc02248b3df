"""White coordinates of latents: uncorrelated, reversible, and refused where a generator has no usable statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import BlockGenerator, FakeGenerator

from faceaug.errors import GeneratorError
from faceaug.generators.pool import sample_stream
from faceaug.latents.whitening import whitening


def test_white_coordinates_are_uncorrelated_with_variance_one():
    generator = BlockGenerator(seed=2)
    white = whitening(generator)
    u = white.white(sample_stream(generator, 20_000, (0,)))
    assert torch.allclose(u.mean(0), torch.zeros(8), atol=0.03)
    assert torch.allclose(torch.cov(u.T), torch.eye(8), atol=0.05)


def test_a_deficient_covariance_gives_fewer_coordinates_and_back():
    mixing = np.random.default_rng(0).normal(size=(6, 3))
    generator = FakeGenerator("flat", 8, np.arange(6.0), mixing)
    white = whitening(generator)
    assert white.width == 3
    w = sample_stream(generator, 50, (0,))
    assert torch.allclose(white.latent(white.white(w)), w, atol=1e-4)


@pytest.mark.parametrize(
    ("mean", "covariance", "reason"),
    [
        (np.zeros(2), None, r"shapes are \(2,\) and \(0,\)"),
        (np.zeros(3), np.eye(2), "shapes are"),
        (np.zeros(2), np.array([[1, np.nan], [np.nan, 1]]), "NaN"),
        (np.zeros(2), np.zeros((2, 2)), "variances run from 0 to 0"),
        (np.zeros(2), np.diag([1.0, -0.5]), "variances run from -0.5 to 1"),
    ],
)
def test_a_generator_without_statistics_is_refused(mean, covariance, reason):
    generator = FakeGenerator("bare", 8, np.zeros(2), np.eye(2))
    generator.w_mean, generator.w_covariance = mean, covariance
    with pytest.raises(GeneratorError, match=f"'bare' has no usable mean and covariance of w.*{reason}"):
        whitening(generator)
