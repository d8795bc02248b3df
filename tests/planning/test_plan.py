"""Plans: invariants, each strategy, the budget, the file."""

from __future__ import annotations

import doctest
import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from faceaug.analysis.analyze import analyze
from faceaug.analysis.axes import Axis, cell_count
from faceaug.errors import IntegrityError, PlanError, UsageError
from faceaug.planning import Budget, Plan, plan
from faceaug.planning.plan import plan_counts
from faceaug.planning.strategies import STRATEGIES, NamedStrategy, WantedTotals, strategy_names

AXES = (Axis("gender", "categorical", ("f", "m")), Axis("race", "categorical", ("a", "b", "c")))
COUNTS = [4, 0, 9, 10, 2, 2]


def planned(strategy: Any = "uniform", budget: Budget | None = None, counts: list[int] = COUNTS) -> list[int]:
    return list(plan_counts(AXES, counts, strategy, budget).planned.values())


# What always holds


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[Axis, ...], list[int]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).filter(lambda sizes: math.prod(sizes) > 1))
    axes = tuple(
        Axis(f"axis{n}", "categorical", tuple(f"level{k}" for k in range(size))) for n, size in enumerate(sizes)
    )
    cells = st.lists(st.integers(0, 300), min_size=cell_count(axes), max_size=cell_count(axes))
    return axes, draw(cells.filter(any))


@st.composite
def strategies(draw: st.DrawFn, axes: tuple[Axis, ...], counts: list[int], folder: Path) -> Any:
    kind = draw(st.sampled_from(["uniform", "within", "min", "explicit", "match"]))
    if kind == "within" and len(axes) > 1:
        return f"uniform-within:{draw(st.sampled_from(axes)).name}"
    if kind == "min":
        return f"min:{draw(st.integers(0, 400))}"
    if kind == "explicit":
        more = draw(st.lists(st.integers(0, 50), min_size=len(counts), max_size=len(counts)))
        keys = np.ndindex(*(len(axis.levels) for axis in axes))
        totals = zip(keys, counts, more, strict=True)
        return {tuple(f"level{k}" for k in key): count + extra for key, count, extra in totals}
    if kind == "match":
        weights = draw(st.lists(st.integers(0, 30), min_size=len(counts), max_size=len(counts)))
        assume(any(weight and count for weight, count in zip(weights, counts, strict=True)))
        scale = sum(weights) if draw(st.booleans()) else 1  # as shares or as counts
        keys = np.ndindex(*(len(axis.levels) for axis in axes))
        rows = [
            {**{axis.name: f"level{k}" for axis, k in zip(axes, key, strict=True)}, "share": weight / scale}
            for key, weight in zip(keys, weights, strict=True)
        ]
        (folder / "reference.json").write_text(json.dumps(rows))
        return f"match:{folder / 'reference.json'}"
    return "uniform"


