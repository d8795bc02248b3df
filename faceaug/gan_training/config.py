"""What decides what a training run computes, and settings that go together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from faceaug.errors import GeneratorError
from faceaug.generators.stylegan2_networks import StyleGAN2Config


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
        Images in a step, over all devices together.
    rate
        Adam's learning rate of the generator.
    warmup
        Steps over which the learning rate rises.
    lead
        Steps at the beginning in which the discriminator alone learns: a generator that can draw already must not be
        taught by one that knows nothing.
    r1_weight, r1_every
        Weight gamma of the gradient penalty on real images, and every how many steps it is applied.
    mixing
        Share of images for which a second w takes over at a random layer.
    augment
        Augment what the discriminator sees, as strongly as its overfitting asks for.
    overfit
        The overfitting r_t (mean sign of its scores of real images, -1 to 1) that the strength is steered to.
    adapt_images
        Images in which the strength can rise from 0 to 1.
    strongest
        The strength's limit: transformations that hit nearly every image would begin to be drawn.
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
    discriminator_base: int = 4096
    discriminator_max: int = 192
    batch: int = 128
    rate: float = 0.0025
    warmup: int = 200
    lead: int = 0
    r1_gamma: float = 0.2
    r1_every: int = 16
    mixing: float = 0.5
    augment: bool = True
    ada_target: float = 0.6
    ada_kimg_images: int = 500_000
    strongest: float = 0.8
    average_images: int = 10_000
    average_share: float = 0.05
    statistics_samples: int = 50_000
    log_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {"batch": 2, "warmup": 1, "lead": 0, "r1_every": 1, "adapt_images": 1, "average_images": 1,
                  "statistics_samples": 2, "log_every": 1}  # fmt: skip
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("rate", "r1_weight", "average_share"):
            if not getattr(self, name) > 0:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("mixing", "overfit", "strongest"):
            if not 0 <= getattr(self, name) <= 1:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")
        _ = self.discriminator

    @property
    def discriminator(self) -> StyleGAN2Config:
        return replace(self.network, channel_base=self.discriminator_base, channel_max=self.discriminator_max)

    def steps(self, kimg: float) -> int:
        """Return the steps in which `kimg` thousand images are seen, at least 1."""
        return max(1, round(kimg * 1000 / self.batch))


# The penalty's weight follows 0.0002 R^2 / batch (arXiv 2006.06676, appendix C), not less than was found to hold.
PRESETS = {
    # For a CPU, in minutes: 32 pixels, enough to see that a face comes out of it.
    "tiny": TrainingConfig(
        network=StyleGAN2Config(32, z_dim=64, w_dim=64, mapping_layers=2, channel_base=512, channel_max=64),
        discriminator_base=512, discriminator_max=64, batch=16, warmup=50, r1_gamma=0.05, ada_kimg_images=50_000,
        average_images=4000, statistics_samples=10_000, log_every=25,
    ),
    # For a GPU: 0.48 billion multiplications an image, 4 MB in half precision.
    "64": TrainingConfig(),
    "128": TrainingConfig(
        network=StyleGAN2Config(128, z_dim=512, w_dim=512, mapping_layers=4, channel_base=8192, channel_max=256),
        discriminator_base=8192, discriminator_max=256, batch=64, r1_gamma=0.2, average_images=20_000,
    ),
    "256": TrainingConfig(
        network=StyleGAN2Config(256, z_dim=512, w_dim=512, mapping_layers=8, channel_base=16384, channel_max=512),
        discriminator_base=16384, discriminator_max=512, batch=32, r1_gamma=0.5, average_images=20_000,
    ),
}  # fmt: skip

BUDGETS = {"tiny": 60, "64": 2000, "128": 5000, "256": 10_000}
"""Thousand images that a run from nothing sees, by preset."""


def preset(name: str | None = None, resolution: int | None = None, seed: int = 0) -> tuple[str, TrainingConfig]:
    """Return the preset that is meant by a name, a resolution, or both, and its name.

    A resolution alone means the preset of that name, or the nearest one: 64 below it, 256 above. With a name, the
    preset's network is made for that resolution.

    Raises
    ------
    GeneratorError
        When there is no such preset, or its network cannot be made for the resolution.
    """
    if name is None:
        name = next((known for known in ("64", "128") if (resolution or 64) <= int(known)), "256")
    if name not in PRESETS:
        raise GeneratorError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    config = PRESETS[name]
    network = config.network if resolution is None else replace(config.network, resolution=resolution)
    return name, replace(config, network=network, seed=seed)


def continued(name: str, config: TrainingConfig, network: StyleGAN2Config) -> TrainingConfig:
    """Return a preset's configuration for a generator that can draw already: its shape, and a lead for the critic.

    The critic leads by a hundredth of the preset's budget, and the augmentation follows five times as fast (the pace
    that the paper takes when it transfers).
    """
    lead = max(1, config.steps(BUDGETS[name]) // 100)
    return replace(config, network=network, lead=lead, ada_kimg_images=max(1, config.ada_kimg_images // 5))
