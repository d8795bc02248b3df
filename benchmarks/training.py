"""Does training on 2,000 images work without collapse? A curve of the distance, on a CPU at the preset `tiny`.

    python benchmarks/training.py [--images 2000] [--kimg 60] [--seconds 900] [--work FOLDER]

The images are draws of `digiface`, written to a folder and read again as anybody's are. Two runs see the same: one with
adaptive augmentation, one without (--arms). Needs the packages of the extra `evaluate`. Writes
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
from faceaug.gan_training.data import FolderImageSource, GeneratorImageSource, load_pictures
from faceaug.gan_training.evaluation import Curve, Pixels, evaluate, to_pixels
from faceaug.gan_training.features import FeatureExtractor, load_efficientnet
from faceaug.gan_training.trainer import preset, train
from faceaug.generators.registry import load_generator
from faceaug.utils.training import checkpoints as snapshots
from faceaug.utils.images import encode

END = ("n", "frechet", "kernel_distance", "precision", "recall", "near_copies", "split_half")
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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        pixels = images(work / "faces", given)
        features = load_efficientnet()
        record: dict[str, Any] = {
            **environment(given.seed, ("torch", "numpy", *features.versions)),
            "images": len(pixels), "resolution": given.resolution, "preset": "tiny",
            "distance": features.distance,
            "arms": {arm: run(work, arm, pixels, features, given) for arm in list(ARMS)[: given.arms]},
        }  # fmt: skip
    print(write_result("training", record, given.out) if given.out else write_result("training", record))


def images(folder: Path, given: argparse.Namespace) -> Pixels:
    """Write draws of `digiface` as PNG files, once, and read them as a data set."""
    if not folder.exists():
        folder.mkdir(parents=True)
        rng = torch.Generator().manual_seed(given.seed)
        drawn = to_pixels(GeneratorImageSource(load_generator("digiface")).draw(given.images, 64, rng))
        for k, picture in enumerate(drawn):
            (folder / f"{k:05d}.png").write_bytes(encode(picture, "png"))
    return load_pictures(load_dataset(folder, options=LoadOptions(needs_labels=False, check="header")), given.resolution)[0]


def run(work: Path, arm: str, pixels: Pixels, features: FeatureExtractor, given: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and return its curve and how its last draws compare."""
    config = replace(preset("tiny", given.resolution, given.seed)[1], augment=ARMS[arm])
    begin = time.process_time()
    steps, out = config.steps(given.kimg), work / arm.replace(" ", "-")
    source = FolderImageSource(pixels, "draws of digiface")
    continued = (out / snapshots.CHECKPOINT).exists()
    train(
        config, source, out, given.seconds, continued, steps=steps,
        snapshot_every=max(1, steps // given.points), watch=Curve(pixels[: given.samples], features),
    )  # fmt: skip
    log = snapshots.read_log(out)
    worked = round(time.process_time() - begin)
    kept = ("seen", "frechet", "strength", "overfit", "memorised")
    curve = [{key: row[key] for key in kept if key in row} for row in log if "frechet" in row]
    count = min(given.compare, len(pixels))
    found, _ = evaluate(load_generator(out / snapshots.EXPORT), pixels, features, n=count, seed=given.seed)
    least = min(row["frechet"] for row in curve)
    return {
        "seen": log[-1]["seen"],
        "processor_seconds": None if continued else worked,  # with the curve's
        "curve_samples": given.samples,
        "curve": curve,
        "last_over_least": round(curve[-1]["frechet"] / least, 3),
        "end": {key: found[key] for key in END},
    }  # fmt: skip


if __name__ == "__main__":
    main()
