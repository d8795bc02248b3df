"""Training of the guidance classifier and the held-out classifier on the labels of a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.analysis.axes import Axis, attribute, numbers
from faceaug.appearance.augmentations import jitter
from faceaug.classifiers.calibration import calibrate, evaluate_classifier
from faceaug.classifiers.classifier import Classifier, Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.networks import ClassifierNet
from faceaug.errors import DatasetError
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats, Floats32, Indices

MIN_CLASS_IMAGES = 8
"""Labelled images of a class without which it cannot be learned."""
MIN_VALUES = 30
"""Labelled images without which a value cannot be learned."""
_MIRROR_CHANGES = ("yaw", "roll", "light_x", "light_side")  # attributes that an augmentation would change
_ROTATION_CHANGES = ("roll", "light_x", "light_y", "light_side")
_EXPOSURE_CHANGES = ("brightness", "exposure", "luminance", "contrast")
_CONTRAST_CHANGES = ("light", *_EXPOSURE_CHANGES)  # "light" is the share of the light that has a direction


@dataclass(frozen=True)
class TrainedClassifiers:
    """The two classifiers of a run and their metrics.

    Attributes
    ----------
    guidance : Classifier or None
        None where all attributes were measured: the estimator that measured them then guides edits.
    held_out : Classifier
    metrics : dict
        "guidance" and "held_out" to the metrics on test images, see `calibration.evaluate_classifier`.
    """

    guidance: Classifier | None
    held_out: Classifier
    metrics: dict[str, list[dict[str, Any]]]


def tasks_of(table: pd.DataFrame, axes: Sequence[Axis]) -> tuple[tuple[Task, ...], tuple[Floats, ...]]:
    """Return the task of each axis and its labels.

    Parameters
    ----------
    table : DataFrame
        Of the data set, N rows.
    axes : sequence of Axis

    Returns
    -------
    tasks : tuple of Task
    labels : tuple of float64 [N]
        Class numbers, or values in the unit of the label; NaN where the label is missing.

    Raises
    ------
    DatasetError
        When a class has too few images, or values are too few or all the same.
    """
    pairs = [(_value_task if axis.kind == "continuous" else _class_task)(table, axis) for axis in axes]
    return tuple(task for task, _ in pairs), tuple(labels for _, labels in pairs)


def _value_task(table: pd.DataFrame, axis: Axis) -> tuple[Task, Floats]:
    values = numbers(attribute(table, axis.name), axis.name)
    finite = values[np.isfinite(values)]
    if len(finite) < MIN_VALUES or finite.std() == 0:
        raise DatasetError(
            f"{axis.name!r} has {len(finite)} values, {len(np.unique(finite))} of them different, and at least "
            f"{MIN_VALUES} that are not all the same are needed to learn to read it: label more faces"
        )
    task = Task(axis.name, "value", (), float(finite.mean()), max(float(finite.std()), 1e-9))
    return task, values.astype(np.float64)


def _class_task(table: pd.DataFrame, axis: Axis) -> tuple[Task, Floats]:
    if len(axis.levels) < 2:
        raise DatasetError(
            f"all faces have the same {axis.name!r} ({axis.levels[0]!r}), so there is nothing to tell apart: "
            "leave it out"
        )
    codes = axis.assign(attribute(table, axis.name))
    counts = np.bincount(codes[codes >= 0], minlength=len(axis.levels))
    rarest = int(counts.argmin())
    if counts[rarest] < MIN_CLASS_IMAGES:
        raise DatasetError(
            f"only {counts[rarest]} faces are labelled {axis.levels[rarest]!r} in {axis.name!r}, and at least "
            f"{MIN_CLASS_IMAGES} are needed to learn what that looks like: label more, merge the class with another, "
            "or leave its rows out"
        )
    return Task(axis.name, "classes", axis.levels), np.where(codes >= 0, codes, np.nan).astype(np.float64)


@dataclass(frozen=True)
class _Assignment:
    """What one of the two classifiers is trained with: network, seed, and the numbers of its tasks."""

    trunk: str
    seed: int
    tasks: tuple[int, ...]


def train_classifiers(
    images: NDArray[np.uint8],
    tasks: Sequence[Task],
    labels: Sequence[Floats],
    *,
    seed: int,
    measured: Collection[str] = (),
    config: ClassifierConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedClassifiers:
    """Train the guidance classifier and the held-out classifier (docs/method.md, section 6).

    They differ in network, seed and split: 80% of the images train, 10% calibrate, 10% test. On a CPU each is trained
    by one thread, both at the same time, so that the result does not depend on the number of cores.

    Parameters
    ----------
    images : uint8 [N, S, S, 3]
        Of the input size of the configuration.
    tasks, labels
        See `tasks_of`.
    seed : int
    measured : collection of str
        Attributes that only the held-out classifier learns, since the estimator that measured them guides edits.
    config : ClassifierConfig, optional
        By default `ClassifierConfig.for_size`.
    progress : callable, optional
        Called with the number of steps done and of all steps, both classifiers together.
    """
    config = config or ClassifierConfig.for_size(len(images))
    labelled = tuple(k for k, task in enumerate(tasks) if task.name not in measured)
    assignments = [_Assignment("plain", seed * 2 + 1, tuple(range(len(tasks))))]
    if labelled:
        assignments.insert(0, _Assignment("residual", seed * 2, labelled))
    # The networks are made here, since threads share the random state that `new_net` sets for a moment.
    nets = [new_net(own.trunk, [tasks[k] for k in own.tasks], own.seed) for own in assignments]
    strata = _strata(tasks, labels)
    steps_done = [0] * len(assignments)

    def train(which: int) -> tuple[Classifier, list[dict[str, Any]]]:
        torch.set_num_threads(1)
        own = assignments[which]
        own_tasks, own_labels = [tasks[k] for k in own.tasks], [labels[k] for k in own.tasks]
        train_rows, calibration_rows, test_rows = _split(strata, own.seed)

        def report(step: int, _: float) -> None:
            steps_done[which] = step
            if progress:
                progress(sum(steps_done), len(assignments) * config.steps)

        train_labels, calibration_labels, test_labels = (
            [y[rows] for y in own_labels] for rows in (train_rows, calibration_rows, test_rows)
        )
        train_net(nets[which], own_tasks, images[train_rows], train_labels, config, own.seed, report)
        net = nets[which].to("cpu")
        classifier = calibrate(
            net, own.trunk, own_tasks, train_labels, images[calibration_rows], calibration_labels, config
        )
        return classifier, evaluate_classifier(classifier, images[test_rows], test_labels)

    with ThreadPoolExecutor(2 if config.device == "cpu" else 1) as pool:
        *guidance, (held_out, metrics) = pool.map(train, range(len(assignments)))
    return TrainedClassifiers(
        guidance[0][0] if guidance else None,
        held_out,
        {"guidance": guidance[0][1] if guidance else [], "held_out": metrics},
    )


def train_net(
    net: ClassifierNet,
    tasks: Sequence[Task],
    images: NDArray[np.uint8],
    labels: Sequence[Floats],
    config: ClassifierConfig,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Train a network in place; it stays on the device of the configuration.

    Parameters
    ----------
    net : ClassifierNet
    tasks : sequence of Task
    images : uint8 [N, S, S, 3]
        Of the input size of the configuration.
    labels : sequence of float64 [N]
        Per task, class numbers or values in the unit of the label; NaN where unknown (not trained on).
    config : ClassifierConfig
    seed : int
        Of batches, augmentation and dropout.
    progress : callable, optional
        Called after each step with the number of steps done and the loss.

    Notes
    -----
    An augmentation is left out where it would change an attribute, for example the mirror for yaw.
    """
    rng = torch.Generator().manual_seed(seed)
    varied = _augmentations(tasks)
    targets = [torch.from_numpy(_standardized(task, y)) for task, y in zip(tasks, labels, strict=True)]
    weights = [
        torch.from_numpy(sample_weights(task, y, config.weight_power)) for task, y in zip(tasks, labels, strict=True)
    ]
    net.to(config.device).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), config.lr / 2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, config.lr, total_steps=config.steps, pct_start=0.2)
    order = torch.empty(0, dtype=torch.long)
    batch_size = min(config.batch_size, len(images))
    for step in range(config.steps):
        if len(order) < batch_size:
            order = torch.randperm(len(images), generator=rng)
        rows, order = order[:batch_size], order[batch_size:]
        augmented = jitter(as_tensor(images[rows.numpy()]), rng, **varied)
        features = net.features(augmented.to(config.device).contiguous(memory_format=torch.channels_last))
        kept = (torch.rand(features.shape, generator=rng) >= net.dropout).to(config.device) / (1 - net.dropout)
        loss = _loss(
            net.head(features * kept),
            tasks,
            [target[rows].to(config.device) for target in targets],
            [weight[rows].to(config.device) for weight in weights],
        )
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()
        if progress:
            progress(step + 1, float(loss.detach()))
    net.eval()


