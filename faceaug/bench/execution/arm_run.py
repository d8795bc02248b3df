"""One run of an experiment: an arm with a seed, from the faces of the seed to the metrics on the test part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from faceaug.bench.arms.base import Arm
from faceaug.bench.data import ExperimentData
from faceaug.bench.examples import Examples
from faceaug.bench.metrics import FIGURES, GroupsOfFaces, mean_over_tasks
from faceaug.bench.networks import predict
from faceaug.bench.partition import Partition
from faceaug.bench.synthetic_sets import SyntheticSet
from faceaug.bench.trial import CRITERIA, ArmData, Checkpoint, Trial, TrialResult, evaluate_logits
from faceaug.utils.plugins import guarded
from faceaug.utils.text import shown
from faceaug.utils.typing import Indices


@dataclass(frozen=True, eq=False)
class SeedFaces:
    """The real faces of a seed, with which each of its arms is trained and judged.

    Attributes
    ----------
    data : ArmData
        Without synthetic faces.
    test : Examples
    test_groups : GroupsOfFaces
    duplicates : int
        As of `Partition`.
    """

    data: ArmData
    test: Examples
    test_groups: GroupsOfFaces
    duplicates: int

    @classmethod
    def of(cls, data: ExperimentData, examples: Examples, parts: Partition, seed: int) -> SeedFaces:
        """Return the faces of the parts of a seed.

        Parameters
        ----------
        data : ExperimentData
        examples : Examples
            All faces.
        parts : Partition
        seed : int
        """
        arm_data = ArmData(
            data.recipe,
            data.tasks,
            examples.rows(parts.train),
            examples.rows(parts.thinned),
            examples.rows(np.empty(0, np.int64)),
            examples.rows(parts.validation),
            _groups(data, parts.validation),
            len(data.cells.numbers),
            seed,
        )
        return cls(arm_data, examples.rows(parts.test), _groups(data, parts.test), parts.duplicates)


def run_arm(
    name: str, arm: Arm, faces: SeedFaces, samples: SyntheticSet | None, advance: Callable[[int], None]
) -> dict[str, Any]:
    """Train an arm, and return the record of the run as JSON values.

    Parameters
    ----------
    name : str
    arm : Arm
    faces : SeedFaces
    samples : SyntheticSet, optional
        Those of its engine.
    advance : callable
        Called with the number of steps that were done.

    Raises
    ------
    FaceaugError
        When the arm fails, or no sample meets its condition.
    """
    start = time.monotonic()
    data = faces.data
    if samples is not None:
        data = replace(data, synthetic=samples.chosen(arm.options.get("where"), arm.options.get("most")))
    results = _train(name, arm, data, advance)
    return {
        "selected": {criterion: _evaluated(faces, results, criterion) for criterion in CRITERIA},
        "trials": [_trial_record(result) for result in results],
        "faces": {
            "training": len(data.real),
            "validation": len(data.validation),
            "test": len(faces.test),
            "thinned": len(data.left_out),
            "duplicates": faces.duplicates,
            "synthetic": len(data.synthetic),
        },
        "synthetic": None if samples is None else samples.record,
        "seconds": round(time.monotonic() - start, 2),
    }


def _train(name: str, arm: Arm, data: ArmData, advance: Callable[[int], None]) -> list[TrialResult]:
    """Spend the trials of an arm."""
    trials: list[Trial] = []

    def run(options: Mapping[str, Any]) -> TrialResult:
        trial = Trial(data, len(trials), {**arm.options, **options}, advance)
        trials.append(trial)
        with torch.random.fork_rng(devices=[]):  # of layers that draw, such as dropout
            torch.manual_seed(data.seed)
            arm.fit(trial)
        return trial.result()

    search: Callable[[], list[TrialResult]] = lambda: arm.search(run, data.recipe)  # noqa: E731
    return guarded(f"the arm {shown(name)}", search)


def _evaluated(faces: SeedFaces, results: list[TrialResult], criterion: str) -> dict[str, Any]:
    """Return what a criterion selected among all trials, and its metrics on the test part."""
    data, test = faces.data, faces.test
    best: Checkpoint = max((result.best[criterion] for result in results), key=lambda point: point.score)
    trial = Trial(data, best.trial, {}, lambda count: None)
    trial.net.load_state_dict(best.state)
    logits = predict(trial.net, test, data.recipe.training.device) + best.offsets
    metrics = evaluate_logits(logits, data.tasks, test, faces.test_groups)
    names = [task.name for task in data.tasks]
    return {
        "trial": best.trial,
        "step": best.step,
        "validation": dict(zip(names, best.validation, strict=True)),
        "test": dict(zip(names, metrics, strict=True)),
        "figures": {figure: mean_over_tasks(metrics, figure) for figure in FIGURES},
    }


def _groups(data: ExperimentData, rows: Indices) -> GroupsOfFaces:
    beside = tuple(None if own is None else own.codes[rows] for own in data.attribute_groups)
    thinned = np.any([own[rows] for own in data.thinned], 0) if data.thinned else np.zeros(len(rows), bool)
    return GroupsOfFaces(data.groups.names, data.groups.codes[rows], beside, thinned)


def _trial_record(result: TrialResult) -> dict[str, Any]:
    """Return what was tried, and how validation found it."""
    options = {
        name: {str(key): each for key, each in value.items()} if isinstance(value, dict) else value
        for name, value in result.options.items()
    }
    return {"options": options, "validation": {criterion: best.score for criterion, best in result.best.items()}}
