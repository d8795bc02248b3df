"""Training of the guidance classifier and the held-out classifier on the labels of a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, attribute, numbers
from faceaug.appearance.augmentations import jitter
from faceaug.cache.key import array_sha256, device_identity
from faceaug.classifiers.calibration import calibrate, evaluate_classifier
from faceaug.classifiers.classifier import READ_BATCH, Classifier, Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.feature_net import FeatureNet
from faceaug.classifiers.feature_training import PictureFeatures, picture_features, train_on_features
from faceaug.classifiers.losses import RandomBatches, multitask_loss, targets_and_weights
from faceaug.classifiers.networks import ClassifierNet
from faceaug.classifiers.training_state import TrainingState
from faceaug.errors import DatasetError
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats, Indices

T = TypeVar("T")
MOST_IMAGES = 40_000
"""Images of which features are learnt on, at most: those of 40,000 take 0.7 GB of memory."""
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

    def of(self, everything: Sequence[T]) -> list[T]:
        """Return those of a sequence by task that are its own."""
        return [everything[k] for k in self.tasks]


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

    They differ in network, seed and split: 80% of the images train, 10% calibrate, 10% test. On frozen features
    (`ClassifierConfig.pretrained`) they differ in the layer of the pretrained network that they read, and in the size
    at which it sees the images. On a CPU each is trained by one thread, both at the same time, so that the result does
    not depend on the number of cores.

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
    if config.pretrained and len(images) > MOST_IMAGES:
        rows = _rare_first(_strata(tasks, labels), MOST_IMAGES, seed)
        images, labels = images[rows], [y[rows] for y in labels]
    assignments = _assignments(tasks, seed, measured, config.pretrained)
    # The networks are made here, since threads share the random state that `new_net` sets for a moment.
    nets = [new_net(own.trunk, own.of(tasks), own.seed) for own in assignments]
    count = _JointCount(assignments, config, len(images), progress)
    features = [_features(images, own, tasks, config, count) for own in assignments]
    strata = _strata(tasks, labels)

    def train(which: int) -> tuple[Classifier, list[dict[str, Any]]]:
        torch.set_num_threads(1)
        own, net, own_features = assignments[which], nets[which], features[which]
        own_tasks, own_labels = own.of(tasks), own.of(labels)
        train_rows, calibration_rows, test_rows = _split(strata, own.seed)
        train_labels, calibration_labels, test_labels = (
            [y[rows] for y in own_labels] for rows in (train_rows, calibration_rows, test_rows)
        )
        report = partial(count.step, own)
        if own_features is None:
            train_net(net, own_tasks, images[train_rows], train_labels, config, own.seed, report)
        else:
            assert isinstance(net, FeatureNet)
            train_on_features(net, own_tasks, own_features.rows(train_rows), train_labels, config, own.seed, report)
        classifier = calibrate(
            net.to("cpu"), own.trunk, own_tasks, train_labels, images[calibration_rows], calibration_labels, config
        )
        return classifier, evaluate_classifier(classifier, images[test_rows], test_labels)

    with ThreadPoolExecutor(2 if config.device == "cpu" else 1) as pool:
        *guidance, (held_out, metrics) = pool.map(train, range(len(assignments)))
    return TrainedClassifiers(
        guidance[0][0] if guidance else None,
        held_out,
        {"guidance": guidance[0][1] if guidance else [], "held_out": metrics},
    )


def _assignments(
    tasks: Sequence[Task], seed: int, measured: Collection[str], pretrained: bool
) -> tuple[_Assignment, ...]:
    """Return what the guidance classifier, where any task is left for it, and the held-out classifier learn."""
    guidance_trunk, held_out_trunk = ("lite0-stage3", "lite0-stage4") if pretrained else ("residual", "plain")
    labelled = tuple(k for k, task in enumerate(tasks) if task.name not in measured)
    held_out = _Assignment(held_out_trunk, seed * 2 + 1, tuple(range(len(tasks))))
    return (_Assignment(guidance_trunk, seed * 2, labelled), held_out) if labelled else (held_out,)


def _features(
    images: NDArray[np.uint8], own: _Assignment, tasks: Sequence[Task], config: ClassifierConfig, count: _JointCount
) -> PictureFeatures | None:
    """Return the frozen features of all images that a classifier learns on; None where it learns on the images."""
    if not config.pretrained:
        return None
    augmentations = augmentations_of(own.of(tasks))
    return picture_features(images, own.trunk, augmentations, config.device, partial(count.blocks, own))


class _JointCount:
    """Reports the blocks and steps of all classifiers together; those of cached features count as done at the end."""

    def __init__(
        self,
        assignments: Sequence[_Assignment],
        config: ClassifierConfig,
        images: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._blocks = -(-images // READ_BATCH) if config.pretrained else 0
        self._progress, self._total = progress, len(assignments) * (self._blocks + config.steps)
        self._done = dict.fromkeys(assignments, 0)

    def blocks(self, own: _Assignment, count: int) -> None:
        """Count blocks of features that were computed since the last call."""
        self._report(own, self._done[own] + count)

    def step(self, own: _Assignment, step: int, loss: float) -> None:
        """Count the steps of a training up to `step`."""
        self._report(own, self._blocks + step)

    def _report(self, own: _Assignment, done: int) -> None:
        self._done[own] = done
        if self._progress:
            self._progress(sum(self._done.values()), self._total)


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
    An augmentation is left out where it would change an attribute, for example the mirror for yaw. An interrupted call
    leaves its state in the cache, from which the same call goes on with the same numbers.
    """
    rng = torch.Generator().manual_seed(seed)
    varied = augmentations_of(tasks)
    targets, weights = targets_and_weights(tasks, labels, config.weight_power)
    net.to(config.device).train()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), config.lr / 2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, config.lr, total_steps=config.steps, pct_start=0.2)
    batches = RandomBatches(len(images), config.batch_size, rng)
    content = [array_sha256(images, *labels), [asdict(task) for task in tasks]]
    settings = [seed, asdict(config), device_identity(config.device)]
    state = TrainingState({"content": content, "settings": settings}, net, adam, schedule, batches)
    for step in range(state.restore(rng) + 1, config.steps + 1):
        rows = batches.draw()
        augmented = jitter(as_tensor(images[rows.numpy()]), rng, **varied)
        features = net.features(augmented.to(config.device).contiguous(memory_format=torch.channels_last))
        kept = (torch.rand(features.shape, generator=rng) >= net.dropout).to(config.device) / (1 - net.dropout)
        loss = multitask_loss(
            net.head(features * kept),
            tasks,
            [target[rows].to(config.device) for target in targets],
            [weight[rows].to(config.device) for weight in weights],
        )
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()
        state.keep(step, rng)
        if progress:
            progress(step, float(loss.detach()))
    state.discard()
    net.eval()