def _augmentations(tasks: Sequence[Task]) -> dict[str, bool]:
    """Return which augmentations leave all attributes as they are, as arguments of `jitter`."""
    names = {task.name.lower() for task in tasks}
    changes = {
        "mirror": _MIRROR_CHANGES,
        "rotate": _ROTATION_CHANGES,
        "exposure": _EXPOSURE_CHANGES,
        "contrast": _CONTRAST_CHANGES,
    }
    return {name: names.isdisjoint(attributes) for name, attributes in changes.items()}


def sample_weights(task: Task, labels: Floats, power: float) -> Floats32:
    """Return the weights [N] of labels in the loss.

    Parameters
    ----------
    task : Task
    labels : float64 [N]
        NaN where unknown.
    power : float
        A label has the weight n^-power of the n labels of its class, or of its tenth of the range of values.

    Returns
    -------
    float32 [N]
        Of mean 1 over known labels; 0 for unknown ones.
    """
    labelled = np.isfinite(labels)
    groups = np.zeros(len(labels), np.int64)
    if task.kind == "classes":
        groups[labelled] = labels[labelled].astype(np.int64)
    elif labelled.any():
        low, high = np.quantile(labels[labelled], [0.005, 0.995])
        groups[labelled] = np.clip((labels[labelled] - low) / max(high - low, 1e-12) * 10, 0, 9).astype(np.int64)
    counts = np.bincount(groups[labelled], minlength=1).astype(np.float64)
    weights = np.where(labelled, np.maximum(counts, 1)[groups] ** -power, 0.0)
    return (weights / max(weights[labelled].mean() if labelled.any() else 1.0, 1e-12)).astype(np.float32)


