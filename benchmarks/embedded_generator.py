"""Make the generator that is to be shipped: a StyleGAN2 trained on screened draws of `digiface`.

    python benchmarks/embedded_generator.py --work embedded-64 --preset 64 --device cuda --seconds 1500   # a GPU
    python benchmarks/embedded_generator.py --work embedded-tiny --preset tiny --kimg 20                  # to try it

Screened: a network learns without labels to tell one whole face from a melted one, and of the draws only the soundest
share (--keep) teaches. Draws never repeat, so nothing is augmented and nothing can be learnt by heart. Run again with
the same --work, it goes on where it stopped. Leaves generator.safetensors, kept.png and refused.png (look at them
first), samples.png, grids/, log.jsonl with the curve of the distance, and card.json, the figures for the model card.
Needs the packages of the extra `evaluate`. **It has run on a CPU at the preset tiny only, never on a GPU.**
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment
from torch import Tensor

from faceaug.classifiers.classifier import Classifier, fit
from faceaug.classifiers.face_quality import FAR, MODERATE, train_face_quality
from faceaug.errors import GeneratorError
from faceaug.gan_training.data import GeneratorImageSource
from faceaug.gan_training.evaluation import Curve, Pixels, evaluate, grid, to_pixels
from faceaug.gan_training.features import load_efficientnet
from faceaug.gan_training.trainer import BUDGETS, preset, train
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.utils import checkpoints as snapshots
from faceaug.utils.device import check_device
from faceaug.utils.files import write_bytes, write_json
from faceaug.utils.images import encode

LARGEST = 12_000_000  # bytes of a generator that is shipped
JUDGE = "soundness.safetensors"
FIGURES = ("n", "psi", "frechet", "kernel_distance", "precision", "recall", "near_copies", "split_half")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--preset", choices=sorted(BUDGETS), default="64")
    parser.add_argument("--kimg", type=float, help="thousand images to see in all (default: 8000; tiny: 60)")
    parser.add_argument("--seconds", type=float, help="stop this call after so long")
    parser.add_argument("--batch", type=int, help="images in a step, instead of the preset's")
    parser.add_argument("--keep", type=float, default=0.85, help="share of the draws that teaches")
    parser.add_argument("--faces", type=int, default=4000, help="draws of each kind to learn screening from")
    parser.add_argument("--samples", type=int, default=5000, help="of each kind for the figures; a tenth for the curve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    device = check_device(given.device)
    snapshots.make_folder(given.work)
    teacher, features = load_generator("digiface", device), load_efficientnet(device)
    source = screened(teacher, given, device)
    name, config = preset(given.preset, seed=given.seed)
    config = replace(config, augment=False, batch=given.batch or config.batch)
    real = pixels_of(source, given.samples, config.network.resolution, device)
    steps = config.steps(given.kimg or (BUDGETS[name] if name == "tiny" else 8000))
    curve = Curve(real[: max(32, given.samples // 10)], features, device)
    path = train(
        config, source, given.work, given.seconds, (given.work / snapshots.CHECKPOINT).exists(), device=device,
        steps=steps, snapshot_every=max(1, steps // 40), watch=curve,
    )  # fmt: skip
    card(path, real, features, given)


def screened(teacher: Generator, given: argparse.Namespace, device: torch.device) -> GeneratorImageSource:
    """Return the source: draws of the teacher of which the soundest are kept; and show what is kept and what is not."""
    file = given.work / JUDGE
    if not file.exists():
        log("learning to tell whole faces from melted ones")
        moderate, other, far = (
            draws_at(teacher, scale, given.faces, (given.seed, k), device)
            for k, scale in enumerate((MODERATE, MODERATE, FAR))
        )
        train_face_quality(moderate, other, far, given.seed, str(device)).save(file)
    judge = judge_of(Classifier.load(file), device)
    source = GeneratorImageSource(teacher, judge=judge, keep=given.keep)
    every = GeneratorImageSource(teacher).draw(256, teacher.resolution, torch.Generator(device).manual_seed(given.seed))
    order = judge(every).argsort(descending=True)
    whole, kept = to_pixels(every[order]), round(256 * given.keep)
    for name, shown in (("kept", whole[:kept]), ("refused", whole[kept:])):
        if len(shown):
            write_bytes(given.work / f"{name}.png", encode(grid(shown), "png"))
    return source


def judge_of(probe: Classifier, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what gives pictures [N, 3, S, S] their log-odds of one whole face, on a device."""
    net = probe.net.to(device)

    def judge(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = net(fit(images).contiguous(memory_format=torch.channels_last))
        return (found[:, 1] - found[:, 0]).clone()

    return judge


def draws_at(teacher: Generator, scale: float, n: int, seed: tuple[int, int], device: torch.device) -> Pixels:
    """Draw pictures uint8 [n, S, S, 3] at a multiple of the usual distance from the mean."""
    z = np.random.default_rng(seed).standard_normal((n, teacher.z_dim), dtype=np.float32) * np.float32(scale)
    with torch.no_grad():
        w = teacher.map(torch.from_numpy(z).to(device))
        return np.concatenate([to_pixels(teacher.synthesize(part)) for part in w.split(256)])


def pixels_of(source: GeneratorImageSource, n: int, resolution: int, device: torch.device) -> Pixels:
    """Draw pictures of what is learnt from, other ones than those of the training."""
    rng = torch.Generator(device).manual_seed(2**40)
    parts = [to_pixels(source.draw(min(128, n - start), resolution, rng)) for start in range(0, n, 128)]
    return np.concatenate(parts)


def card(path: Path, real: Pixels, features: Any, given: argparse.Namespace) -> None:
    """Write the figures of the model card."""
    generator = load_generator(path, given.device)
    found, made = evaluate(generator, real, features, seed=given.seed, n=len(real))
    log_rows = snapshots.read_log(given.work)
    size, rate = path.stat().st_size, images_per_second(path)
    record = {
        **environment(given.seed, ("torch", "numpy", *features.versions), given.device),
        "preset": given.preset, "keep": given.keep, "seen": log_rows[-1]["seen"], "bytes": size,
        "images_per_second_on_cpu": rate, "sha256": generator.sha256,
        **{key: found[key] for key in FIGURES},
        "curve": [{key: row[key] for key in ("seen", "frechet", "frechet_n")} for row in log_rows if "frechet" in row],
    }  # fmt: skip
    write_json(given.work / "card.json", record)
    write_bytes(given.work / "samples.png", encode(grid(made), "png"))
    write_bytes(given.work / "real.png", encode(grid(real), "png"))
    log(f"{path}: {size / 1e6:.1f} MB, {rate} images a second on this CPU; figures in {given.work / 'card.json'}")
    if size > LARGEST:
        raise GeneratorError(f"{path} has {size:,} bytes, more than the {LARGEST:,} that are shipped")


def images_per_second(path: Path) -> float:
    """Return how fast the generator draws on this machine's processor, over about five seconds."""
    generator = load_generator(path)
    w = generator.map(torch.zeros(32, generator.z_dim))
    generator.synthesize(w)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < 5:
        generator.synthesize(w)
        done += len(w)
    return round(done / elapsed, 1)


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
