"""Plan files that are damaged or of another version are refused with one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faceaug.analysis.axes import Axis
from faceaug.errors import IntegrityError
from faceaug.planning.plan import Plan, plan_counts

AXES = (Axis("gender", "categorical", ("f", "m")), Axis("race", "categorical", ("a", "b", "c")))
COUNTS = [4, 0, 9, 10, 2, 2]


def damaged(**changes: Any) -> dict[str, Any]:
    content = json.loads(json.dumps(plan_counts(AXES, COUNTS).to_dict()))
    for path, value in changes.items():
        parent = content
        *way, last = [int(step) if step.isdigit() else step for step in path.split("__")]
        for step in way:
            parent = parent[step]
        parent[last] = value
    return content  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is not a plan"),
        (damaged(format="faceaug-manifest"), "is not a plan"),
        (damaged(version=1), "version 1, but this faceaug reads version 2; write it again"),
        (damaged(extra=1), "damaged at extra"),
        (damaged(cells__0__planned=-1), "damaged at cells.0.planned"),
        (damaged(cells__0__planned="6"), "damaged at cells.0.planned"),
        (damaged(cells__0__planned=11), "plans 11, more than the 6 wanted"),
        (damaged(cells__0__planned=5), "total of planned is 33, but its cells sum to 32"),
        (damaged(cells__0__levels={"gender": "m", "race": "a"}), r"cell 0 must be \(gender=f, race=a\)"),
        (damaged(cells__1__index=0), "cell 1 must be"),
        (damaged(cells=[]), "lists 0 cells, but its axes span 6"),
        (damaged(axes__0__levels=["f", "f"]), "names a level twice"),
        (damaged(axes__1__name="gender"), "an axis is named twice"),
        (damaged(axes__0__kind="continuous"), "does not go with its edges"),
        (damaged(axes__0__kind="continuous", axes__0__edges=[0, 2, 1]), "must rise"),
        (damaged(axes__0__kind="continuous", axes__0__edges=[0, 2]), "must rise"),
        (damaged(budget__max_total=-1), "damaged at budget.max_total"),
    ],
)
def test_damaged_plans_are_refused(content: Any, message: str) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        Plan.from_dict(content, name="plan.json")
    assert str(caught.value).startswith("plan.json")
    assert "\n" not in str(caught.value)
