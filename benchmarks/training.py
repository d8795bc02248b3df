"""Training on 2,000 images without collapse: a curve of the distance, on a CPU with the preset `tiny`.

    python benchmarks/training.py [--images 2000] [--kimg 60] [--seconds 900] [--work FOLDER]

The images are samples of `digiface`, written to a folder and read again like any data set. Two runs use the same
images: one with adaptive augmentation, one without (--arms). Needs the packages of the extra `evaluate`. Writes
benchmarks/results/training.json; the sample grids stay in the working folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _record import environment, write_result

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.gan_training.config import TrainingSchedule, select_preset
from faceaug.gan_training.data import FolderImageSource, GeneratorImageSource, SquareConfig, load_squares
from faceaug.gan_training.evaluation import EvaluationConfig, FrechetCurve, Pixels, evaluate_generator
from faceaug.gan_training.features import FeatureExtractor, load_efficientnet
from faceaug.gan_training.run_writer import GENERATOR_FILE
from faceaug.gan_training.trainer import GanTrainer, train
from faceaug.generators.registry import load_generator
from faceaug.utils.images import encode
from faceaug.utils.tensors import to_uint8
from faceaug.utils.training import checkpoints

FINAL_METRICS = ("n", "frechet", "kernel_distance", "precision", "recall", "near_copies", "split_half")
ARMS = {"adaptive augmentation": True, "no augmentation": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--kimg", type=float, default=60)
    parser.add_argument("--seconds", type=float, help="also end each run after so long")
    parser.add_argument("--compare", type=int, default=1000, help="of each kind at the end")
    parser.add_argument("--samples", type=int, default=300, help="of each kind for a point of the curve")
    parser.add_argument("--points", type=int, default=8, help="of the curve")
    parser.add_argument("--arms", type=int, default=2, choices=(1, 2), help="1: with augmentation only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keep the images and the runs there")
    parser.add_argument("--out", type=Path, help="another place for the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        pixels = images(work / "faces", options)
        features = load_efficientnet()
        record: dict[str, Any] = {
            **environment(options.seed, ("torch", "numpy", *features.versions)),
            "images": len(pixels),
            "resolution": options.resolution,
            "preset": "tiny",
            "distance": features.distance,
            "arms": {arm: run(work, arm, pixels, features, options) for arm in list(ARMS)[: options.arms]},
        }
    print(write_result("training", record, options.out) if options.out else write_result("training", record))


def images(folder: Path, options: argparse.Namespace) -> Pixels:
    """Write samples of `digiface` as PNG files, once, and read them as a data set."""
    if not folder.exists():
        folder.mkdir(parents=True)
        rng = torch.Generator().manual_seed(options.seed)
        samples = to_uint8(GeneratorImageSource(load_generator("digiface")).sample(options.images, 64, rng))
        for k, image in enumerate(samples):
            (folder / f"{k:05d}.png").write_bytes(encode(image, "png"))
    dataset = load_dataset(folder, options=LoadOptions(needs_labels=False, check="header"))
    return load_squares(dataset, SquareConfig(options.resolution))[0]


def run(
    work: Path, arm: str, pixels: Pixels, features: FeatureExtractor, options: argparse.Namespace
) -> dict[str, Any]:
    """Train one arm and return its curve and the evaluation of its last generator."""
    config = replace(select_preset("tiny", options.resolution, options.seed)[1], augment=ARMS[arm])
    start = time.process_time()
    steps, out = config.steps(options.kimg), work / arm.replace(" ", "-")
    source = FolderImageSource(pixels, "samples of digiface")
    is_resumed = (out / checkpoints.CHECKPOINT_FILE).exists()
    schedule = TrainingSchedule(
        steps, options.seconds, resume=is_resumed, snapshot_every=max(1, steps // options.points)
    )
    curve = FrechetCurve(pixels[: options.samples], features)
    train(GanTrainer(config, source), out, schedule, snapshot_metrics=curve)
    log = checkpoints.read_log(out)
    seconds = round(time.process_time() - start)
    keys = ("images_seen", "frechet", "p", "r_t", "r_v")
    points = [{key: row[key] for key in keys if key in row} for row in log if "frechet" in row]
    count = min(options.compare, len(pixels))
    generator = load_generator(out / GENERATOR_FILE)
    result, _ = evaluate_generator(generator, pixels, features, EvaluationConfig(count, options.seed))
    least = min(row["frechet"] for row in points)
    return {
        "images_seen": log[-1]["images_seen"],
        "processor_seconds": None if is_resumed else seconds,  # with those of the curve
        "curve_samples": options.samples,
        "curve": points,
        "last_over_least": round(points[-1]["frechet"] / least, 3),
        "end": {key: result[key] for key in FINAL_METRICS},
    }


if __name__ == "__main__":
    main()
