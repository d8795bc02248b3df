"""Learning from labels: what is to be learnt, and two probes that are trained apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import signs

from faceaug.analysis.axes import AxisSpec, build_axis
from faceaug.classifiers.classifier import ClassifierSchedule, Task
from faceaug.classifiers.training import FEWEST, _split, _strata, tasks_of, train_classifiers
from faceaug.errors import DatasetError

TASKS = (Task("patch", "classes", ("no", "yes")), Task("roll", "value", (), 0.0, 20.0))


def table(**columns):
    return pd.DataFrame({"key": [str(i) for i in range(len(next(iter(columns.values()))))], **columns})


def axes(frame, *specs):
    return [build_axis(frame, spec) for spec in specs]


def test_tasks_follow_the_axes():
    frame = table(hair=["dark", "fair", None, "dark"] * 10, age=[20.0, 30.0, np.nan, 50.0] * 10)
    found = axes(frame, AxisSpec("age", ("edges", (0.0, 25.0, 60.0))), AxisSpec("hair"))
    (age, hair), (years, codes) = tasks_of(frame, found)
    assert (age.name, age.kind, age.levels) == ("age", "value", ())
    assert age.mean == pytest.approx(100 / 3)
    assert age.scale == pytest.approx(np.std([20, 30, 50]))
    assert hair == Task("hair", "classes", ("dark", "fair"))
    np.testing.assert_array_equal(years[:4], [20, 30, np.nan, 50])
    np.testing.assert_array_equal(codes[:4], [0, 1, np.nan, 0])


def test_a_class_with_too_few_pictures_is_refused():
    frame = table(hair=["dark"] * 50 + ["fair"] * (FEWEST - 1))
    with pytest.raises(DatasetError) as error:
        tasks_of(frame, axes(frame, AxisSpec("hair")))
    assert str(error.value).startswith(f"only {FEWEST - 1} faces are labelled 'fair' in 'hair'")
    enough = table(hair=["dark"] * 50 + ["fair"] * FEWEST)
    assert len(tasks_of(enough, axes(enough, AxisSpec("hair")))[0]) == 1


@pytest.mark.parametrize("n", [30, 400, 1001])
def test_splits_do_not_overlap_and_use_everything(n):
    strata = np.arange(n) % 3
    parts = _split(strata, 7)
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert abs(len(parts[1]) - n / 10) <= 1
    assert abs(len(parts[2]) - n / 10) <= 1
    assert not np.array_equal(parts[1], _split(strata, 8)[1])


def test_rare_classes_are_in_every_part():
    rare = np.zeros(2000)
    rare[np.random.default_rng(0).choice(2000, 30, replace=False)] = 1
    strata = _strata((Task("a", "classes", ("no", "yes")), Task("b", "value")), (rare, np.arange(2000.0)))
    for seed in range(20):
        assert [int(rare[part].sum()) for part in _split(strata, seed)] == [24, 3, 3]


def test_unknown_labels_are_a_stratum_of_their_own():
    codes = np.array([0, 1, np.nan, 0, np.nan])
    assert _strata((Task("a", "classes", ("x", "y")),), (codes,)).tolist() == [1, 2, 0, 1, 0]
    assert _strata((Task("b", "value"),), (codes,)).tolist() == [0] * 5


def test_both_probes_read_what_is_there(taught, small):
    learnt, _ = taught
    images, patch, roll = signs(200, 1)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    for probe in (learnt.steering, learnt.judge):
        values, _ = probe.read(x)
        assert probe.semantics == ("patch=no", "patch=yes", "roll")
        assert ((values[:, 1] > 0) == patch).mean() > 0.95
        assert 1 - np.mean((values[:, 2] - roll) ** 2) / roll.var() > 0.85


def test_probes_are_trained_apart(taught, small):
    learnt, _ = taught
    assert (learnt.steering.trunk, learnt.judge.trunk) == ("residual", "plain")
    x = torch.from_numpy(signs(50, 2)[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    one, two = learnt.steering.read(x)[0][:, 2], learnt.judge.read(x)[0][:, 2]
    assert np.abs(one - two).max() > 0.1  # of one opinion, but not one and the same
    assert np.corrcoef(one, two)[0, 1] > 0.9


def test_figures_tell_how_good_they_are(taught):
    learnt, _ = taught
    assert set(learnt.figures) == {"steering", "judge"}
    for figures in learnt.figures.values():
        patch, roll = figures
        assert patch["accuracy"] > 0.9
        assert roll["r2"] > 0.8
        assert 30 < patch["pictures"] <= 40
        assert 30 < roll["pictures"] <= 40


def test_progress_counts_both_to_the_end(taught):
    _, calls = taught
    assert len(calls) == 80
    assert calls[-1] == (80, 80) or max(calls) == (80, 80)
    assert {total for _, total in calls} == {80}


def test_learning_repeats_bit_for_bit(small):
    """Whatever the global random state, and leaving it as it was; another seed learns another probe."""
    images, patch, roll = signs(60, 4)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def once(seed):
        learnt = train_classifiers(
            images, TASKS, [patch.astype(float), roll], seed=seed, schedule=ClassifierSchedule(3, batch=16)
        )
        return learnt.steering.read(x)[0], learnt.judge.read(x)[0], learnt.figures

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = once(5)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    two = once(5)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert one[2] == two[2]
    assert not np.array_equal(once(6)[0], one[0])
