"""Calibration of a classifier on held-out images, and its metrics on further ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.appearance.augmentations import expose
from faceaug.classifiers.classifier import READ_BATCH, Calibration, Classifier, Task, log_odds
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.networks import ClassifierNet
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats, Indices

_BINS = 10  # of confidence, for the expected calibration error


def calibrate(
    net: ClassifierNet,
    trunk: str,
    tasks: Sequence[Task],
    train_labels: Sequence[Floats],
    images: NDArray[np.uint8],
    labels: Sequence[Floats],
    config: ClassifierConfig,
) -> Classifier:
    """Return a classifier whose probabilities hold on images where all classes are equally frequent.

    Training with class weights n^-power leaves classes with the effective frequencies n^(1-power). Their logarithm is
    subtracted from the logits, and one temperature per task is chosen by the class-balanced log-likelihood (Guo et al.,
    "On Calibration of Modern Neural Networks", 2017; docs/method.md, section 6).

    Parameters
    ----------
    net : ClassifierNet
        Trained, on the CPU.
    trunk : str
        A key of `faceaug.classifiers.networks.TRUNKS`.
    tasks : sequence of Task
    train_labels : sequence of float64 [M]
        Per task, the labels that were trained on; NaN where unknown.
    images : uint8 [N, S, S, 3]
        Images that were not trained on, of the input size of the network.
    labels : sequence of float64 [N]
        Per task, their labels; NaN where unknown.
    config : ClassifierConfig
        Of the training.
    """
    net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        outputs = np.concatenate([net(batch).double().numpy() for batch in torch.split(as_tensor(images), READ_BATCH)])
    calibrations, start = [], 0
    for task, trained, y in zip(tasks, train_labels, labels, strict=True):
        own = outputs[:, start : start + task.width]
        start += task.width
        labelled = np.isfinite(y)
        if task.kind == "value":
            error = own[labelled, 0] * task.scale + task.mean - y[labelled]
            sigma = float(np.sqrt(np.mean(error**2))) if labelled.any() else task.scale
            calibrations.append(Calibration(sigma=max(sigma, 1e-6 * task.scale)))
            continue
        counts = np.bincount(trained[np.isfinite(trained)].astype(int), minlength=task.width)
        bias = -(1 - config.weight_power) * np.log(np.maximum(counts, 1))
        bias = bias - bias.mean()
        temperature = _temperature(own[labelled] + bias, y[labelled].astype(int), task.width)
        calibrations.append(Calibration(temperature=temperature, bias=tuple(float(b) for b in bias)))
    return Classifier(net, trunk, tasks, calibrations, config.input_size)


def _temperature(logits: Floats, y: Indices, classes: int) -> float:
    """Return the temperature in [0.3, 5] with the best class-balanced log-likelihood; 1 without labels."""
    if not len(y):
        return 1.0
    weight = _balanced_weights(y, classes)
    grid = np.exp(np.linspace(np.log(0.3), np.log(5), 141))
    losses = [float((weight * np.logaddexp(0, -log_odds(logits / t)[np.arange(len(y)), y])).sum()) for t in grid]
    return float(grid[int(np.argmin(losses))])


def _balanced_weights(y: Indices, classes: int) -> Floats:
    counts = np.bincount(y, minlength=classes)
    weight = 1 / np.maximum(counts, 1)[y]
    return np.asarray(weight / weight.sum(), np.float64)


def evaluate_classifier(
    classifier: Classifier, images: NDArray[np.uint8], labels: Sequence[Floats]
) -> list[dict[str, Any]]:
    """Measure how well a classifier reads held-out images.

    Parameters
    ----------
    classifier : Classifier
    images : uint8 [N, S, S, 3]
    labels : sequence of float64 [N]
        Per task; NaN where unknown.

    Returns
    -------
    list of dict
        Per task `attribute`, `kind`, `pictures` (number of labelled images) and `exposure_pull`: the mean absolute
        change of the output for one stop more or less exposure, in standard deviations of that output. For classes also
        `accuracy`, `recall` per class, `mean_recall`, and `calibration_error` (expected calibration error with classes
        weighted equally). For a value `mean_absolute_error`, `sigma`, `correlation` and `r2`.
    """
    x = as_tensor(images)
    values, _ = classifier.read(x)
    brighter, darker = (classifier.read(expose(x, stops))[0] for stops in (1.0, -1.0))
    change = (np.abs(brighter - values) + np.abs(darker - values)) / 2
    pull = change.mean(0) / np.maximum(values.std(0), 1e-9)
    reports, start = [], 0
    for task, calibration, y in zip(classifier.tasks, classifier.calibrations, labels, strict=True):
        columns = slice(start, start + task.width)
        start += task.width
        labelled = np.isfinite(y)
        report: dict[str, Any] = {
            "attribute": task.name,
            "kind": task.kind,
            "pictures": int(labelled.sum()),
            "exposure_pull": round(float(pull[columns].mean()), 4),
        }
        if labelled.any():
            own = values[labelled, columns]
            report |= (
                _value_metrics(own[:, 0], y[labelled], calibration)
                if task.kind == "value"
                else _class_metrics(own, y[labelled].astype(int), task)
            )
        reports.append(report)
    return reports


def _value_metrics(predicted: Floats, y: Floats, calibration: Calibration) -> dict[str, Any]:
    variance = float(np.var(y))
    error = predicted - y
    correlated = len(y) > 2 and variance > 0 and predicted.std() > 0
    return {
        "mean_absolute_error": float(np.abs(error).mean()),
        "sigma": calibration.sigma,
        "correlation": float(np.corrcoef(predicted, y)[0, 1]) if correlated else None,
        "r2": 1 - float(np.mean(error**2)) / variance if variance > 0 else None,
    }


def _class_metrics(odds: Floats, y: Indices, task: Task) -> dict[str, Any]:
    probability = 1 / (1 + np.exp(-odds))
    probability = probability / probability.sum(1, keepdims=True)
    predicted, confidence = probability.argmax(1), probability.max(1)
    recall = {name: float((predicted[y == k] == k).mean()) for k, name in enumerate(task.levels) if (y == k).any()}
    weight, right = _balanced_weights(y, task.width), predicted == y
    bin_of = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float((weight * (right - confidence))[bin_of == b].sum())) for b in range(_BINS)]
    return {
        "accuracy": float(right.mean()),
        "mean_recall": float(np.mean(list(recall.values()))),
        "recall": recall,
        "calibration_error": float(sum(gaps)),
    }
