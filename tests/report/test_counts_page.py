"""The pages of an analysis and of a plan: all cells, escaped, without a network."""

from __future__ import annotations

import pandas as pd

from faceaug.analysis.analyze import analyze
from faceaug.planning.budget import Budget
from faceaug.planning.plan import plan
from faceaug.report.counts_page import render_analysis_page, render_plan_page

HOSTILE = "<script>alert(1)</script>"
TABLE = pd.DataFrame({"gender": ["female", HOSTILE, HOSTILE, HOSTILE], "age": [31, 25, 47, 62]})


def test_the_page_of_an_analysis_has_a_panel_for_each_level_and_a_map_for_each_pair() -> None:
    text = render_analysis_page(analyze(TABLE, "gender,age:20/40/70"), HOSTILE)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert "4 of 4 faces counted in 4 cells" in text
    assert "gender by age" in text
    assert "Cramér&#39;s V" in text or "Cramér's V" in text


def test_cells_of_yes_and_no_name_their_axes() -> None:
    table = pd.DataFrame({"smiling": ["yes", "no"], "glasses": ["no", "yes"]})
    text = render_plan_page(plan(analyze(table, "smiling,glasses"), "uniform", Budget(max_total=2)), "faces")
    assert "smiling=yes, glasses=no" in text


def test_the_page_of_a_plan_shows_what_is_planned_and_what_the_budget_leaves_out() -> None:
    text = render_plan_page(plan(analyze(TABLE, "gender"), "uniform", Budget(max_total=1)), HOSTILE)
    assert "<script" not in text
    assert "1 faces to synthesize beside 4 real ones. Budget: max total 1." in " ".join(text.split())
    assert "1 real, 1 planned, 1 more without the budget" in text
    assert "3 → 1.50" in text  # largest : smallest
