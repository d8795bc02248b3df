"""The runs of an experiment that are not finished: prepared in turn, computed here or by a Ray cluster, and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from faceaug.bench.arms.base import Arm
from faceaug.bench.data import ExperimentData
from faceaug.bench.examples import Examples
from faceaug.bench.execution.arm_run import SeedFaces, run_arm
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.partition import Partition
from faceaug.bench.recipe import FEATURES_MODEL
from faceaug.bench.run_files import ExperimentFolder
from faceaug.bench.set_figures import set_figures
from faceaug.bench.synthetic_sets import SyntheticSet, synthetic_set
from faceaug.cluster.ray_cluster import LostTaskError, RayCluster, RemoteTask, cluster_of, prepared
from faceaug.errors import FaceaugError

_Runs = Mapping[tuple[str, int], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class ExperimentWork:
    """What the runs of an experiment are made of.

    Attributes
    ----------
    data : ExperimentData
    examples : Examples
        All faces.
    parts : dict of int to Partition
        By seed.
    arms : dict of str to Arm
    run : ExperimentRun
    """

    data: ExperimentData
    examples: Examples
    parts: Mapping[int, Partition]
    arms: Mapping[str, Arm]
    run: ExperimentRun


@dataclass(frozen=True, eq=False)
class _Unit:
    """A run that can be begun."""

    name: str
    arm: Arm
    seed: int
    faces: SeedFaces
    samples: SyntheticSet | None


def finish_runs(work: ExperimentWork, folder: ExperimentFolder, finished: _Runs) -> dict[tuple[str, int], Any]:
    """Compute the runs that are not finished, and write each as soon as it is there.

    Returns
    -------
    dict of (arm, seed) to dict
        The records of these runs, as they were written.

    Raises
    ------
    FaceaugError
        When samples cannot be made or an arm fails, or, once the others are finished, when runs were lost with their
        workers; what was written before is kept.
    """
    progress, lost = _StepProgress(work, len(finished)), list[LostTaskError]()
    units, written = _units(work, finished), {}
    with cluster_of(work.run.placement, work.data.recipe.training.device) as cluster:
        if cluster is None:
            keys = _here(units, folder.write, progress)
        else:
            keys = cluster.in_order(_begun(cluster, units, folder.write), lost.append)
        for name, seed in keys:
            progress.end_run()
            written[name, seed] = folder.finished(name, seed)
    if lost:
        raise FaceaugError(f"{len(lost)} runs are missing, and the others are kept: {lost[0]}")
    return written


class _StepProgress:
    """Training steps of all runs, those of finished ones included."""

    def __init__(self, work: ExperimentWork, runs: int) -> None:
        training = work.data.recipe.training
        self._run_steps, self._progress = training.trials * training.steps, work.run.progress
        self._done, self._runs = 0, runs
        self._total = len(work.arms) * len(work.parts) * self._run_steps

    def advance(self, count: int) -> None:
        """Count steps of the run that is computed."""
        self._done += count
        if self._done % 50 == 0:
            self._report()

    def end_run(self) -> None:
        """Count a whole run, whatever number of steps it took."""
        self._done, self._runs = 0, self._runs + 1
        self._report()

    def _report(self) -> None:
        done = self._runs * self._run_steps + self._done
        self._progress("experiment", min(done, self._total), self._total)


def _units(work: ExperimentWork, finished: _Runs) -> Iterator[_Unit]:
    """Yield the runs that are not finished, seed by seed, those without synthesis first; samples are made in turn."""
    for seed, parts in work.parts.items():
        missing = [name for name in work.arms if (name, seed) not in finished]
        if not missing:
            continue
        faces, sets = SeedFaces.of(work.data, work.examples, parts, seed), dict[str, SyntheticSet]()
        for name in sorted(missing, key=lambda name: work.arms[name].engine is not None):
            engine = work.arms[name].engine
            if engine is not None and engine not in sets:
                sets[engine] = _synthetic_set(work, engine, parts, seed)
            yield _Unit(name, work.arms[name], seed, faces, None if engine is None else sets[engine])


def _synthetic_set(work: ExperimentWork, engine: str, parts: Partition, seed: int) -> SyntheticSet:
    """Return the samples of an engine, with their figures beside real faces where the model reads features."""
    conditions = any("where" in arm.options for arm in work.arms.values() if arm.engine == engine)
    made = synthetic_set(
        work.data, work.data.dataset.select(parts.train), engine, seed, work.run, conditions=conditions
    )
    if work.data.recipe.model.name != FEATURES_MODEL:
        return made
    real, held_out = work.examples.rows(parts.train), work.examples.rows(parts.test)
    figures = set_figures(made.examples, made.sources, real, held_out, work.data.cells.names)
    return replace(made, record={**made.record, "figures": figures})


_Write = Callable[[str, int, dict[str, Any]], None]


def _here(units: Iterator[_Unit], write: _Write, progress: _StepProgress) -> Iterator[tuple[str, int]]:
    """Compute runs one after the other."""
    for unit in units:
        content = run_arm(unit.name, unit.arm, unit.faces, unit.samples, progress.advance)
        yield _written(write, unit.name, unit.seed, content)


def _begun(cluster: RayCluster, units: Iterator[_Unit], write: _Write) -> Iterator[RemoteTask[tuple[str, int]]]:
    """Have each run computed when it is asked for, and written when it arrives.

    The cluster computes samples meanwhile. The faces of a seed and each set of samples go to a process once.
    """
    seed, boxes = None, dict[str | None, list[Any]]()  # by engine; None for the faces
    for unit in units:
        if unit.seed != seed:
            seed, boxes = unit.seed, {None: cluster.share(unit.faces)}
        if unit.arm.engine not in boxes:
            boxes[unit.arm.engine] = cluster.share(unit.samples)
        samples = None if unit.arm.engine is None else boxes[unit.arm.engine]
        arrived = partial(_written, write, unit.name, unit.seed)
        yield cluster.submit(_run_remotely, unit.name, unit.arm, boxes[None], samples, arrived=arrived)


def _written(write: _Write, name: str, seed: int, content: dict[str, Any]) -> tuple[str, int]:
    write(name, seed, content)
    return name, seed


def _run_remotely(name: str, arm: Arm, faces: list[Any], samples: list[Any] | None) -> dict[str, Any]:
    """Compute a run in a process of the cluster."""
    return run_arm(name, arm, prepared(faces), None if samples is None else prepared(samples), lambda count: None)
