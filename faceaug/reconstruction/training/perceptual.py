"""Features in which pictures are compared, learnt from the generator alone.

An encoder learns to read off disturbed pictures what of the latent shows most: labels that every draw brings along. Its
first layers then tell faces apart as far as the generator does, and are frozen to compare pictures (the perceptual
term); the reconstruction network's encoder starts from all of them.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.generators.pool import SamplePool
from faceaug.reconstruction.networks import CODE_WIDTH, Encoder, initialize_weights, on_device
from faceaug.reconstruction.training.augmentation import degraded, sample_augmentation
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.tensors import at_side
from faceaug.utils.training.train_loop import descend, rng_of

BATCH, RATE = 64, 1e-3
EVEN = 24
"""Mirror-even coordinates that are read beside all odd ones."""


class LatentReader(nn.Module):
    """Reads `width` coordinates of the latent off pictures."""

    def __init__(self, side: int, width: int, seed: int) -> None:
        super().__init__()
        self.encoder = Encoder(side)
        self.head = nn.Linear(CODE_WIDTH, width)
        initialize_weights(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Read pictures [N, 3, S, S] in [-1, 1]."""
        u: Tensor = self.head(self.encoder.code(self.encoder.grid(images)))
        return u


class LatentTrainer:
    """Teaches a `LatentReader` on a pool of draws.

    Parameters
    ----------
    pool, split
        Draws of the generator, and the coordinates of which those that change pictures most are read.
    side
        Pixels of the pictures that are read.
    seed, steps, device
        As in `linear.LinearTrainer`.
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
        basis = np.concatenate([split.odd, split.even[:, :EVEN]], 1)
        self.u = split.whitening.white(pool.w) @ torch.from_numpy(basis).float()
        self.model = on_device(LatentReader(side, basis.shape[1], seed), self.device)
        self.adam = torch.optim.Adam(self.model.parameters(), RATE)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"reader": self.model}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def advance(self) -> dict[str, float]:
        """Read one batch and learn from the error."""
        rng = rng_of(self.seed, 0x12, self.step)
        self.adam.param_groups[0]["lr"] = RATE * min(1.0, 3 * (self.steps - self.step) / self.steps)
        rows = torch.randint(len(self.pool), (BATCH,), generator=rng)
        images = at_side(self.pool.float_images(rows, self.device), self.side)
        images = degraded(sample_augmentation(BATCH, rng, self.device).images(images), rng)
        loss = F.mse_loss(self.model(images), self.u[rows].to(self.device))
        descend(self.adam, loss)
        return {"loss": loss.item()}


class PerceptualFeatures(nn.Module):
    """The frozen first layers of a reader, [N, G, S/4, S/4], each channel with unit spread over a batch of draws."""

    spread: Tensor

    def __init__(self, reader: LatentReader, images: Tensor) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(reader.encoder).requires_grad_(False).eval()
        with torch.no_grad():
            self.register_buffer("spread", self.encoder.grid(images).std((0, 2, 3), keepdim=True).clamp(min=1e-6))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of pictures [N, 3, S, S]; differentiable in the pictures."""
        features: Tensor = self.encoder.grid(images) / self.spread
        return features
