"""Imbalance figures and associations, against closed forms and other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi2_contingency
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score

from faceaug.analysis.imbalance import cramers_v, imbalance_metrics, mutual_information

tables = hnp.arrays(
    np.int64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6), elements=st.integers(0, 40)
)


def even(cells: int) -> np.ndarray:
    return np.full(cells, 1 / cells)


def test_figures_of_a_known_set() -> None:
    metrics = imbalance_metrics(np.array([60, 30, 10, 0]), even(4), minimum=30)
    shares = np.array([0.6, 0.3, 0.1])
    entropy = -float(np.sum(shares * np.log(shares)))
    assert (metrics.groups, metrics.total, metrics.largest, metrics.smallest, metrics.empty, metrics.under_minimum) == (
        4,
        100,
        60,
        10,
        1,
        2,
    )
    assert metrics.imbalance_ratio == 6
    assert metrics.evenness == pytest.approx(entropy / math.log(4))
    assert metrics.effective_groups == pytest.approx(math.exp(entropy))
    assert metrics.kl_from_reference == pytest.approx(math.log(4) - entropy)


def test_even_groups_a_single_group_and_a_reference_of_0() -> None:
    equal = imbalance_metrics(np.array([5, 5, 5]), even(3), 0)
    assert (equal.evenness, equal.imbalance_ratio, equal.kl_from_reference) == (
        pytest.approx(1),
        1,
        pytest.approx(0, abs=1e-12),
    )
    assert imbalance_metrics(np.array([7]), even(1), 0).evenness == 1
    without_reference = imbalance_metrics(np.array([5, 5]), np.array([1.0, 0.0]), 0)
    assert without_reference.kl_from_reference == math.inf
    assert without_reference.to_dict()["kl_from_reference"] is None
    assert imbalance_metrics(np.array([9, 1]), np.array([0.9, 0.1]), 0).kl_from_reference == pytest.approx(0, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30).filter(any))
def test_figures_stay_in_their_ranges(counts: list[int]) -> None:
    metrics = imbalance_metrics(np.array(counts), even(len(counts)), 5)
    assert 0 <= metrics.evenness <= 1
    assert 1 <= metrics.effective_groups <= len(counts) + 1e-9
    assert metrics.kl_from_reference == pytest.approx(
        math.log(len(counts)) - math.log(metrics.effective_groups), abs=1e-9
    )
    assert metrics.imbalance_ratio >= 1


def test_independent_and_tied_attributes() -> None:
    assert cramers_v(np.array([[100, 200], [50, 100]])) == 0
    assert cramers_v(np.diag([50, 70, 20])) == pytest.approx(1)
    assert mutual_information(np.array([[100, 200], [50, 100]])) == (
        pytest.approx(0, abs=1e-12),
        pytest.approx(0, abs=1e-12),
    )
    assert mutual_information(np.diag([50, 50])) == (pytest.approx(math.log(2)), pytest.approx(1))
    assert cramers_v(np.array([[10, 20]])) is None
    assert mutual_information(np.array([[10]])) == (0, None)


@settings(deadline=None)
@given(tables.filter(lambda table: table.sum() > 0))
def test_associations_agree_with_other_implementations(table: np.ndarray) -> None:
    first = np.repeat(np.arange(table.shape[0]), table.sum(axis=1))
    second = np.concatenate([np.repeat(np.arange(table.shape[1]), row) for row in table])
    information, normalized = mutual_information(table)
    assert information == pytest.approx(mutual_info_score(first, second), abs=1e-9)
    if normalized is not None:
        assert normalized == pytest.approx(normalized_mutual_info_score(first, second), abs=1e-6)
    filled = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    v = cramers_v(table)
    if min(filled.shape) > 1 and v is not None:
        n = filled.sum()
        rows, columns = filled.shape
        phi2 = max(0, chi2_contingency(filled, correction=False).statistic / n - (rows - 1) * (columns - 1) / (n - 1))
        room = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
        assert v == pytest.approx(min(1, math.sqrt(phi2 / room)), abs=1e-9)