budgets = st.builds(
    Budget,
    st.one_of(st.none(), st.floats(0, 3), st.integers(0, 30).map(lambda n: n / 10)),
    st.one_of(st.none(), st.integers(0, 200)),
    st.one_of(st.none(), st.integers(0, 800)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@settings(deadline=None, max_examples=200)
@given(data=st.data(), grid=grids(), budget=budgets)
def test_plans_keep_the_budget_and_share_it_by_need(
    data: st.DataObject, grid: Any, budget: Budget, folder: Path
) -> None:
    axes, counts = grid
    strategy = data.draw(strategies(axes, counts, folder))
    free, result = plan_counts(axes, counts, strategy), plan_counts(axes, counts, strategy, budget)
    assert [cell.real for cell in result.cells] == counts
    assert [cell.wanted for cell in result.cells] == [cell.planned for cell in free.cells]
    caps = [
        cell.wanted if budget.max_per_cell is None else min(cell.wanted, budget.max_per_cell) for cell in result.cells
    ]
    assert all(0 <= cell.planned <= cap for cell, cap in zip(result.cells, caps, strict=True))
    bounds = [sum(caps)]
    if budget.max_synthetic_ratio is not None:
        bounds.append(math.floor(Fraction(str(budget.max_synthetic_ratio)) * sum(counts)))
    if budget.max_total is not None:
        bounds.append(budget.max_total)
    assert result.total == min(bounds)
    if sum(caps):
        for cell, cap in zip(result.cells, caps, strict=True):
            assert abs(cell.planned - Fraction(result.total * cap, sum(caps))) < 1
    assert plan_counts(axes, counts, strategy, budget) == result
    assert Plan.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@settings(deadline=None, max_examples=200)
@given(data=st.data(), grid=grids())
def test_planning_again_on_a_balanced_set_adds_nothing(data: st.DataObject, grid: Any, folder: Path) -> None:
    axes, counts = grid
    strategy = data.draw(strategies(axes, counts, folder))
    first = plan_counts(axes, counts, strategy)
    balanced = [cell.real + cell.planned for cell in first.cells]
    assert plan_counts(axes, balanced, strategy).total == 0


# Each strategy


def test_uniform_raises_all_cells_also_the_empty_ones() -> None:
    assert planned() == [6, 10, 1, 0, 8, 8]


def test_uniform_within_raises_to_each_levels_own_largest() -> None:
    assert planned("uniform-within:gender") == [5, 9, 0, 0, 8, 8]
    assert planned("uniform-within: race") == [6, 2, 0, 0, 0, 7]


def test_min_raises_every_cell_to_a_number() -> None:
    assert planned("min:5") == [1, 5, 0, 0, 3, 3]
    assert planned("min:0") == [0] * 6


def test_explicit_totals_and_cells_left_out(tmp_path: Path) -> None:
    path = tmp_path / "strategy.yaml"
    path.write_text("f: {a: 7, b: 1}\nm: {a: 10}\n")
    assert planned(str(path)) == [3, 1, 0, 0, 0, 0]
    assert planned([{"gender": "f", "race": "a", "count": 7}]) == [3, 0, 0, 0, 0, 0]
    assert plan_counts(AXES, COUNTS, str(path)).strategy == "strategy.yaml"  # the folders are no one else's business
    assert plan_counts(AXES, COUNTS, {"f": {"a": 7}}).strategy == "explicit"


def reference(tmp_path: Path, name: str, content: str) -> str:
    (tmp_path / name).write_text(content)
    return f"match:{tmp_path / name}"


def test_match_adds_the_fewest_that_reach_the_shares(tmp_path: Path) -> None:
    strategy = reference(
        tmp_path, "r.json", '{"f": {"a": 0.1, "b": 0.1, "c": 0.3}, "m": {"a": 0.2, "b": 0.15, "c": 0.15}}'
    )
    # male a is the most over-represented: 10 / 0.2 gives a whole of 50; 0.15 * 50 = 7.5 is rounded down
    assert planned(strategy) == [1, 5, 6, 0, 5, 5]


def test_match_leaves_alone_what_the_reference_does_not_have(tmp_path: Path) -> None:
    result = plan_counts(AXES, COUNTS, reference(tmp_path, "r.csv", "gender,race\nf,a\nf,b\nf,b\nm,b\n"))
    assert list(result.planned.values()) == [0, 8, 0, 0, 2, 0]
    assert "21 real faces are in cells to which" in result.notes[0]


def test_match_reads_every_kind_of_reference(tmp_path: Path) -> None:
    table = pd.DataFrame({"gender": ["f", "m", "m"], "race": ["a", "a", "b"], "count": [1, 2, 1]})
    table.to_csv(tmp_path / "r.csv", index=False)
    table.to_csv(tmp_path / "r.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "r.parquet")
    table.drop(columns="count").iloc[[0, 1, 1, 2]].to_csv(tmp_path / "rows.csv", index=False)
    table.assign(share=[0.25, 0.5, 0.25]).drop(columns="count").to_csv(tmp_path / "shares.csv", index=False)
    (tmp_path / "records.json").write_text(table.to_json(orient="records"))
    (tmp_path / "nested.yaml").write_text("f: {a: 0.25}\nm: {a: 0.5, b: 0.25}\n")
    for path in tmp_path.iterdir():
        assert planned(f"match:{path}") == [1, 0, 0, 0, 3, 0], path.name


def test_match_bins_a_reference_by_the_edges_of_the_plan(tmp_path: Path) -> None:
    axes = (Axis("age", "continuous", ("0 to 20", "20 to 60"), (0.0, 20.0, 60.0)),)
    raw = reference(tmp_path, "raw.csv", "age,count\n3,10\n19.5,10\n20,5\n60,5\n")
    labels = reference(tmp_path, "labels.csv", "age,share\n0 to 20,0.6666666666666666\n20 to 60,0.3333333333333333\n")
    assert list(plan_counts(axes, [10, 11], raw).planned.values()) == [12, 0]
    assert list(plan_counts(axes, [10, 11], labels).planned.values()) == [12, 0]
    outside = plan_counts(axes, [10, 10], reference(tmp_path, "o.csv", "age\n5\n25\n61\n\n"))
    assert outside.total == 0
    assert "1 of the 3 rows of the reference" in outside.notes[0]
    with pytest.raises(PlanError, match="has 1 rows that lack an attribute or lie outside"):
        plan_counts(axes, [10, 10], reference(tmp_path, "c.csv", "age,count\n5,1\n61,1\n"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.json", '{"f": {"a": 0.5, "b": 0.49}}', "sum to 0.99, not to 1"),
        ("r.json", '{"f": {"b": 1}}', "holds a real face, so the shares determine no total"),
        ("r.json", '{"f": {"a": 0}}', "is 0 in every cell"),
        ("r.csv", "gender,rcae\nf,a\n", "no column 'race'; did you mean 'rcae'"),
        ("r.csv", "gender,race\nf,A\n", "'race' has no level 'A'; did you mean 'a'"),
        ("r.csv", "gender,race,share\nf,a,-1\n", "the share of gender=f, race=a .* must be a number from 0"),
        ("r.csv", "gender,race,share\nf,a,\n", "must be a number from 0"),
        ("r.csv", "", "cannot be read as a table"),
        ("r.csv", "gender,race\n", "has no row in any of the 6 cells"),
        ("r.parquet", "no parquet", "cannot be read as a table"),
        ("r.txt", "", "must be a table"),
    ],
)
def test_references_that_do_not_fit_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        planned(reference(tmp_path, name, content))


@pytest.mark.parametrize(
    ("strategy", "error", "message"),
    [
        ("unifrom", UsageError, "not known.*did you mean 'uniform'"),
        ("uniform:2", UsageError, "not known"),
        ("uniform-within:", UsageError, "write it as uniform-within:COL"),
        ("uniform-within:rase", UsageError, "did you mean 'race'"),
        ("match", UsageError, "write it as match:FILE"),
        ("match:none.csv", PlanError, "does not exist"),
        ("min:-3", UsageError, "a whole number"),
        ("min:many", UsageError, "a whole number"),
        ("none.yaml", PlanError, "does not exist"),
        ({"f": {"a": 3}}, PlanError, "asks for 3 faces in gender=f, race=a, but 4 real ones are there"),
        ({"f": {"a": 4.5}}, PlanError, "ask for a whole number"),
        ({"x": {"a": 4}}, PlanError, "'gender' has no level 'x'"),
    ],
)
def test_strategies_that_cannot_be_applied_are_refused(strategy: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        planned(strategy)


def test_a_strategy_is_added_by_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    double = NamedStrategy("", lambda cells, argument: WantedTotals([2 * count for count in cells.counts], "double"))
    monkeypatch.setitem(STRATEGIES, "double", double)
    assert planned("double") == COUNTS
    assert strategy_names()[-1] == "double"
    with pytest.raises(UsageError, match="did you mean 'double'"):
        planned("doubel")


def test_uniform_within_needs_a_second_attribute() -> None:
    with pytest.raises(UsageError, match="needs a second attribute"):
        plan_counts(AXES[:1], [1, 2], "uniform-within:gender")


@pytest.mark.parametrize("strategy", ["uniform", "min:50", {"f": 9}])
def test_a_single_cell_leaves_nothing_to_balance(strategy: Any) -> None:
    one = analyze(pd.DataFrame({"gender": ["female"] * 3, "hair": ["long"] * 3}), "gender")
    with pytest.raises(PlanError, match="--by gender has a single level 'female', so there is nothing to balance"):
        plan(one, strategy)
    two = analyze(pd.DataFrame({"gender": ["female"] * 3, "hair": ["long"] * 3}), "gender,hair")
    with pytest.raises(PlanError, match=r"single cell \(gender=female, hair=long\), so there is nothing to balance"):
        plan(two)


# Budget


def test_a_budget_limits_cells_first_and_is_then_shared_by_need() -> None:
    assert planned(budget=Budget(max_per_cell=7)) == [6, 7, 1, 0, 7, 7]
    assert planned(budget=Budget(max_total=11)) == [2, 3, 0, 0, 3, 3]
    assert planned(budget=Budget(max_per_cell=7, max_total=14)) == [3, 4, 0, 0, 4, 3]
    assert planned(budget=Budget(max_total=0)) == [0] * 6
    assert planned("min:5", Budget(max_total=10**9)) == planned("min:5")


# The plan as a whole


def test_the_documented_examples() -> None:
    assert doctest.testmod(sys.modules["faceaug.planning.plan"]).failed == 0


def test_plan_follows_the_analysis() -> None:
    table = pd.DataFrame({"gender": ["f", "m", "m", "m"], "age": [5.0, 10.0, 50.0, 55.0]})
    result = plan(analyze(table, "gender,age:0/20/60"))
    assert [(cell.levels["age"], cell.real, cell.planned) for cell in result.cells] == [
        ("0 to 20", 1, 1),
        ("20 to 60", 0, 2),
        ("0 to 20", 1, 1),
        ("20 to 60", 2, 0),
    ]
    assert result.total == 4


def test_a_plan_is_written_and_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"gender": ["f", "m", "m", None], "yaw": [-30.0, 0.5, 0.0, 40.0]})
    result = plan(analyze(table, "gender,yaw:-90/-25/25/90"), "min:3", Budget(1.5, max_per_cell=2))
    result.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == result
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    content = json.loads((tmp_path / "plan.json").read_text())
    assert (content["format"], content["version"], content["strategy"]) == ("faceaug-plan", 2, "min:3")
    assert content["totals"] == {"real": 3, "wanted": 15, "planned": 4}
    assert content["axes"][1]["edges"] == [-90, -25, 25, 90]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="is missing"):
        Plan.read(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(IntegrityError, match="cannot be read as a plan"):
        Plan.read(tmp_path / "plan.json")


def test_the_text_of_a_plan() -> None:
    text = plan_counts(AXES, COUNTS, budget=Budget(max_total=11)).to_text()
    rows = [line.split() for line in text.splitlines()]
    assert text.startswith(
        "uniform: 11 faces to synthesize beside 27 real ones\nBudget: max total 11, reduces 33 wanted faces by 22"
    )
    assert ["f", "b", "0", "10", "3"] in rows
    assert rows[-1] == ["all", "cells", "27", "33", "11"]
    assert "reduces nothing" in plan_counts(AXES, COUNTS, budget=Budget(max_total=100)).to_text()


def test_the_text_of_a_large_plan_shows_the_cells_with_the_most_planned_faces() -> None:
    axes = (
        Axis("a" * 90, "categorical", tuple(f"{k:0>60}" for k in range(20))),
        Axis("b", "categorical", tuple("stuvw")),
    )
    lines = plan_counts(axes, list(range(100))).to_text().splitlines()
    assert "The 60 of 100 cells with the most planned faces:" in lines
    assert lines[4].split()[-3:] == ["0", "99", "99"]
    assert max(map(len, lines)) <= 100
