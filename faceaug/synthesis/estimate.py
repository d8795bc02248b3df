"""How long a run would take and how large its output would be, from a few seconds of trying on this machine."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from faceaug.classifiers.classifier import ClassifierSchedule, Task, new_net, train_net
from faceaug.classifiers.face_quality import steps_for
from faceaug.classifiers.networks import INPUT_SIZE
from faceaug.datasets.dataset import FaceDataset
from faceaug.generators.base import Generator
from faceaug.generators.registry import load_generator
from faceaug.generators.sampling import latent_seeds, sample_latents
from faceaug.inversion import encoder, inverter
from faceaug.measurement.alignment import canvases_of
from faceaug.measurement.measure import FaceEstimator, load_estimator
from faceaug.planning.plan import Plan
from faceaug.shards.writer import DEFAULT_QUALITY
from faceaug.synthesis.config import RunConfig, workers_of
from faceaug.synthesis.editing.origin_search import GENERATIONS, OFFSPRING
from faceaug.synthesis.editing.pose_readout import find_directions
from faceaug.synthesis.engines.inversion_setup import check_turning
from faceaug.synthesis.engines.source_faces import check_axes
from faceaug.utils.augmentations import jitter
from faceaug.utils.images import encode

ATTEMPTS_PER_SAMPLE = 7.0  # seen on real photographs at the default gates; cells differ a great deal
LOOKS_PER_ATTEMPT = 5.0  # pictures synthesised and read until an edit is done
RERENDERED_PER_SAMPLE = 2.0  # attempts
LOOKS_PER_RERENDERED = 6.0  # measurements an attempt, with as much time again for rendering
FROM_REAL_PER_SAMPLE = 5.0  # attempts that begin with real faces
INVERTING = 3.0  # times as long as a look takes a step downhill, with its gradient
FINISHING = 0.01  # seconds a sample
TRIED = 64


def estimate(
    dataset: FaceDataset, plan: Plan, generator: str | Path | Generator = "embedded", config: RunConfig | None = None,
    reconstruction: str | Path | None = None, directions: str | Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return the expected seconds and bytes of a run.

    A batch is synthesised, read, and a few steps of training are done, and the run is counted up from that. How many
    attempts a cell takes is not known before: the figure is right to a factor of about two. With the engine "both" it
    is the most, for all that is planned may have to be tried both ways.

    Returns
    -------
    dict
        `seconds` and `bytes`.
    """
    config = config or RunConfig()
    engines = []
    if config.engine != "generator":
        check_axes(plan.axes, config.engine)
        engines.append(_rerendered(dataset, plan, load_estimator(reconstruction), config))  # as a run does
    if config.engine != "rerender":
        generated = generator if not isinstance(generator, str | Path) else load_generator(generator, config.device)
        if config.from_real:
            check_turning(dataset, plan.axes, generated, find_directions(generated, directions, reconstruction))
        engines.append(_drawn(dataset, plan, generated, config))
    return {"seconds": sum(goal["seconds"] for goal in engines), "bytes": max(goal["bytes"] for goal in engines)}


def _drawn(dataset: FaceDataset, plan: Plan, generated: Generator, config: RunConfig) -> dict[str, float]:
    """Return the same for draws of a generator."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        look, step = _seconds_of(generated, config)
    finally:
        torch.set_num_threads(before)
    workers, cells = workers_of(config), sum(1 for cell in plan.cells if cell.planned)
    usual = FROM_REAL_PER_SAMPLE if config.from_real else ATTEMPTS_PER_SAMPLE
    attempts = plan.total * min(usual, config.tries)
    looks = config.survey_samples + attempts * LOOKS_PER_ATTEMPT
    training = (
        ClassifierSchedule.for_size(len(dataset)).steps * (1 if workers > 1 else 2) + steps_for(len(dataset))
    ) * step
    if config.from_real:
        looks += min(attempts, len(dataset)) * inverter.STEPS * INVERTING
        training += encoder.STEPS * step + encoder.POOL * look
    else:
        looks += cells * GENERATIONS * OFFSPRING * 3
    seconds = training + looks * look / workers + plan.total * FINISHING / workers + 0.002 * len(dataset)
    return {"seconds": float(seconds), "bytes": plan.total * _bytes_of_one(dataset, generated, config)}


def _rerendered(dataset: FaceDataset, plan: Plan, estimator: FaceEstimator, config: RunConfig) -> dict[str, float]:
    """Return the same for real faces rendered anew: a few of them are measured, as each attempt is several times."""
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), 8)).astype(int)
    canvases, shorter = canvases_of([dataset.image(int(i)) for i in rows])
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    try:
        estimator.read(canvases[:1], shorter[:1], aligned=config.aligned)  # the first time takes longer
        start = time.perf_counter()
        estimator.read(canvases, shorter, aligned=config.aligned)
        look = (time.perf_counter() - start) / len(rows)
    finally:
        torch.set_num_threads(before)
    looks = plan.total * min(RERENDERED_PER_SAMPLE, config.tries) * LOOKS_PER_RERENDERED
    size = float(np.mean([len(dataset.encoded(int(i))) for i in rows])) + 300
    return {"seconds": looks * look / workers_of(config) + 0.002 * len(dataset), "bytes": plan.total * size}


def _seconds_of(generator: Generator, config: RunConfig) -> tuple[float, float]:
    """Return the seconds of one picture synthesised and read, and of one step of training, by one thread."""
    task = Task("any", "classes", ("a", "b"))
    net = new_net("residual", [task], 0).eval()
    seeds = latent_seeds(config.seed, 0, TRIED)

    def look() -> None:
        w = torch.from_numpy(sample_latents(generator, seeds).astype(np.float32)).to(generator.device)
        with torch.inference_mode():
            images = generator.synthesize(w).float().cpu()
            small = torch.nn.functional.interpolate(images, size=(INPUT_SIZE, INPUT_SIZE))
            for _ in range(2):  # a picture is read by the steering probe and for soundness
                net.features(small)

    look()
    start = time.perf_counter()
    look()
    one = (time.perf_counter() - start) / TRIED
    pictures = np.random.default_rng(0).integers(0, 255, (TRIED, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.uint8)
    jitter(torch.zeros(2, 3, 8, 8), torch.Generator().manual_seed(0), mirror=True)
    start = time.perf_counter()
    labels = np.asarray(np.arange(TRIED) % 2, np.float64)
    train_net(net, [task], pictures, [labels], ClassifierSchedule(steps=4), 0, config.device)
    return one, (time.perf_counter() - start) / 4


def _bytes_of_one(dataset: FaceDataset, generator: Generator, config: RunConfig) -> float:
    """Return the bytes that a sample takes: as the dataset's own files do, with its latents."""
    latents = 2 * 4 * generator.w_dim + 300
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), 64)).astype(int)
    if config.layout == "raw" or not config.harmonize:
        sizes = [dataset.image(int(i)).size for i in rows[:8]] if config.harmonize else [3 * generator.resolution**2]
        return float(np.mean(sizes)) * (1.0 if config.layout == "raw" else 0.25) + latents
    if config.image_format:
        sizes = [len(encode(dataset.image(int(i)), config.image_format, DEFAULT_QUALITY)) for i in rows[::8]]
    else:
        sizes = [len(dataset.encoded(int(i))) for i in rows]
    return float(np.mean(sizes)) + latents
