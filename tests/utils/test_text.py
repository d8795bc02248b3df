"""Values in messages: short, in one line, nothing that a terminal obeys."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from faceaug.recipes.recipe import find, parse

from faceaug.analysis.axes import build_axis, parse_by
from faceaug.errors import FaceaugError
from faceaug.planning.schema import validate_plan
from faceaug.planning.strategies import CellCounts, wanted_totals
from faceaug.utils.text import MOST_SHOWN, nearest, one_line, shown

LONG = "x\n\x1b[31m" + "y" * 100_000
AXES = [build_axis(pd.DataFrame({"gender": ["f", "m"]}), parse_by("gender")[0])]


def test_any_value_is_shown_in_a_short_line():
    numbers = [10**5_000, -(16**100_000)]
    for value in [LONG, LONG.encode(), [LONG] * 1000, {LONG: LONG}, (LONG,), {1, 2}, np.zeros((50, 50)), *numbers]:
        text = shown(value)
        assert 0 < len(text) <= MOST_SHOWN
        assert text.isprintable()


def test_a_list_of_lists_of_itself_is_shown():
    value: list[object] = [1]
    for _ in range(100):
        value = [value] * 9
    assert len(shown(value)) <= MOST_SHOWN


def test_a_short_value_is_shown_as_it_is():
    values = ("female", np.str_("a"), np.int64(3), 0.5, None, True, [1, "a"], {"a": 1})
    assert " ".join(map(shown, values)) == "'female' 'a' 3 0.5 None True [1, 'a'] {'a': 1}"
    assert shown("tab\tand \u202e reversed") == r"'tab\tand \u202e reversed'"
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError()) == "ValueError"
    assert one_line("a" * 300).endswith("a...")


@pytest.mark.parametrize(
    "call",
    [
        lambda: parse({"run": {"seed": LONG}}, "the recipe"),
        lambda: parse({"run": {LONG: 1}}, "the recipe"),
        lambda: parse({LONG: 1}, "the recipe"),
        lambda: parse({"output": {"layout": [LONG]}}, "the recipe"),
        lambda: find(LONG.replace("\n", "")[:200]),
        lambda: validate_plan({"format": "faceaug-plan", "version": LONG}, "the plan"),
        lambda: validate_plan({"format": "faceaug-plan", "version": 2, LONG: 1}, "the plan"),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), LONG),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), f"min:{LONG}"),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), f"uniform-within:{LONG}"),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), {LONG: 3}),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), {"f": {LONG: 3}}),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), {"f": LONG}),
        lambda: wanted_totals(CellCounts(AXES, (1, 2)), [{LONG: 1}]),
        lambda: parse_by(f"{LONG}:q"),
        lambda: parse_by(f"{LONG},{LONG}"),
        lambda: parse_by(f"age:{'/'.join(map(str, range(50_000)))}"),
        lambda: parse_by(f"age:9/{'/'.join(map(str, range(50_000)))}"),
        lambda: build_axis(pd.DataFrame({"gender": ["f"]}), parse_by(LONG)[0]),
        lambda: build_axis(pd.DataFrame({LONG: ["f"]}), parse_by("age")[0]),
        lambda: build_axis(pd.DataFrame({LONG: range(100)}), parse_by(LONG)[0]),
        lambda: build_axis(pd.DataFrame({"gender": [LONG]}), parse_by("gender:3")[0]),
    ],
)
def test_messages_stay_short(call):
    with pytest.raises(FaceaugError) as caught:
        call()
    said = str(caught.value)
    assert len(said) < 800
    assert "\n" not in said
    assert "\x1b" not in said


def test_what_is_nearest_is_shortened_too():
    assert len(nearest("none", [LONG] * 50)) < 21 * (MOST_SHOWN + 2)
    assert len(nearest(LONG, [LONG])) < 120
