"""Fine-tuning on the photographs of a data set: the work of `faceaug discover --tune-on`.

It starts from a file of directions, crops the faces of the photographs by its alignment, fine-tunes its network on
them, and finds the generator's directions anew with the fine-tuned network. The file that is written is of the same
kind as the one it started from and can be used in its place (docs/method.md, section 2, "Fine-tuning").
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.datasets.dataset import FaceDataset
from faceaug.discovery.config import (
    CROP_STAGE,
    FINETUNE_STAGE,
    DiscoveryConfig,
    DiscoveryProgress,
    DiscoveryRun,
    prepare_output,
)
from faceaug.discovery.discover import POOL_FOLDER, VIEW_READER_FILE, add_estimator, sample_pools, view_reader
from faceaug.discovery.fit import fit_bundle
from faceaug.errors import DatasetError
from faceaug.generators.base import Generator
from faceaug.generators.pool import sample_pool
from faceaug.latents.bundle import Bundle
from faceaug.latents.whitening import whitening
from faceaug.measurement.alignment import stack_canvases
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.image_batches import EncodedImages
from faceaug.measurement.measure import estimator_from_bundle, network_from_bundle
from faceaug.reconstruction.networks import export_weights, network_from_weights
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE
from faceaug.reconstruction.training.finetuning import FinetuneImages, FinetuneSchedule, FinetuneTrainer
from faceaug.utils.files import atomic, write_json
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import quantize_pixels, resize_tensor
from faceaug.utils.threads import map_in_threads
from faceaug.utils.training.train_loop import run as run_training

FINETUNE_FOLDER, FIGURES_FILE = "finetuning", "finetuning.json"
MONITOR_STREAM = 0x7D  # of the samples that the fine-tuning is checked on


@dataclass(frozen=True)
class FinetuneConfig:
    """Everything that determines the result of a fine-tuning besides the generator, the photographs and the start.

    Attributes
    ----------
    schedule : FinetuneSchedule
        Of the training.
    discovery : DiscoveryConfig
        Samples, held-out samples and seed; its schedule is not used.
    aligned : bool
        The photographs have the framing of the generator.
    min_faces : int
        Faces that must be found on the photographs.
    held_out_share : float
        Share of the faces that are held out.
    held_out_samples : int
        Samples that are held out besides.
    """

    schedule: FinetuneSchedule = field(default_factory=FinetuneSchedule)
    discovery: DiscoveryConfig = field(default_factory=DiscoveryConfig)
    aligned: bool = False
    min_faces: int = 64
    held_out_share: float = 0.1
    held_out_samples: int = 256


@dataclass(frozen=True)
class FinetuneResult:
    """The result of a fine-tuning.

    Attributes
    ----------
    bundle : Bundle
        As it was written.
    figures : dict
        Numbers of photographs, faces and steps, why the training ended, and errors before and after; also in
        finetuning.json of the working folder.
    """

    bundle: Bundle
    figures: dict[str, Any]


def finetune(
    generator: Generator,
    out: Path,
    dataset: FaceDataset,
    start: Bundle,
    config: FinetuneConfig | None = None,
    run: DiscoveryRun | None = None,
) -> FinetuneResult:
    """Fine-tune a reconstruction on unlabelled photographs, and write the generator's directions that it finds.

    Parameters
    ----------
    generator
        The one for which `start` was found.
    out
        The file to write, .safetensors.
    dataset
        Its labels have no influence. Where it has splits it should be the training split.
    start : Bundle
        With a network, an alignment and a confidence model, as `discover` writes it.
    config : FinetuneConfig, optional
    run : DiscoveryRun, optional

    Raises
    ------
    GeneratorError
        When `start` was found for another generator, or the working folder is of another configuration.
    DatasetError
        When too few faces are found on the photographs.
    OutputError
        As in `discover`.
    """
    config, run = config or FinetuneConfig(), run or DiscoveryRun()
    start.directions.check_generator(generator.sha256)
    whitening(generator)  # raises before anything is written
    estimator = estimator_from_bundle(start, device=generator.device)
    network = network_from_bundle(start).to(generator.device)
    work = prepare_output(out, run)
    cache = work / f"faces-{dataset.fingerprint()[:12]}.npy"
    faces = _cached_faces(dataset, estimator, config, cache, run.progress)
    faces = resize_tensor(faces.float(), network.side).round().byte()
    pools = sample_pools(generator, config.discovery, network.side, work / POOL_FOLDER, run)
    samples = sample_pool(
        generator,
        config.held_out_samples,
        config.discovery.seed,
        network.side,
        work / POOL_FOLDER,
        stream=MONITOR_STREAM,
    )
    held_out = torch.zeros(len(faces), dtype=torch.bool)
    held_out[:: round(1 / config.held_out_share)] = True
    images = FinetuneImages(faces[~held_out], faces[held_out], pools.training.images, samples.images)
    trainer = FinetuneTrainer(network, images, config.schedule, generator.device)
    _train(trainer, work / FINETUNE_FOLDER, _setup(generator, dataset, start, config), run)
    figures = _figures(trainer, len(faces), len(dataset))
    write_json(work / FIGURES_FILE, figures)
    # In half precision, as it is written: what is measured here is what the file holds.
    tuned = network_from_weights(export_weights(trainer.best)).to(generator.device)
    reader = view_reader(
        pools.training, tuned, estimator.aligner, config.discovery, work / VIEW_READER_FILE, run.progress
    )
    atoms = max(1, len(start.atoms))
    bundle = replace(fit_bundle(generator, tuned, reader, pools, atoms, run), made_by=run.command)
    bundle = add_estimator(bundle, tuned, estimator.aligner, reader, pools.held_out, config.discovery, run.progress)
    bundle.save(out)
    shutil.rmtree(work / POOL_FOLDER, ignore_errors=True)
    return FinetuneResult(bundle, figures)


def _setup(generator: Generator, dataset: FaceDataset, start: Bundle, config: FinetuneConfig) -> dict[str, Any]:
    """Return what a checkpoint must agree with to be resumed, JSON-able."""
    return {
        "generator": generator.sha256,
        "start": start.reconstruction,
        "dataset": dataset.fingerprint(),
        "steps": config.schedule.steps,
        "samples": config.discovery.samples,
        "seed": config.schedule.seed,
        "aligned": config.aligned,
    }


def _train(trainer: FinetuneTrainer, folder: Path, setup: Mapping[str, Any], run: DiscoveryRun) -> None:
    def report(step: int, steps: int, figures: Mapping[str, float]) -> None:
        run.progress(FINETUNE_STAGE, step, steps, figures)

    run_training(trainer, folder, setup, until=run.deadline, save_every=run.save_every, progress=report)


def _figures(trainer: FinetuneTrainer, faces: int, photographs: int) -> dict[str, Any]:
    before, after = ([round(float(value), 5) for value in row] for row in trainer.monitor.records)
    return {
        "photographs": photographs,
        "faces": faces,
        "steps": trainer.step,
        "ended": trainer.stop_reason,
        "error_on_photographs": [before[0], after[0]],
        "error_on_samples": [before[1], after[1]],
        "drift": after[2],
    }


def _cached_faces(
    dataset: FaceDataset, estimator: FaceEstimator, config: FinetuneConfig, cache: Path, progress: DiscoveryProgress
) -> Tensor:
    """Return the faces of the photographs, uint8 [M, 3, 64, 64]; an interrupted run's faces are read from the cache."""
    if cache.exists():
        cached: NDArray[np.uint8] = np.load(cache, allow_pickle=False)
        return torch.from_numpy(cached)
    faces = _crop_faces(dataset, estimator, config.aligned, progress)
    if len(faces) < config.min_faces:
        raise DatasetError(
            f"{len(faces)} faces were found on the {len(dataset):,} images of {dataset.name}: fine-tuning needs at "
            f"least {config.min_faces}"
        )
    with atomic(cache) as temporary, open(temporary, "wb") as stream:
        np.save(stream, faces.numpy())
    return faces


def _crop_faces(dataset: FaceDataset, estimator: FaceEstimator, aligned: bool, progress: DiscoveryProgress) -> Tensor:
    """Return crops, uint8 [M, 3, 64, 64], of the photographs whose estimate is not refused."""
    images = EncodedImages.of_dataset(dataset)
    crops: list[Tensor] = []
    batch: list[tuple[Rgb, float]] = []
    for done, canvas in enumerate(map_in_threads(images.load_canvas, len(images)), 1):
        if not isinstance(canvas, str):
            batch.append(canvas)
        if batch and (len(batch) == ESTIMATOR_BATCH_SIZE or done == len(images)):
            measurements = estimator.read(*stack_canvases(batch), aligned=aligned)
            accepted = torch.tensor([not reason for reason in measurements.refusals])
            crops.append(quantize_pixels(measurements.faces.images.cpu()[accepted]))
            batch = []
        progress(CROP_STAGE, done, len(images), {})
    return torch.cat(crops) if crops else torch.empty(0, 3, 64, 64, dtype=torch.uint8)
