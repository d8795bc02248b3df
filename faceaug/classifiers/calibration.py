"""Calibrate a probe on held-out pictures, and say how good it is on others: accuracy, calibration, pull of exposure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.classifiers.classifier import Calibration, Classifier, ClassifierSchedule, Task, log_odds
from faceaug.classifiers.networks import ClassifierNet
from faceaug.utils.augmentations import expose
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats

BINS = 10  # of confidence, for the expected calibration error


def calibrate(
    net: ClassifierNet, trunk: str, tasks: Sequence[Task], train_labels: Sequence[Floats],
    images: NDArray[np.uint8], labels: Sequence[Floats], schedule: ClassifierSchedule,
) -> Classifier:  # fmt: skip
    """Return a probe whose probabilities hold on pictures where all classes are equally frequent.

    Training with weights count^-power leaves classes with frequencies count^(1-power); their logarithm is taken off
    the logits, and one temperature a task is chosen on `images` by the class-balanced log-likelihood.
    """
    raw = Classifier(
        net, trunk, tasks, [Calibration(bias=(0.0,) * t.width) if t.kind == "classes" else Calibration() for t in tasks]
    )
    with torch.inference_mode():
        outputs = np.concatenate([raw.net(part).double().numpy() for part in torch.split(as_tensor(images), 64)])
    calibrations, start = [], 0
    for task, trained, y in zip(tasks, train_labels, labels, strict=True):
        part = outputs[:, start : start + task.width]
        start += task.width
        known = np.isfinite(y)
        if task.kind == "value":
            error = part[known, 0] * task.scale + task.mean - y[known]
            sigma = float(np.sqrt(np.mean(error**2))) if known.any() else task.scale
            calibrations.append(Calibration(sigma=max(sigma, 1e-6 * task.scale)))
            continue
        counts = np.bincount(trained[np.isfinite(trained)].astype(int), minlength=task.width)
        bias = -(1 - schedule.weight_power) * np.log(np.maximum(counts, 1))
        bias = bias - bias.mean()
        temperature = _temperature(part[known] + bias, y[known].astype(int), task.width)
        calibrations.append(Calibration(temperature=temperature, bias=tuple(float(b) for b in bias)))
    return Classifier(net, trunk, tasks, calibrations)


def _temperature(logits: Floats, y: NDArray[np.int64], classes: int) -> float:
    """Return the temperature in [0.3, 5] of the best class-balanced log-likelihood; 1 without labels."""
    if not len(y):
        return 1.0
    weight = _balanced(y, classes)
    grid = np.exp(np.linspace(np.log(0.3), np.log(5), 141))
    losses = [float((weight * np.logaddexp(0, -log_odds(logits / t)[np.arange(len(y)), y])).sum()) for t in grid]
    return float(grid[int(np.argmin(losses))])


def _balanced(y: NDArray[np.int64], classes: int) -> Floats:
    counts = np.bincount(y, minlength=classes)
    weight = 1 / np.maximum(counts, 1)[y]
    return np.asarray(weight / weight.sum(), np.float64)


def evaluate(probe: Classifier, images: NDArray[np.uint8], labels: Sequence[Floats]) -> list[dict[str, Any]]:
    """Return, a dict for each task, how well a probe reads held-out pictures [N, 64, 64, 3].

    For classes: accuracy as they come, mean recall over classes (with each class's own), expected calibration error
    with classes weighted equally. For a value: mean absolute error, correlation, R2. For both the pull of exposure:
    mean absolute change of the reading for one stop more or less light, in standard deviations of that reading.
    """
    x = as_tensor(images)
    values, _ = probe.read(x)
    change = (np.abs(probe.read(expose(x, 1.0))[0] - values) + np.abs(probe.read(expose(x, -1.0))[0] - values)) / 2
    pull = change.mean(0) / np.maximum(values.std(0), 1e-9)
    reports, start = [], 0
    for task, calibration, y in zip(probe.tasks, probe.calibrations, labels, strict=True):
        columns = slice(start, start + task.width)
        start += task.width
        known = np.isfinite(y)
        report: dict[str, Any] = dict(attribute=task.name, kind=task.kind, pictures=int(known.sum()),
                                      exposure_pull=round(float(pull[columns].mean()), 4))  # fmt: skip
        if known.any():
            part = values[known, columns]
            report |= (
                _of_value(part[:, 0], y[known], calibration)
                if task.kind == "value"
                else _of_classes(part, y[known].astype(int), task)
            )
        reports.append(report)
    return reports


def _of_value(read: Floats, y: Floats, calibration: Calibration) -> dict[str, Any]:
    spread = float(np.var(y))
    error = read - y
    return dict(
        mean_absolute_error=float(np.abs(error).mean()), sigma=calibration.sigma,
        correlation=float(np.corrcoef(read, y)[0, 1]) if len(y) > 2 and spread > 0 and read.std() > 0 else None,
        r2=1 - float(np.mean(error**2)) / spread if spread > 0 else None,
    )  # fmt: skip


def _of_classes(odds: Floats, y: NDArray[np.int64], task: Task) -> dict[str, Any]:
    probability = 1 / (1 + np.exp(-odds))
    probability = probability / probability.sum(1, keepdims=True)
    found, confidence = probability.argmax(1), probability.max(1)
    recall = {name: float((found[y == k] == k).mean()) for k, name in enumerate(task.levels) if (y == k).any()}
    weight, right = _balanced(y, task.width), found == y
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float((weight * (right - confidence))[bin_of == b].sum())) for b in range(BINS)]
    return dict(accuracy=float(right.mean()), mean_recall=float(np.mean(list(recall.values()))), recall=recall,
                calibration_error=float(sum(gaps)))  # fmt: skip
