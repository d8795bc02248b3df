"""Histograms of the report: the target line fits what the bars below it count."""

from __future__ import annotations

import numpy as np
import pytest
from faces_in_memory import face_dataset

from faceaug.analysis.analyze import analyze
from faceaug.planning.plan import plan
from faceaug.report.distributions import measured_histograms
from faceaug.report.faces.samples import StoredSamples


@pytest.mark.parametrize(("drawn", "expected"), [(True, [30, 30]), (False, [20])])
def test_the_target_counts_real_faces_where_they_are_drawn(drawn: bool, expected: list[float]) -> None:
    dataset = face_dataset(40, age=[*np.linspace(0, 9.9, 10), *np.linspace(10, 20, 30)])
    samples = StoredSamples(
        rows=[],
        cells=np.zeros(20, np.int64),
        engines=["generator"] * 20,
        seeds=[],
        sources=[],
        numbers={"age": np.linspace(0, 9.9, 20)},
        edits=np.zeros(20),
        columns=(),
    )
    ((_, plot),) = measured_histograms(
        samples, plan(analyze(dataset, "age:0/10/20"), "uniform"), dataset if drawn else None
    )
    counted = 59 if drawn else 18  # the outermost thousandths are left out
    face = sum(bar["height"] for bar in plot.bars) / counted
    bins = 36 / (20 if drawn else 9.9) * 10  # of the histogram in a bin of the plan
    heights = [plot.bottom - float(point.split(",")[1]) for point in plot.target.split()[::2]]
    assert [height / face * bins for height in heights] == pytest.approx(expected, rel=0.05)
    assert ("real" in {bar["colour"] for bar in plot.bars}) is drawn
