"""An experiment: every arm with every seed, on real faces that nothing has seen (docs/bench.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faceaug.bench.arms.base import Arm
from faceaug.bench.arms.registry import check_arms
from faceaug.bench.data import load_experiment_data
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.execution.unfinished_runs import ExperimentWork, finish_runs
from faceaug.bench.networks import check_model
from faceaug.bench.recipe import ExperimentRecipe
from faceaug.bench.results.record import ExperimentResults, write_results_of
from faceaug.bench.run_files import ExperimentFolder, locked_folder, refuse_other_content
from faceaug.utils.device import check_device
from faceaug.utils.threads import single_threaded


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
    refuse_other_content(run.out)
    with single_threaded():
        data = load_experiment_data(recipe, run.folder, run.progress)
        parts = {seed: data.partition(seed) for seed in recipe.seed_list}
        with locked_folder(run.out):
            folder = ExperimentFolder(run.out, recipe, data.dataset.fingerprint())
            finished = _finished_runs(folder, recipe, arms)
            if len(finished) < len(arms) * len(recipe.seed_list):
                work = ExperimentWork(data, data.examples(run.progress), parts, arms, run)
                finished |= finish_runs(work, folder, finished)
            ordered = {(arm, seed): finished[arm, seed] for arm in arms for seed in recipe.seed_list}
            return write_results_of(data, arms, ordered, run.command, run.out)


def _finished_runs(
    folder: ExperimentFolder, recipe: ExperimentRecipe, arms: Mapping[str, Arm]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the runs that need not be repeated."""
    runs = {(arm, seed): folder.finished(arm, seed) for arm in arms for seed in recipe.seed_list}
    return {key: content for key, content in runs.items() if content is not None}
