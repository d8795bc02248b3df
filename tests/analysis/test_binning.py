"""Bins: edges, labels, and which value falls where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from faceaug.analysis.binning import bin_codes, edge_labels, equal_width, quantiles, tidy
from faceaug.errors import UsageError

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)
columns = st.one_of(
    st.lists(st.integers(-50, 200), min_size=2, max_size=60), st.lists(finite, min_size=2, max_size=60)
).map(lambda values: np.array(values, dtype=np.float64))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10, "10"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (1_000_000, "1000000"),
        (1234567.0, "1234567"),
        (1e-7, "0.0000001"),
        (-24.75, "-24.75"),
        (100 / 3, "33.3333"),
        (1e20, "1" + "0" * 20),
    ],
)
def test_numbers_are_written_without_noise(value: float, text: str) -> None:
    assert tidy(value) == text


def test_labels_have_more_digits_only_if_edges_are_close() -> None:
    assert edge_labels((-90, -25, 0.5)) == ("-90 to -25", "-25 to 0.5")
    assert edge_labels((1.00000001, 1.00000002, 2)) == ("1.00000001 to 1.00000002", "1.00000002 to 2")


def test_bins_are_right_open_and_the_last_is_closed() -> None:
    values = np.array([-91, -90, -10.5, -10, 9.99, 10, 90, 90.001, np.nan])
    assert bin_codes(values, (-90, -10, 10, 90)).tolist() == [-1, 0, 0, 1, 1, 2, 2, -1, -1]


def test_whole_numbers_get_whole_edges_that_sort_them_alike() -> None:
    ages = np.arange(1, 101, dtype=np.float64)
    edges, note = equal_width(ages, 7, "age")
    assert all(edge == int(edge) for edge in edges)
    assert (edges[0], edges[-1], note) == (1, 100, "")
    assert np.array_equal(bin_codes(ages, edges), bin_codes(ages, tuple(np.linspace(1, 100, 8))))


def test_ties_stay_together_and_the_note_says_so() -> None:
    values = np.array([0] * 97 + [1, 2, 3], dtype=np.float64)
    edges, note = quantiles(values, 4, "yaw")
    assert edges == (0, 1, 3)
    assert note == "4 quantile bins were requested, 2 remain, since equal values stay together"


def test_two_values_give_two_quantile_bins() -> None:
    edges, _ = quantiles(np.array([0.0, 1, 1, 1]), 4, "smile")
    assert bin_codes(np.array([0.0, 1.0]), edges).tolist() == [0, 1]


@pytest.mark.parametrize("cut", [equal_width, quantiles])
def test_a_single_value_cannot_be_binned(cut: object) -> None:
    with pytest.raises(UsageError, match="single value 3"):
        cut(np.array([3.0, 3.0]), 2, "age")  # type: ignore[operator]


def test_a_range_beyond_float64_is_refused() -> None:
    with pytest.raises(UsageError, match="give edges instead"):
        equal_width(np.array([-1.5e308, 1.5e308]), 2, "x")


@settings(deadline=None)
@given(columns, st.integers(2, 12), st.sampled_from([equal_width, quantiles]))
def test_every_value_is_in_exactly_one_bin(values: np.ndarray, bins: int, cut: object) -> None:
    assume(values.min() < values.max())
    edges, note = cut(values, bins, "x")  # type: ignore[operator]
    assert all(low < high for low, high in itertools.pairwise(edges))
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    codes = bin_codes(values, edges)
    assert codes.min() == 0
    assert codes.max() == len(edges) - 2
    assert bool(note) == (len(edges) - 1 != bins)
    for value, code in zip(values, codes, strict=True):
        last = code == len(edges) - 2
        assert edges[code] <= value
        assert value <= edges[code + 1] if last else value < edges[code + 1]
    labels = edge_labels(edges)
    assert len(set(labels)) == len(labels) == len(edges) - 1


@settings(deadline=None)
@given(columns, st.integers(2, 12))
def test_no_quantile_bin_is_empty(values: np.ndarray, bins: int) -> None:
    assume(values.min() < values.max())
    edges, _ = quantiles(values, bins, "x")
    assert np.bincount(bin_codes(values, edges), minlength=len(edges) - 1).min() > 0


@settings(deadline=None)
@given(st.integers(2, 10), st.integers(10, 60))
def test_distinct_values_make_even_quantile_bins(bins: int, rows: int) -> None:
    values = np.random.default_rng(rows).permutation(rows) * 0.37
    edges, _ = quantiles(values, bins, "x")
    rows_of_bin = np.bincount(bin_codes(values, edges))
    assert len(rows_of_bin) == bins
    assert rows_of_bin.max() - rows_of_bin.min() <= 2
