"""Several marginal distributions at once: the fewest samples that meet all targets, or the nearest that can be had."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from faceaug.analysis.axes import Axis
from faceaug.errors import PlanError, UsageError
from faceaug.planning import Budget, Marginals
from faceaug.planning.plan import Plan, plan_counts

GENDER = Axis("gender", "categorical", ("f", "m"))
RACE = Axis("race", "categorical", ("a", "b", "c"))
GLASSES = Axis("glasses", "categorical", ("no", "yes"))


def planned(axes, counts, marginals, budget=None):
    return list(plan_counts(axes, counts, Marginals.parse(marginals), budget).planned.values())


def is_met(counts, groups, shares=None):
    """Return whether each of the groups has its share of all, rounded up or down."""
    sizes, total = [sum(counts[cell] for cell in group) for group in groups], sum(counts)
    return all(abs(n - s * total) < 1 for n, s in zip(sizes, shares or [1 / len(groups)] * len(groups), strict=True))


def fewest_by_trying(counts, targets, most):
    """Return the fewest samples that meet all targets, by trying all samples of at most `most` a cell."""
    samples = itertools.product(range(most + 1), repeat=len(counts))
    totals = (sum(x) for x in samples if all(is_met(np.add(counts, x).tolist(), groups) for groups in targets))
    return min(totals)


@pytest.mark.parametrize("counts", [[5, 1, 1, 2, 0, 1], [1, 0, 0, 0, 0, 4], [3, 3, 2, 1, 0, 0]])
def test_the_samples_are_the_fewest(counts):
    targets = [[(0, 1, 2), (3, 4, 5)], [(0, 3), (1, 4), (2, 5)]]
    added = planned((GENDER, RACE), counts, ["gender", "race"])
    assert all(is_met(np.add(counts, added).tolist(), groups) for groups in targets)
    assert sum(added) == fewest_by_trying(counts, targets, 5)
    assert added == planned((GENDER, RACE), counts, ["gender", "race"])


def test_marginals_need_fewer_samples_than_intersections():
    rng = np.random.default_rng(3)
    axes = (GENDER, RACE, GLASSES)
    counts = rng.integers(0, 60, 12).tolist()
    result = plan_counts(axes, counts, Marginals.parse(["gender", "race", "glasses"]))
    assert 0 < result.total < plan_counts(axes, counts, "uniform").total
    assert result.strategy == "marginals:gender;race;glasses"
    assert Plan.from_dict(result.to_dict()) == result
    balanced = [cell.real + cell.planned for cell in result.cells]
    assert plan_counts(axes, balanced, Marginals.parse(["gender", "race", "glasses"])).total == 0


def test_samples_go_where_real_faces_are():
    """Of equal solutions the one that fills cells in proportion to their real faces."""
    assert planned((GENDER, RACE), [0, 9, 9, 40, 30, 28], ["gender"])[0] <= 5


def test_shares_of_a_marginal(tmp_path):
    counts = [30, 10, 10, 30, 10, 10]
    added = planned((GENDER, RACE), counts, ["gender=f:0.6,m:0.4", "race"])
    after = np.add(counts, added).tolist()
    assert is_met(after, [(0, 1, 2), (3, 4, 5)], [0.6, 0.4])
    assert is_met(after, [(0, 3), (1, 4), (2, 5)])
    file = tmp_path / "shares.json"
    file.write_text('{"f": 0.6, "m": 0.4}')
    assert planned((GENDER, RACE), counts, [f"gender={file}", "race"]) == added
    assert plan_counts((GENDER, RACE), counts, Marginals.parse([f"gender={file}"])).strategy.endswith("shares.json")


def test_combinations_of_attributes_can_be_one_marginal():
    counts = [9, 1, 1, 5, 2, 1, 0, 3, 8, 1, 1, 2]
    added = planned((GENDER, RACE, GLASSES), counts, ["gender,race", "glasses"])
    after = np.add(counts, added).reshape(2, 3, 2)
    assert np.ptp(after.sum(2)) <= 1
    assert np.ptp(after.sum((0, 1))) <= 1


def test_limits_are_part_of_the_search():
    counts = [50, 1, 2, 40, 2, 1]
    free = plan_counts((GENDER, RACE), counts, Marginals.parse(["gender", "race"]))
    tight = max(free.planned.values())
    capped = plan_counts((GENDER, RACE), counts, Marginals.parse(["gender", "race"]), Budget(None, tight, free.total))
    assert capped.total == free.total
    with pytest.raises(PlanError) as refused:
        planned((GENDER, RACE), counts, ["gender", "race"], Budget(max_total=free.total - 1))
    assert f"allow {free.total:,} samples" in str(refused.value)
    assert "marginals gender and race cannot be met together" in str(refused.value)
    with pytest.raises(PlanError, match=r"at most 10 in a cell: .* race=a at \d+\.\d% instead of 33\.3%"):
        planned((GENDER, RACE), counts, ["gender", "race"], Budget(max_per_cell=10))


@pytest.mark.parametrize(
    ("marginals", "message"),
    [
        (
            ["gender=f:0.6,m:0.4", "gender,race"],
            r"by adding faces: the nearest .*gender=f at 5\d\.\d% instead of 60.0%",
        ),
        (["gender=f:1"], "gives no share to gender=m, which has 30 real faces"),
        (["gender=f:0.6,m:0.6"], "sum to 1.2"),
        (["gender=f:0.6,n:0.4"], "no level 'n'"),
    ],
)
def test_targets_that_cannot_be_met(marginals, message):
    with pytest.raises(PlanError, match=message):
        planned((GENDER, RACE), [10] * 6, marginals)


@pytest.mark.parametrize(
    ("marginals", "message"),
    [
        ([], "no marginal"),
        (["gender="], "cannot be parsed"),
        (["=0.5"], "cannot be parsed"),
        (["gender", "gender=f:0.5,m:0.5"], "named twice"),
        (["age:5", "gender,age:q4"], "different bins"),
        (["gender=f"], "shares of the marginal"),
        (["gender,race=f:1"], "shares of the marginal"),
        (["gendr"], "did you mean 'gender'"),
    ],
)
def test_texts_that_are_no_marginal(marginals, message):
    with pytest.raises(UsageError, match=message):
        planned((GENDER, RACE), [10] * 6, marginals)
