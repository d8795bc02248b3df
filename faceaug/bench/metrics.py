"""Metrics of classes by group (the names are those of SubpopBench: Yang et al., "Change is Hard", ICML 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from faceaug.classifiers.classifier import Task
from faceaug.utils.typing import Bools, Floats, Floats32, Indices

CALIBRATION_BINS = 15
"""Bins of confidence of the expected calibration error (Guo et al., 2017)."""
FIGURES = (
    "accuracy",
    "mean_of_groups",
    "worst_group",
    "thinned_groups",
    "gap",
    "balanced_accuracy",
    "tpr_difference",
    "fpr_difference",
    "average_precision",
    "calibration_error",
)
"""Figures of a task, in the order of tables; those of binary tasks or of thinned groups are None for others."""
HIGHER_IS_BETTER = {
    "accuracy",
    "mean_of_groups",
    "worst_group",
    "thinned_groups",
    "balanced_accuracy",
    "average_precision",
}


@dataclass(frozen=True, eq=False)
class GroupsOfFaces:
    """The groups of the faces of one part.

    Attributes
    ----------
    names : tuple of str
    codes : int64 [N]
    attributes : tuple of (int64 [N] or None)
        For each task, groups by the other columns, between which rates of a binary task are compared.
    thinned : bool [N]
        Whether the training part has few faces like this one, since its group was thinned.
    """

    names: tuple[str, ...]
    codes: Indices
    attributes: tuple[Indices | None, ...]
    thinned: Bools


def group_accuracies(right: Bools | Floats, codes: Indices, count: int) -> list[float | None]:
    """Return the accuracy of each of `count` groups, None for one without faces; `right` [N] from 0 to 1."""
    faces = np.bincount(codes, minlength=count)
    hits = np.bincount(codes, weights=right, minlength=count)
    return [float(hit / number) if number else None for hit, number in zip(hits, faces, strict=True)]


def task_metrics(
    task: Task, probabilities: Floats32, labels: Indices, groups: GroupsOfFaces, attributes: Indices | None
) -> dict[str, Any]:
    """Return the metrics of a task.

    Parameters
    ----------
    task : Task
        Of classes.
    probabilities : float32 [N, C]
    labels : int64 [N]
    groups : GroupsOfFaces
    attributes : int64 [N], optional
        That of `GroupsOfFaces.attributes` which is for this task.

    Returns
    -------
    dict
        The keys of `FIGURES`, all from 0 to 1: accuracy; mean and lowest of the groups' accuracies; accuracy of all
        faces of thinned groups together; highest less lowest accuracy of a group; mean recall of the classes; for two
        classes, of which the second counts as positive, the largest difference between groups in true and false
        positive rate, and average precision; expected calibration error.
        Besides "worst_group_name", and "groups": by name its number of faces `n` and its accuracy.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1).astype(np.float64)
    right = predicted == labels
    accuracies = group_accuracies(right, groups.codes, len(groups.names))
    known = [value for value in accuracies if value is not None]
    worst = min(known)
    recalls = [value for value in group_accuracies(right, labels, task.width) if value is not None]
    faces = np.bincount(groups.codes, minlength=len(groups.names)).tolist()
    binary = task.width == 2
    compared = attributes if binary else None
    return {
        "accuracy": float(right.mean()),
        "mean_of_groups": float(np.mean(known)),
        "worst_group": worst,
        "worst_group_name": groups.names[accuracies.index(worst)],
        "thinned_groups": float(right[groups.thinned].mean()) if groups.thinned.any() else None,
        "gap": max(known) - worst,
        "balanced_accuracy": float(np.mean(recalls)),
        "tpr_difference": _rate_difference(predicted, labels == 1, compared),
        "fpr_difference": _rate_difference(predicted, labels == 0, compared),
        "average_precision": float(average_precision_score(labels, probabilities[:, 1])) if binary else None,
        "calibration_error": calibration_error(right, confidence),
        "groups": {
            name: {"n": n, "accuracy": accuracy}
            for name, n, accuracy in zip(groups.names, faces, accuracies, strict=True)
        },
    }


def calibration_error(right: Bools, confidence: np.ndarray) -> float:
    """Return the expected calibration error: the mean of |accuracy - confidence| over bins of equal width."""
    bin_of = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    sums = np.bincount(bin_of, weights=right - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(sums).sum() / len(right))


def mean_over_tasks(metrics: Sequence[dict[str, Any]], figure: str) -> float | None:
    """Return the mean of a figure over tasks; None where a task does not have it."""
    values = [each[figure] for each in metrics]
    return None if any(value is None for value in values) else float(np.mean(values))


def _rate_difference(predicted: Indices, where: Bools, groups: Indices | None) -> float | None:
    """Return the largest difference between groups in the rate of positive predictions among some faces."""
    if groups is None:
        return None
    rates = [
        float((predicted[where & (groups == group)] == 1).mean())
        for group in np.unique(groups)
        if (where & (groups == group)).any()
    ]
    return max(rates) - min(rates) if rates else None
