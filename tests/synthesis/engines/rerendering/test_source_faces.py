"""Sources of a cell: right labels, nearest bins first, within reach, shuffled inside a bin; what is kept is a goal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from nosy_faces import nosy_dataset

from faceaug.analysis.axes import build_axis, parse_by
from faceaug.errors import UsageError
from faceaug.synthesis.engines.rerendering.source_faces import EASY_REACH, REACH, SourceFaces, check_axes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return nosy_dataset(tmp_path_factory.mktemp("faces") / "images", 40)


def axes_of(dataset, by):
    return [build_axis(dataset.table, spec) for spec in parse_by(by)]


def test_rows_are_those_of_the_labels_outside_the_bin_and_within_reach(dataset):
    axes = axes_of(dataset, "shape,yaw:-30/-10/-3/3/10/30")
    sources = SourceFaces(dataset, axes, (), 0.5, 0)
    levels = {"shape": "round", "yaw": axes[1].levels[4]}
    rows = sources.rows(7, levels)
    yaw = dataset.table["yaw"].to_numpy()
    right = (dataset.table["shape"] == "round").to_numpy() & (yaw < 10) & (yaw > 10 - REACH["yaw"])
    assert sorted(rows) == np.flatnonzero(right).tolist()
    bins = np.digitize(yaw[rows], [-10, -3, 3, 10])
    assert (np.diff(bins) <= 0).all()  # nearest first
    assert not (np.diff(yaw[rows]) <= 0).all()  # and shuffled within a bin
    assert rows.tolist() == SourceFaces(dataset, axes, (), 0.5, 0).rows(7, levels).tolist()
    assert rows.tolist() != SourceFaces(dataset, axes, (), 0.5, 1).rows(7, levels).tolist()


def test_faces_near_the_end_of_reach_come_last(dataset):
    axes = axes_of(dataset, "yaw:-90/0/60/90")
    axis = axes[0]
    rows = SourceFaces(dataset, axes, (), 0.5, 0).rows(0, {"yaw": axis.levels[0]})
    gaps = dataset.table["yaw"].to_numpy()[rows]
    far = gaps > EASY_REACH * REACH["yaw"]
    assert 0 < far.sum() < len(far)
    assert not far[: np.flatnonzero(~far)[-1]].any()


def test_values_are_spread_as_those_of_the_real_faces_in_the_bin(dataset):
    axes = axes_of(dataset, "yaw:-90/-4/4/90")
    goal = SourceFaces(dataset, axes, (), 0.5, 0).goals({"yaw": axes[0].levels[2]})[0]
    yaw = dataset.table["yaw"].to_numpy()
    assert goal.real.tolist() == sorted(yaw[yaw >= 4])
    u = np.linspace(0, 1, 9)
    rows, frontal = np.zeros(9, np.int64), np.full(9, 2.0)
    entered = goal.entered(frontal, rows, u)
    assert entered == pytest.approx(np.quantile(goal.real, 0.05 + 0.9 * u))
    far = goal.entered(np.full(9, -20.0), rows, u)  # no face is turned by more than it may be
    assert far == pytest.approx(np.minimum(entered, REACH["yaw"] - 20))


def test_with_few_real_faces_a_goal_is_just_inside_the_bin_and_values_inside_stay(dataset):
    axes = axes_of(dataset, "yaw:-90/-10/10/90")
    low, middle, high = (SourceFaces(dataset, axes, (), 0.5, 0).goals({"yaw": level})[0] for level in axes[0].levels)
    rows, u = np.arange(3), np.array([0.0, 0.5, 1.0])
    values = np.array([2.0, -9.0, 9.0])
    assert (middle.entered(values, rows, u) == values).all()
    for goal, sign in ((low, -1), (high, 1)):
        goal = replace(goal, real=goal.real[:4])
        entered = goal.entered(values, rows, u)
        assert goal.holds(entered, rows).all()
        assert (np.diff(entered * sign) > 0).all()
        assert (np.abs(entered) < 13).all()  # as little as is safe, however wide the bin


def test_a_kept_measurement_may_drift_by_its_share(dataset):
    axes = axes_of(dataset, "shape,yaw:3")
    table = dataset.table.assign(light_x=np.linspace(-20, 20, len(dataset)))
    sources = SourceFaces(replace(dataset, table=table), axes, ("light_x", "weight"), 0.5, 0)
    _, kept = sources.goals({"shape": "round", "yaw": axes[1].levels[0]})
    tolerance = 0.5 * table["light_x"].std(ddof=0)
    assert kept.name == "light_x"
    np.testing.assert_allclose(kept.high - kept.low, 2 * tolerance)


def test_a_missing_measurement_is_no_source(dataset):
    table = dataset.table.assign(yaw=dataset.table["yaw"].where(np.arange(len(dataset)) % 2 == 0))
    axes = [build_axis(table, spec) for spec in parse_by("yaw:-30/0/30")]
    rows = SourceFaces(replace(dataset, table=table), axes, (), 0.5, 0).rows(0, {"yaw": axes[0].levels[0]})
    assert len(rows)
    assert (rows % 2 == 0).all()


def test_labels_alone_are_refused(dataset):
    check_axes(axes_of(dataset, "shape,yaw:3"), "rerender")
    with pytest.raises(UsageError, match="--by shape has none of them: add one, such as yaw:5"):
        check_axes(axes_of(dataset, "shape"), "rerender")
    few = pd.DataFrame({"yaw": [0, 1, 0, 1]})  # classes, no bins
    with pytest.raises(UsageError, match="has none of them"):
        check_axes([build_axis(few, spec) for spec in parse_by("yaw")], "both")


def test_a_cell_without_sources_says_why(dataset):
    axes = axes_of(dataset, "shape,yaw:-90/-60/60/90")
    sources = SourceFaces(dataset, axes, (), 0.5, 0)
    levels = {"shape": "round", "yaw": axes[1].levels[0]}
    assert not len(sources.rows(0, levels))
    assert sources.none_for(levels) == (
        "no real face of (shape=round) is near enough to be turned or relit into it (at most yaw 25)"
    )


def test_faces_beyond_the_last_bin_are_near_to_it(dataset):
    """A face outside of all bins counts as one of the bin beside them."""
    axes = axes_of(dataset, "yaw:-12/-4/4/12")
    rows = SourceFaces(dataset, axes, (), 0.5, 0).rows(0, {"yaw": axes[0].levels[2]})
    yaw = dataset.table["yaw"].to_numpy()[rows]
    assert (yaw >= 12).any()
    assert (np.diff(np.abs(np.digitize(yaw, [-12, -4, 4, 12]) - 3)) >= 0).all()
