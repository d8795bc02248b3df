"""Configuration of a StyleGAN2 training, with presets, and when a call of it stops and saves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from faceaug.errors import GeneratorError
from faceaug.generators.stylegan2_networks import StyleGAN2Config


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines the numbers of a training.

    Defaults follow StyleGAN2 (arXiv 1912.04958) and ADA (arXiv 2006.06676), whose names the fields have.

    Parameters
    ----------
    network
        Shape of the generator.
    discriminator_channel_base, discriminator_channel_max
        Channels of the discriminator, in the sense of `StyleGAN2Config`.
    batch_size
        Images per step, over all devices together.
    lr
        Learning rate of the generator's Adam.
    lr_warmup_steps
        Steps over which the learning rate rises linearly.
    discriminator_warmup_steps
        Steps at the start in which only the discriminator is trained: an untrained discriminator would destroy a
        generator that starts from trained weights.
    r1_gamma, r1_interval
        Weight gamma of the R1 penalty, and steps between two applications of it (lazy regularization).
    style_mixing_prob
        Probability that a second w replaces the first from a random layer on.
    augment
        Use adaptive discriminator augmentation (ADA).
    ada_target
        Value of the overfitting heuristic r_t that p is controlled to, from 0 to 1.
    ada_kimg
        Thousand images over which p can rise from 0 to 1.
    ada_interval
        Steps between two adjustments of p.
    ada_max_p
        Upper limit of p; transformations that hit nearly every image would leak into the generator's images.
    ema_kimg, ema_rampup
        Half-life of the exponential moving average (EMA) of the weights: `ema_kimg` thousand images, or `ema_rampup`
        times the images seen, whichever is less.
    statistics_samples
        Samples from which mean and covariance of w are estimated for the exported file.
    log_every
        Steps between two lines of the log.
    seed
        Seed of the weights and of every step.

    Raises
    ------
    GeneratorError
        When a value is out of range.
    """

    network: StyleGAN2Config = field(default_factory=StyleGAN2Config)
    discriminator_channel_base: int = 4096
    discriminator_channel_max: int = 192
    batch_size: int = 128
    lr: float = 0.0025
    lr_warmup_steps: int = 200
    discriminator_warmup_steps: int = 0
    r1_gamma: float = 0.2
    r1_interval: int = 16
    style_mixing_prob: float = 0.5
    augment: bool = True
    ada_target: float = 0.6
    ada_kimg: float = 500
    ada_interval: int = 4
    ada_max_p: float = 0.8
    ema_kimg: float = 10
    ema_rampup: float = 0.05
    statistics_samples: int = 50_000
    log_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        minima = {
            "batch_size": 2,
            "lr_warmup_steps": 1,
            "discriminator_warmup_steps": 0,
            "r1_interval": 1,
            "ada_interval": 1,
            "statistics_samples": 2,
            "log_every": 1,
        }
        for name, minimum in minima.items():
            if getattr(self, name) < minimum:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be at least {minimum}")
        for name in ("lr", "r1_gamma", "ada_kimg", "ema_kimg", "ema_rampup"):
            if not getattr(self, name) > 0:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("style_mixing_prob", "ada_target", "ada_max_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        _ = self.discriminator  # raises where its channels are out of range

    @property
    def discriminator(self) -> StyleGAN2Config:
        """Shape of the discriminator."""
        return replace(
            self.network,
            channel_base=self.discriminator_channel_base,
            channel_max=self.discriminator_channel_max,
        )

    def steps(self, kimg: float) -> int:
        """Return the number of steps for `kimg` thousand images, at least 1."""
        return max(1, round(kimg * 1000 / self.batch_size))


@dataclass(frozen=True)
class TrainingSchedule:
    """When a call of `train` starts, stops and saves.

    Parameters
    ----------
    steps
        Stop after this many steps since the start of the run.
    seconds
        Stop this call after this time; at least one step is done. One of `steps` and `seconds` is needed.
    resume
        Continue from the folder's checkpoint; configuration, source and initial weights must be the same.
    save_every
        Seconds between checkpoints; one is always written at the end.
    snapshot_every
        Steps between sample grids that are kept and calls of `snapshot_metrics`; no snapshots when None.

    Raises
    ------
    GeneratorError
        When neither `steps` nor `seconds` is given.
    """

    steps: int | None = None
    seconds: float | None = None
    resume: bool = False
    save_every: float = 240
    snapshot_every: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.steps is None:
            raise GeneratorError("a training without end was requested: give seconds or steps")


# r1_gamma follows 0.0002 R^2 / batch_size (arXiv 2006.06676, appendix C), but is not less than a value that was stable.
PRESETS = {
    # For a CPU, in minutes: 32 pixels, enough to recognize faces.
    "tiny": TrainingConfig(
        network=StyleGAN2Config(32, z_dim=64, w_dim=64, mapping_layers=2, channel_base=512, channel_max=64),
        discriminator_channel_base=512,
        discriminator_channel_max=64,
        batch_size=16,
        lr_warmup_steps=50,
        r1_gamma=0.05,
        ada_kimg=50,
        ema_kimg=4,
        statistics_samples=10_000,
        log_every=25,
    ),
    # For a GPU: 0.48 billion multiplications per image, 4 MB in half precision.
    "64": TrainingConfig(),
    "128": TrainingConfig(
        network=StyleGAN2Config(128, z_dim=512, w_dim=512, mapping_layers=4, channel_base=8192, channel_max=256),
        discriminator_channel_base=8192,
        discriminator_channel_max=256,
        batch_size=64,
        r1_gamma=0.2,
        ema_kimg=20,
    ),
    "256": TrainingConfig(
        network=StyleGAN2Config(256, z_dim=512, w_dim=512, mapping_layers=8, channel_base=16384, channel_max=512),
        discriminator_channel_base=16384,
        discriminator_channel_max=512,
        batch_size=32,
        r1_gamma=0.5,
        ema_kimg=20,
    ),
}

PRESET_KIMG = {"tiny": 60, "64": 2000, "128": 5000, "256": 10_000}
"""Thousand images of a run from scratch, by preset."""


def select_preset(name: str | None = None, resolution: int | None = None, seed: int = 0) -> tuple[str, TrainingConfig]:
    """Return the name and configuration of the preset for a name, a resolution, or both.

    A resolution alone selects the preset of that name, or the nearest one: 64 below it, 256 above. With a name, the
    preset's network is built for that resolution.

    Raises
    ------
    GeneratorError
        When there is no such preset, or no network for the resolution.
    """
    if name is None:
        name = next((candidate for candidate in ("64", "128") if (resolution or 64) <= int(candidate)), "256")
    if name not in PRESETS:
        raise GeneratorError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    config = PRESETS[name]
    network = config.network if resolution is None else replace(config.network, resolution=resolution)
    return name, replace(config, network=network, seed=seed)


def transfer_config(name: str, config: TrainingConfig, network: StyleGAN2Config) -> TrainingConfig:
    """Return a preset's configuration for transfer learning from a generator of the shape `network`.

    The discriminator is trained alone for a hundredth of the preset's images, and p adapts five times as fast (as in
    the paper's transfer learning).
    """
    warmup_steps = max(1, config.steps(PRESET_KIMG[name]) // 100)
    return replace(config, network=network, discriminator_warmup_steps=warmup_steps, ada_kimg=config.ada_kimg / 5)
