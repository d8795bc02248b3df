"""How long a run would take and how large its output would be, from a few seconds of trying on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from faceaug.appearance.augmentations import jitter
from faceaug.classifiers.classifier import Task, new_net
from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.training import train_net
from faceaug.datasets.dataset import FaceDataset
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents
from faceaug.inversion.encoder import EncoderConfig
from faceaug.inversion.inverter import INVERSION_STEPS
from faceaug.measurement.alignment import lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator
from faceaug.morphing.face import BYTES_PER_FACE
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.synthesis.accounting import WINDOW
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.origin_search import GENERATIONS, NEAR_SHARE, OFFSPRING
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.request import RunRequest, check_request
from faceaug.utils.images import DEFAULT_QUALITY, encode

ATTEMPTS_PER_SAMPLE = 2.0  # observed with surveyed origins and the default thresholds; cells differ a great deal
FROM_REAL_ATTEMPTS = 5.0  # of edits that begin with real faces
RERENDER_ATTEMPTS = 2.0
READS_PER_ATTEMPT, READS_AFTER_SEARCH = 2.0, 5.0  # images synthesized and read until an edit is done
READS_PER_RERENDER = 6.0  # measurements of an attempt, with as much time again for rendering
READS_PER_MORPH, READS_PER_FACE = 3.0, 2.0  # with registering, rendering, labels and identity
MORPHS_ACCEPTED, MORPHS_OF_PAIR = 0.55, 0.03  # of attempts, and samples for each pair of host and donor in a cell
READS_PER_CANDIDATE = 2.0  # its measurement, with labels, face quality and distances
INVERSION_STEP = 3.0  # times as long as a read: a step of the inversion with its gradient
STEP_ON_FEATURES = 0.1  # times as long as a step of a network from nothing: one of layers on frozen features
FEATURES_OF_IMAGE = 2.0  # times as long as a read: the frozen features of an image for both classifiers
HARMONIZING = 0.01  # seconds a sample
READING = 0.002  # seconds an image of the data set
TRIED = 64
_Timed = TypeVar("_Timed")
_ROW_BYTES = 300  # of a sample beside its image and its latents


@dataclass(frozen=True)
class CellYield:
    """What is expected of one cell.

    Attributes
    ----------
    cell : int
        Its index in the plan.
    accepted : int
        Samples, of those that are planned.
    attempts : int
    """

    cell: int
    accepted: int
    attempts: int


@dataclass(frozen=True)
class RunEstimate:
    """The expected cost of a run.

    Attributes
    ----------
    seconds : float
    bytes : float
        Of disk space.
    memory : float
        Bytes of memory in which real faces are kept for the run.
    cells : tuple of CellYield
        Of the planned cells, where the engine can tell.
    """

    seconds: float
    bytes: float
    memory: float = 0.0
    cells: tuple[CellYield, ...] = ()


def estimate(dataset: FaceDataset, plan: Plan, config: RunConfig | None = None) -> RunEstimate:
    """Return the expected seconds and bytes of a run.

    A batch is synthesized and read, a few steps of training are done, and the run is extrapolated from that. How many
    attempts a cell takes is not known before: the figure is right to a factor of about two. For morphs, samples and
    attempts of each cell are expected from the number of its faces. With several engines it is the most, for all that
    is planned may have to be tried by each.
    """
    return create_engine(check_request(dataset, plan, config or RunConfig())).estimate()


def latent_edit_estimate(request: RunRequest, generator: Generator) -> RunEstimate:
    """Return the estimate for edits of a generator's faces, or of inverted real faces."""
    config, plan, dataset = request.config, request.plan, request.dataset
    read, step = _single_thread(lambda: _read_and_step_seconds(generator, config))
    workers = config.worker_threads
    attempts = plan.total * min(FROM_REAL_ATTEMPTS if config.from_real else ATTEMPTS_PER_SAMPLE, config.tries)
    reads = config.survey_samples + attempts * (READS_AFTER_SEARCH if config.from_real else READS_PER_ATTEMPT)
    labels, face_quality = ClassifierConfig.for_size(len(dataset)), ClassifierConfig.for_face_quality(len(dataset))
    training = (labels.steps * (1 if workers > 1 else 2) + face_quality.steps) * step
    if labels.pretrained:
        training = training * STEP_ON_FEATURES + len(dataset) * FEATURES_OF_IMAGE * read / workers
    if config.from_real:
        reads += min(attempts, len(dataset)) * INVERSION_STEPS * INVERSION_STEP
        training += EncoderConfig().steps * step + EncoderConfig().samples * read
    else:
        surveyed = NEAR_SHARE * config.survey_samples  # about as many may serve as origins before parents are searched
        tried = [cell.planned * attempts / plan.total for cell in plan.cells if cell.planned]
        searched = [count - surveyed for count in tried if count > surveyed]
        reads += len(searched) * GENERATIONS * OFFSPRING * 3 + sum(searched) * (READS_AFTER_SEARCH - READS_PER_ATTEMPT)
    seconds = training + reads * read / workers + plan.total * HARMONIZING / workers + READING * len(dataset)
    return RunEstimate(float(seconds), plan.total * _sample_bytes(dataset, generator, config))


def rerender_estimate(request: RunRequest, estimator: FaceEstimator) -> RunEstimate:
    """Return the estimate for re-rendered faces, each attempt of which is measured several times."""
    reads = request.plan.total * min(RERENDER_ATTEMPTS, request.config.tries) * READS_PER_RERENDER
    return _measuring_estimate(request, estimator, reads)


