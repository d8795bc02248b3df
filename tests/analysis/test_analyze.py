"""Analysis: cells and figures of tables, what is left out, and the text."""

from __future__ import annotations

import doctest
import json
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.pandas import column, data_frames, range_indexes

from faceaug.analysis.analyze import analyze
from faceaug.errors import DatasetError, PlanError, UsageError

TABLE = pd.DataFrame(
    {
        "key": [f"{row}.jpg" for row in range(8)],
        "gender": ["f", "f", "m", "m", "m", "m", None, "f"],
        "age": [5.0, 35.0, 25.0, 45.0, 70.0, 30.0, 20.0, np.nan],
        "split": ["train"] * 8,
    }
)

IDS = pd.DataFrame({"a": [f"id{row}" for row in range(200)], "b": [f"no{row}" for row in range(200)]})

random_tables = data_frames(
    [
        column("a", elements=st.sampled_from(["x", "y", "z", None])),
        column("b", elements=st.one_of(st.integers(0, 4), st.just(np.nan)), dtype=float),
        column("c", elements=st.one_of(st.floats(0, 100), st.just(np.nan)), dtype=float),
    ],
    index=range_indexes(min_size=1, max_size=60),
)


def test_the_documented_examples() -> None:
    assert doctest.testmod(sys.modules[analyze.__module__]).failed == 0


def test_cells_counts_and_what_is_left_out() -> None:
    analysis = analyze(TABLE, ["gender", "age:10/30/60"])
    assert [axis.name for axis in analysis.axes] == ["gender", "age"]
    assert analysis.counts.tolist() == [0, 1, 1, 2]
    assert analysis.codes.tolist() == [-1, 1, 2, 3, -1, 3, -1, -1]
    assert (analysis.rows, analysis.missing) == (8, 4)
    assert analysis.unlabelled == {"gender": 1, "age": 1}
    assert analysis.outside == {"gender": 0, "age": 2}
    assert analysis.cells[3].levels == {"gender": "m", "age": "30 to 60"}
    assert analysis.figures.empty == 1
    gender, age = analysis.attributes
    assert gender.counts.tolist() == [3, 4]
    assert (gender.missing, age.missing) == (1, 3)
    assert analysis.pairs[0].counts.tolist() == [[0, 1], [1, 2]]
    assert analysis.associations[0].rows == 4


def test_a_data_set_is_analyzed_by_its_table() -> None:
    @dataclass
    class Dataset:
        table: pd.DataFrame

    assert analyze(Dataset(TABLE), "gender").counts.tolist() == [3, 4]
    with pytest.raises(UsageError, match="takes a FaceDataset or a pandas DataFrame"):
        analyze([1, 2], "gender")


@settings(deadline=None, max_examples=60)
@given(random_tables)
def test_counts_agree_with_pandas(table: pd.DataFrame) -> None:
    try:
        analysis = analyze(table, "a,b,c:0/25/50/100")
    except DatasetError:
        complete = table.dropna()
        assert complete.empty or table.isna().all().any()
        return
    complete = table.dropna()
    complete = complete.assign(
        b=complete["b"].astype(int).astype(str), c=pd.cut(complete["c"], [0, 25, 50, 100.0001], right=False)
    )
    expected = complete.groupby(["a", "b", "c"], observed=True).size()
    counts = {tuple(cell.levels.values()): cell.count for cell in analysis.cells if cell.count}
    names = {0.0: "0 to 25", 25.0: "25 to 50", 50.0: "50 to 100"}
    assert counts == {(a, b, names[c.left]): count for (a, b, c), count in expected.items()}
    assert analysis.counts.sum() + analysis.missing == analysis.rows == len(table)
    assert np.array_equal(
        np.bincount(analysis.codes[analysis.codes >= 0], minlength=len(analysis.counts)), analysis.counts
    )


@settings(deadline=None, max_examples=30)
@given(random_tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table: pd.DataFrame, random: object) -> None:
    order = list(range(len(table)))
    random.shuffle(order)  # type: ignore[attr-defined]
    try:
        straight = analyze(table, "a,b").to_dict()
    except DatasetError:
        return
    assert analyze(table.iloc[order], "a,b").to_dict() == straight


def test_the_dictionary_is_json_and_complete() -> None:
    analysis = analyze(TABLE, "gender,age:q2", reference={"f": {"5 to 28": 1}})
    content = json.loads(json.dumps(analysis.to_dict(), allow_nan=False))
    assert (content["format"], content["version"]) == ("faceaug-analysis", 2)
    assert content["figures"]["kl_from_reference"] is None
    assert [cell["count"] for cell in content["cells"]] == analysis.counts.tolist()
    assert sum(cell["share"] for cell in content["cells"]) == pytest.approx(1)
    assert content["axes"][1]["edges"] == list(analysis.axes[1].edges or ())
    assert {"attributes", "pairs", "associations", "missing", "unlabelled", "outside", "rows"} <= content.keys()
    assert content["pairs"][0]["names"] == ["gender", "age"]


