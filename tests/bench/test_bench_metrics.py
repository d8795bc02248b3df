"""Metrics by group against their definitions, and against fairlearn where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.bench.metrics import GroupsOfFaces, calibration_error, task_metrics
from faceaug.bench.results.statistics import best_real_arm, paired_differences, seed_summary
from faceaug.classifiers.classifier import Task

TASK = Task("smiling", "classes", ("no", "yes"))


def _example(seed: int = 0, count: int = 300):
    rng = np.random.default_rng(seed)
    positive = rng.random(count).astype(np.float32)
    labels = (rng.random(count) < positive).astype(np.int64)
    attributes = rng.integers(0, 3, count)
    return np.stack([1 - positive, positive], 1), labels, attributes


def test_figures_of_a_case_that_can_be_counted():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]], np.float32)
    labels, codes = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    metrics = task_metrics(
        TASK, probabilities, labels, GroupsOfFaces(("a", "b", "c"), codes, (codes,), codes == 1), codes
    )
    assert metrics["accuracy"] == metrics["mean_of_groups"] == metrics["balanced_accuracy"] == 0.5
    assert (metrics["worst_group"], metrics["worst_group_name"], metrics["gap"]) == (0.5, "a", 0.0)
    assert metrics["groups"]["c"] == {"n": 0, "accuracy": None}
    assert metrics["thinned_groups"] == 0.5  # of group b
    assert metrics["tpr_difference"] == 0  # group a has no positive face
    assert metrics["average_precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_groups_agree_with_fairlearn():
    fairlearn = pytest.importorskip("fairlearn.metrics")
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    probabilities, labels, attributes = _example()
    predicted = probabilities.argmax(1)
    groups = GroupsOfFaces(("a", "b", "c"), attributes, (attributes,), attributes == 1)
    metrics = task_metrics(TASK, probabilities, labels, groups, attributes)
    rates = {"tpr": fairlearn.true_positive_rate, "fpr": fairlearn.false_positive_rate}
    frame = fairlearn.MetricFrame(
        metrics={"accuracy": accuracy_score, **rates},
        y_true=labels,
        y_pred=predicted,
        sensitive_features=attributes,
    )
    assert metrics["worst_group"] == pytest.approx(frame.group_min()["accuracy"])
    assert metrics["gap"] == pytest.approx(frame.difference()["accuracy"])
    assert metrics["thinned_groups"] == pytest.approx(frame.by_group["accuracy"][1])
    assert metrics["tpr_difference"] == pytest.approx(frame.difference()["tpr"])
    assert metrics["fpr_difference"] == pytest.approx(frame.difference()["fpr"])
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_figures_of_binary_tasks_are_none_for_others():
    task = Task("ethnicity", "classes", ("a", "b", "c"))
    probabilities = np.eye(3, dtype=np.float32)
    codes = np.arange(3)
    metrics = task_metrics(
        task, probabilities, codes, GroupsOfFaces(task.levels, codes, (None,), np.zeros(3, bool)), None
    )
    assert metrics["tpr_difference"] is metrics["fpr_difference"] is metrics["average_precision"] is None
    assert metrics["worst_group"] == 1
    assert metrics["thinned_groups"] is None


def test_calibration_error_of_a_calibrated_and_of_a_sure_model():
    right = np.arange(100) < 75
    assert calibration_error(right, np.full(100, 0.75)) == pytest.approx(0)
    assert calibration_error(right, np.ones(100)) == pytest.approx(0.25)


def _figures(**values: float):
    from faceaug.bench.metrics import FIGURES

    return {figure: values.get(figure) for figure in FIGURES}


def test_differences_are_paired_by_seed_and_the_saved_error_is_relative():
    runs = {
        ("rwg", 0): _figures(worst_group=0.5),
        ("rwg", 1): _figures(worst_group=0.7),
        ("morph:mixed", 0): _figures(worst_group=0.6),
        ("morph:mixed", 1): _figures(worst_group=0.8),
        ("morph:mixed", 2): _figures(worst_group=0.1),
    }
    paired = paired_differences(runs, "rwg")
    assert paired.keys() == {"morph:mixed"}
    difference = paired["morph:mixed"]["worst_group"]
    assert difference["values"] == pytest.approx([0.1, 0.1])
    assert (difference["low"], difference["high"]) == pytest.approx((0.1, 0.1))
    assert paired["morph:mixed"]["worst_group_error_reduction"]["values"] == pytest.approx([0.2, 1 / 3])
    assert paired["morph:mixed"]["accuracy"]["mean"] is None


def test_an_interval_needs_two_seeds_and_holds_the_mean():
    assert (seed_summary([0.5])["low"], seed_summary([0.5])["mean"]) == (None, 0.5)
    several = seed_summary([0.1, 0.4, 0.2, 0.5, 0.3])
    assert 0.1 <= several["low"] < several["mean"] < several["high"] <= 0.5
    assert seed_summary([0.1, None])["mean"] is None


def test_the_best_arm_without_synthesis_is_no_arm_with_it():
    summaries = {
        name: {"worst_group": {"mean": mean}} for name, mean in [("erm", 0.3), ("rwg", 0.5), ("auto:mixed", 0.9)]
    }
    assert best_real_arm(summaries, {"erm", "rwg", "dfr"}) == "rwg"
    assert best_real_arm({"auto:mixed": summaries["auto:mixed"]}, {"rwg"}) is None
