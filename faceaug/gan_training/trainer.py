"""Training of a StyleGAN2, on samples of another generator or on the images of a data set.

Non-saturating loss with lazy R1 regularization (arXiv 1912.04958, section 4.1), style mixing, an exponential moving
average (EMA) of the weights, and adaptive discriminator augmentation (ADA, arXiv 2006.06676) where images repeat. A run
can be stopped and resumed exactly: the random numbers of a step depend on the seed and the step alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.gan_training.ada import AdaptiveAugmentation, augment
from faceaug.gan_training.config import TrainingConfig, TrainingSchedule
from faceaug.gan_training.data import TrainingImages
from faceaug.gan_training.discriminator import Discriminator
from faceaug.gan_training.distributed import Workers
from faceaug.gan_training.run_writer import GENERATOR_FILE, RunWriter, SnapshotMetrics
from faceaug.generators.stylegan import StyleGAN2
from faceaug.generators.stylegan2_networks import StyleGAN2Network, reset_parameters
from faceaug.utils.device import check_device
from faceaug.utils.training import checkpoints

GanProgress = Callable[[int, int | None, Mapping[str, float]], None]
"""Called with the number of steps done, the number of steps or None, and the last line of the log."""
W_AVG_WEIGHT = 0.005
"""Weight of a batch in the running mean of w."""


class GanTrainer:
    """The networks, their optimizers, and one training step.

    Parameters
    ----------
    config
        Configuration of the training.
    source
        Source of real images.
    device
        Where to compute; activations are bfloat16 on a GPU, float32 on a CPU.
    workers
        This process within the group that trains together.
    start
        A generator of the shape `config.network` with whose weights to start.

    Raises
    ------
    GeneratorError
        When the device is not available, the batch cannot be divided, or `start` has another shape.
    """

    def __init__(
        self,
        config: TrainingConfig,
        source: TrainingImages,
        device: str | torch.device = "cpu",
        workers: Workers | None = None,
        start: StyleGAN2 | None = None,
    ) -> None:
        self.config, self.source, self.device = config, source, check_device(device)
        self.workers = workers or Workers()
        self.start_sha256 = start.sha256 if start else None
        self.local_batch_size = self.workers.local_batch_size(config.batch_size)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.generator, self.ema = StyleGAN2Network(config.network), StyleGAN2Network(config.network)
        self.discriminator, self.ada = Discriminator(config.discriminator), AdaptiveAugmentation()
        reset_parameters(self.generator, config.seed)
        reset_parameters(self.discriminator, config.seed + 1)
        if start is not None:
            if start.header.config != config.network:
                raise GeneratorError(
                    f"{start.name} has another shape ({start.header.config}) than the generator to train "
                    f"({config.network}): train with the shape of {start.name}"
                )
            self.generator.load_state_dict(start.network.state_dict())
        self.ema.load_state_dict(self.generator.state_dict())
        self.ema.requires_grad_(False)
        on_gpu = self.device.type == "cuda"
        for network in (self.generator, self.ema, self.discriminator):
            network.to(self.device)
            if on_gpu:  # the layout of the activations, so that no convolution converts its kernels
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # R1 adds steps to the discriminator, so its learning rate and decay are reduced to compensate (arXiv
        # 1912.04958, appendix B).
        ratio = config.r1_interval / (config.r1_interval + 1)
        self.generator_optimizer = torch.optim.Adam(
            self.generator.parameters(), config.lr, (0.0, 0.99), 1e-8, fused=on_gpu
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), config.lr * ratio, (0.0, 0.99**ratio), 1e-8, fused=on_gpu
        )
        self.learning_rates = (config.lr, config.lr * ratio)
        self.step = self.images_seen = 0

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """Everything that changes in training except the optimizers, by the name in a checkpoint."""
        return {
            "generator": self.generator,
            "ema": self.ema,
            "discriminator": self.discriminator,
            "ada": self.ada,
        }

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers, by the name in a checkpoint."""
        return {
            "generator_optimiser": self.generator_optimizer,
            "discriminator_optimiser": self.discriminator_optimizer,
        }

    @property
    def setup(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run before, as JSON values."""
        return {"config": asdict(self.config), "source": self.source.sha256, "start": self.start_sha256}

    def advance(self) -> dict[str, Tensor]:
        """Train both networks on one batch and return losses and mean scores, on the device."""
        config = self.config
        seed = np.random.SeedSequence((config.seed, self.step, self.workers.rank)).generate_state(1, np.uint64)[0]
        rng = torch.Generator(self.device).manual_seed(int(seed >> np.uint64(1)))
        for optimizer, lr in zip(self.optimizers.values(), self.learning_rates, strict=True):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, (self.step + 1) / config.lr_warmup_steps)
        real = self._augment(self.source.sample(self.local_batch_size, config.network.resolution, rng), rng)
        metrics = self._train_discriminator(real, rng)
        if self.step % config.r1_interval == 0:
            metrics["r1"] = self._regularize(real)
            self._score_held_out(metrics, rng)
        if self.step >= config.discriminator_warmup_steps:
            metrics["generator"] = self._train_generator(rng)
        self.step += 1
        self.images_seen += config.batch_size
        if config.augment and self.step % config.ada_interval == 0:
            images = config.ada_interval * config.batch_size
            self.ada.adapt(images, target=config.ada_target, kimg=config.ada_kimg, max_p=config.ada_max_p)
        self._update_ema()
        return metrics

    def generate(self, rng: torch.Generator) -> Tensor:
        """Generate a batch with style mixing and fresh noise, and update the running mean of w.

        Returns
        -------
        float32 [N, 3, R, R]
        """
        config, mapping = self.config, self.generator.mapping
        n, layers = self.local_batch_size, config.network.num_ws
        w, second = (mapping(torch.randn(n, config.network.z_dim, generator=rng, device=self.device)) for _ in range(2))
        crossover = torch.randint(1, layers, (n, 1), generator=rng, device=self.device)
        is_mixed = torch.rand(n, 1, generator=rng, device=self.device) < config.style_mixing_prob
        uses_second = is_mixed & (torch.arange(layers, device=self.device)[None] >= crossover)  # [N, layers]
        with torch.no_grad():
            mapping.w_avg.lerp_(self.workers.mean(w.detach().mean(0)), W_AVG_WEIGHT)
        ws = torch.where(uses_second[:, :, None], second[:, None], w[:, None])
        images: Tensor = self.generator.synthesis(ws, rng, self.dtype)
        return images

    def _augment(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return augment(images, float(self.ada.p), rng) if self.config.augment else images

    def _train_discriminator(self, real: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        self.generator.requires_grad_(False)
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = self._augment(self.generate(rng), rng)
        score_real, score_fake = self.discriminator(real, self.dtype), self.discriminator(fake, self.dtype)
        loss = F.softplus(-score_real).mean() + F.softplus(score_fake).mean()
        self._descend(self.discriminator_optimizer, loss)
        if self.config.augment:
            mean_sign = self.workers.mean(score_real.detach().sign().mean())
            self.ada.observe_signs(float(mean_sign) * self.config.batch_size, self.config.batch_size)
        return {
            "discriminator": loss.detach(),
            "score_real": score_real.detach().mean(),
            "score_fake": score_fake.detach().mean(),
        }

    def _regularize(self, real: Tensor) -> Tensor:
        """Apply R1 in float32 on half of the batch: the squared gradient of the score by the scored image."""
        images = real[: max(min(4, len(real)), len(real) // 2)].detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.discriminator(images).sum(), images, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean()
        self._descend(self.discriminator_optimizer, penalty * (self.config.r1_gamma / 2 * self.config.r1_interval))
        return penalty.detach()

    @torch.no_grad()
    def _score_held_out(self, metrics: Mapping[str, Tensor], rng: torch.Generator) -> None:
        """Score images that nothing is trained on, under the same augmentation."""
        held_out = self.source.sample_held_out(self.local_batch_size, self.config.network.resolution, rng)
        if held_out is not None:
            score = self.discriminator(self._augment(held_out, rng), self.dtype).mean()
            scores = self.workers.mean(torch.stack([metrics["score_real"], metrics["score_fake"], score]))
            self.ada.observe_scores(*scores.tolist())

    def _train_generator(self, rng: torch.Generator) -> Tensor:
        self.discriminator.requires_grad_(False)
        self.generator.requires_grad_(True)
        loss = F.softplus(-self.discriminator(self._augment(self.generate(rng), rng), self.dtype)).mean()
        self._descend(self.generator_optimizer, loss)
        return loss.detach()

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.workers.mean_gradients(optimizer.param_groups[0]["params"])
        optimizer.step()

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Move the averaged weights toward the trained ones; buffers are copied."""
        config = self.config
        half_life = max(min(config.ema_kimg * 1000, self.images_seen * config.ema_rampup), 1e-8)
        weight = 1 - 0.5 ** (config.batch_size / half_life)
        # One call for all parameters: on a GPU, starting a hundred small kernels would take longer than they run.
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), weight)
        for copy, buffer in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            copy.copy_(buffer)


