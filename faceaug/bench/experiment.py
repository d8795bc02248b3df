"""An experiment: every arm with every seed, on real faces that nothing has seen (docs/bench.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceaug.bench.arms.base import Arm
from faceaug.bench.arms.registry import check_arms
from faceaug.bench.data import ExperimentData, load_experiment_data
from faceaug.bench.examples import Examples
from faceaug.bench.metrics import FIGURES, GroupsOfFaces, mean_over_tasks
from faceaug.bench.networks import check_model, predict
from faceaug.bench.partition import Partition
from faceaug.bench.recipe import FEATURES_MODEL, ExperimentRecipe
from faceaug.bench.results.record import ExperimentResults, write_results_of
from faceaug.bench.run_files import ExperimentFolder, locked_folder
from faceaug.bench.set_figures import set_figures
from faceaug.bench.synthetic_sets import SyntheticSet, synthetic_set
from faceaug.bench.trial import CRITERIA, ArmData, Checkpoint, Trial, TrialResult, evaluate_logits
from faceaug.utils.device import check_device
from faceaug.utils.plugins import guarded
from faceaug.utils.text import shown
from faceaug.utils.threads import StageProgress, single_threaded
from faceaug.utils.typing import Indices


@dataclass(frozen=True)
class ExperimentRun:
    """Where an experiment is done, and who asked for it.

    Attributes
    ----------
    out : Path
        Output folder: absent, empty, or of this very experiment, which is continued.
    folder : Path
        From which relative paths of the recipe are meant.
    command : str
        For the record.
    progress : callable (stage, done, total)
    """

    out: Path
    folder: Path
    command: str
    progress: StageProgress


def run_experiment(recipe: ExperimentRecipe, run: ExperimentRun) -> ExperimentResults:
    """Train every arm with every seed, and write results.json and report.html.

    Finished runs of an interrupted experiment are not repeated. All that can be refused is refused before anything is
    trained or synthesized.

    Raises
    ------
    FaceaugError
        In one sentence with the remedy; what was finished until then is kept.
    """
    check_model(recipe.model)
    check_device(recipe.training.device)
    arms = check_arms(recipe)
    with single_threaded():
        data = load_experiment_data(recipe, run.folder, run.progress)
        parts = {seed: data.partition(seed) for seed in recipe.seed_list}
        with locked_folder(run.out):
            folder = ExperimentFolder(run.out, recipe, data.dataset.fingerprint())
            finished = _finished_runs(folder, recipe, arms)
            if len(finished) < len(arms) * len(recipe.seed_list):
                worker = _Worker(data, folder, run, arms, data.examples(run.progress))
                worker.count_finished(len(finished))
                for seed in recipe.seed_list:
                    finished |= worker.run_seed(seed, parts[seed], finished)
            ordered = {(arm, seed): finished[arm, seed] for arm in arms for seed in recipe.seed_list}
            return write_results_of(data, arms, ordered, run.command, run.out)


def _finished_runs(
    folder: ExperimentFolder, recipe: ExperimentRecipe, arms: Mapping[str, Arm]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the runs that need not be repeated."""
    runs = {(arm, seed): folder.finished(arm, seed) for arm in arms for seed in recipe.seed_list}
    return {key: content for key, content in runs.items() if content is not None}


