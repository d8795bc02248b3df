"""Axes: reading --by, finding levels in columns of every kind, cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faceaug.analysis.axes import AxisSpec, build_axis, cell_codes, cell_count, cell_levels, parse_by
from faceaug.errors import DatasetError, UsageError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("gender", AxisSpec("gender")),
        ("age:5", AxisSpec("age", ("width", 5))),
        ("age:q4", AxisSpec("age", ("quantile", 4))),
        ("yaw:-90/-25/10.5", AxisSpec("yaw", ("edges", (-90.0, -25.0, 10.5)))),
        ("a:b:3", AxisSpec("a:b", ("width", 3))),
    ],
)
def test_a_spec_prints_as_it_was_written(text: str, spec: AxisSpec) -> None:
    assert parse_by(text) == (spec,)
    assert str(spec) == text


def test_commas_and_repeats_add_up() -> None:
    specs = parse_by(["gender, ethnicity", "age:5", AxisSpec("a,b")])
    assert [spec.column for spec in specs] == ["gender", "ethnicity", "age", "a,b"]


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ([], "names no attribute"),
        ("gender,,age:2", "names no attribute"),
        (":5", "names no attribute"),
        (["gender", "age:2,gender"], "'gender' is named twice"),
        ("age:", "cannot be parsed"),
        ("age:five", "cannot be parsed"),
        ("age:q", "cannot be parsed"),
        ("age:-3", "cannot be parsed"),
        ("age:²", "cannot be parsed"),
        ("age:1", "asks for 1 bins; ask for 2"),
        ("age:99999999999999999999", "asks for"),
        ("age:0/x/3", "cannot be parsed"),
        ("age:0/5/5", "must be finite and increase"),
        ("age:0/nan", "must be finite and increase"),
        ("age:0/inf", "must be finite and increase"),
        ("age:" + "/".join(map(str, range(1002))), "at most 1001"),
    ],
)
def test_specs_that_cannot_be_parsed(by: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_by(by)  # type: ignore[arg-type]


def levels(values: object) -> tuple[str, ...]:
    return build_axis(pd.DataFrame({"x": values}), AxisSpec("x")).levels


def test_levels_of_every_kind_of_column() -> None:
    assert levels(["b", "a", None, ""]) == ("a", "b")
    assert levels([10, 9, -1]) == ("-1", "9", "10")
    assert levels([1.0, np.nan, 0.0, np.inf]) == ("0", "1")
    assert levels(np.array([0.1, 0.5], dtype=np.float32)) == ("0.1", "0.5")
    assert levels([True, False]) == ("False", "True")
    assert levels([True, None]) == ("True",)
    assert levels(pd.array([3, None], dtype="Int64")) == ("3",)
    assert levels(pd.array([True, None], dtype="boolean")) == ("True",)
    assert levels(pd.Series([2, 10, None], dtype=object)) == ("2", "10")
    assert levels([1, "1", "z"]) == ("1", "z")


def test_a_pandas_categorical_keeps_its_order_and_the_levels_that_occur() -> None:
    sizes = pd.Categorical(["small", "large", None], categories=["large", "medium", "small"])
    assert levels(sizes) == ("large", "small")
    assert len(levels(pd.Categorical(range(30)))) == 30


def test_assign_gives_each_value_its_level() -> None:
    axis = build_axis(pd.DataFrame({"x": ["b", "a", None]}), AxisSpec("x"))
    assert axis.assign(pd.Series(["a", "new", "b", None, "A"])).tolist() == [0, -1, 1, -1, -1]
    numbers = build_axis(pd.DataFrame({"x": [1, 2]}), AxisSpec("x"))
    assert numbers.assign(pd.Series([2.0, np.nan, 1.0, 3.0])).tolist() == [1, -1, 0, -1]
    assert axis.assign(pd.Series([], dtype=object)).tolist() == []


@pytest.mark.parametrize(
    "values",
    [
        [1.5, 40.0, None, np.inf, 99.0],
        pd.array([1, 40, None, None, 99], dtype="Int64"),
        pd.Series([1, 40.0, None, None, 99], dtype=object),
        pd.Categorical([1, 40, None, None, 99]),
    ],
)
def test_assign_bins_numbers_of_every_kind(values: object) -> None:
    axis = build_axis(pd.DataFrame({"x": values}), AxisSpec("x", ("edges", (0.0, 20.0, 60.0))))
    assert (axis.kind, axis.levels) == ("continuous", ("0 to 20", "20 to 60"))
    assert axis.assign(pd.Series(values)).tolist() == [0, 1, -1, -1, -1]
    with pytest.raises(UsageError, match="must hold numbers"):
        axis.assign(pd.Series(["young"]))


def test_twenty_distinct_numbers_are_categories_and_more_need_bins() -> None:
    assert len(levels(list(range(20)))) == 20
    with pytest.raises(UsageError, match=r"21 distinct numbers from 0 to 20; bin it, as 'x:5' .*'x:q4' .*'x:0/10/20'"):
        levels(list(range(21)))
    assert len(levels([f"id{number}" for number in range(50)])) == 50


@pytest.mark.parametrize(
    ("values", "spec", "error", "message"),
    [
        ([1], AxisSpec("y"), UsageError, "no column 'y'; there are: 'x'"),
        ([None, None], AxisSpec("x"), DatasetError, "'x' has no value"),
        ([np.nan, np.inf], AxisSpec("x", ("width", 2)), DatasetError, "'x' has no value"),
        (["f", "m"], AxisSpec("x", ("width", 2)), UsageError, r"holds text \('f', 'm'\) and cannot be binned"),
        ([True, False], AxisSpec("x", ("quantile", 2)), UsageError, "holds booleans"),
        ([1, 2], AxisSpec("x", ("edges", (5.0, 9.0))), DatasetError, "edges 5 to 9: its values reach from 1 to 2"),
        ([[1], [2]], AxisSpec("x"), DatasetError, "plain values"),
    ],
)
def test_columns_that_cannot_be_counted(values: object, spec: AxisSpec, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_axis(pd.DataFrame({"x": values}), spec)


def test_key_and_split_are_no_attributes_and_names_must_be_unique() -> None:
    table = pd.DataFrame({"key": ["1"], "split": ["train"], "Gender": ["f"]})
    with pytest.raises(UsageError, match="'key' identifies rows"):
        build_axis(table, AxisSpec("key"))
    with pytest.raises(UsageError, match="did you mean 'Gender'"):
        build_axis(table, AxisSpec("gender"))
    twice = pd.DataFrame([[1, 2]], columns=["x", "x"])
    with pytest.raises(DatasetError, match="2 columns named 'x'"):
        build_axis(twice, AxisSpec("x"))


def test_cells_run_with_the_last_axis_fastest() -> None:
    table = pd.DataFrame({"a": ["p", "q", "q", None], "b": ["x", "z", "y", "x"]})
    axes = [build_axis(table, AxisSpec(name)) for name in "ab"]
    assert cell_count(axes) == 6
    assert cell_levels(axes, 4) == {"a": "q", "b": "y"}
    assert cell_codes([axis.assign(table[axis.name]) for axis in axes], axes).tolist() == [0, 5, 4, -1]