def train(
    trainer: GanTrainer,
    out: str | Path,
    schedule: TrainingSchedule,
    *,
    snapshot_metrics: SnapshotMetrics | None = None,
    progress: GanProgress | None = None,
) -> Path:
    """Train, and leave generator.safetensors, checkpoint.safetensors, log.jsonl, grid.png and grids/ in `out`.

    Parameters
    ----------
    trainer
        The networks and their step.
    out
        Folder of the run; created if it does not exist.
    schedule
        When to stop, save and take snapshots, and whether to continue the folder's run.
    snapshot_metrics
        Called by the first process with the EMA network at each snapshot; the result goes into the log.
    progress : callable, optional

    Returns
    -------
    Path of the exported generator, the EMA in half precision.

    Raises
    ------
    OutputError
        When the folder holds a run and `schedule.resume` is not set.
    GeneratorError
        When there is nothing to resume, the run has another setup, or the losses stop being finite.
    """
    out, workers = Path(out), trainer.workers
    _open_run(out, trainer, schedule.resume)
    writer = RunWriter(out, trainer, snapshot_metrics)
    start = last_save = time.monotonic()
    images_before = trainer.images_seen
    # Convolutions may be benchmarked and use TF32 on a GPU, for the duration of this call.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        while schedule.steps is None or trainer.step < schedule.steps:
            metrics = trainer.advance()
            now = time.monotonic()
            is_over_time = schedule.seconds is not None and now - start >= schedule.seconds
            is_last = trainer.step == schedule.steps or workers.broadcast(is_over_time, trainer.device)
            saves = is_last or now - last_save >= schedule.save_every
            is_snapshot = schedule.snapshot_every is not None and (
                trainer.step % schedule.snapshot_every == 0 or trainer.step == schedule.steps
            )
            is_logged = saves or is_snapshot or trainer.step % trainer.config.log_every == 0 or trainer.step == 1
            if workers.is_main and is_logged:
                rate = (trainer.images_seen - images_before) / (now - start)
                row = writer.write_log(metrics, rate, is_snapshot=is_snapshot)
                if progress:
                    progress(trainer.step, schedule.steps, row)
            if saves and workers.is_main:
                writer.save()
            if saves:
                last_save = time.monotonic()
            if is_last:
                break
    return out / GENERATOR_FILE


def _open_run(out: Path, trainer: GanTrainer, resume: bool) -> None:
    """Create the folder of a run, or restore the trainer from the checkpoint in it."""
    if resume:
        counters = checkpoints.read_checkpoint(out, trainer.setup, trainer.networks, trainer.optimizers)
        trainer.step, trainer.images_seen = counters["step"], counters["images_seen"]
        if trainer.workers.is_main:
            checkpoints.cut_log(out, trainer.step)
    else:
        checkpoints.check_folder(out, resume=False)
        if trainer.workers.is_main:
            checkpoints.make_folder(out)
