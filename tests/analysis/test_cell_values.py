"""Numbers for cells: nested or as records, and the errors of content that does not fit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from faceaug.analysis.axes import Axis
from faceaug.analysis.cell_values import as_shares, read_values
from faceaug.errors import PlanError

AXES = (Axis("gender", "categorical", ("f", "m")), Axis("glasses", "categorical", ("False", "True")))


def read(content: Any) -> dict[int, float]:
    return dict(read_values(content, AXES, field="count", source="the counts"))


def test_three_ways_to_write_the_same() -> None:
    nested = {"f": {True: 5}, "m": {"False": 7.0, "True": np.int64(0)}}
    records = [
        {"gender": "m", "glasses": False, "count": 7},
        {"gender": "f", "glasses": True, "count": 5},
        {"count": 0, "glasses": "True", "gender": "m"},
    ]
    tuples = {("f", "True"): 5, ("m", "False"): 7, ("m", True): 0}
    assert read(nested) == read(records) == read(tuples) == {1: 5, 2: 7, 3: 0}
    assert all(isinstance(value, int) for value in read(nested).values())


def test_levels_that_are_numbers_or_bins() -> None:
    axes = (Axis("age", "continuous", ("0 to 20", "20 to 60"), (0, 20, 60)), Axis("label", "categorical", ("0", "1")))
    assert read_values({"20 to 60": {1: 3, 0.0: 2}}, axes, field="count", source="x") == {3: 3, 2: 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": {"True": 1}}, "'gender' has no level 'w'"),
        ({"f": {"Tru": 1}}, "'glasses' has no level 'Tru'; did you mean 'True'"),
        ({"f": 3}, "nested as gender > glasses > number, but is not at f"),
        ({"f": {"True": {"x": 1}}}, "is not at f / True"),
        ({("f", "True", "x"): 1}, "is not at f / True / x"),
        ({"f": {"True": 1, True: 2}}, "names the cell gender=f, glasses=True twice"),
        ([{"gender": "f", "glasses": True}], "without 'count'"),
        ([{"gender": "f", "count": 2}], "without 'glasses'"),
        ([{"gender": "f", "glasses": True, "cuont": 2}], "unknown key 'cuont'; did you mean 'count'"),
        (["f"], "holds 'f' where a cell with gender, glasses, count was expected"),
        ({"f": {"True": -1}}, "count of gender=f, glasses=True in the counts must be a number from 0"),
        ({"f": {"True": float("nan")}}, "must be a number from 0"),
        ({"f": {"True": 10**400}}, "must be a number from 0"),
        ({"f": {"True": True}}, "must be a number from 0"),
        ({"f": {"True": "5"}}, "must be a number from 0"),
        ({}, "names no cell"),
        ([], "names no cell"),
        (7, "must be a list of cells"),
        ("text", "must be a list of cells"),
        ({"format": "faceaug-plan", "version": 1}, "is a file of the format 'faceaug-plan'"),
    ],
)
def test_errors_name_the_wrong_entry(content: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read(content)


def test_shares_are_exact_and_counts_are_divided_by_their_sum() -> None:
    assert as_shares({0: 1, 1: 3}, "x") == {0: Fraction(1, 4), 1: Fraction(3, 4)}
    assert as_shares({0: 0.1, 1: 0.9}, "x") == {0: Fraction(1, 10), 1: Fraction(9, 10)}
    assert as_shares({0: 1 / 3, 1: 1 / 3, 2: 1 / 3}, "x") == dict.fromkeys(range(3), Fraction(1, 3))
    assert as_shares({0: 1.0, 1: 0.0}, "x") == {0: 1, 1: 0}
    tiny = as_shares({0: 1e-12, 1: 1 - 1e-12}, "x")
    assert tiny[0] > 0
    assert sum(tiny.values()) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({0: 0.5, 1: 0.49}, "sum to 0.99, not to 1"),
        ({0: 33.3, 1: 66.7}, "sum to 100, not to 1"),
        ({0: 0}, "is 0 in every cell"),
    ],
)
def test_values_that_are_not_shares_are_refused(values: dict[int, float], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        as_shares(values, "x")
