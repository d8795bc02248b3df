"""Offsets of the logits of classes, by which a class of few training faces is named as often as the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faceaug.utils.typing import Floats32, Indices

_STEPS = np.arange(-6.0, 6.01, 0.25)  # of one class, in log-odds
_ROUNDS = 3  # over all classes


def class_offsets(logits: Floats32, widths: Sequence[int], labels: Indices) -> Floats32:
    """Return the offsets [outputs] with which the mean recall of the classes is highest, task by task.

    Classes take turns, `_ROUNDS` times; of offsets that are equally good, the one nearest to that before is taken.

    Parameters
    ----------
    logits : float32 [N, outputs]
        Of all tasks side by side.
    widths : sequence of int
        Number of classes of each task.
    labels : int64 [N, T]
    """
    parts, start = [], 0
    for k, width in enumerate(widths):
        parts.append(_task_offsets(logits[:, start : start + width], labels[:, k]))
        start += width
    return np.concatenate(parts).astype(np.float32)


def _task_offsets(logits: Floats32, labels: Indices) -> np.ndarray:
    count = logits.shape[1]
    faces = np.maximum(np.bincount(labels, minlength=count), 1)
    offsets = np.zeros(count)
    for _ in range(_ROUNDS):
        for own in range(count):
            moved = logits + offsets
            others = np.where(np.arange(count) == own, -np.inf, moved)
            # A face is read as `own` where its logit with the step exceeds the highest of the others.
            margin, second = others.max(1) - logits[:, own], others.argmax(1)
            taken = margin[None] < _STEPS[:, None]
            right = np.where(labels == own, taken, ~taken & (second == labels))
            recall = (right / faces[labels]).sum(1)
            best = np.flatnonzero(recall >= recall.max() - 1e-12)
            offsets[own] = _STEPS[best[np.abs(_STEPS[best] - offsets[own]).argmin()]]
    return offsets
