"""The linear model, which initializes the network: factors that are linear in the latent, found by the mirror split.

Every factor is a squashed linear function of the white latent. Canonical depth and albedo are mirror-symmetric and
depend on the even part, as do pitch, ty, tz, ambient, diffuse and light-y; yaw, roll, tx and light-x depend on the odd
part (docs/method.md, section 2, "Linear model"). The model sees no image; images are only compared with what it
renders. It takes two minutes on a CPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.generators.pool import SamplePool
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.training.losses import roughness
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.tensors import resize_tensor
from faceaug.utils.training.train_loop import descend, rng_of

DEPTH_GRID = 12
"""Side of the grid of depths, which is enlarged to the image's: a face is smooth."""
DEPTH_SCALE, PITCH_SCALE, ROLL_SCALE, SHIFT_SCALE, DISTANCE_SCALE = 0.03, 0.3, 0.3, 0.03, 0.1
"""Value of a factor at a linear output of 1, so that one learning rate suits all; that of yaw is 1."""
STRENGTH_BOUND = 1.2
"""Upper bound of ambient and of diffuse light."""
BATCH_SIZE, LEARNING_RATE, WARMUP_STEPS = 64, 3e-3, 30
ROUGHNESS_WEIGHT, ANGLE_WEIGHT = 30.0, 1e-3
"""Weights of the roughness of depth and of the squared angles; the latter determines which face counts as frontal."""


class LinearFace(nn.Module):
    """Factors that are linear in white coordinates split by the mirror.

    Parameters
    ----------
    split
        The mirror split of the generator.
    side
        Side S of the canonical maps in pixels; even.
    seed
        Seed of the initial weights.
    """

    odd: Tensor
    even: Tensor
    bulge: Tensor

    def __init__(self, split: MirrorSplit, side: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("odd", torch.from_numpy(split.odd).float())
        self.register_buffer("even", torch.from_numpy(split.even).float())
        odd, even = split.odd.shape[1], split.even.shape[1]
        self.depth = nn.Linear(even, DEPTH_GRID * DEPTH_GRID // 2)
        self.albedo = nn.Linear(even, 3 * side * side // 2)
        self.light_even = nn.Linear(even, 3)  # ambient, diffuse, y
        self.view_even = nn.Linear(even, 3)  # pitch, ty, tz
        self.light_odd = nn.Linear(odd, 1, bias=False)  # x
        self.view_odd = nn.Linear(odd, 3, bias=False)  # yaw, roll, tx
        self.log_sigma = nn.Parameter(torch.full((1, 1, side, side), -1.5))
        grid = pixel_grid(DEPTH_GRID)[:, : DEPTH_GRID // 2]
        # The nose starts nearer than the border, so that the face is never inside out.
        self.register_buffer("bulge", -0.072 * torch.exp(-(grid[..., 0] ** 2 / 0.35 + grid[..., 1] ** 2 / 0.6)))
        rng = torch.Generator().manual_seed(seed)
        for layer in (self.depth, self.albedo, self.light_even, self.view_even):
            nn.init.normal_(layer.weight, std=1e-3, generator=rng)
            nn.init.zeros_(layer.bias)
        for layer in (self.light_odd, self.view_odd):
            nn.init.normal_(layer.weight, std=0.02, generator=rng)

    def forward(self, u: Tensor) -> FaceFactors:
        """Return the factors of white coordinates [N, K], with maps of side S."""
        odd, even = u @ self.odd, u @ self.even
        half = self.depth(even).view(-1, DEPTH_GRID, DEPTH_GRID // 2) * DEPTH_SCALE + self.bulge
        size = (self.side, self.side)
        depth = 1 + F.interpolate(_symmetric(half)[:, None], size=size, mode="bicubic", align_corners=False)[:, 0]
        albedo = torch.sigmoid(_symmetric(self.albedo(even).view(-1, 3, self.side, self.side // 2)))
        light_even, view_even, view_odd = self.light_even(even), self.view_even(even), self.view_odd(odd)
        light = [
            STRENGTH_BOUND * torch.sigmoid(light_even[:, 0]),
            STRENGTH_BOUND * torch.sigmoid(light_even[:, 1]),
            self.light_odd(odd)[:, 0],
            light_even[:, 2] + 0.2,
        ]
        view = [
            view_even[:, 0] * PITCH_SCALE,
            view_odd[:, 0],
            view_odd[:, 1] * ROLL_SCALE,
            view_odd[:, 2] * SHIFT_SCALE,
            view_even[:, 1] * SHIFT_SCALE,
            view_even[:, 2] * DISTANCE_SCALE,
        ]
        return FaceFactors(depth, albedo, torch.stack(light, 1), torch.stack(view, 1))


def _symmetric(half: Tensor) -> Tensor:
    """Return the symmetric map with the given left half."""
    return torch.cat([half, half.flip(-1)], -1)


class LinearTrainer:
    """Trains a `LinearFace` to explain a pool of images by rendering (protocol `train_loop.StepTrainer`).

    Parameters
    ----------
    pool
        Samples of the generator.
    split
        Its mirror split.
    seed
        Seed of the initial weights and of every step.
    steps
        Length of the training; the learning rate falls in its last third.
    side
        Side of the canonical maps in pixels.
    device
        Device to compute on; the CPU by default.
    """

    def __init__(
        self,
        pool: SamplePool,
        split: MirrorSplit,
        seed: int = 0,
        steps: int = 1500,
        *,
        side: int = 32,
        device: torch.device | None = None,
    ) -> None:
        self.pool, self.seed, self.steps, self.step = pool, seed, steps, 0
        self.u, self.device = split.whitening.white(pool.w), device or torch.device("cpu")
        self.model = LinearFace(split, side, seed).to(self.device)
        self.adam = torch.optim.Adam(self.model.parameters(), LEARNING_RATE, betas=(0.9, 0.99))

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"linear": self.model}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def advance(self) -> dict[str, float]:
        """Train on one batch; return the loss and the L1 error of the rendered images."""
        remaining = (self.steps - self.step) / self.steps
        self.adam.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (self.step + 1) / WARMUP_STEPS, 3 * remaining)
        rows = torch.randint(len(self.pool), (BATCH_SIZE,), generator=rng_of(self.seed, 0x11, self.step))
        images = resize_tensor(self.pool.float_images(rows, self.device), self.model.side)
        factors = self.model(self.u[rows].to(self.device))
        rendering = render(factors.albedo, factors.depth, factors.light, factors.view)
        visible = rendering.mask[:, None].float()
        error = (rendering.image - images).abs().mean(1, keepdim=True)
        log_sigma = self.model.log_sigma
        laplace = ((error * torch.exp(-log_sigma) + log_sigma) * visible).sum() / visible.sum()
        squared_angles = factors.view[:, :3].square().mean()
        loss = laplace + ROUGHNESS_WEIGHT * roughness(factors.depth) + ANGLE_WEIGHT * squared_angles
        descend(self.adam, loss)
        return {"loss": loss.item(), "l1": ((error * visible).sum() / visible.sum()).item()}
