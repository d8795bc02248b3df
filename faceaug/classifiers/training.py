"""Learn from a dataset what its attributes look like: two probes trained apart, calibrated, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, attribute, numbers
from faceaug.classifiers.calibration import calibrate, evaluate
from faceaug.classifiers.classifier import Classifier, ClassifierSchedule, Task, new_net, train_net
from faceaug.errors import DatasetError
from faceaug.utils.typing import Floats

FEWEST = 8
"""Pictures of a class below which nothing can be learnt."""
FEWEST_VALUES = 30
"""Pictures with a value below which it cannot be learnt."""


@dataclass(frozen=True)
class TrainedClassifiers:
    """The two probes with their figures on held-out pictures (a dict for each attribute).

    There is no steering probe where all attributes were measured: what measured them steers.
    """

    steering: Classifier | None
    judge: Classifier
    figures: dict[str, list[dict[str, Any]]]


def tasks_of(table: pd.DataFrame, axes: Sequence[Axis]) -> tuple[tuple[Task, ...], tuple[Floats, ...]]:
    """Return what is to be learnt for each axis, and the label of every row of the table (NaN where missing).

    Raises
    ------
    DatasetError
        When a class has too few pictures to learn from, or values are too few or all the same.
    """
    tasks, labels = [], []
    for axis in axes:
        if axis.kind == "continuous":
            values = numbers(attribute(table, axis.name), axis.name)
            known = values[np.isfinite(values)]
            if len(known) < FEWEST_VALUES or known.std() == 0:
                raise DatasetError(
                    f"{axis.name!r} has {len(known)} values, {len(np.unique(known))} of them different, and at least "
                    f"{FEWEST_VALUES} that are not all the same are needed to learn to read it: label more faces"
                )
            tasks.append(Task(axis.name, "value", (), float(known.mean()), max(float(known.std()), 1e-9)))
            labels.append(values.astype(np.float64))
            continue
        if len(axis.levels) < 2:
            raise DatasetError(
                f"all faces have the same {axis.name!r} ({axis.levels[0]!r}), so there is nothing to tell apart: "
                "leave it out"
            )
        codes = axis.assign(attribute(table, axis.name))
        counts = np.bincount(codes[codes >= 0], minlength=len(axis.levels))
        rare = int(counts.argmin())
        if counts[rare] < FEWEST:
            raise DatasetError(
                f"only {counts[rare]} faces are labelled {axis.levels[rare]!r} in {axis.name!r}, and at least "
                f"{FEWEST} are needed to learn what that looks like: label more, merge the class with another, or "
                "leave its rows out"
            )
        tasks.append(Task(axis.name, "classes", axis.levels))
        labels.append(np.where(codes >= 0, codes, np.nan).astype(np.float64))
    return tuple(tasks), tuple(labels)


def train_classifiers(
    images: NDArray[np.uint8],
    tasks: Sequence[Task],
    labels: Sequence[Floats],
    *,
    seed: int,
    measured: Collection[str] = (),
    device: str = "cpu",
    schedule: ClassifierSchedule | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedClassifiers:
    """Train the steering probe and the judge.

    They differ in network, seed, and which tenth of the pictures calibrates and which tenth tests each. On a CPU each
    is trained by one thread, both at once, so that the result does not depend on the number of cores.

    Parameters
    ----------
    images : uint8 [N, 64, 64, 3]
    tasks, labels
        From `tasks_of`; labels are float64 [N] each.
    measured : names
        Of attributes that only the judge learns, for what measured them steers.
    progress : callable (steps done of both, steps of both), optional
    """
    schedule = schedule or ClassifierSchedule.for_size(len(images))
    labelled = [k for k, task in enumerate(tasks) if task.name not in measured]
    plans = [("residual", seed * 2, labelled), ("plain", seed * 2 + 1, list(range(len(tasks))))]
    plans = [plan for plan in plans if plan[2]]
    nets = [new_net(trunk, [tasks[k] for k in which], own) for trunk, own, which in plans]
    strata = _strata(tasks, labels)
    done = [0] * len(plans)

    def train(which: int) -> tuple[Classifier, list[dict[str, Any]]]:
        torch.set_num_threads(1)
        trunk, own, learnt = plans[which]
        own_tasks, own_labels = [tasks[k] for k in learnt], [labels[k] for k in learnt]
        train_rows, calibration_rows, test_rows = _split(strata, own)

        def told(step: int, _: float) -> None:
            done[which] = step
            if progress:
                progress(sum(done), len(plans) * schedule.steps)

        seen = [y[train_rows] for y in own_labels]
        train_net(nets[which], own_tasks, images[train_rows], seen, schedule, own, device, told)
        nets[which].to("cpu")
        known = [y[calibration_rows] for y in own_labels]
        probe = calibrate(nets[which], trunk, own_tasks, seen, images[calibration_rows], known, schedule)
        return probe, evaluate(probe, images[test_rows], [y[test_rows] for y in own_labels])

    with ThreadPoolExecutor(2 if device == "cpu" else 1) as pool:
        *steering, (judge, figures) = pool.map(train, range(len(plans)))
    told = {"steering": steering[0][1] if steering else [], "judge": figures}
    return TrainedClassifiers(steering[0][0] if steering else None, judge, told)


def _strata(tasks: Sequence[Task], labels: Sequence[Floats]) -> NDArray[np.int64]:
    """Return a number for each picture, the same where all classes are the same."""
    classes = [np.nan_to_num(y, nan=-1) for task, y in zip(tasks, labels, strict=True) if task.kind == "classes"]
    if not classes:
        return np.zeros(len(labels[0]), np.int64)
    return np.asarray(np.unique(np.stack(classes, 1), axis=0, return_inverse=True)[1].reshape(-1), np.int64)


def _split(strata: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return rows to train on (80%), to calibrate on (10%) and to test on (10%).

    Rows are shuffled, put in order of their stratum, and dealt out in tens, so that rare classes are in all parts.
    """
    rng = np.random.default_rng([seed, 0x50])
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    place = (np.arange(len(order)) + rng.integers(10)) % 10
    return order[place > 1], order[place == 0], order[place == 1]