def test_the_reference_distribution_reaches_attributes_and_pairs() -> None:
    table = pd.DataFrame({"a": list("xxxy"), "b": list("ppqq")})
    analysis = analyze(table, "a,b", reference={"x": {"p": 2, "q": 1}, "y": {"q": 1}})
    assert analysis.figures.kl_from_reference == pytest.approx(0, abs=1e-12)
    assert [marginal.figures.kl_from_reference for marginal in analysis.attributes] == pytest.approx([0, 0], abs=1e-12)
    assert analyze(table, "a,b").attributes[0].figures.kl_from_reference > 0.1
    with pytest.raises(PlanError, match="the reference distribution: 'a' has no level 'z'"):
        analyze(table, "a,b", reference={"z": {"p": 1}})


@pytest.mark.parametrize(
    ("table", "by", "error", "message"),
    [
        (TABLE, "gendre", UsageError, "no column 'gendre'; did you mean 'gender'"),
        (TABLE, "split", UsageError, "'split' identifies rows"),
        (TABLE.iloc[:0], "gender", DatasetError, "no rows"),
        (
            pd.DataFrame({"a": ["x", None], "b": [None, "y"]}),
            "a,b",
            DatasetError,
            "no row has a value for each of a, b",
        ),
        (IDS, "a,b", UsageError, r"a \(200 levels\) x b .* 40,000 cells"),
    ],
)
def test_tables_that_cannot_be_analyzed(table: pd.DataFrame, by: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        analyze(table, by)


@pytest.mark.parametrize("minimum", [-1, 2.5, True])
def test_the_minimum_is_a_whole_number(minimum: object) -> None:
    with pytest.raises(UsageError, match="minimum"):
        analyze(TABLE, "gender", minimum=minimum)  # type: ignore[arg-type]


def test_a_single_class_can_be_analyzed() -> None:
    analysis = analyze(pd.DataFrame({"gender": ["f", "f"]}), "gender")
    assert (analysis.figures.evenness, analysis.figures.imbalance_ratio) == (1, 1)
    assert "counted in 1 cell of gender" in analysis.to_text()


def test_the_text_has_counts_and_figures() -> None:
    text = analyze(TABLE, ["gender,age:10/30/60"], minimum=2).to_text()
    assert "4 of 8 rows counted in 4 cells of gender x age" in text
    assert "4 left out: 1 without gender, 1 without age, 2 with age outside of its edges" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["m", "30", "to", "60", "2", "50.0%", "#" * 20] in rows
    assert ["empty", "cells", "1"] in rows
    assert ["cells", "under", "2,", "with", "the", "empty", "ones", "3"] in rows
    assert "gender - f: 3 (42.9%), m: 4 (57.1%)" in text


def test_numbers_are_right_aligned() -> None:
    table = pd.DataFrame({"a": ["x"] * 1234 + ["long name"] * 7})
    lines = analyze(table, "a").to_text().splitlines()
    header, long, x = lines[3:6]
    assert header.index("count") + len("count") == long.index("7 ") + 1 == x.index("1,234") + len("1,234")


def test_merged_bins_are_noted() -> None:
    table = pd.DataFrame({"yaw": [0.0] * 97 + [1.0, 2.0, 3.0]})
    assert (
        "yaw: 4 quantile bins were requested, 2 remain, since equal values stay together"
        in analyze(table, "yaw:q4").to_text()
    )


def test_pairs_are_shown_when_there_are_three_attributes_the_worst_first() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 2, 500), "b": rng.integers(0, 2, 500), "c": rng.random(500) < 0.02})
    text = analyze(table, "a,b,c").to_text()
    pairs = [line.split("  ")[1] for line in text.split("Pairs")[1].splitlines()[2:5]]
    assert pairs[-1] == "a x b"


def test_many_cells_are_shortened() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 20, 900), "b": rng.integers(0, 18, 900) ** 2 // 17})
    text = analyze(table, "a,b").to_text()
    assert "Cells, the 12 largest\n" in text
    assert "Cells, the 12 smallest that are not empty\n" in text
    assert "cells are empty, such as (a=" in text
    assert len(text.splitlines()) < 90
    few = analyze(pd.DataFrame({"a": range(20), "b": range(20)}), "a,b").to_text()
    assert "Cells, the 20 that are not empty, the largest first" in few


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=150), min_size=1, max_size=9, unique=True), st.text(max_size=150))
def test_no_line_is_wider_than_a_hundred_characters(names: list[str], level: str) -> None:
    from faceaug.analysis.axes import AxisSpec

    table = pd.DataFrame({f"{name}!": ["a" + level, "b" * 120] for name in names})
    text = analyze(table, [AxisSpec(str(name)) for name in table.columns]).to_text()
    assert max(map(len, text.split("\n"))) <= 100
    assert all(character.isprintable() or character == "\n" for character in text)