def _standardized(task: Task, labels: Floats) -> Floats32:
    return ((labels - task.mean) / task.scale if task.kind == "value" else labels).astype(np.float32)


def _loss(outputs: Tensor, tasks: Sequence[Task], labels: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Return the weighted cross-entropy of classes plus the Huber loss of values; unknown labels contribute nothing."""
    total, start = outputs.new_zeros(()), 0
    for task, y, weight in zip(tasks, labels, weights, strict=True):
        own = outputs[:, start : start + task.width]
        start += task.width
        y = torch.where(torch.isfinite(y), y, torch.zeros_like(y))
        if task.kind == "classes":
            losses = F.cross_entropy(own, y.long(), reduction="none", label_smoothing=0.05)
        else:
            losses = F.smooth_l1_loss(own[:, 0], y, reduction="none", beta=0.5) * 2
        total = total + (losses * weight).sum() / len(y)
    return total


def _strata(tasks: Sequence[Task], labels: Sequence[Floats]) -> Indices:
    """Return a number [N] for each image; images have the same number where they have the same classes."""
    classes = [np.nan_to_num(y, nan=-1) for task, y in zip(tasks, labels, strict=True) if task.kind == "classes"]
    if not classes:
        return np.zeros(len(labels[0]), np.int64)
    return np.asarray(np.unique(np.stack(classes, 1), axis=0, return_inverse=True)[1].reshape(-1), np.int64)


def _split(strata: Indices, seed: int) -> tuple[Indices, Indices, Indices]:
    """Return rows to train on (80%), to calibrate on (10%) and to test on (10%).

    Rows are shuffled, ordered by stratum and dealt out in turns of ten, so that rare classes are in all three.
    """
    rng = np.random.default_rng([seed, 0x50])
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    turn = (np.arange(len(order)) + rng.integers(10)) % 10
    return order[turn > 1], order[turn == 0], order[turn == 1]
