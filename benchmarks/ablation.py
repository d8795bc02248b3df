"""Ablation of the couplings of the training: none, the paper's, the mirror and both, over several seeds.

    python benchmarks/ablation.py [--generator digiface --pose pose.npz] [--work work/ablation]

Every run has the same samples, steps and batches; only coupling and seed differ. `none` and `paper` start from random
weights except for the encoder, which has been trained to predict latents in all runs; `mirror` and `both` start from
the linear model, whose own steps are additional. A run has found the view when its mean face is right side out (its
middle nearer than its sides) and its yaw follows the truth: a correlation above 0.5, with the sign. On synthetic scenes
(`scenes`) the truth is known; on `digiface` it is the pose by an independent landmark model (--pose, as for
semantics.py), for evaluation only. Runs that the work folder holds are not repeated. Writes
benchmarks/results/ablation.json, also when only some of the runs are done (--report starts none).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from _record import environment, write_result
from numpy.typing import NDArray
from semantics import nose_nearest

from faceaug.errors import UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool, sample_pool, sample_stream, synthesize_at
from faceaug.generators.registry import load_generator
from faceaug.reconstruction.factors import VIEW_NAMES, FaceFactors, concatenate_factors
from faceaug.reconstruction.networks import mirror_averaged_factors
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.network_trainer import NetworkTrainer
from faceaug.reconstruction.training.perceptual import LatentTrainer
from faceaug.reconstruction.training.schedule import Coupling, ReconstructionSchedule
from faceaug.reconstruction.training.symmetry import mirror_split
from faceaug.utils.files import read_json, write_json
from faceaug.utils.training.train_loop import run

COUPLINGS: tuple[Coupling, ...] = get_args(Coupling)
FOLLOWS = 0.5
"""Least correlation of a yaw that follows the true yaw."""
EVALUATED = 500  # new faces on which a run is evaluated
DISTIL, PAIRS = 0.2, 0.25  # of the steps, and of a batch: the same shares as by default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", choices=("digiface", "scenes"), default="digiface")
    parser.add_argument("--pose", type=Path, help="needed for digiface")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--linear-steps", type=int, default=300)
    parser.add_argument("--reader-steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--work", type=Path, default=Path("work/ablation"))
    parser.add_argument("--report", action="store_true", help="start no further runs")
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    if given.generator == "digiface" and given.pose is None:
        parser.error("digiface has no truth of its own: give --pose")
    wanted = [(seed, coupling) for seed in range(given.seeds) for coupling in COUPLINGS]
    names = ("generator", "steps", "linear_steps", "reader_steps", "batch", "side", "draws")
    setup = {name: getattr(given, name) for name in names}
    outcomes = {pair: done for pair in wanted if (done := finished(given.work, *pair, setup)) is not None}
    if not given.report and len(outcomes) < len(wanted):
        bench = Bench(given, setup)
        for seed, coupling in wanted:
            if (seed, coupling) not in outcomes:
                outcomes[seed, coupling] = bench.run(seed, coupling)
                print(outcomes[seed, coupling], flush=True)
    by_coupling = {
        name: [outcomes[pair] for pair in wanted if pair in outcomes and pair[1] == name] for name in COUPLINGS
    }
    record = {
        **environment(seed=0, packages=("torch", "numpy")),
        **setup,
        "follows_from": FOLLOWS,
        "couplings": {name: summary(runs) for name, runs in by_coupling.items() if runs},
    }
    print(write_result("ablation", record, given.out))


def file_of(work: Path, seed: int, coupling: str) -> Path:
    """Return the file of the outcome of a run."""
    return work / f"{coupling}-{seed}.json"


def finished(work: Path, seed: int, coupling: str, setup: dict[str, Any]) -> dict[str, Any] | None:
    """Return the outcome of a run that is done, or None.

    Raises
    ------
    UsageError
        When it has another setup.
    """
    path = file_of(work, seed, coupling)
    if not path.exists():
        return None
    read = read_json(path, "an outcome")
    if read["setup"] != setup:
        raise UsageError(f"{path} was made with {read['setup']}, not with {setup}: name another folder with --work")
    outcome: dict[str, Any] = read["outcome"]
    return outcome


class Bench:
    """What all runs share: samples, the mirror split, and faces whose yaw is known."""

    def __init__(self, given: argparse.Namespace, setup: dict[str, Any]) -> None:
        self.given, self.setup, self.work = given, setup, given.work
        self.generator: Generator = Scenes(32) if given.generator == "scenes" else load_generator("digiface")
        self.pool: SamplePool = sample_pool(self.generator, given.draws, 0, given.side, self.work / "draws")
        self.split = mirror_split(self.generator, self.pool, given.side)
        self.faces, self.yaw = self._known()

    def _known(self) -> tuple[torch.Tensor, NDArray[np.float64]]:
        """Return new images, and their true yaw in radians."""
        if isinstance(self.generator, Scenes):
            w = sample_stream(self.generator, EVALUATED, (1, 0xE))
            truth = self.generator.truth(w)
            return synthesize_at(self.generator, w, self.given.side), truth.view[:, 1].double().numpy()
        landmarks = np.load(self.given.pose)
        detected = np.flatnonzero(np.isfinite(landmarks["pose"]).all(1))[:EVALUATED]
        w = self.generator.map(torch.from_numpy(landmarks["z"][detected]))
        return synthesize_at(self.generator, w, self.given.side), -np.radians(landmarks["pose"][detected, 1])

    def run(self, seed: int, coupling: Coupling) -> dict[str, Any]:
        """Train once; write and return the outcome."""
        given, folder = self.given, self.work / f"{coupling}-{seed}"
        start = time.process_time()
        reader = LatentTrainer(self.pool, self.split, seed, given.reader_steps, side=given.side)
        run(reader, self.work / f"reader-{seed}", self.setup)
        linear = None
        if coupling in ("mirror", "both"):
            trainer = LinearTrainer(self.pool, self.split, seed, given.linear_steps, side=given.side)
            run(trainer, self.work / f"linear-{seed}", self.setup)
            linear = trainer.model
        distil, pairs = round(DISTIL * given.steps), round(PAIRS * given.batch)
        schedule = ReconstructionSchedule(coupling, given.side, given.steps, distil, given.batch, pairs, seed=seed)
        network = NetworkTrainer(self.generator, self.pool, self.split, reader.model, linear, schedule)
        run(network, folder, {**self.setup, **asdict(schedule)})
        batches = torch.split(self.faces, 250)
        factors = concatenate_factors([mirror_averaged_factors(network.average, batch) for batch in batches])
        outcome = {"seed": seed, "coupling": coupling, "seconds": round(time.process_time() - start, 1)}
        outcome |= self.evaluate(factors)
        write_json(file_of(self.work, seed, coupling), {"setup": self.setup, "outcome": outcome})
        return outcome

    def evaluate(self, factors: FaceFactors) -> dict[str, Any]:
        """Return whether and how well a run has found the view."""
        yaw = factors.view[:, VIEW_NAMES.index("yaw")].double().numpy()
        correlation = float(np.corrcoef(yaw, self.yaw)[0, 1]) if yaw.std() > 0 else 0.0
        right_side_out = nose_nearest(factors)
        return {
            "right_side_out": right_side_out,
            "yaw_correlation": round(correlation, 3),
            "found": right_side_out and correlation > FOLLOWS,
            "yaw_spread_degrees": round(float(np.degrees(yaw.std())), 2),
            "relief": round(float(factors.depth.mean(0).max() - factors.depth.mean(0).min()), 4),
        }


def summary(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the runs of a coupling with their counts and medians."""
    runs = list(runs)
    correlations = [one["yaw_correlation"] for one in runs]
    return {
        "seeds": len(runs),
        "right_side_out": sum(one["right_side_out"] for one in runs),
        "found": sum(one["found"] for one in runs),
        "yaw_correlation": {
            "median": round(statistics.median(correlations), 3),
            "least": min(correlations),
            "most": max(correlations),
        },
        "runs": runs,
    }


if __name__ == "__main__":
    main()
