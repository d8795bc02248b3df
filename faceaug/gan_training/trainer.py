"""Training a StyleGAN2, on the draws of another generator or on a folder of faces.

Non-saturating loss with lazy R1 (arXiv 1912.04958, section 4.1), style mixing, a running average of the weights, and
adaptive augmentation (arXiv 2006.06676) where images repeat. A run can be stopped and resumed to the step: what is
random in a step depends on the seed and the step alone.
"""

from __future__ import annotations

import json
import logging
import math
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
from faceaug.gan_training.ada import EVERY, AdaptiveAugmentation, augment
from faceaug.gan_training.config import BUDGETS, PRESETS, TrainingConfig, preset
from faceaug.gan_training.data import FolderImageSource, GeneratorImageSource, TrainingImages
from faceaug.gan_training.discriminator import Discriminator
from faceaug.gan_training.distributed import Workers
from faceaug.generators.stylegan import StyleGAN2, build
from faceaug.generators.stylegan2_networks import StyleGAN2Network, reset_parameters
from faceaug.utils import checkpoints as snapshots
from faceaug.utils.device import check_device
from faceaug.utils.files import write_bytes

__all__ = [
    "BUDGETS",
    "PRESETS",
    "FolderImageSource",
    "GanTrainer",
    "GeneratorImageSource",
    "TrainingConfig",
    "TrainingImages",
    "preset",
    "train",
]

log = logging.getLogger(__name__)

Watch = Callable[[StyleGAN2Network], Mapping[str, float]]
"""Told the averaged network at every snapshot; what it returns goes into the log. The least "frechet" is kept."""
TrainingProgress = Callable[[int, int | None, Mapping[str, float]], None]
"""Told (steps done, steps or None, what the last line of the log says)."""
MEMORISING = 0.8
"""r_v from which on the discriminator knows its images by heart more than it knows faces."""


