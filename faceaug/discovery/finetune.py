"""Tuning on a data set's own pictures: what `faceaug discover --tune-on` does.

It begins with a finished directions file, frames the faces of the pictures by its alignment, tunes its network on them,
and then finds the generator's directions anew with the tuned network: the file that is written is of the same kind as
the one it began with, and takes its place wherever that is named.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.datasets.dataset import FaceDataset
from faceaug.discovery.discover import (
    DRAWN,
    DiscoveryConfig,
    DiscoveryProgress,
    bundle_of,
    prepare,
    sample_pools,
    silent,
    working_folder,
)
from faceaug.errors import DatasetError, UsageError
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool, sample_pool
from faceaug.latents.bundle import Bundle
from faceaug.latents.whitening import whitening
from faceaug.measurement.estimator import calibrate_estimator
from faceaug.measurement.measure import FaceEstimator, estimator_from_bundle, estimator_state, laid, network_from_bundle
from faceaug.reconstruction.networks import export_weights, network_from_weights
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE
from faceaug.reconstruction.training.finetuning import FinetuneTrainer
from faceaug.utils.files import atomic, write_json
from faceaug.utils.tensors import at_side
from faceaug.utils.threads import map_in_threads
from faceaug.utils.training.train_loop import run

FEWEST = 64
"""Faces that must be found on the pictures."""
HELD = 0.1  # share of the faces, and draws beside them, that nothing is learnt from
HELD_DRAWS = 256
WATCHED = 0x7D  # their stream
STEPS = 1500


@dataclass(frozen=True)
class FinetuneResult:
    """What came of it.

    Attributes
    ----------
    bundle : Bundle
        As it was written.
    figures : dict
        Faces, steps, why it ended, and errors before and after; also in tuning.json of the working folder.
    """

    bundle: Bundle
    figures: dict[str, Any]


def finetune(
    generator: Generator,
    out: Path,
    dataset: FaceDataset,
    begin: Bundle,
    settings: DiscoveryConfig | None = None,
    *,
    steps: int = STEPS,
    work: Path | None = None,
    resume: bool = False,
    until: float | None = None,
    progress: DiscoveryProgress | None = None,
    command: str = "",
    aligned: bool = False,
) -> FinetuneResult:
    """Tune a reconstruction on unlabelled pictures, and write the generator's directions as it reads them.

    Parameters
    ----------
    generator
        The one that `begin` was found in.
    out
        The file to write, .safetensors.
    dataset
        Its labels do not matter. Where it has splits it should be the training part.
    begin : Bundle
        With a network, an alignment and a calibration, as `discover` writes it.
    settings
        Draws, held-out draws and pictures to calibrate_estimator on; the schedule is not used.
    steps
        Most steps of tuning.
    work, resume, until, progress, command
        As in `discover`.
    aligned : bool
        The pictures are framed as the generator frames faces.

    Raises
    ------
    GeneratorError
        When `begin` was found in another generator, or `work` is of other settings.
    DatasetError
        When too few faces are found on the pictures.
    """
    if steps < 1:
        raise UsageError(f"steps is {steps}; it must be at least 1")
    settings, tell = settings or DiscoveryConfig(), progress or silent
    begin.directions.check_generator(generator.sha256)
    whitening(generator)
    measurer = estimator_from_bundle(begin, device=generator.device)
    network = network_from_bundle(begin).to(generator.device)
    work = working_folder(out, work)
    prepare(out, work, resume)
    setup = {
        "generator": generator.sha256, "begin": begin.reconstruction, "dataset": dataset.fingerprint(), "steps": steps,
        "draws": settings.draws, "seed": settings.seed, "aligned": aligned,
    }  # fmt: skip
    faces = (
        at_side(
            _faces(dataset, measurer, aligned, work / f"faces-{dataset.fingerprint()[:12]}.npy", tell).float(),
            network.side,
        )
        .round()
        .byte()
    )
    pool, judged = sample_pools(generator, settings, network.side, work / DRAWN, tell)
    held = torch.zeros(len(faces), dtype=torch.bool)
    held[:: round(1 / HELD)] = True
    watched = sample_pool(generator, HELD_DRAWS, settings.seed, network.side, work / DRAWN, stream=WATCHED)
    trainer = FinetuneTrainer(
        network, faces[~held], faces[held], pool.images, watched.images,
        steps=steps, seed=settings.seed, device=generator.device,
    )  # fmt: skip
    run(trainer, work / "tuning", setup, until=until,
        progress=lambda step, of, said: tell("tuning", step, of, said))  # fmt: skip
    figures = _figures(trainer, len(faces), len(dataset))
    write_json(work / "tuning.json", figures)
    bundle = _found(generator, trainer, pool, judged, measurer, settings, len(begin.atoms), command, tell)
    bundle.save(out)
    shutil.rmtree(work / DRAWN, ignore_errors=True)
    return FinetuneResult(bundle, figures)


def _found(
    generator: Generator, trainer: FinetuneTrainer, pool: SamplePool, held: SamplePool, measurer: FaceEstimator, settings: DiscoveryConfig,
    atoms: int, command: str, tell: DiscoveryProgress,
) -> Bundle:  # fmt: skip
    """Find directions with the tuned network, and weigh its readings; half precision, as it is kept."""
    reads = network_from_weights(export_weights(trainer.best)).to(generator.device)
    bundle = bundle_of(generator, reads, pool, held, max(1, atoms), command, tell)
    weighed = calibrate_estimator(
        reads, measurer.aligner, held.images[: settings.weighed], atoms=bundle, seed=settings.seed,
        progress=lambda k, of: tell("weighing readings", k, of, {}),
    )  # fmt: skip
    return replace(bundle, weights={**bundle.weights, **estimator_state(weighed)})


def _figures(trainer: FinetuneTrainer, faces: int, pictures: int) -> dict[str, Any]:
    before, after = ([round(float(value), 5) for value in row] for row in trainer.watch.seen)
    return {
        "pictures": pictures, "faces": faces, "steps": trainer.step, "ended": trainer.reason,
        "error_on_photographs": [before[0], after[0]], "error_on_draws": [before[1], after[1]], "drift": after[2],
    }  # fmt: skip


def _faces(dataset: FaceDataset, measurer: FaceEstimator, aligned: bool, file: Path, tell: DiscoveryProgress) -> Tensor:
    """Return the faces of a data set's pictures, uint8 [M, 3, 64, 64]; those of an interrupted run are read back."""
    if file.exists():
        kept: NDArray[np.uint8] = np.load(file, allow_pickle=False)
        return torch.from_numpy(kept)
    found: list[Tensor] = []
    waiting: list[tuple[NDArray[np.uint8], float]] = []
    for done, canvas in enumerate(
        map_in_threads(lambda k: laid(dataset.encoded, k, dataset.keys[k], dataset.max_pixels), len(dataset)), 1
    ):
        if not isinstance(canvas, str):
            waiting.append(canvas)
        if waiting and (len(waiting) == ESTIMATOR_BATCH_SIZE or done == len(dataset)):
            canvases = torch.from_numpy(np.stack([part for part, _ in waiting])).permute(0, 3, 1, 2).float()
            shorter = torch.tensor([share for _, share in waiting], dtype=torch.float32)
            read = measurer.read(canvases / 127.5 - 1, shorter, aligned=aligned)
            good = torch.tensor([not why for why in read.refusals])
            found.append(((read.faces.images.cpu()[good].clamp(-1, 1) + 1) * 127.5).round().byte())
            waiting = []
        tell("framing faces", done, len(dataset), {})
    faces = torch.cat(found) if found else torch.empty(0, 3, 64, 64, dtype=torch.uint8)
    if len(faces) < FEWEST:
        raise DatasetError(
            f"{len(faces)} faces were found on the {len(dataset):,} pictures of {dataset.name}: to be tuned on, there "
            f"must be at least {FEWEST}"
        )
    with atomic(file) as temporary, open(temporary, "wb") as stream:
        np.save(stream, faces.numpy())
    return faces
