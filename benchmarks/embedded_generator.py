"""Train the generator that is meant to be shipped: a StyleGAN2 on selected samples of `digiface`.

    python benchmarks/embedded_generator.py --work embedded-64 --preset 64 --device cuda --seconds 1500   # a GPU
    python benchmarks/embedded_generator.py --work embedded-tiny --preset tiny --kimg 20                  # to test it

Selection: a classifier of face quality is trained without labels, and only the share --keep of samples with the highest
face quality is used. Samples never repeat, so nothing is augmented and overfitting is impossible. Run again with the
same --work, it continues. Leaves generator.safetensors, kept.png and rejected.png (look at them first), samples.png,
grids/, log.jsonl with the curve of the distance, and card.json, the metrics for the model card. Needs the packages of
the extra `evaluate`. It has run to its end with the preset tiny on a CPU, and for 82 seconds with 64 on a GPU.
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

from faceaug.classifiers.classifier import Classifier, resize_input
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.face_quality import DISTORTED_TRUNCATION, INTACT_TRUNCATION, train_face_quality
from faceaug.errors import GeneratorError
from faceaug.gan_training.config import PRESET_KIMG, TrainingSchedule, select_preset
from faceaug.gan_training.data import GeneratorImageSource
from faceaug.gan_training.evaluation import (
    MIN_EVALUATION_IMAGES,
    EvaluationConfig,
    FrechetCurve,
    Pixels,
    evaluate_generator,
    image_grid,
)
from faceaug.gan_training.features import FeatureExtractor, load_efficientnet
from faceaug.gan_training.trainer import GanTrainer, train
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.utils.device import check_device
from faceaug.utils.files import write_bytes, write_json
from faceaug.utils.images import encode
from faceaug.utils.tensors import to_uint8
from faceaug.utils.training import checkpoints

MAX_SHIPPED_BYTES = 12_000_000
DEFAULT_KIMG = 8000  # of all presets but tiny
CLASSIFIER_FILE = "face_quality.safetensors"
CARD_METRICS = (
    *("n", "truncation_psi", "frechet", "kernel_distance", "precision", "recall", "near_copies", "split_half"),
)
SHOWN_SAMPLES = 256
REAL_SEED = 2**40  # of the samples for evaluation, which are not those of the training


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    device = check_device(options.device)
    checkpoints.make_folder(options.work)
    teacher, features = load_generator("digiface", device), load_efficientnet(device)
    source = selected_samples(teacher, options, device)
    name, config = select_preset(options.preset, seed=options.seed)
    config = replace(config, augment=False, batch_size=options.batch_size or config.batch_size)
    real = sample_source(source, options.samples, config.network.resolution, device)
    steps = config.steps(options.kimg or (PRESET_KIMG[name] if name == "tiny" else DEFAULT_KIMG))
    schedule = TrainingSchedule(
        steps,
        options.seconds,
        resume=(options.work / checkpoints.CHECKPOINT_FILE).exists(),
        snapshot_every=max(1, steps // 40),
    )
    curve = FrechetCurve(real[: max(MIN_EVALUATION_IMAGES, options.samples // 10)], features, device)
    path = train(GanTrainer(config, source, device), options.work, schedule, snapshot_metrics=curve)
    write_card(path, real, features, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--preset", choices=sorted(PRESET_KIMG), default="64")
    parser.add_argument("--kimg", type=float, help="thousand images to train on in all (default: 8000; tiny: 60)")
    parser.add_argument("--seconds", type=float, help="stop this call after this time")
    parser.add_argument("--batch-size", type=int, help="images per step, instead of the preset's")
    parser.add_argument("--keep", type=float, default=0.85, help="share of the samples that is used")
    parser.add_argument("--faces", type=int, default=4000, help="samples of each kind to train the classifier on")
    parser.add_argument("--samples", type=int, default=5000, help="of each kind for the metrics; a tenth for the curve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-bytes", type=int, default=MAX_SHIPPED_BYTES, help="largest file that is accepted")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def selected_samples(teacher: Generator, options: argparse.Namespace, device: torch.device) -> GeneratorImageSource:
    """Return the source of samples with high face quality; write images of what is kept and what is rejected."""
    file = options.work / CLASSIFIER_FILE
    if not file.exists():
        report("training the classifier of face quality")
        near, intact, distorted = (
            sample_truncated(teacher, psi, options.faces, (options.seed, k), device)
            for k, psi in enumerate((INTACT_TRUNCATION, INTACT_TRUNCATION, DISTORTED_TRUNCATION))
        )
        config = ClassifierConfig.for_face_quality(len(near), str(device))
        train_face_quality(near, intact, distorted, options.seed, config).save(file)
    score = face_quality_score(Classifier.load(file), device)
    source = GeneratorImageSource(teacher, score=score, keep=options.keep)
    rng = torch.Generator(device).manual_seed(options.seed)
    samples = GeneratorImageSource(teacher).sample(SHOWN_SAMPLES, teacher.resolution, rng)
    ranked = to_uint8(samples[score(samples).argsort(descending=True)])
    kept = round(SHOWN_SAMPLES * options.keep)
    for name, images in (("kept", ranked[:kept]), ("rejected", ranked[kept:])):
        if len(images):
            write_bytes(options.work / f"{name}.png", encode(image_grid(images), "png"))
    return source


def face_quality_score(classifier: Classifier, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the function from images [N, 3, S, S] to the log-odds [N] of an intact face, on a device."""
    net = classifier.net.to(device)

    def score(images: Tensor) -> Tensor:
        resized = resize_input(images, classifier.input_size)
        with torch.inference_mode():
            logits: Tensor = net(resized.contiguous(memory_format=torch.channels_last))
        return (logits[:, 1] - logits[:, 0]).clone()

    return score


