"""How well the linear model finds the view in the latent of a generator without labels, over several seeds.

    python benchmarks/semantics.py [--seeds 8] [--steps 500] [--pose pose.npz]

There are two generators: synthetic scenes (`scenes`), whose factors are known for every latent; and `digiface`, for
which the head pose by an independent landmark model is needed (--pose: an .npz with z [N, 100] and pose [N, 3] in
degrees, pitch and yaw of the opposite sign). Without it digiface is left out. The pose is for evaluation only. Writes
benchmarks/results/semantics.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result
from torch import Tensor

from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_pool, sample_stream
from faceaug.generators.registry import load_generator
from faceaug.reconstruction.factors import LIGHT_NAMES, VIEW_NAMES, FaceFactors
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.symmetry import mirror_split
from faceaug.utils.training.train_loop import run

SIDE = 32
EVALUATED = ("yaw", "pitch", "roll", "light_x", "light_y")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="on digiface")
    parser.add_argument("--scenes", type=int, default=8, help="seeds on synthetic scenes, which are slow to render")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--pose", type=Path)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    record: dict[str, Any] = {
        **environment(seed=0, packages=("torch", "numpy")),
        "steps": given.steps,
        "draws": given.draws,
        "side": SIDE,
        "scenes": summary([on_scenes(seed, given.steps, given.draws) for seed in range(given.scenes)]),
    }
    if given.pose:
        record["digiface"] = summary([on_digiface(s, given.steps, given.draws, given.pose) for s in range(given.seeds)])
    print(write_result("semantics", record, given.out) if given.out else write_result("semantics", record))


def trained(generator: Generator, seed: int, steps: int, draws: int) -> tuple[Callable[[Tensor], FaceFactors], float]:
    """Train the linear model on a generator; return the function from latents to factors, and the processor seconds."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        pool = sample_pool(generator, draws, seed, SIDE, Path(folder))
        split = mirror_split(generator, pool, SIDE)
        trainer = LinearTrainer(pool, split, seed, steps, side=SIDE)
        run(trainer)

    def read(w: Tensor) -> FaceFactors:
        with torch.no_grad():
            return trainer.model(split.whitening.white(w))

    return read, time.process_time() - start


def nose_nearest(factors: FaceFactors) -> bool:
    """Return whether the mean face is right side out: its middle nearer than its border."""
    depth, s = factors.depth.mean(0), factors.depth.shape[-1]
    middle = depth[3 * s // 8 : 5 * s // 8, 3 * s // 8 : 5 * s // 8].mean()
    border = torch.cat([depth[s // 4 : -s // 4, 0], depth[s // 4 : -s // 4, -1]]).mean()
    return bool(middle < border)


def on_scenes(seed: int, steps: int, draws: int) -> dict[str, Any]:
    """Return correlations with the true factors of new scenes."""
    scenes = Scenes(64)
    read, seconds = trained(scenes, seed, steps, draws)
    w = sample_stream(scenes, 2000, (seed, 0xE))
    factors, truth = read(w), scenes.truth(w)
    pairs = {
        name: (factors.view[:, VIEW_NAMES.index(name)], truth.view[:, VIEW_NAMES.index(name)])
        if name in VIEW_NAMES
        else (factors.light[:, LIGHT_NAMES.index(name)], truth.light[:, LIGHT_NAMES.index(name)])
        for name in EVALUATED
    }
    scores = {name: float(np.corrcoef(one.numpy(), two.numpy())[0, 1]) for name, (one, two) in pairs.items()}
    return {"seed": seed, "seconds": seconds, "right_side_out": nose_nearest(factors), **scores}


def on_digiface(seed: int, steps: int, draws: int, pose: Path) -> dict[str, Any]:
    """Return the agreement of yaw and pitch with an independent landmark model: cosine of directions, correlation."""
    generator = load_generator("digiface")
    read, seconds = trained(generator, seed, steps, draws)
    landmarks = np.load(pose)
    detected = np.isfinite(landmarks["pose"]).all(1)
    z, truth = landmarks["z"][detected], -landmarks["pose"][detected]
    w = generator.map(torch.from_numpy(z))
    factors = read(w)
    scores: dict[str, Any] = {"seed": seed, "seconds": seconds, "right_side_out": nose_nearest(factors)}
    design = np.c_[np.ones(len(z)), z]
    for name, column in (("yaw", 1), ("pitch", 0)):
        value = factors.view[:, VIEW_NAMES.index(name)].numpy()
        slopes = [np.linalg.lstsq(design, y, rcond=None)[0][1:] for y in (value, truth[:, column])]
        scores[f"{name}_cosine"] = float(slopes[0] @ slopes[1] / np.linalg.norm(slopes[0]) / np.linalg.norm(slopes[1]))
        scores[f"{name}_correlation"] = float(np.corrcoef(value, truth[:, column])[0, 1])
    return scores


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the runs, the median and the least of each figure, and how many runs are right side out."""
    names = [name for name in runs[0] if name not in ("seed", "right_side_out")]
    middle = {name: round(float(np.median([run[name] for run in runs])), 3) for name in names}
    least = {name: round(min(run[name] for run in runs), 3) for name in names if name != "seconds"}
    return {
        "median": middle,
        "least": least,
        "right_side_out": sum(run["right_side_out"] for run in runs),
        "seeds": len(runs),
        "runs": runs,
    }


if __name__ == "__main__":
    main()
