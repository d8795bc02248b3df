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
    target: FaceDataset, plan: Plan, generator: str | Path | Generator = "embedded", settings: RunConfig | None = None,
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
    settings = settings or RunConfig()
    engines = []
    if settings.engine != "generator":
        check_axes(plan.axes, settings.engine)
        engines.append(_rerendered(target, plan, load_estimator(reconstruction), settings))  # as a run does
    if settings.engine != "rerender":
        made = generator if not isinstance(generator, str | Path) else load_generator(generator, settings.device)
        if settings.from_real:
            check_turning(target, plan.axes, made, find_directions(made, directions, reconstruction))
        engines.append(_drawn(target, plan, made, settings))
    return {"seconds": sum(part["seconds"] for part in engines), "bytes": max(part["bytes"] for part in engines)}


def _drawn(target: FaceDataset, plan: Plan, made: Generator, settings: RunConfig) -> dict[str, float]:
    """Return the same for draws of a generator."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        look, step = _seconds_of(made, settings)
    finally:
        torch.set_num_threads(before)
    workers, cells = workers_of(settings), sum(1 for cell in plan.cells if cell.planned)
    usual = FROM_REAL_PER_SAMPLE if settings.from_real else ATTEMPTS_PER_SAMPLE
    attempts = plan.total * min(usual, settings.tries)
    looks = settings.draws + attempts * LOOKS_PER_ATTEMPT
    training = (
        ClassifierSchedule.for_size(len(target)).steps * (1 if workers > 1 else 2) + steps_for(len(target))
    ) * step
    if settings.from_real:
        looks += min(attempts, len(target)) * inverter.STEPS * INVERTING
        training += encoder.STEPS * step + encoder.POOL * look
    else:
        looks += cells * GENERATIONS * OFFSPRING * 3
    seconds = training + looks * look / workers + plan.total * FINISHING / workers + 0.002 * len(target)
    return {"seconds": float(seconds), "bytes": plan.total * _bytes_of_one(target, made, settings)}


def _rerendered(target: FaceDataset, plan: Plan, measurer: FaceEstimator, settings: RunConfig) -> dict[str, float]:
    """Return the same for real faces rendered anew: a few of them are measured, as each attempt is several times."""
    rows = np.linspace(0, len(target) - 1, min(len(target), 8)).astype(int)
    canvases, shorter = canvases_of([target.image(int(i)) for i in rows])
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    try:
        measurer.read(canvases[:1], shorter[:1], aligned=settings.aligned)  # the first time takes longer
        start = time.perf_counter()
        measurer.read(canvases, shorter, aligned=settings.aligned)
        look = (time.perf_counter() - start) / len(rows)
    finally:
        torch.set_num_threads(before)
    looks = plan.total * min(RERENDERED_PER_SAMPLE, settings.tries) * LOOKS_PER_RERENDERED
    size = float(np.mean([len(target.encoded(int(i))) for i in rows])) + 300
    return {"seconds": looks * look / workers_of(settings) + 0.002 * len(target), "bytes": plan.total * size}


def _seconds_of(generator: Generator, settings: RunConfig) -> tuple[float, float]:
    """Return the seconds of one picture synthesised and read, and of one step of training, by one thread."""
    task = Task("any", "classes", ("a", "b"))
    net = new_net("residual", [task], 0).eval()
    seeds = latent_seeds(settings.seed, 0, TRIED)

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
    train_net(net, [task], pictures, [labels], ClassifierSchedule(steps=4), 0, settings.device)
    return one, (time.perf_counter() - start) / 4


def _bytes_of_one(target: FaceDataset, generator: Generator, settings: RunConfig) -> float:
    """Return the bytes that a sample takes: as the target's own files do, with its latents."""
    latents = 2 * 4 * generator.w_dim + 300
    rows = np.linspace(0, len(target) - 1, min(len(target), 64)).astype(int)
    if settings.layout == "raw" or not settings.finish:
        sizes = [target.image(int(i)).size for i in rows[:8]] if settings.finish else [3 * generator.resolution**2]
        return float(np.mean(sizes)) * (1.0 if settings.layout == "raw" else 0.25) + latents
    if settings.image_format:
        sizes = [len(encode(target.image(int(i)), settings.image_format, DEFAULT_QUALITY)) for i in rows[::8]]
    else:
        sizes = [len(target.encoded(int(i))) for i in rows]
    return float(np.mean(sizes)) + latents