class _Worker:
    """Trains arms, one after the other."""

    def __init__(
        self,
        data: ExperimentData,
        folder: ExperimentFolder,
        run: ExperimentRun,
        arms: Mapping[str, Arm],
        examples: Examples,
    ) -> None:
        self._data, self._folder, self._run, self._arms, self._examples = data, folder, run, arms, examples
        self._steps_of_run = data.recipe.training.trials * data.recipe.training.steps
        self._total = len(arms) * len(data.recipe.seed_list) * self._steps_of_run
        self._done = 0

    def count_finished(self, runs: int) -> None:
        """Count the runs of an earlier call as done."""
        self._done += runs * self._steps_of_run

    def run_seed(
        self, seed: int, parts: Partition, finished: Mapping[tuple[str, int], Any]
    ) -> dict[tuple[str, int], dict[str, Any]]:
        """Run the arms of a seed that are not finished; return what they gave."""
        made: dict[str, SyntheticSet] = {}
        results = {}
        for name, arm in self._arms.items():
            if (name, seed) in finished:
                continue
            if arm.engine is not None and arm.engine not in made:
                train = self._data.dataset.select(parts.train)
                own = synthetic_set(self._data, train, arm.engine, seed, self._run.out, self._run.progress)
                made[arm.engine] = self._with_figures(own, parts)
            samples = made[arm.engine] if arm.engine is not None else None
            content = self._run_arm(name, arm, seed, parts, samples)
            self._folder.write(name, seed, content)
            results[name, seed] = self._folder.finished(name, seed) or content
        return results

    def _with_figures(self, made: SyntheticSet, parts: Partition) -> SyntheticSet:
        """Return a set with its figures beside real faces, where the model reads features."""
        if self._data.recipe.model.name != FEATURES_MODEL:
            return made
        real, held_out = self._examples.rows(parts.train), self._examples.rows(parts.test)
        figures = set_figures(made.examples, made.sources, real, held_out, self._data.cells.names)
        return replace(made, record={**made.record, "figures": figures})

    def _run_arm(
        self, name: str, arm: Arm, seed: int, parts: Partition, samples: SyntheticSet | None
    ) -> dict[str, Any]:
        start, before = time.monotonic(), self._done
        nothing = self._examples.rows(np.empty(0, np.int64))
        data = ArmData(
            self._data.recipe,
            self._data.tasks,
            self._examples.rows(parts.train),
            self._examples.rows(parts.thinned),
            nothing if samples is None else samples.chosen(arm.options.get("where"), arm.options.get("most")),
            self._examples.rows(parts.validation),
            self._groups(parts.validation),
            len(self._data.cells.numbers),
            seed,
        )
        results = self._train(name, arm, data)
        self._done = before + self._steps_of_run
        test = self._examples.rows(parts.test)
        return {
            "selected": {
                criterion: self._evaluated(data, results, criterion, test, self._groups(parts.test))
                for criterion in CRITERIA
            },
            "trials": [_trial_record(result) for result in results],
            "faces": {
                "training": len(parts.train),
                "validation": len(parts.validation),
                "test": len(parts.test),
                "thinned": len(parts.thinned),
                "duplicates": parts.duplicates,
                "synthetic": len(data.synthetic),
            },
            "synthetic": None if samples is None else samples.record,
            "seconds": round(time.monotonic() - start, 2),
        }

    def _train(self, name: str, arm: Arm, data: ArmData) -> list[TrialResult]:
        """Spend the trials of an arm."""

        def advance(count: int) -> None:
            self._done += count
            if self._done % 50 == 0 or self._done == self._total:
                self._run.progress("experiment", min(self._done, self._total), self._total)

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

    def _evaluated(
        self, data: ArmData, results: list[TrialResult], criterion: str, test: Examples, groups: GroupsOfFaces
    ) -> dict[str, Any]:
        """Return what a criterion selected among all trials, and its metrics on the test part."""
        best: Checkpoint = max((result.best[criterion] for result in results), key=lambda point: point.score)
        trial = Trial(data, best.trial, {}, lambda count: None)
        trial.net.load_state_dict(best.state)
        logits = predict(trial.net, test, data.recipe.training.device) + best.offsets
        metrics = evaluate_logits(logits, data.tasks, test, groups)
        names = [task.name for task in data.tasks]
        return {
            "trial": best.trial,
            "step": best.step,
            "validation": dict(zip(names, best.validation, strict=True)),
            "test": dict(zip(names, metrics, strict=True)),
            "figures": {figure: mean_over_tasks(metrics, figure) for figure in FIGURES},
        }

    def _groups(self, rows: Indices) -> GroupsOfFaces:
        beside = tuple(None if own is None else own.codes[rows] for own in self._data.attribute_groups)
        thinned = (
            np.any([own[rows] for own in self._data.thinned], 0) if self._data.thinned else np.zeros(len(rows), bool)
        )
        return GroupsOfFaces(self._data.groups.names, self._data.groups.codes[rows], beside, thinned)


def _trial_record(result: TrialResult) -> dict[str, Any]:
    """Return what was tried, and how validation found it."""
    options = {
        name: {str(key): each for key, each in value.items()} if isinstance(value, dict) else value
        for name, value in result.options.items()
    }
    return {"options": options, "validation": {criterion: best.score for criterion, best in result.best.items()}}
