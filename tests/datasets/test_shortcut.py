"""The warning where some groups are mostly synthetic and others hardly."""

from __future__ import annotations

import pandas as pd

from faceaug.datasets.shortcut import warn_of_shortcut


def _table(female: int, male: int) -> pd.DataFrame:
    """Ten real faces of each gender, and some synthetic ones."""
    rows = [("female", 0)] * 10 + [("male", 0)] * 10 + [("female", 1)] * female + [("male", 1)] * male
    return pd.DataFrame(rows, columns=["gender", "synthetic"])


def test_a_group_that_is_mostly_synthetic_is_named_with_the_remedy(caplog):
    warn_of_shortcut(_table(female=30, male=0), ["gender"], "out")
    (message,) = caplog.messages
    assert message.startswith("out: 75% of (female) are synthetic, but 0% of (male)")
    assert "GroupSampler" in message
    assert "fit_two_stage" in message


def test_alike_shares_give_no_warning(caplog):
    warn_of_shortcut(_table(female=12, male=10), ["gender"], "out")
    warn_of_shortcut(_table(female=12, male=0), [], "out")
    assert not caplog.messages