class GanTrainer:
    """The networks, their optimisers, and one step of both.

    Parameters
    ----------
    config
        What to compute.
    source
        Where real images come from.
    device
        Where to compute; on a GPU activations are bfloat16, on a CPU float32.
    workers
        This process among those that train together.
    start
        A generator whose weights to begin with, of the shape that `config.network` says.
    """

    def __init__(
        self,
        config: TrainingConfig,
        source: TrainingImages,
        device: torch.device,
        workers: Workers | None = None,
        start: StyleGAN2 | None = None,
    ) -> None:
        self.config, self.source, self.device = config, source, device
        self.workers = workers or Workers()
        self.share = self.workers.share(config.batch)
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.generator, self.average = StyleGAN2Network(config.network), StyleGAN2Network(config.network)
        self.discriminator, self.adaptation = Discriminator(config.discriminator), AdaptiveAugmentation()
        reset_parameters(self.generator, config.seed)
        reset_parameters(self.discriminator, config.seed + 1)
        if start is not None:
            if start.header.config != config.network:
                raise GeneratorError(
                    f"{start.name} has another shape ({start.header.config}) than what is to be trained "
                    f"({config.network}): train with its own"
                )
            self.generator.load_state_dict(start.network.state_dict())
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        for network in (self.generator, self.average, self.discriminator):
            network.to(device)
        # The penalty adds steps to the critic, so its rate and decay shrink to keep the same pace (as in the paper).
        pace = config.r1_every / (config.r1_every + 1)
        self.rates = (config.rate, config.rate * pace)
        self.adam = torch.optim.Adam(self.generator.parameters(), self.rates[0], (0.0, 0.99), 1e-8)
        self.critic_adam = torch.optim.Adam(self.discriminator.parameters(), self.rates[1], (0.0, 0.99**pace), 1e-8)
        self.step = self.seen = 0

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        return {
            "generator": self.generator,
            "average": self.average,
            "critic": self.discriminator,
            "adaptation": self.adaptation,
        }

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam, "critic_adam": self.critic_adam}

    def advance(self) -> dict[str, Tensor]:
        """Train both networks on one batch and return the losses, still on the device."""
        config = self.config
        seed = np.random.SeedSequence((config.seed, self.step, self.workers.rank)).generate_state(1, np.uint64)[0]
        rng = torch.Generator(self.device).manual_seed(int(seed >> np.uint64(1)))
        for optimiser, rate in zip((self.adam, self.critic_adam), self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * min(1.0, (self.step + 1) / config.warmup)
        real = self._disguised(self.source.draw(self.share, config.network.resolution, rng), rng)
        losses = self._teach_critic(real, rng)
        if self.step % config.r1_every == 0:
            losses["r1"] = self._penalise(real)
            self._probe(losses, rng)
        if self.step >= config.lead:
            losses["generator"] = self._teach_generator(rng)
        self.step += 1
        self.seen += config.batch
        if config.augment and self.step % EVERY == 0:
            self.adaptation.adapt(EVERY * config.batch, config.ada_target, config.ada_kimg_images, config.strongest)
        self._follow()
        return losses

    def fakes(self, rng: torch.Generator) -> Tensor:
        """Draw a batch with style mixing and fresh noise, and move the running mean of w."""
        config, mapping = self.config, self.generator.mapping
        n, layers = self.share, config.network.num_ws
        w, other = (mapping(torch.randn(n, config.network.z_dim, generator=rng, device=self.device)) for _ in range(2))
        cut = torch.randint(1, layers, (n, 1), generator=rng, device=self.device)
        mixed = torch.rand(n, 1, generator=rng, device=self.device) < config.mixing
        swapped = mixed & (torch.arange(layers, device=self.device)[None] >= cut)  # [N, layers]
        with torch.no_grad():
            mapping.w_avg.lerp_(self.workers.mean(w.detach().mean(0)), 0.005)
        ws = torch.where(swapped[:, :, None], other[:, None], w[:, None])
        images: Tensor = self.generator.synthesis(ws, rng, self.dtype)
        return images

    def _disguised(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return augment(images, float(self.adaptation.strength), rng) if self.config.augment else images

    def _teach_critic(self, real: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        self.generator.requires_grad_(False)
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = self._disguised(self.fakes(rng), rng)
        on_real, on_fake = self.discriminator(real, self.dtype), self.discriminator(fake, self.dtype)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        self._descend(self.critic_adam, loss)
        if self.config.augment:
            signs = self.workers.mean(on_real.detach().sign().mean())
            self.adaptation.observe(float(signs) * self.config.batch, self.config.batch)
        return {"critic": loss.detach(), "real": on_real.detach().mean(), "fake": on_fake.detach().mean()}

    def _penalise(self, real: Tensor) -> Tensor:
        """R1, in float32 and on half of the batch: the squared gradient of the score by the image that is scored."""
        images = real[: max(min(4, len(real)), len(real) // 2)].detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.discriminator(images).sum(), images, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean()
        self._descend(self.critic_adam, penalty * (self.config.r1_gamma / 2 * self.config.r1_every))
        return penalty.detach()

    @torch.no_grad()
    def _probe(self, losses: Mapping[str, Tensor], rng: torch.Generator) -> None:
        """Score images that nothing is trained on, under the same augmentation."""
        held_out = self.source.held_out(self.share, self.config.network.resolution, rng)
        if held_out is not None:
            score = self.discriminator(self._disguised(held_out, rng), self.dtype).mean()
            scores = self.workers.mean(torch.stack([losses["real"], losses["fake"], score]))
            self.adaptation.probe(*scores.tolist())

    def _teach_generator(self, rng: torch.Generator) -> Tensor:
        self.discriminator.requires_grad_(False)
        self.generator.requires_grad_(True)
        loss = F.softplus(-self.discriminator(self._disguised(self.fakes(rng), rng), self.dtype)).mean()
        self._descend(self.adam, loss)
        return loss.detach()

    def _descend(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.workers.mean_gradients(optimiser.param_groups[0]["params"])
        optimiser.step()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights toward the trained ones; buffers are copied."""
        half_life = max(min(self.config.average_images, self.seen * self.config.average_share), 1e-8)
        share = 1 - 0.5 ** (self.config.batch / half_life)
        for kept, new in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            kept.lerp_(new, share)
        for held, current in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            held.copy_(current)


def train(
    config: TrainingConfig,
    source: TrainingImages,
    out: str | Path,
    seconds: float | None = None,
    resume: bool = False,
    *,
    device: str | torch.device = "cpu",
    steps: int | None = None,
    save_every: float = 240,
    snapshot_every: int | None = None,
    watch: Watch | None = None,
    start: StyleGAN2 | None = None,
    workers: Workers | None = None,
    progress: TrainingProgress | None = None,
) -> Path:
    """Train, and leave generator.safetensors, checkpoint.safetensors, log.jsonl, grid.png and grids/ in `out`.

    Parameters
    ----------
    config, source
        What to compute, on what images.
    out
        Folder of the run; made if it is not there.
    seconds
        Time to spend in this call; at least one step is made.
    resume
        Go on from the folder's checkpoint. The same configuration, source and start are asked for.
    device
        Where to compute.
    steps
        Stop when so many steps have been made since the beginning of the run. One of `seconds` and `steps` is needed.
    save_every
        Seconds between checkpoints; one is written at the end in any case.
    snapshot_every
        Steps between sample grids that are kept, and calls of `watch`; none are when None.
    watch
        Looks at the averaged network at each snapshot, by the first process.
    start
        A generator whose weights to begin with.
    workers
        This process among those that train together, from `parallel.join`.
    progress : callable, optional

    Returns
    -------
    Path of the exported generator, the running average in half precision.

    Raises
    ------
    OutputError
        When the folder holds a run already and `resume` is not set.
    GeneratorError
        When there is nothing to resume, it does not fit, or the losses stop being finite numbers.
    """
    if seconds is None and steps is None:
        raise GeneratorError("a training without end was asked for: give seconds or steps")
    out, target, workers = Path(out), check_device(device), workers or Workers()
    trainer = GanTrainer(config, source, target, workers, start)
    setup = {"config": asdict(config), "source": source.sha256, "start": start.sha256 if start else None}
    _open(out, trainer, setup, resume)
    run = _Run(out, trainer, setup, watch)
    begin = saved = time.monotonic()
    before = trainer.seen
    # Convolutions may be tried out and use TF32 on a GPU, for as long as this call lasts.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        while steps is None or trainer.step < steps:
            losses = trainer.advance()
            now = time.monotonic()
            over = trainer.step == steps or workers.agree(seconds is not None and now - begin >= seconds, target)
            due = over or now - saved >= save_every
            looked = snapshot_every is not None and (trainer.step % snapshot_every == 0 or trainer.step == steps)
            if workers.first and (due or looked or trainer.step % config.log_every == 0 or trainer.step == 1):
                said = run.report(losses, (trainer.seen - before) / (now - begin), looked)
                if progress:
                    progress(trainer.step, steps, said)
            if due and workers.first:
                run.save()
            if due:
                saved = time.monotonic()
            if over:
                break
    return out / snapshots.EXPORT


def _open(out: Path, trainer: GanTrainer, setup: Mapping[str, Any], resume: bool) -> None:
    """Make the folder of a run, or put the trainer where the run in it stopped."""
    first = trainer.workers.first
    if resume:
        done = snapshots.read_checkpoint(out, setup, trainer.networks, trainer.optimisers)
        trainer.step, trainer.seen = done["step"], done["seen"]
        if first:
            snapshots.cut_log(out, trainer.step)
    else:
        snapshots.check_folder(out, resume=False)
        if first:
            snapshots.make_folder(out)


class _Run:
    """What a training writes: its log, its checkpoints, its grids, its generator."""

    def __init__(self, out: Path, trainer: GanTrainer, setup: Mapping[str, Any], watch: Watch | None) -> None:
        self.out, self.trainer, self.setup, self.watch = out, trainer, setup, watch
        self.least = min((row["frechet"] for row in snapshots.read_log(out) if "frechet" in row), default=math.inf)
        self.warned = False

    def report(self, losses: Mapping[str, Tensor], pace: float, looked: bool) -> dict[str, float]:
        """Write a line of the log, and a snapshot when `looked` is set; return the line."""
        trainer, adaptation = self.trainer, self.trainer.adaptation
        values = {name: round(value.item(), 4) for name, value in losses.items()}
        if not all(map(math.isfinite, values.values())):
            raise GeneratorError(
                f"the training fell apart at step {trainer.step} ({values}): lower the learning rate and start again, "
                f"or resume from the last checkpoint in {self.out}"
            )
        row = {"step": trainer.step, "seen": trainer.seen, "images_per_second": round(pace, 1), **values}
        if trainer.config.augment:
            row |= {"strength": round(float(adaptation.strength), 4), "overfit": round(float(adaptation.ada_target), 4)}
        if (memorised := adaptation.memorised) is not None:
            row["memorised"] = round(memorised, 3)
            self._warn(memorised)
        if looked:
            snapshots.write_grid(self.out, self._samples(), seen=trainer.seen)
            if self.watch:
                row |= self.watch(trainer.average)
                self._keep_best(row.get("frechet", math.inf))
        snapshots.append_log(self.out, row)
        log.info("%s", json.dumps(row))
        return row

    def save(self) -> None:
        """Write the checkpoint, the grid and the generator."""
        trainer = self.trainer
        done = {"step": trainer.step, "seen": trainer.seen}
        snapshots.write_checkpoint(self.out, done, self.setup, trainer.networks, trainer.optimisers)
        snapshots.write_grid(self.out, self._samples())
        write_bytes(self.out / snapshots.EXPORT, self._export())

    def _warn(self, memorised: float) -> None:
        if memorised >= MEMORISING and not self.warned:
            self.warned = True
            log.warning(
                "the discriminator begins to know its images by heart: held-out ones look to it %.0f%% like drawn ones "
                "(step %d); expect copies and collapse, so stop soon, or train on more images",
                100 * memorised,
                self.trainer.step,
            )

    def _keep_best(self, frechet: float) -> None:
        if frechet < self.least:
            self.least = frechet
            write_bytes(self.out / snapshots.BEST, self._export())

    @torch.no_grad()
    def _samples(self) -> Tensor:
        trainer, network = self.trainer, self.trainer.config.network
        z = torch.randn(64, network.z_dim, generator=torch.Generator().manual_seed(1)).to(trainer.device)
        ws = trainer.average.mapping(z)[:, None].expand(-1, network.num_ws, -1)
        return torch.cat([trainer.average.synthesis(part) for part in ws.split(16)])

    def _export(self) -> bytes:
        trainer, config, source = self.trainer, self.trainer.config, self.trainer.source
        begun = f", begun from {self.setup['start'][:16]}" if self.setup["start"] else ""
        return build(
            trainer.average,
            name=f"stylegan2-{config.network.resolution}",
            licence=source.licence,
            origin=f"trained by faceaug for {trainer.seen} images (seed {config.seed}{begun}) on {source.origin}",
            source_sha256=source.sha256,
            samples=config.statistics_samples,
            half=True,
        )
