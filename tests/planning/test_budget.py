"""Budgets: bounds that are checked, and a total that is divided among cells."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.errors import UsageError
from faceaug.planning.budget import Budget, apportion


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(0, 5000))
def test_a_total_is_apportioned_by_need(needs: list[int], total: int) -> None:
    shares = apportion(needs, total)
    assert sum(shares) == min(total, sum(needs))
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))
    by_need = sorted(zip(needs, shares, strict=True))
    assert all(low[1] <= high[1] for low, high in itertools.pairwise(by_need))


def test_ties_go_to_the_larger_need_then_to_the_earlier_cell() -> None:
    assert apportion([1, 1, 1], 2) == [1, 1, 0]
    assert apportion([1, 3], 2) == [0, 2]  # both have a remainder of one half
    assert apportion([5, 0, 5], 3) == [2, 0, 1]


def test_the_ratio_is_the_decimal_that_was_written() -> None:
    """0.29 * 100 is 28.999999999999996 in binary."""
    assert Budget(max_synthetic_ratio=0.29).total_bound(100) == 29
    assert Budget(max_synthetic_ratio=1 / 3).total_bound(3) == 0
    assert Budget(max_synthetic_ratio=2, max_total=5).total_bound(100) == 5
    assert Budget().total_bound(100) is None


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_synthetic_ratio": -0.1},
        {"max_synthetic_ratio": math.nan},
        {"max_synthetic_ratio": "3"},
        {"max_per_cell": -1},
        {"max_per_cell": 2.5},
        {"max_total": True},
        {"max_total": -5},
    ],
)
def test_bounds_below_0_or_of_another_type_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(bounds))):
        Budget(**bounds)


def test_numpy_numbers_are_bounds_too() -> None:
    budget = Budget(np.float32(0.5), np.int64(3), np.int32(4))  # type: ignore[arg-type]
    assert json.dumps(vars(budget)) == '{"max_synthetic_ratio": 0.5, "max_per_cell": 3, "max_total": 4}'


@pytest.mark.slow
def test_budget_is_found_from_the_package_alone() -> None:
    code = "import faceaug; print(faceaug.planning.Budget(max_total=5).total_bound(100))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"
