"""The algebra of directions, held against draws: what it says of sums, of uncorrelated readings and of edits is so."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest
from fakes import BlockGenerator, block_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug import latents as semantics
from faceaug.errors import GeneratorError, UsageError
from faceaug.latents import algebra
from faceaug.latents.directions import Directions


@pytest.fixture
def directions() -> Directions:
    reader = block_reader(BlockGenerator(6), 4)
    return reader.directions(
        kinds=("view", "view", "scene", "attribute"), units=("degrees", "degrees", "grey", "grey"),
        r2=np.array([1.0, 0.8, 0.5, 0.9]),
        spread=reader.directions().spread / np.sqrt([1.0, 0.8, 0.5, 0.9]),
    )  # fmt: skip


@pytest.fixture
def draws(directions):
    rng = np.random.default_rng(0)
    return rng.multivariate_normal(directions.w_mean, directions.covariance, 40_000)


def test_select(directions):
    chosen = algebra.select(directions, ["s2", "s0"])
    assert (chosen.names, chosen.kinds, chosen.units) == (("s2", "s0"), ("scene", "view"), ("grey", "degrees"))
    np.testing.assert_array_equal(chosen.predict(np.eye(6)), directions.predict(np.eye(6))[:, [2, 0]])
    np.testing.assert_array_equal(chosen.r2, [0.5, 1.0])
    with pytest.raises(UsageError, match="twice"):
        algebra.select(directions, ["s0", "s0"])
    with pytest.raises(UsageError, match="no direction is called"):
        algebra.select(directions, ["s7"])


def test_combine_is_the_weighted_sum(directions, draws):
    made = algebra.combine(directions, "both", {"s0": 2.0, "s1": -1.0})
    read = made.predict(draws)
    np.testing.assert_allclose(read[:, -1], 2 * read[:, 0] - read[:, 1], atol=1e-9)
    assert (made.names[-1], made.kinds[-1], made.units[-1]) == ("both", "view", "degrees")
    noise = np.random.default_rng(1).normal(size=len(draws)) * directions.spread[1] * np.sqrt(1 - 0.8)
    assert made.spread[-1] == pytest.approx((read[:, -1] - noise).std(), rel=0.02)
    assert made.r2[-1] == pytest.approx(read[:, -1].var() / made.spread[-1] ** 2, rel=0.03)
    assert len(directions.names) == 4  # what was given is as it was


def test_combine_of_different_kinds_and_units(directions):
    made = algebra.combine(directions, "mix", {"s0": 1.0, "s2": 1.0})
    assert (made.kinds[-1], made.units[-1]) == ("attribute", "mixed")
    assert algebra.combine(directions, "mix", {"s0": 1.0, "s2": 1.0}, unit="points").units[-1] == "points"


@pytest.mark.parametrize("weights", [{}, {"s0": 0.0}, {"s0": float("nan")}])
def test_weights_that_make_no_direction(directions, weights):
    with pytest.raises(UsageError, match="make no direction"):
        algebra.combine(directions, "x", weights)
    with pytest.raises(UsageError, match="another name"):
        algebra.combine(directions, "s1", {"s0": 1.0})


def test_invert(directions, draws):
    turned = algebra.invert(directions, ["s1", "s3"])
    expected = directions.predict(draws[:50]) * [1, -1, 1, -1]
    np.testing.assert_allclose(turned.predict(draws[:50]), expected)
    np.testing.assert_array_equal(turned.spread, directions.spread)
    back = algebra.invert(turned, ["s3", "s1"])
    np.testing.assert_array_equal(back.B, directions.B)


def test_orthogonalize(directions, draws):
    freed = algebra.orthogonalize(directions, "s0", ["s1", "s2"])
    read = freed.predict(draws)
    correlation = np.corrcoef(read.T)
    assert abs(correlation[0, 1]) < 0.02
    assert abs(correlation[0, 2]) < 0.02
    assert abs(np.corrcoef(directions.predict(draws).T)[0, 1]) > 0.05  # they were correlated before
    assert freed.spread[0] == pytest.approx(read[:, 0].std(), rel=0.02)
    assert freed.r2[0] == pytest.approx(1)
    np.testing.assert_array_equal(freed.B[1:], directions.B[1:])
    # The part that was subtracted is a combination of the others.
    rest = np.linalg.lstsq(np.stack([freed.B[0], directions.B[1], directions.B[2]], 1), directions.B[0], rcond=None)
    assert rest[1][0] == pytest.approx(0, abs=1e-18)


def test_a_direction_is_expressed_in_others(directions, draws):
    """The coefficients of both groups are those of least squares over samples; only the first group is kept."""
    rebuilt = algebra.rebuild(directions, ["s0"], ["s1", "s2"], ["s3"])
    read = directions.predict(draws)
    centred = read - read.mean(0)
    weights = np.linalg.lstsq(centred[:, 1:], centred[:, 0], rcond=None)[0]
    np.testing.assert_allclose(rebuilt.B[0], weights[:2] @ directions.B[1:3], atol=0.03)
    np.testing.assert_array_equal(rebuilt.B[1:], directions.B[1:])
    assert rebuilt.r2[0] == pytest.approx((centred[:, 1:3] @ weights[:2]).var() / directions.spread[0] ** 2, rel=0.05)
    with pytest.raises(UsageError, match="both sides"):
        algebra.rebuild(directions, ["s0"], ["s1"], ["s1"])


def test_appended_directions_keep_the_first_of_a_name(directions):
    other = algebra.invert(algebra.combine(directions, "sum", {"s0": 1.0, "s3": 1.0}), ["s0"])
    both = algebra.append_directions(directions, other)
    assert both.names == ("s0", "s1", "s2", "s3", "sum")
    np.testing.assert_array_equal(both.B[0], directions.B[0])
    np.testing.assert_array_equal(both.B[4], other.B[4])
    with pytest.raises(GeneratorError, match="made for the generator"):
        algebra.append_directions(directions, replace(other, generator="0" * 64))


def test_the_conditional_covariance_keeps_semantics(directions, draws):
    """It is the covariance of samples given noisy values of the semantics."""
    slack = 0.5
    x = (directions.predict(draws) - directions.offset)[:, 1:3] / np.sqrt(
        np.einsum("kd,de,ke->k", directions.B[1:3], directions.covariance, directions.B[1:3])
    )
    noisy = x + slack * np.random.default_rng(1).normal(size=x.shape)
    w = draws - draws.mean(0)
    rest = w - noisy @ np.linalg.lstsq(noisy, w, rcond=None)[0]
    given = algebra.covariance_given(directions, ["s1", "s2"], slack)
    np.testing.assert_allclose(given, np.cov(rest.T), atol=0.03)
    np.testing.assert_array_equal(given, given.T)


def test_a_linear_combination_of_the_others_cannot_be_orthogonalized(directions):
    twice = algebra.combine(directions, "again", {"s0": 3.0})
    with pytest.raises(UsageError, match="nothing remains of 'again'"):
        algebra.orthogonalize(twice, "again", ["s0", "s1"])
    with pytest.raises(UsageError, match="to itself"):
        algebra.orthogonalize(directions, "s0", ["s0"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.lists(st.floats(-50, 50), min_size=2, max_size=2))
def test_edits_reach_values_and_keep_others(seed, goals):
    directions = block_reader(BlockGenerator(6, seed=seed % 20), 4).directions()
    w = np.random.default_rng(seed).normal(size=(3, 6))
    edited = algebra.edit(directions, w, {"s2": goals[0], "s0": np.array([1.0, 2.0, goals[1]])}, keep=["s3"])
    read = directions.predict(edited)
    np.testing.assert_allclose(read[:, 2], goals[0], atol=1e-6)
    np.testing.assert_allclose(read[:, 0], [1, 2, goals[1]], atol=1e-6)
    np.testing.assert_allclose(read[:, 3], directions.predict(w)[:, 3], atol=1e-6)


def test_no_shorter_edit_reaches_the_same(directions):
    w = directions.w_mean[None]
    edited = algebra.edit(directions, w, {"s0": 5.0}, keep=["s1"]) - w
    length = lambda d: float(np.einsum("nd,de,ne->", d, np.linalg.inv(directions.covariance), d))  # noqa: E731
    free = np.linalg.svd(directions.B[:2])[2][2:]  # changes that neither axis reads
    for other in (*free, *-free):
        assert length(edited + 0.05 * other) > length(edited)


@pytest.mark.parametrize(
    ("w", "values", "keep", "said"),
    [
        (np.zeros((2, 5)), {"s0": 1.0}, (), "cannot be edited"),
        (np.zeros(6), {"s0": 1.0}, (), "cannot be edited"),
        (np.zeros((2, 6)), {"s0": 1.0}, ("s0",), "both to be moved"),
        (np.zeros((2, 6)), {"s9": 1.0}, (), "no direction is called"),
        (np.zeros((2, 6)), {"s0": [1.0, 2.0, 3.0]}, (), r"shape \(3,\) for 's0' do not fit 2 latents"),
        (np.zeros((2, 6)), {"s0": [1.0]}, (), "do not fit"),
        (np.zeros((2, 6)), {"s0": [[1.0, 2.0]]}, (), "do not fit"),
        (np.zeros((2, 6)), {"s1": 1.0, "s0": [1.0, np.nan]}, (), "'s0' cannot become NaN"),
        (np.zeros((2, 6)), {"s0": np.inf}, (), "finite"),
        (np.zeros((2, 6)), {"s0": "much"}, (), "values for 's0' are no numbers"),
        (np.zeros((2, 6)), {"s0": [[1.0], []]}, (), "no numbers"),
        (np.full((2, 6), np.nan), {"s0": 1.0}, (), "latents that hold NaN"),
    ],
)
def test_edits_that_cannot_be(directions, w, values, keep, said):
    with pytest.raises(UsageError, match=said):
        algebra.edit(directions, w, values, keep)


def test_the_algebra_is_public_and_its_example_runs():
    for name in ("combine", "edit", "invert", "orthogonalize", "select"):
        assert getattr(semantics, name) is getattr(algebra, name)
        assert name in semantics.__all__
    failed, run = doctest.testmod(semantics)
    assert failed == 0
    assert run >= 8
