"""Intervals of shares that come from measured columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faceaug.analysis.analyze import analyze
from faceaug.report.counts_page import render_analysis_page

BINS = "yaw:-90/-25/-10/10/25/90"


def measured(n=4000, error=6.0, seed=1):
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.normal(0, 12, n), -85, 85)
    values = truth + rng.normal(0, error, n)
    return truth, pd.DataFrame({"yaw": values, "yaw_error": np.full(n, error), "gender": rng.choice(["f", "m"], n)})


def test_intervals_hold_the_shares_of_the_truth():
    truth, table = measured()
    analysis = analyze(table, BINS)
    true_shares = np.histogram(truth, [-90, -25, -10, 10, 25, 90])[0] / len(truth)
    assert analysis.intervals is not None
    low, high = analysis.intervals.T
    assert (low <= true_shares).all()
    assert (true_shares <= high).all()
    assert (low <= analysis.shares).all()
    assert (analysis.shares <= high).all()


def test_larger_errors_and_fewer_faces_widen_intervals():
    def width(**changes):
        return float(np.diff(analyze(measured(**changes)[1], BINS).intervals, axis=1).mean())

    assert width(error=1.0) < width(error=6.0)
    assert width(n=4000, error=1.0) < width(n=200, error=1.0)


def test_labels_have_no_intervals():
    _, table = measured()
    assert analyze(table, "gender").intervals is None
    assert analyze(table.drop(columns="yaw_error"), BINS).intervals is None


def test_intervals_are_in_text_page_and_json():
    _, table = measured()
    analysis = analyze(table, f"gender,{BINS}")
    assert "95% interval" in analysis.to_text()
    assert "95% interval" in render_analysis_page(analysis, "measured")
    content = analysis.to_dict()
    assert all(low <= cell["share"] <= high for cell in content["cells"] for low, high in [cell["interval"]])
    yaw, gender = content["attributes"][1], content["attributes"][0]
    assert all("interval" in cell for cell in yaw["cells"])
    assert not any("interval" in cell for cell in gender["cells"])


def test_skin_tone_has_published_bins():
    table = pd.DataFrame({"skin_tone": np.linspace(-60, 70, 100)})
    assert analyze(table, "skin_tone").axes[0].edges == pytest.approx((-90, -30, 10, 28, 41, 55, 90))