def augmentations_of(tasks: Sequence[Task]) -> dict[str, bool]:
    """Return which augmentations leave all attributes as they are, as arguments of `jitter`."""
    names = {task.name.lower() for task in tasks}
    changes = {
        "mirror": _MIRROR_CHANGES,
        "rotate": _ROTATION_CHANGES,
        "exposure": _EXPOSURE_CHANGES,
        "contrast": _CONTRAST_CHANGES,
    }
    return {name: names.isdisjoint(attributes) for name, attributes in changes.items()}


def _strata(tasks: Sequence[Task], labels: Sequence[Floats]) -> Indices:
    """Return a number [N] for each image; images have the same number where they have the same classes."""
    classes = [np.nan_to_num(y, nan=-1) for task, y in zip(tasks, labels, strict=True) if task.kind == "classes"]
    if not classes:
        return np.zeros(len(labels[0]), np.int64)
    return np.asarray(np.unique(np.stack(classes, 1), axis=0, return_inverse=True)[1].reshape(-1), np.int64)


def _rare_first(strata: Indices, most: int, seed: int) -> Indices:
    """Return `most` rows, in order: as many of each stratum, or all where it has fewer."""
    rng = np.random.default_rng([seed, 0x53])
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    starts = np.flatnonzero(np.diff(strata[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))  # in its stratum
    return np.sort(order[np.argsort(place, kind="stable")][:most])


def _split(strata: Indices, seed: int) -> tuple[Indices, Indices, Indices]:
    """Return rows to train on (80%), to calibrate on (10%) and to test on (10%).

    Rows are shuffled, ordered by stratum and dealt out in turns of ten, so that rare classes are in all three.
    """
    rng = np.random.default_rng([seed, 0x50])
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    turn = (np.arange(len(order)) + rng.integers(10)) % 10
    return order[turn > 1], order[turn == 0], order[turn == 1]
