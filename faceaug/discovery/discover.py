"""Discovery of a generator's directions, without labels: the work of `faceaug discover`.

The mirror split and a linear model initialize a reconstruction network, which is trained on samples of the generator.
The factors that it estimates (view, light, every pixel of canonical depth and albedo) are regressed on the latent, and
the regression of the maps is cut into localized atoms (docs/method.md, sections 2 to 4).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from faceaug.cluster.ray_cluster import RayCluster, RemoteTask, cluster_of, prepared
from faceaug.discovery.config import (
    ALIGNMENT_STAGE,
    CALIBRATION_STAGE,
    LINEAR_STAGE,
    NETWORK_STAGE,
    READER_STAGE,
    SYNTHESIS_STAGE,
    TURN_STAGE,
    VIEW_READER_STAGE,
    DiscoveryConfig,
    DiscoveryProgress,
    DiscoveryRun,
    prepare_output,
)
from faceaug.discovery.fit import SamplePools, fit_bundle
from faceaug.generators.base import Generator
from faceaug.generators.pool import (
    HELD_OUT_STREAM,
    TRAINING_STREAM,
    PoolBatch,
    SamplePool,
    pool_batches,
    pool_images,
    sample_pool,
    write_pool_images,
)
from faceaug.latents.bundle import Bundle
from faceaug.measurement.alignment import Aligner, train_alignment
from faceaug.measurement.estimator import CalibrationConfig, calibrate_estimator
from faceaug.measurement.measure import estimator_state
from faceaug.measurement.reader import FactorReader
from faceaug.measurement.reader_training import train_reader, turn_faces
from faceaug.reconstruction.networks import NETWORK_SIDE, Reconstructor, export_weights, network_from_weights
from faceaug.reconstruction.training.linear_init import LinearTrainer
from faceaug.reconstruction.training.network_trainer import NetworkTrainer
from faceaug.reconstruction.training.perceptual import LatentTrainer
from faceaug.reconstruction.training.symmetry import check_sample_count, mirror_split
from faceaug.utils.files import write_bytes
from faceaug.utils.training.checkpoints import check_setup
from faceaug.utils.training.train_loop import StepTrainer
from faceaug.utils.training.train_loop import run as run_training

POOL_FOLDER, ALIGNMENT_FILE, VIEW_READER_FILE = "samples", "alignment.safetensors", "view_reader.safetensors"
LEAST_TURNED = 0.2
"""Share of the faces that must be usable once they are turned for a reader of view and light to be trained."""
ALIGNMENT_SAMPLES = 4096
"""Samples that the alignment is trained on, at most."""
LINEAR_SIDE = 32
"""Side in pixels of the linear model and the mirror split, at most."""

_log = logging.getLogger(__name__)


def discover(
    generator: Generator, out: Path, config: DiscoveryConfig | None = None, run: DiscoveryRun | None = None
) -> Bundle:
    """Find the directions of a generator and write them with the estimator that found them.

    Parameters
    ----------
    generator
        Its w has a mean and a covariance.
    out
        The file to write, .safetensors.
    config : DiscoveryConfig, optional
        What determines the result.
    run : DiscoveryRun, optional
        Working folder, resuming, deadline, progress and the command line to record.

    Returns
    -------
    Bundle
        As it was written.

    Raises
    ------
    GeneratorError
        When the generator has no usable covariance, or the working folder is of another generator or configuration.
    FaceaugError
        When the samples are too few for the generator's w.
    OutputError
        When the working folder holds a run and `run.resume` is not set, or a file cannot be written.
    """
    config, run = config or DiscoveryConfig(), run or DiscoveryRun()
    check_sample_count(generator, config.samples)  # before anything is written or synthesized
    work = prepare_output(out, run)
    setup = {"generator": generator.sha256, **asdict(config)}
    for name in ("linear", "reader", "network"):
        check_setup(work / name, setup)
    side = max(config.schedule.side, min(NETWORK_SIDE, generator.resolution))
    pools = sample_pools(generator, config, side, work / POOL_FOLDER, run)
    network, even_directions = _train_network(generator, pools.training, config, run, work, setup)
    # In half precision, as it is written: what is measured here is what the file holds.
    network = network_from_weights(export_weights(network)).to(generator.device)
    atoms = max(1, min(config.atoms, 2 * even_directions // 3))
    aligner = _alignment(pools.training, config, work / ALIGNMENT_FILE, generator.device, run.progress)
    reader = view_reader(pools.training, network, aligner, config, work / VIEW_READER_FILE, run.progress)
    bundle = replace(fit_bundle(generator, network, reader, pools, atoms, run), made_by=run.command)
    bundle = add_estimator(bundle, network, aligner, reader, pools.held_out, config, run.progress)
    bundle.save(out)
    shutil.rmtree(work / POOL_FOLDER, ignore_errors=True)  # large, and synthesized again where it is needed
    return bundle


def sample_pools(
    generator: Generator, config: DiscoveryConfig, side: int, folder: Path, run: DiscoveryRun
) -> SamplePools:
    """Return the training samples and the held-out samples; images that the folder holds are read from it."""
    done, total = 0, config.samples + config.held_out

    def count(n: int) -> None:
        nonlocal done
        done += n
        run.progress(SYNTHESIS_STAGE, done, total, {})

    # The confidence model is fitted on images of the side of crops of photographs.
    held_out_side = max(side, NETWORK_SIDE)
    pools = (config.samples, side, TRAINING_STREAM), (config.held_out, held_out_side, HELD_OUT_STREAM)
    with cluster_of(run.placement, str(generator.device)) as cluster:
        if cluster is not None:
            for n, own_side, stream in pools:
                batches = pool_batches(generator, n, config.seed, own_side, stream)
                _synthesize_on(cluster, generator, batches, own_side, folder, count)
    counted = None if run.placement.on_ray else count
    training, held_out = (
        sample_pool(generator, n, config.seed, own_side, folder, counted, stream) for n, own_side, stream in pools
    )
    return SamplePools(training, held_out)


def _synthesize_on(
    cluster: RayCluster,
    generator: Generator,
    batches: Iterator[PoolBatch],
    side: int,
    folder: Path,
    count: Callable[[int], None],
) -> None:
    """Have those images of a pool that a folder lacks synthesized by a cluster, and write them when they arrive."""
    folder.mkdir(parents=True, exist_ok=True)
    box = cluster.share(generator)

    def arrived(path: Path, images: NDArray[np.uint8]) -> int:
        write_pool_images(path, images)
        return len(images)

    def missing() -> Iterator[RemoteTask[int]]:
        for batch in batches:
            path = folder / batch.name
            if path.exists():
                count(len(batch.w))
            else:
                yield cluster.submit(_images_remotely, box, batch.w.cpu(), side, arrived=partial(arrived, path))

    for n in cluster.in_order(missing()):
        count(n)


def _images_remotely(box: list[Any], w: Tensor, side: int) -> NDArray[np.uint8]:
    generator: Generator = prepared(box)
    return pool_images(generator, w.to(generator.device), side)


def add_estimator(
    bundle: Bundle,
    network: Reconstructor,
    aligner: Aligner,
    reader: FactorReader | None,
    held_out: SamplePool,
    config: DiscoveryConfig,
    progress: DiscoveryProgress,
) -> Bundle:
    """Return a bundle with alignment and reader, and with a confidence model fitted on held-out samples."""
    estimator = calibrate_estimator(
        network,
        aligner,
        held_out.images[: config.calibration_samples],
        atoms=bundle,
        reader=reader,
        config=CalibrationConfig(seed=config.seed),
        progress=lambda done, total: progress(CALIBRATION_STAGE, done, total, {}),
    )
    return replace(bundle, weights={**bundle.weights, **estimator_state(estimator)})


def view_reader(
    pool: SamplePool,
    network: Reconstructor,
    aligner: Aligner,
    config: DiscoveryConfig,
    file: Path,
    progress: DiscoveryProgress,
) -> FactorReader | None:
    """Train the reader of view and light, or read it from the working folder, as `_alignment` does.

    None, with a warning, where most faces cannot be turned: the reconstruction is then read as it is.
    """
    if not file.exists():
        faces = turn_faces(
            pool.images,
            network,
            aligner,
            config.turned_faces,
            seed=config.seed,
            progress=lambda done, total: progress(TURN_STAGE, done, total, {}),
        )
        if len(faces.images) < LEAST_TURNED * config.turned_faces:
            _log.warning(
                "%d of %d faces could be turned, too few to learn view and light from: they are read by the "
                "reconstruction alone",
                len(faces.images),
                config.turned_faces,
            )
            return None
        reader = train_reader(
            faces,
            steps=config.view_reader_steps,
            seed=config.seed,
            device=aligner.device,
            progress=lambda step, steps, loss: progress(VIEW_READER_STAGE, step, steps, {"loss": loss}),
        )
        write_bytes(file, save(reader.state()))
    return FactorReader.from_state(load_file(file)).to(aligner.device)


def _train_network(
    generator: Generator,
    pool: SamplePool,
    config: DiscoveryConfig,
    run: DiscoveryRun,
    work: Path,
    setup: Mapping[str, Any],
) -> tuple[Reconstructor, int]:
    """Train the linear model, the latent reader and the network; return the network and the number of even directions.

    Each continues from its checkpoint in the working folder.
    """
    device, side = generator.device, config.schedule.side
    linear_side = min(side, LINEAR_SIDE)
    split = mirror_split(generator, pool, linear_side)

    def train(name: str, stage: str, trainer: StepTrainer, deadline: float | None = None) -> None:
        def report(step: int, steps: int, figures: Mapping[str, float]) -> None:
            run.progress(stage, step, steps, figures)

        run_training(trainer, work / name, setup, until=deadline, save_every=run.save_every, progress=report)

    linear = LinearTrainer(pool, split, config.seed, config.linear_steps, side=linear_side, device=device)
    train("linear", LINEAR_STAGE, linear)
    reader = LatentTrainer(pool, split, config.seed, config.reader_steps, side=side, device=device)
    train("reader", READER_STAGE, reader)
    network = NetworkTrainer(generator, pool, split, reader.model, linear.model, config.schedule, device)
    train("network", NETWORK_STAGE, network, run.deadline)
    return network.average, split.even.shape[1]


def _alignment(
    pool: SamplePool, config: DiscoveryConfig, file: Path, device: torch.device, progress: DiscoveryProgress
) -> Aligner:
    """Train the alignment, or read it from the working folder, which is of the same generator and configuration."""
    if not file.exists():
        aligner = train_alignment(
            pool.images[:ALIGNMENT_SAMPLES],
            steps=config.alignment_steps,
            seed=config.seed,
            device=device,
            progress=lambda step, steps, loss: progress(ALIGNMENT_STAGE, step, steps, {"loss": loss}),
        )
        write_bytes(file, save(aligner.state()))
    return Aligner.from_state(load_file(file)).to(device)
