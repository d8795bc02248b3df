"""Streaming least squares against a direct float64 solution."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from faceaug.errors import FaceaugError
from faceaug.latents.regression import StreamingRegression


def sample(n=400, d=12, p=5, seed=0, noise=0.5, x_offset=0.0, y_offset=0.0):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = rng.normal(size=(n, d)) * np.geomspace(0.1, 10, d) @ rotation + x_offset  # a known condition, 100
    y = x @ rng.normal(size=(d, p)) + noise * rng.normal(size=(n, p)) + y_offset
    return x, y


def feed(x, y, sizes=(7, 50, 1, 33), ridge=0.0):
    accumulator = StreamingRegression(x.shape[1], y.shape[1], ridge)
    start, turn = 0, 0
    while start < len(x):
        stop = start + sizes[turn % len(sizes)]
        accumulator.update(x[start:stop], y[start:stop])
        start, turn = stop, turn + 1
    return accumulator


def direct(x, y):
    """B [P, D] and the value at the mean of x, from numpy's own least squares on the design with a column of ones."""
    centre = x.mean(0)
    solution = np.linalg.lstsq(np.c_[np.ones(len(x)), x - centre], y, rcond=None)[0]
    return solution[1:].T, solution[0]


@pytest.mark.parametrize(("x_offset", "y_offset"), [(0.0, 0.0), (1e5, -1e6)])
def test_equals_direct_least_squares(x_offset, y_offset):
    x, y = sample(x_offset=x_offset, y_offset=y_offset)
    fit = feed(x, y).solve()
    slope, at_mean = direct(x, y)
    np.testing.assert_allclose(fit.B, slope, rtol=0, atol=1e-8 * np.abs(slope).max())
    np.testing.assert_allclose(fit.c, at_mean, rtol=1e-12, atol=1e-8)
    np.testing.assert_allclose(fit.w_mean, x.mean(0), rtol=1e-12, atol=1e-12)
    predicted = at_mean + (x - x.mean(0)) @ slope.T
    expected = 1 - ((y - predicted) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(fit.r2_train, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.predict(x), predicted, rtol=1e-9, atol=1e-7)


def test_ridge_leaves_the_intercept_alone():
    x, y = sample(x_offset=30.0, y_offset=1000.0)
    fit = feed(x, y, ridge=50.0).solve()
    reference = Ridge(alpha=50.0, solver="svd").fit(x, y)
    np.testing.assert_allclose(fit.B, reference.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.c, y.mean(0), rtol=1e-12)
    assert np.abs(fit.B).sum() < np.abs(feed(x, y).solve().B).sum()


def test_held_out_r2_is_that_of_the_predictions():
    x, y = sample(n=600, noise=3.0, y_offset=40.0)
    fit = feed(x[:400], y[:400]).solve()
    found = fit.r2(feed(x[400:], y[400:], sizes=(13,)))
    rest = y[400:]
    expected = 1 - ((rest - fit.predict(x[400:])) ** 2).sum(0) / ((rest - rest.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    shifted = feed(x[400:], y[400:] + 1000.0)
    assert (fit.r2(shifted) < -100).all(), "a wrong offset must not look like a good fit"


def test_fewer_samples_than_coordinates_gives_the_shortest_solution():
    x, y = sample(n=6, d=12)
    centred = x - x.mean(0)
    expected = (np.linalg.pinv(centred) @ (y - y.mean(0))).T
    np.testing.assert_allclose(feed(x, y, sizes=(2,)).solve().B, expected, atol=1e-8)


def test_constant_values_explain_nothing():
    x, y = sample()
    y[:, 0] = 0.1
    fit = feed(x, y).solve()
    assert fit.r2_train[0] == 0.0
    assert fit.r2(feed(x, y))[0] == 0.0
    np.testing.assert_allclose(fit.B[0], 0.0, atol=1e-12)
    assert (fit.r2_train[1:] > 0.5).all()


def test_memory_does_not_grow_with_the_samples():
    rng = np.random.default_rng(0)

    def peak(batches):
        tracemalloc.start()
        accumulator = StreamingRegression(40, 300)
        for _ in range(batches):
            accumulator.update(rng.normal(size=(16, 40)), rng.normal(size=(16, 300)))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)
    assert peak(400) < 1.1 * peak(20)


def test_merge_in_the_same_order_repeats_bit_for_bit():
    x, y = sample(n=300)

    def run():
        whole = StreamingRegression(12, 5)
        for part in range(3):
            whole.merge(feed(x[part::3], y[part::3]))
        return whole.solve()

    first, second = run(), run()
    assert np.array_equal(first.B, second.B)
    assert np.array_equal(first.r2_train, second.r2_train)
    np.testing.assert_allclose(first.B, direct(x, y)[0], atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_any_batches_give_the_same_fit(sizes, seed):
    x, y = sample(n=120, d=4, p=2, seed=seed)
    whole = StreamingRegression(4, 2)
    whole.update(x, y)
    np.testing.assert_allclose(feed(x, y, tuple(sizes)).solve().B, whole.solve().B, rtol=1e-8, atol=1e-8)


def test_resumed_equals_uninterrupted(tmp_path):
    x, y = sample(n=200)
    uninterrupted = feed(x, y, sizes=(50,), ridge=0.5)
    before = feed(x[:100], y[:100], sizes=(50,), ridge=0.5)
    np.savez(tmp_path / "state.npz", **before.state_dict())
    before.update(x[100:], y[100:])  # the stored state must not share memory with the one that goes on
    with np.load(tmp_path / "state.npz") as stored:
        resumed = StreamingRegression.from_state(dict(stored))
    for start in (100, 150):
        resumed.update(x[start : start + 50], y[start : start + 50])
    for name, value in uninterrupted.state_dict().items():
        assert np.array_equal(value, resumed.state_dict()[name]), name
    assert np.array_equal(uninterrupted.solve().B, resumed.solve().B)


def test_torch_and_numpy_are_the_same():
    x, y = (part.astype(np.float32) for part in sample(n=50))
    accumulator = StreamingRegression(12, 5)
    accumulator.update(torch.from_numpy(x), torch.from_numpy(y).requires_grad_())
    assert np.array_equal(accumulator.xy, feed(x, y, sizes=(50,)).xy)


def test_bad_batches_are_refused_and_change_nothing():
    x, y = sample(n=20)
    accumulator = feed(x, y)
    before = accumulator.state_dict()
    spoiled = y.copy()
    spoiled[3, 1] = np.nan
    for bad_x, bad_y, word in [
        (x[:, :3], y, "expected"),
        (x, y[:10], "expected"),
        (x, y[:, 0], "expected"),
        (x, spoiled, "NaN"),
        (x + np.inf, y, "NaN"),
    ]:
        with pytest.raises(FaceaugError, match=word):
            accumulator.update(bad_x, bad_y)
    accumulator.update(x[:0], y[:0])
    assert all(np.array_equal(before[key], value) for key, value in accumulator.state_dict().items())


def test_misuse_is_told():
    with pytest.raises(FaceaugError, match="at least 2"):
        StreamingRegression(3, 2).solve()
    with pytest.raises(FaceaugError, match="ridge"):
        StreamingRegression(3, 2, ridge=-1.0)
    with pytest.raises(FaceaugError, match="merged"):
        StreamingRegression(3, 2).merge(StreamingRegression(3, 2, ridge=1.0))
    fit = feed(*sample()).solve()
    with pytest.raises(FaceaugError, match="held-out"):
        fit.r2(StreamingRegression(3, 5))
    with pytest.raises(FaceaugError, match="shape"):
        fit.predict(np.zeros((2, 3)))


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_damaged_states_are_refused(damage):
    state = feed(*sample()).state_dict()
    if damage == "missing":
        del state["xy"]
    elif damage == "shape":
        state["xx"] = state["xx"][:3]
    else:
        state["yy"][0] = np.nan
    with pytest.raises(FaceaugError, match="xy" if damage == "missing" else "damaged"):
        StreamingRegression.from_state(state)
