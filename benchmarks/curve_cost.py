"""Cost of a point of the curve relative to training, on one core of a CPU with the preset `tiny`.

    python benchmarks/curve_cost.py [--faces 500] [--steps 48] [--rounds 5]

Trains and evaluates in turns, and takes the median of the rounds, in seconds of the processor. The result sets
`faceaug.gan_training.evaluation.IMAGES_PER_CURVE_FACE`, by which `faceaug generator train` chooses the number of points
of a short run. Needs the packages of the extra `evaluate`. Writes benchmarks/results/curve_cost.json.
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

from faceaug.gan_training.config import select_preset
from faceaug.gan_training.data import FolderImageSource
from faceaug.gan_training.evaluation import (
    IMAGES_PER_CURVE_FACE,
    MAX_CURVE_POINTS,
    MAX_EVALUATION_SHARE,
    FrechetCurve,
    affordable_points,
)
from faceaug.gan_training.features import load_efficientnet
from faceaug.gan_training.trainer import GanTrainer

KIMG = (5, 10, 20, 60)  # thousand images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=500, help="of each kind for a point of the curve")
    parser.add_argument("--steps", type=int, default=48, help="of training in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = select_preset("tiny", None, options.seed)[1]
    side = config.network.resolution
    pixels = np.random.default_rng(options.seed).integers(0, 256, (2 * options.faces, side, side, 3), dtype=np.uint8)
    trainer = GanTrainer(config, FolderImageSource(pixels, "noise"))
    features = load_efficientnet()
    start = time.process_time()
    curve = FrechetCurve(pixels[: options.faces], features)
    setup = time.process_time() - start
    trainer.advance()
    rounds = [
        (processor_seconds(lambda: advance(trainer, options.steps)), processor_seconds(lambda: curve(trainer.ema)))
        for _ in range(options.rounds)
    ]
    image = median(training for training, _ in rounds) / (options.steps * config.batch_size)
    point = median(evaluation for _, evaluation in rounds)
    record: dict[str, Any] = {
        **environment(options.seed, ("torch", "numpy", *features.versions)),
        "preset": "tiny",
        "faces": options.faces,
        "threads": 1,
        "images_per_second": round(1 / image, 1),
        "seconds_per_point": round(point, 2),
        "seconds_of_the_real_faces": round(setup, 2),
        "training_images_per_curve_face": round(point / image / options.faces, 2),
        "setting": IMAGES_PER_CURVE_FACE,
        "share_of_time": {"limit": MAX_EVALUATION_SHARE, "by_kimg": shares(options.faces, image, point, setup)},
        "rounds": [[round(seconds, 2) for seconds in both] for both in rounds],
    }
    print(write_result("curve_cost", record, options.out) if options.out else write_result("curve_cost", record))


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that a function takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def advance(trainer: GanTrainer, count: int) -> None:
    for _ in range(count):
        trainer.advance()


def shares(faces: int, image: float, point: float, setup: float) -> list[dict[str, Any]]:
    """Return the default number of points by kimg, and which share of a run they and the largest number take."""
    rows = []
    for kimg in KIMG:
        points, training = affordable_points(kimg * 1000, faces), kimg * 1000 * image
        share = {n: round((n * point + setup) / (n * point + setup + training), 3) for n in (points, MAX_CURVE_POINTS)}
        rows.append(
            {"kimg": kimg, "points": points, "share": share[points], "share_of_20_points": share[MAX_CURVE_POINTS]}
        )
    return rows


if __name__ == "__main__":
    main()
