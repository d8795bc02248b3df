"""Conditions on samples: what they choose, and what is refused without being run."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceaug.curation.condition import matching_rows
from faceaug.errors import UsageError

TABLE = pd.DataFrame(
    {
        "engine": pd.Categorical(["morph", "rerender", "morph", None]),
        "gender": ["female", "male", None, "female"],
        "age": [20.0, 35.0, np.nan, 61.0],
        "semantic/yaw": [-30.0, 10.0, 25.0, np.nan],
        "semantic/skin/tone": [1.0, 2.0, 3.0, 4.0],
        "attr_confidence/age": [0.9, 0.8, 0.7, 0.6],
        "seed": np.array([2**64 - 1, 3, 4, 5], np.uint64),
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("yaw > 20", [2]),
        ("abs(yaw) > 20", [0, 2]),
        ("abs(yaw) > 20 and engine == 'morph'", [0, 2]),
        ("engine == 'morph' or age >= 61", [0, 2, 3]),
        ("not (engine == 'morph')", [1, 3]),
        ("engine != 'morph'", [1]),
        ("gender in ('female', 'other')", [0, 3]),
        ("gender not in ['female']", [1]),
        ("10 <= yaw < 26", [1, 2]),
        ("yaw == -30", [0]),
        ("`semantic/yaw` <= 10", [0, 1]),
        ("tone > 2.5", [2, 3]),
        ("age < 40", [0, 1]),
        ("`attr_confidence/age` < 0.75", [2, 3]),
        ("seed > 4", [0, 3]),
        ("'female' == gender", [0, 3]),
        ("  age > 1e9 ", []),
        ("gender in []", []),
    ],
)
def test_rows_that_meet_a_condition(condition, rows):
    assert np.flatnonzero(matching_rows(TABLE, condition)).tolist() == rows


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("yaw >", "is no condition; write one as"),
        ("", "is no condition"),
        ("yaw = 3", "is no condition"),
        ("yaw", "only comparisons of columns"),
        ("True", "only comparisons of columns"),
        ("yaww > 3", "no column 'yaww'; did you mean 'yaw'"),
        ("`semantic/yav` > 3", "did you mean 'semantic/yaw'"),
        ("__quoted_3 > 1", "no column '__quoted_3'"),
        ("gender > 3", "compares a text with a number"),
        ("yaw == 'left'", "compares a text with a number"),
        ("__import__('os').system('true') == 0", "only comparisons of columns"),
        ("yaw.__class__ == 3", "only comparisons of columns"),
        ("eval('1') > 0", "only comparisons of columns"),
        ("(lambda: 1)() > 0", "only comparisons of columns"),
        ("abs(yaw, 3) > 1", "only comparisons of columns"),
        ("abs('x') > 1", "only comparisons of columns"),
        ("yaw ** 9999999 > 1", "only comparisons of columns"),
        ("yaw in gender", "only comparisons of columns"),
        ("gender is None", "only comparisons of columns"),
        ("(" * 900 + "yaw" + ")" * 900 + " > 1", "no condition|only comparisons"),
        ("yaw > 1 " + "or yaw > 1 " * 400, "at most 2,000 are read"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_sentence(condition, message):
    with pytest.raises(UsageError, match=message) as caught:
        matching_rows(TABLE, condition)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="abyw >=<!()'`[]0-9.,+-*:and or not in", max_size=60))
def test_any_text_is_a_condition_or_refused(text):
    with contextlib.suppress(UsageError):
        assert matching_rows(TABLE, text).shape == (4,)
