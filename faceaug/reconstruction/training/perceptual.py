"""Perceptual features, trained on the generator alone.

An encoder is trained to predict the leading coordinates of the latent from augmented samples, whose latents are known.
Its first layers then distinguish faces as far as the generator varies them, and are frozen as the features of the
perceptual loss. The encoder of the reconstruction network starts from all of its layers.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.generators.pool import SamplePool
from faceaug.reconstruction.networks import CODE_WIDTH, Encoder, channels_last, initialize_weights
from faceaug.reconstruction.training.augmentation import degrade, sample_augmentation
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.training.train_loop import descend, rng_of

BATCH_SIZE, LEARNING_RATE = 64, 1e-3
EVEN_COORDINATES = 24
"""Leading mirror-even coordinates that are predicted besides all odd ones."""


class LatentReader(nn.Module):
    """Predicts `width` coordinates of the latent from images [N, 3, S, S]."""

    def __init__(self, side: int, width: int, seed: int) -> None:
        super().__init__()
        self.encoder = Encoder(side)
        self.head = nn.Linear(CODE_WIDTH, width)
        initialize_weights(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coordinates [N, width] of images [N, 3, S, S] in [-1, 1]."""
        u: Tensor = self.head(self.encoder.code(self.encoder.grid(images)))
        return u


class LatentTrainer:
    """Trains a `LatentReader` on a pool of samples (protocol `train_loop.StepTrainer`).

    Parameters
    ----------
    pool, split
        Samples of the generator, and its mirror split: the coordinates that change images most are predicted.
    side
        Side of the images in pixels.
    seed, steps, device
        As in `linear_init.LinearTrainer`.
    """

    def __init__(
        self,
        pool: SamplePool,
        split: MirrorSplit,
        seed: int = 0,
        steps: int = 400,
        *,
        side: int = 64,
        device: torch.device | None = None,
    ) -> None:
        self.pool, self.seed, self.steps, self.step, self.side = pool, seed, steps, 0, side
        self.device = device or torch.device("cpu")
        basis = np.concatenate([split.odd, split.even[:, :EVEN_COORDINATES]], 1)
        self.u = split.whitening.white(pool.w) @ torch.from_numpy(basis).float()
        self.model = channels_last(LatentReader(side, basis.shape[1], seed), self.device)
        self.adam = torch.optim.Adam(self.model.parameters(), LEARNING_RATE)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"reader": self.model}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def advance(self) -> dict[str, float]:
        """Train on one batch; return the loss."""
        rng = rng_of(self.seed, 0x12, self.step)
        self.adam.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 3 * (self.steps - self.step) / self.steps)
        rows = torch.randint(len(self.pool), (BATCH_SIZE,), generator=rng)
        images = resize_tensor(self.pool.float_images(rows, self.device), self.side)
        images = degrade(sample_augmentation(BATCH_SIZE, rng, self.device).apply_to_images(images), rng)
        loss = F.mse_loss(self.model(images), self.u[rows].to(self.device))
        descend(self.adam, loss)
        return {"loss": loss.item()}


class PerceptualFeatures(nn.Module):
    """The frozen first layers of a reader, [N, G, S/4, S/4]; each channel has unit spread over a batch of samples.

    Parameters
    ----------
    reader
        Trained.
    images : float32 [N, 3, S, S] in [-1, 1]
        Samples that determine the spread.
    """

    spread: Tensor

    def __init__(self, reader: LatentReader, images: Tensor) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(reader.encoder).requires_grad_(False).eval()
        with torch.no_grad():
            self.register_buffer("spread", self.encoder.grid(images).std((0, 2, 3), keepdim=True).clamp(min=1e-6))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images [N, 3, S, S]; differentiable in the images."""
        features: Tensor = self.encoder.grid(images) / self.spread
        return features
