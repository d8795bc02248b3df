"""The files of a training run: log, checkpoints, sample grids and the exported generator."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.gan_training.ada import AdaptiveAugmentation
from faceaug.gan_training.config import TrainingConfig
from faceaug.gan_training.data import TrainingImages
from faceaug.generators.stylegan import Provenance, build_weights_file
from faceaug.generators.stylegan2_networks import StyleGAN2Network
from faceaug.utils.files import write_bytes
from faceaug.utils.images import contact_sheet, encode
from faceaug.utils.tensors import to_uint8
from faceaug.utils.training import checkpoints

log = logging.getLogger(__name__)

SnapshotMetrics = Callable[[StyleGAN2Network], Mapping[str, float]]
"""Called with the EMA network; the result goes into the log. The network with the least "frechet" is kept."""
R_V_WARNING = 0.8
"""r_v from which on the discriminator recognizes its training images more than it recognizes faces."""
GENERATOR_FILE, BEST_GENERATOR_FILE = "generator.safetensors", "best.safetensors"
GRID_FILE, GRID_FOLDER = "grid.png", "grids"
GRID_SAMPLES = 64
GRID_BATCH_SIZE = 16


class TrainerState(Protocol):
    """The state of a trainer that is written to disk; `GanTrainer` implements it."""

    config: TrainingConfig
    source: TrainingImages
    device: torch.device
    ema: StyleGAN2Network
    ada: AdaptiveAugmentation
    start_sha256: str | None
    step: int
    images_seen: int

    @property
    def setup(self) -> dict[str, Any]: ...

    @property
    def networks(self) -> dict[str, torch.nn.Module]: ...

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]: ...


class RunWriter:
    """Writes the files of a training run.

    Parameters
    ----------
    out
        Folder of the run, which exists.
    trainer
        The trainer.
    snapshot_metrics
        Metrics of the EMA network, computed at each snapshot.
    """

    def __init__(self, out: Path, trainer: TrainerState, snapshot_metrics: SnapshotMetrics | None) -> None:
        self.out, self.trainer, self.snapshot_metrics = out, trainer, snapshot_metrics
        distances = (row["frechet"] for row in checkpoints.read_log(out) if "frechet" in row)
        self.least_frechet = min(distances, default=math.inf)
        self.has_warned = False

    def write_log(self, metrics: Mapping[str, Tensor], rate: float, *, is_snapshot: bool) -> dict[str, float]:
        """Write a line of the log, and a snapshot if requested; return the line.

        Raises
        ------
        GeneratorError
            When a loss is not finite.
        """
        trainer, ada = self.trainer, self.trainer.ada
        values = {name: round(value.item(), 4) for name, value in metrics.items()}
        if not all(map(math.isfinite, values.values())):
            raise GeneratorError(
                f"the training diverged at step {trainer.step} ({values}): lower the learning rate and start again, or "
                f"resume from the last checkpoint in {self.out}"
            )
        row = {
            "step": trainer.step,
            "images_seen": trainer.images_seen,
            "images_per_second": round(rate, 1),
            **values,
        }
        if trainer.config.augment:
            row |= {"p": round(float(ada.p), 4), "r_t": round(float(ada.r_t), 4)}
        if (r_v := ada.r_v) is not None:
            row["r_v"] = round(r_v, 3)
            self._warn_of_overfitting(r_v)
        if is_snapshot:
            write_grid(self.out, self._grid_samples(), trainer.images_seen)
            if self.snapshot_metrics:
                row |= self.snapshot_metrics(trainer.ema)
                self._keep_best(row.get("frechet", math.inf))
        checkpoints.append_log(self.out, row)
        log.info("%s", json.dumps(row))
        return row

    def save(self) -> None:
        """Write the checkpoint, the grid and the generator."""
        trainer = self.trainer
        counters = {"step": trainer.step, "images_seen": trainer.images_seen}
        checkpoints.write_checkpoint(self.out, counters, trainer.setup, trainer.networks, trainer.optimizers)
        write_grid(self.out, self._grid_samples())
        write_bytes(self.out / GENERATOR_FILE, self._export())

    def _warn_of_overfitting(self, r_v: float) -> None:
        if r_v >= R_V_WARNING and not self.has_warned:
            self.has_warned = True
            log.warning(
                "the discriminator overfits: it scores held-out images %.0f%% like generated ones (step %d); expect "
                "copies and collapse, so stop soon, or train on more images",
                100 * r_v,
                self.trainer.step,
            )

    def _keep_best(self, frechet: float) -> None:
        if frechet < self.least_frechet:
            self.least_frechet = frechet
            write_bytes(self.out / BEST_GENERATOR_FILE, self._export())

    @torch.no_grad()
    def _grid_samples(self) -> Tensor:
        """Return images of the EMA network, always of the same latents: float32 [64, 3, R, R]."""
        ema, network = self.trainer.ema, self.trainer.config.network
        z = torch.randn(GRID_SAMPLES, network.z_dim, generator=torch.Generator().manual_seed(1)).to(self.trainer.device)
        ws = ema.mapping(z)[:, None].expand(-1, network.num_ws, -1)
        return torch.cat([ema.synthesis(batch) for batch in ws.split(GRID_BATCH_SIZE)])

    def _export(self) -> bytes:
        trainer, config, source = self.trainer, self.trainer.config, self.trainer.source
        start = f", started from {trainer.start_sha256[:16]}" if trainer.start_sha256 else ""
        training = f"{trainer.images_seen} images (seed {config.seed}{start})"
        provenance = Provenance(
            name=f"stylegan2-{config.network.resolution}",
            licence=source.licence,
            origin=f"trained by faceaug for {training} on {source.origin}",
            source_sha256=source.sha256,
        )
        return build_weights_file(trainer.ema, provenance, statistics_samples=config.statistics_samples, half=True)


def write_grid(folder: Path, images: Tensor, images_seen: int | None = None) -> None:
    """Write images as one PNG, sixteen in a row.

    Parameters
    ----------
    folder
        The run's folder.
    images
        float32 [N, 3, R, R] in [-1, 1].
    images_seen
        Number of images that the discriminator has seen: the grid is kept under this number. Without it, the grid
        replaces grid.png.
    """
    path = folder / GRID_FILE
    if images_seen is not None:
        path = folder / GRID_FOLDER / f"{images_seen:09d}.png"
        path.parent.mkdir(exist_ok=True)
    write_bytes(path, encode(contact_sheet(list(to_uint8(images)), columns=16), "png"))