def morph_estimate(request: RunRequest, estimator: FaceEstimator, faces: Mapping[int, int]) -> RunEstimate:
    """Return the estimate for morphs: each of the faces is read once, and each attempt is rendered and measured.

    Parameters
    ----------
    request : RunRequest
    estimator : FaceEstimator
    faces : mapping of int to int
        Photographs of each planned cell.
    """
    cells = tuple(_morph_yield(request, cell, faces[cell.index]) for cell in request.plan.cells if cell.planned)
    attempts, count = sum(cell.attempts for cell in cells), sum(faces.values())
    estimated = _measuring_estimate(request, estimator, count * READS_PER_FACE + attempts * READS_PER_MORPH)
    return replace(estimated, memory=float(count * BYTES_PER_FACE), cells=cells)


def _morph_yield(request: RunRequest, cell: PlannedCell, faces: int) -> CellYield:
    """Return what is expected of a cell: few faces make few pairs that fit, and a face is used only so often."""
    uses = request.config.uses_limit / (1 + request.config.donors)
    supply = int(faces * min(uses, MORPHS_OF_PAIR * max(0, faces - 1)))
    accepted = min(cell.planned, supply)
    in_vain = min(WINDOW, 2 * faces) if accepted < cell.planned else 0  # each host fails once, and once more in doubt
    attempts = min(accepted / MORPHS_ACCEPTED + in_vain, cell.planned * request.config.tries) if faces > 1 else 0
    return CellYield(cell.index, accepted, round(attempts))


def external_estimate(request: RunRequest, estimator: FaceEstimator, candidates: int) -> RunEstimate:
    """Return the estimate for candidates, each of which is read once, and once more where it is stored."""
    stored = min(request.plan.total, candidates)
    reads = candidates * READS_PER_CANDIDATE + stored * READS_PER_CANDIDATE
    estimated = _measuring_estimate(request, estimator, reads)
    harmonizing = (candidates + stored) * HARMONIZING / request.config.worker_threads
    return replace(estimated, seconds=estimated.seconds + harmonizing)


def _measuring_estimate(request: RunRequest, estimator: FaceEstimator, reads: float) -> RunEstimate:
    """Return the estimate for as many measurements as `reads`: a few photographs are measured, to know how long."""
    config, dataset = request.config, request.dataset
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), 8)).astype(int)
    canvases, shorter = lay_on_canvases([dataset.image(int(i)) for i in rows])

    def read_seconds() -> float:
        estimator.read(canvases[:1], shorter[:1], aligned=request.aligned)  # the first time takes longer
        start = time.perf_counter()
        estimator.read(canvases, shorter, aligned=request.aligned)
        return (time.perf_counter() - start) / len(rows)

    size = float(np.mean([len(dataset.encoded(int(i))) for i in rows])) + _ROW_BYTES
    seconds = reads * _single_thread(read_seconds) / config.worker_threads + READING * len(dataset)
    return RunEstimate(seconds, request.plan.total * size)


def _single_thread(timed: Callable[[], _Timed]) -> _Timed:
    """Time something with one thread of torch, as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return timed()
    finally:
        torch.set_num_threads(before)


def _read_and_step_seconds(generator: Generator, config: RunConfig) -> tuple[float, float]:
    """Return the seconds in which one image is synthesized and read, and of one step of training."""
    task, training = Task("any", "classes", ("a", "b")), ClassifierConfig(steps=4, device=config.device)
    side = training.input_size
    net = new_net("residual", [task], 0).eval()
    seeds = latent_seeds(config.seed, 0, TRIED)

    def read() -> None:
        w = torch.from_numpy(sample_latents(generator, seeds).astype(np.float32)).to(generator.device)
        with torch.inference_mode():
            images = generator.synthesize(w).float().cpu()
            small = torch.nn.functional.interpolate(images, size=(side, side))
            for _ in range(2):  # an image is read by the guidance classifier and for its face quality
                net.features(small)

    read()
    start = time.perf_counter()
    read()
    read_seconds = (time.perf_counter() - start) / TRIED
    images = np.random.default_rng(0).integers(0, 255, (TRIED, side, side, 3), dtype=np.uint8)
    labels = np.asarray(np.arange(TRIED) % 2, np.float64)
    jitter(torch.zeros(2, 3, 8, 8), torch.Generator().manual_seed(0), mirror=True)  # the first time takes longer
    start = time.perf_counter()
    train_net(net, [task], images, [labels], training, 0)
    return read_seconds, (time.perf_counter() - start) / 4


def _sample_bytes(dataset: FaceDataset, generator: Generator, config: RunConfig) -> float:
    """Return the bytes of a sample: those of the data set's own files, with its latents."""
    latents = 2 * 4 * generator.w_dim + _ROW_BYTES
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), 64)).astype(int)
    if config.layout == "raw" or not config.harmonize:
        sizes = [dataset.image(int(i)).size for i in rows[:8]] if config.harmonize else [3 * generator.resolution**2]
        return float(np.mean(sizes)) * (1.0 if config.layout == "raw" else 0.25) + latents
    if config.image_format:
        sizes = [len(encode(dataset.image(int(i)), config.image_format, DEFAULT_QUALITY)) for i in rows[::8]]
    else:
        sizes = [len(dataset.encoded(int(i))) for i in rows]
    return float(np.mean(sizes)) + latents
