"""An encoder that predicts the latent of an image, trained on samples of a generator.

Photographs differ from samples in ways that no latent explains: in framing, sharpness, noise and the colours of the
camera. Half of the training samples are augmented in these ways, and the encoder predicts their latents all the same.
Its prediction is the start of the optimization in `inverter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from faceaug.appearance.augmentations import jitter
from faceaug.classifiers.networks import ResidualBlock
from faceaug.generators.base import Generator
from faceaug.generators.pool import SamplePool, sample_pool
from faceaug.latents.whitening import Whitening
from faceaug.utils.tensors import resize_tensor

ENCODER_SIDE = 64
"""Side of the encoder's images in pixels."""
_SENSITIVITY_BATCH, _SENSITIVITY_SIDE = 256, 16  # images, and their side, of the regression of images on latents
_COUNTER = "num_batches_tracked"  # of batch normalization; used in training only

View = Callable[[Tensor], Tensor]
"""From a generator's images [N, 3, R, R] in [-1, 1] to images in the framing and the colours of a data set."""


@dataclass(frozen=True)
class EncoderConfig:
    """Configuration of the training of an encoder.

    Attributes
    ----------
    samples : int
        Samples of the generator at most; never more than the training uses.
    steps, batch_size : int
    lr : float
        Largest learning rate of AdamW.
    uniform_weight : float
        Weight of the squared error of all white coordinates alike, besides the error weighted by its visible effect.
    """

    samples: int = 4096
    steps: int = 800
    batch_size: int = 64
    lr: float = 2e-3
    uniform_weight: float = 0.2


class EncoderNet(nn.Module):
    """From images [N, 3, 64, 64] in [-1, 1] to white latents [N, K]; about a million parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 32, 5, 2, 2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            ResidualBlock(32, 64, 2),
            ResidualBlock(64, 96, 2),
            ResidualBlock(96, 128, 2),
        )
        # Features are not pooled, as the view depends on their position.
        hidden = nn.Linear(128 * (ENCODER_SIDE // 16) ** 2, 256)
        self.head = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(256, width))

    def forward(self, x: Tensor) -> Tensor:
        latent: Tensor = self.head(self.trunk(x))
        return latent

    def predict(self, photographs: Tensor) -> Tensor:
        """Return white latents [N, K] without an autograd graph."""
        with torch.no_grad():
            latent: Tensor = self(photographs.contiguous(memory_format=torch.channels_last))
        return latent

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU."""
        weights = self.state_dict()
        return {name: weights[name].cpu().contiguous() for name in weights if not name.endswith(_COUNTER)}

    def with_state(self, state: Mapping[str, Tensor]) -> EncoderNet:
        """Load the weights of `state` and return the network itself; RuntimeError when they do not fit."""
        counters = {name: value for name, value in self.state_dict().items() if name.endswith(_COUNTER)}
        self.load_state_dict({**state, **counters})
        return self


def train_encoder(
    generator: Generator,
    white: Whitening,
    view: View,
    *,
    seed: int,
    config: EncoderConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EncoderNet:
    """Train an encoder; two or three minutes on one core for a generator of 64 pixels.

    Errors of the latent are weighted by their effect on the image, to first order: a ridge regression of coarse images
    on the white latent gives the weights.

    Parameters
    ----------
    generator : Generator
    white : Whitening
        Its white coordinates.
    view : callable
        From the generator's images to images as the data set shows them.
    seed : int
        Seed of the samples, the augmentations and the initial weights.
    config : EncoderConfig, optional
    progress : callable (steps done, steps), optional

    Returns
    -------
    EncoderNet
        On the CPU, in evaluation mode.
    """
    config = config or EncoderConfig()
    rng = torch.Generator().manual_seed(seed)
    steps, batch_size = config.steps, config.batch_size
    pool = sample_pool(generator, max(2, min(config.samples, steps * batch_size)), seed, ENCODER_SIDE)
    latent = white.white(pool.w)
    sensitivity = _image_sensitivity(pool, latent, view)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = EncoderNet(white.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(adam, config.lr, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        rows = torch.randint(0, len(pool), (batch_size,), generator=rng)
        images = view(pool.float_images(rows))
        augmented = jitter(images, rng, mirror=False)
        images = torch.where((torch.rand(batch_size, generator=rng) < 0.5)[:, None, None, None], augmented, images)
        error = net(images.contiguous(memory_format=torch.channels_last)) - latent[rows]
        loss = (error @ sensitivity).square().mean() + config.uniform_weight * error.square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        scheduler.step()
        if progress:
            progress(step + 1, steps)
    trained: EncoderNet = net.eval().requires_grad_(False)
    return trained


def _image_sensitivity(pool: SamplePool, latent: Tensor, view: View) -> Tensor:
    """Return a factor [K, K] of the mean squared change of coarse images with the white latent, scaled to mean 1."""
    starts = range(0, len(pool), _SENSITIVITY_BATCH)
    batches = (view(pool.float_images(slice(start, start + _SENSITIVITY_BATCH))) for start in starts)
    images = torch.cat([resize_tensor(batch, _SENSITIVITY_SIDE).flatten(1) for batch in batches]).double()
    rows = latent.double()
    images, rows = images - images.mean(0), rows - rows.mean(0)
    ridge = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ images)  # [K, P]
    values, vectors = torch.linalg.eigh(slopes @ slopes.T)
    values = values.clamp(min=0)
    factor: Tensor = vectors * (values / values.mean().clamp(min=1e-12)).sqrt()
    return factor.float()