def sample_truncated(
    teacher: Generator, truncation_psi: float, n: int, seed: tuple[int, int], device: torch.device
) -> Pixels:
    """Return samples uint8 [n, S, S, 3] whose z is scaled by a truncation, which may exceed 1."""
    z = np.random.default_rng(seed).standard_normal((n, teacher.z_dim), dtype=np.float32) * np.float32(truncation_psi)
    with torch.no_grad():
        w = teacher.map(torch.from_numpy(z).to(device))
        return np.concatenate([to_uint8(teacher.synthesize(batch)) for batch in w.split(256)])


def sample_source(source: GeneratorImageSource, n: int, resolution: int, device: torch.device) -> Pixels:
    """Return samples of the source for evaluation, which are not those of the training."""
    rng = torch.Generator(device).manual_seed(REAL_SEED)
    batches = [to_uint8(source.sample(min(128, n - start), resolution, rng)) for start in range(0, n, 128)]
    return np.concatenate(batches)


def write_card(path: Path, real: Pixels, features: FeatureExtractor, options: argparse.Namespace) -> None:
    """Write the metrics of the model card."""
    generator = load_generator(path, options.device)
    result, generated = evaluate_generator(generator, real, features, EvaluationConfig(len(real), options.seed))
    log = checkpoints.read_log(options.work)
    size, rate = path.stat().st_size, images_per_second(path)
    keys = ("images_seen", "frechet", "frechet_n")
    record: dict[str, Any] = {
        **environment(options.seed, ("torch", "numpy", *features.versions), options.device),
        "preset": options.preset,
        "keep": options.keep,
        "images_seen": log[-1]["images_seen"],
        "bytes": size,
        "images_per_second_on_cpu": rate,
        "sha256": generator.sha256,
        **{key: result[key] for key in CARD_METRICS},
        "curve": [{key: row[key] for key in keys} for row in log if "frechet" in row],
    }
    write_json(options.work / "card.json", record)
    write_bytes(options.work / "samples.png", encode(image_grid(generated), "png"))
    write_bytes(options.work / "real.png", encode(image_grid(real), "png"))
    report(f"{path}: {size / 1e6:.1f} MB, {rate} images per second on a CPU; metrics in {options.work / 'card.json'}")
    if size > options.max_bytes:
        raise GeneratorError(f"{path} has {size:,} bytes, more than the {options.max_bytes:,} that are shipped")


def images_per_second(path: Path, seconds: float = 5) -> float:
    """Return the speed of synthesis on this machine's processor, measured over some seconds."""
    generator = load_generator(path)
    w = generator.map(torch.zeros(32, generator.z_dim))
    generator.synthesize(w)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        generator.synthesize(w)
        done += len(w)
    return round(done / elapsed, 1)


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
