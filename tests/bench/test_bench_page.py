"""The plots of the page: positions, ticks, and what stands in for missing figures."""

from __future__ import annotations

import re

import pytest

from faceaug.bench.results.page import plot_svg, point_plot
from faceaug.pages.histogram import round_ticks


def _row(mean, low=None, high=None, values=()):
    return {"mean": mean, "low": low, "high": high, "values": list(values) or [mean]}


def test_points_lie_in_the_order_of_their_values_inside_the_plot():
    plot = point_plot("worst group", {"a": _row(0.5, 0.4, 0.6, [0.35, 0.65]), "b": _row(0.7), "none": _row(None)})
    first, second = plot["rows"]
    assert first["seeds"][0] < first["low"] < first["mean"] < first["high"] < first["seeds"][1] < second["mean"]
    assert first["seeds"][0] > 0
    assert second["mean"] < 100
    assert first["interval"] == "40.0 to 60.0"
    assert (second["low"], second["text"], plot["zero"]) == (None, "70.0", None)
    assert [row["label"] for row in plot["rows"]] == ["a", "b"]


def test_a_plot_of_differences_shows_zero():
    plot = point_plot("difference", {"a": _row(0.05)}, zero=True)
    assert plot["zero"] < plot["rows"][0]["mean"]
    assert plot["rows"][0]["text"] == "+5.0"
    assert point_plot("nothing", {})["rows"] == []


def test_a_plot_in_a_file_of_its_own_keeps_long_names_inside():
    """The longest name that is not clipped ends left of the points and begins inside of the picture."""
    svg = plot_svg(
        point_plot("worst group", {"morph:two_stage[share=0.67]": _row(0.5, 0.4, 0.6, [0.35]), "b": _row(0.7)})
    )
    assert ">morph:two_stage[share=0.67]</text>" in svg
    end = float(re.search(r'<text x="([\d.]+)"[^>]*text-anchor="end"', svg)[1])
    assert end > 28 * 7  # 12 pixels high, a character is about 7 wide
    assert min(float(x) for x in re.findall(r'cx="([\d.]+)"', svg)) > end


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(49.3, 65.0, [50, 55, 60, 65]), (-0.7, 15, [0, 5, 10, 15]), (0.1, 0.9, [0.2, 0.4, 0.6, 0.8])],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert round_ticks(low, high) == ticks
