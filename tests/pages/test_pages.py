"""What all pages share: escaping, values in scripts, histograms."""

from __future__ import annotations

import json

import numpy as np
import pytest

from faceaug.pages.histogram import histogram_plot
from faceaug.pages.template import page_template, script_value, style_sheet

HOSTILE = "</script><script>alert(1)</script><!--\u2028"


def test_no_text_in_a_value_ends_the_script_around_it() -> None:
    text = script_value({HOSTILE: [HOSTILE, 1.5, None]})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {HOSTILE: [HOSTILE, 1.5, None]}
    with pytest.raises(ValueError):
        script_value(float("nan"))


def test_parts_escape_what_is_filled_in() -> None:
    parts = page_template("parts.html.jinja").module
    for text in (parts.facts({HOSTILE: HOSTILE}), parts.tile(HOSTILE, HOSTILE)):  # type: ignore[attr-defined]
        assert "<script" not in text


def test_the_style_sheet_loads_nothing() -> None:
    assert "@import" not in style_sheet()
    assert "url(" not in style_sheet()


def test_a_histogram_stacks_sources_and_spreads_the_target_over_its_bins() -> None:
    values = {"real": np.array([0.0, 0, 0, 9.9]), "engine-0": np.array([0.0, 5, np.nan])}
    plot = histogram_plot("yaw", values, edges=(0, 5, 10), target=(4, 4))
    first = [bar for bar in plot.bars if bar["x"] == plot.left]
    assert [bar["colour"] for bar in first] == ["real", "engine-0"]
    assert first[0]["y"] == pytest.approx(first[1]["y"] + first[1]["height"], abs=0.2)  # one stands on the other
    assert first[0]["height"] == pytest.approx(3 * first[1]["height"], abs=0.5)
    assert len(plot.target.split()) == 4
    assert "NaN" not in str(plot)


def test_equal_values_have_a_histogram_too() -> None:
    assert len(histogram_plot("x", {"real": np.full(5, 3.0)}).bars) == 1
