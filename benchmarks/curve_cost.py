"""What does a point of the curve cost beside training? On a CPU at the preset `tiny`, on one core.

    python benchmarks/curve_cost.py [--faces 500] [--steps 48] [--rounds 5]

Trains and measures in turns, and takes the median of the rounds, in seconds of the processor. From it follows
`faceaug.gan_training.evaluation.PRICE`, by which `faceaug generator train` chooses how many points a short run has.
Needs the packages of the extra `evaluate`. Writes benchmarks/results/curve_cost.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _record import environment, write_result

from faceaug.gan_training.evaluation import MEASURING, PRICE, Curve, affordable_points
from faceaug.gan_training.features import load_efficientnet
from faceaug.gan_training.trainer import GanTrainer, Pictures, preset

BUDGETS = (5, 10, 20, 60)  # thousand images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=500, help="of each kind for a point of the curve")
    parser.add_argument("--steps", type=int, default=48, help="of training in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = preset("tiny", None, given.seed)[1]
    side = config.network.resolution
    pixels = np.random.default_rng(given.seed).integers(0, 256, (2 * given.faces, side, side, 3), dtype=np.uint8)
    trainer = GanTrainer(config, Pictures(pixels, "noise"), torch.device("cpu"))
    features = load_efficientnet()
    begin = time.process_time()
    curve = Curve(pixels[: given.faces], features)
    before = time.process_time() - begin
    trainer.advance()
    rounds = [(spent(lambda: steps(trainer, given.steps)), spent(lambda: curve(trainer.average)))
              for _ in range(given.rounds)]  # fmt: skip
    image = median(training for training, _ in rounds) / (given.steps * config.batch)
    point = median(measuring for _, measuring in rounds)
    record: dict[str, Any] = {
        **environment(given.seed, ("torch", "numpy", *features.versions)),
        "preset": "tiny", "faces": given.faces, "threads": 1,
        "images_a_second": round(1 / image, 1), "seconds_of_a_point": round(point, 2),
        "seconds_of_the_real_faces": round(before, 2),
        "images_of_training_as_dear_as_a_face": round(point / image / given.faces, 2), "price": PRICE,
        "curve_of_all": {"most": MEASURING, "by_kimg": shares(given.faces, image, point, before)},
        "rounds": [[round(seconds, 2) for seconds in both] for both in rounds],
    }  # fmt: skip
    print(write_result("curve_cost", record, given.out) if given.out else write_result("curve_cost", record))


def spent(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that something takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def steps(trainer: GanTrainer, count: int) -> None:
    for _ in range(count):
        trainer.advance()


def shares(faces: int, image: float, point: float, before: float) -> list[dict[str, Any]]:
    """Return how many points the default is for some budgets, and which share of a run they and 20 points take."""
    found = []
    for kimg in BUDGETS:
        points, training = affordable_points(kimg * 1000, faces), kimg * 1000 * image
        share = {n: round((n * point + before) / (n * point + before + training), 3) for n in (points, 20)}
        found.append({"kimg": kimg, "points": points, "share": share[points], "share_of_20_points": share[20]})
    return found


if __name__ == "__main__":
    main()
