"""Training a StyleGAN2 on the draws of another generator.

Non-saturating loss with lazy R1 (arXiv 1912.04958, section 4.1), style mixing, a running average of the weights. A run
can be stopped and resumed to the step: what is random in a step depends on the seed and the step alone. There is no
augmentation, which endless draws do not need; a few thousand photographs would.

    python -m faceaug.generators.training --out run/ --preset 64 --seconds 1800 --device cuda
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import FaceaugError, GeneratorError, OutputError
from faceaug.files import write_bytes
from faceaug.generators import snapshots
from faceaug.generators.base import Generator, check_device, load_generator
from faceaug.generators.networks import Discriminator, StyleGAN2Config, StyleGAN2Network, reset_parameters
from faceaug.generators.stylegan2 import build

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run computes.

    Parameters
    ----------
    network
        Shape of the generator.
    critic_base, critic_max
        Channels of the discriminator, as `StyleGAN2Config` counts them.
    batch
        Images in a step.
    rate
        Adam's learning rate of the generator.
    warmup
        Steps over which the learning rate rises.
    r1_weight, r1_every
        Weight gamma of the gradient penalty on real images, and every how many steps it is applied.
    mixing
        Share of images for which a second w takes over at a random layer.
    average_images, average_share
        Half-life of the running average of the weights, in images: the first, or the second times the images seen,
        whichever is less.
    statistics_samples
        Draws for mean and covariance of w in the exported file.
    log_every
        Steps between lines of the log.
    seed
        Seed of the weights and of every step.
    """

    network: StyleGAN2Config = field(default_factory=StyleGAN2Config)
    critic_base: int = 4096
    critic_max: int = 192
    batch: int = 128
    rate: float = 0.0025
    warmup: int = 200
    r1_weight: float = 0.2
    r1_every: int = 16
    mixing: float = 0.5
    average_images: int = 10_000
    average_share: float = 0.05
    statistics_samples: int = 50_000
    log_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {"batch": 2, "warmup": 1, "r1_every": 1, "average_images": 1, "statistics_samples": 2, "log_every": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("rate", "r1_weight", "average_share"):
            if not getattr(self, name) > 0:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.mixing <= 1:
            raise GeneratorError(f"mixing is {self.mixing}; it is a share, from 0 to 1")
        _ = self.critic

    @property
    def critic(self) -> StyleGAN2Config:
        return replace(self.network, channel_base=self.critic_base, channel_max=self.critic_max)


PRESETS = {
    # Seconds on a CPU, to see that everything runs; the pictures are no faces.
    "tiny": TrainingConfig(
        network=StyleGAN2Config(16, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128, channel_max=16),
        critic_base=128, critic_max=16, batch=8, warmup=10, statistics_samples=2000, log_every=1,
    ),
    # For a GPU: 0.48 billion multiplications an image, 4 MB in half precision.
    "64": TrainingConfig(),
}  # fmt: skip


class Source(Protocol):
    """Where the images come from that the generator learns to draw."""

    licence: str
    origin: str
    sha256: str

    def draw(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        """Return images float32 [n, 3, resolution, resolution] in [-1, 1] on the device of `rng`."""


class Draws:
    """Endless images of another generator, its latents kept within `limit` standard deviations by clamping."""

    def __init__(self, teacher: Generator, limit: float = 2.5) -> None:
        self.teacher, self.limit = teacher, limit
        self.licence, self.sha256 = teacher.licence, teacher.sha256
        self.origin = f"draws of {teacher.name} ({teacher.origin}), latents clamped to {limit} standard deviations"

    @torch.no_grad()
    def draw(self, n: int, resolution: int, rng: torch.Generator) -> Tensor:
        z = torch.randn(n, self.teacher.z_dim, generator=rng, device=rng.device).clamp(-self.limit, self.limit)
        images = self.teacher.synthesize(self.teacher.map(z))
        if images.shape[-1] < resolution:
            raise GeneratorError(
                f"images of {images.shape[-1]} pixels cannot teach {resolution} pixels: choose a lower resolution"
            )
        return F.interpolate(images, size=(resolution, resolution), mode="area")


class Trainer:
    """The networks, their optimisers, and one step of both.

    Parameters
    ----------
    config
        What to compute.
    source
        Where real images come from.
    device
        Where to compute; on a GPU activations are bfloat16, on a CPU float32.
    """

    def __init__(self, config: TrainingConfig, source: Source, device: torch.device) -> None:
        self.config, self.source, self.device = config, source, device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.generator, self.average = StyleGAN2Network(config.network), StyleGAN2Network(config.network)
        self.critic = Discriminator(config.critic)
        reset_parameters(self.generator, config.seed)
        reset_parameters(self.critic, config.seed + 1)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        for network in (self.generator, self.average, self.critic):
            network.to(device)
        # The penalty adds steps to the critic, so its rate and decay shrink to keep the same pace (as in the paper).
        pace = config.r1_every / (config.r1_every + 1)
        self.rates = (config.rate, config.rate * pace)
        self.adam = torch.optim.Adam(self.generator.parameters(), self.rates[0], (0.0, 0.99), 1e-8)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), self.rates[1], (0.0, 0.99**pace), 1e-8)
        self.step = self.seen = 0

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        return {"generator": self.generator, "average": self.average, "critic": self.critic}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam, "critic_adam": self.critic_adam}

    def advance(self) -> dict[str, Tensor]:
        """Train both networks on one batch and return the losses, still on the device."""
        config = self.config
        seed = np.random.SeedSequence((config.seed, self.step)).generate_state(1, np.uint64)[0]
        rng = torch.Generator(self.device).manual_seed(int(seed >> np.uint64(1)))
        for optimiser, rate in zip((self.adam, self.critic_adam), self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * min(1.0, (self.step + 1) / config.warmup)
        real = self.source.draw(config.batch, config.network.resolution, rng)
        losses = self._teach_critic(real, rng)
        if self.step % config.r1_every == 0:
            losses["r1"] = self._penalise(real)
        losses["generator"] = self._teach_generator(rng)
        self.step += 1
        self.seen += config.batch
        self._follow()
        return losses

    def fakes(self, rng: torch.Generator) -> Tensor:
        """Draw a batch with style mixing and fresh noise, and move the running mean of w."""
        config, mapping = self.config, self.generator.mapping
        n, layers = config.batch, config.network.num_ws
        w, other = (mapping(torch.randn(n, config.network.z_dim, generator=rng, device=self.device)) for _ in range(2))
        cut = torch.randint(1, layers, (n, 1), generator=rng, device=self.device)
        mixed = torch.rand(n, 1, generator=rng, device=self.device) < config.mixing
        swapped = mixed & (torch.arange(layers, device=self.device)[None] >= cut)  # [N, layers]
        with torch.no_grad():
            mapping.w_avg.lerp_(w.detach().mean(0), 0.005)
        ws = torch.where(swapped[:, :, None], other[:, None], w[:, None])
        images: Tensor = self.generator.synthesis(ws, rng, self.dtype)
        return images

    def _teach_critic(self, real: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        self.generator.requires_grad_(False)
        self.critic.requires_grad_(True)
        with torch.no_grad():
            fake = self.fakes(rng)
        on_real, on_fake = self.critic(real, self.dtype), self.critic(fake, self.dtype)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        self._descend(self.critic_adam, loss)
        return {"critic": loss.detach(), "real": on_real.detach().mean(), "fake": on_fake.detach().mean()}

    def _penalise(self, real: Tensor) -> Tensor:
        """R1, in float32 and on half of the batch: the squared gradient of the score by the image."""
        images = real[: max(min(4, len(real)), len(real) // 2)].detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.critic(images).sum(), images, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean()
        self._descend(self.critic_adam, penalty * (self.config.r1_weight / 2 * self.config.r1_every))
        return penalty.detach()

    def _teach_generator(self, rng: torch.Generator) -> Tensor:
        self.critic.requires_grad_(False)
        self.generator.requires_grad_(True)
        loss = F.softplus(-self.critic(self.fakes(rng), self.dtype)).mean()
        self._descend(self.adam, loss)
        return loss.detach()

    @staticmethod
    def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
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
    source: Source,
    out: str | Path,
    seconds: float,
    resume: bool = False,
    *,
    device: str | torch.device = "cpu",
    steps: int | None = None,
    save_every: float = 240,
) -> Path:
    """Train for `seconds` and leave generator.safetensors, checkpoint.safetensors, log.jsonl and grid.png in `out`.

    Parameters
    ----------
    config, source
        What to compute, on what images.
    out
        Folder of the run; made if it is not there.
    seconds
        Time to spend in this call; at least one step is made.
    resume
        Go on from the folder's checkpoint. The same configuration and source are asked for.
    device
        Where to compute.
    steps
        Also stop when so many steps have been made since the beginning of the run.
    save_every
        Seconds between checkpoints; one is written at the end in any case.

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
    out, target = Path(out), check_device(device)
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, source, target)
    setup = {"config": asdict(config), "source": source.sha256}
    if resume:
        progress = snapshots.read_checkpoint(out, setup, trainer.networks, trainer.optimisers)
        trainer.step, trainer.seen = progress["step"], progress["seen"]
        snapshots.cut_log(out, trainer.step)
    elif (out / snapshots.CHECKPOINT).exists():
        raise OutputError(f"{out} holds a run already: resume it, or choose another folder")
    start = saved = time.monotonic()
    before = trainer.seen
    # Convolutions may be tried out and use TF32 on a GPU, for as long as this call lasts.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        while steps is None or trainer.step < steps:
            losses = trainer.advance()
            now = time.monotonic()
            over = now - start >= seconds or trainer.step == steps
            due = over or now - saved >= save_every
            if due or trainer.step % config.log_every == 0 or trainer.step == 1:
                pace = (trainer.seen - before) / (now - start)
                _report(out, trainer, losses, pace)
            if due:
                _save(out, trainer, setup)
                saved = time.monotonic()
            if over:
                break
    return out / snapshots.EXPORT


def _report(out: Path, trainer: Trainer, losses: dict[str, Tensor], pace: float) -> None:
    values = {name: round(value.item(), 4) for name, value in losses.items()}
    if not all(map(math.isfinite, values.values())):
        raise GeneratorError(
            f"the training fell apart at step {trainer.step} ({values}): lower the learning rate and start again, "
            f"or resume from the last checkpoint in {out}"
        )
    row = {"step": trainer.step, "seen": trainer.seen, "images_per_second": round(pace, 1), **values}
    snapshots.append_log(out, row)
    log.info("%s", json.dumps(row))


@torch.no_grad()
def _save(out: Path, trainer: Trainer, setup: Mapping[str, Any]) -> None:
    config, average = trainer.config, trainer.average
    progress = {"step": trainer.step, "seen": trainer.seen}
    snapshots.write_checkpoint(out, progress, setup, trainer.networks, trainer.optimisers)
    z = torch.randn(64, config.network.z_dim, generator=torch.Generator().manual_seed(1)).to(trainer.device)
    ws = average.mapping(z)[:, None].expand(-1, config.network.num_ws, -1)
    snapshots.write_grid(out, torch.cat([average.synthesis(part) for part in ws.split(16)]))
    source = trainer.source
    data = build(
        average,
        name=f"stylegan2-{config.network.resolution}",
        licence=source.licence,
        origin=f"trained by faceaug for {trainer.seen} images (seed {config.seed}) on {source.origin}",
        source_sha256=source.sha256,
        samples=config.statistics_samples,
        half=True,
    )
    write_bytes(out / snapshots.EXPORT, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a training from the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m faceaug.generators.training", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--source", default="digiface", help="generator whose draws to learn: a name or a file")
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="64", help="size of the network and the run's settings"
    )
    parser.add_argument("--seconds", type=float, default=1800, help="time to spend (default: 1800)")
    parser.add_argument("--steps", type=int, help="also stop after so many steps")
    parser.add_argument("--batch", type=int, help="images in a step, instead of the preset's")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and steps (default: 0)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1 ..."
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        config = replace(PRESETS[options.preset], seed=options.seed)
        if options.batch is not None:
            config = replace(config, batch=options.batch)
        source = Draws(load_generator(options.source, options.device))
        path = train(
            config, source, options.out, options.seconds, options.resume, device=options.device, steps=options.steps
        )
    except FaceaugError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
