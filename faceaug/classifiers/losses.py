"""What trainings of classifiers have in common: batches, targets and their weights, the loss of several tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.classifiers.classifier import Task
from faceaug.utils.typing import Floats, Floats32


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


def standardized_labels(task: Task, labels: Floats) -> Floats32:
    """Return labels [N] as networks learn them: class numbers as they are, values less their mean over their spread."""
    return ((labels - task.mean) / task.scale if task.kind == "value" else labels).astype(np.float32)


def targets_and_weights(
    tasks: Sequence[Task], labels: Sequence[Floats], power: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what a network learns of labels, and their weights in the loss, each float32 [N] per task."""
    pairs = list(zip(tasks, labels, strict=True))
    targets = [torch.from_numpy(standardized_labels(task, y)) for task, y in pairs]
    return targets, [torch.from_numpy(sample_weights(task, y, power)) for task, y in pairs]


class RandomBatches:
    """Batches of all rows in random order, then in another one.

    The order is drawn when it is needed, so that what else a step draws from `rng` comes in between.

    Attributes
    ----------
    order : Tensor of int64
        Rows of the present order that are still to come.
    """

    def __init__(self, count: int, batch_size: int, rng: torch.Generator) -> None:
        self._count, self._size, self._rng = count, min(batch_size, count), rng
        self.order = torch.empty(0, dtype=torch.long)

    def draw(self) -> Tensor:
        """Return the rows int64 [B] of the next batch."""
        if len(self.order) < self._size:
            self.order = torch.randperm(self._count, generator=self._rng)
        rows, self.order = self.order[: self._size], self.order[self._size :]
        return rows


def multitask_loss(
    outputs: Tensor, tasks: Sequence[Task], labels: Sequence[Tensor], weights: Sequence[Tensor]
) -> Tensor:
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
