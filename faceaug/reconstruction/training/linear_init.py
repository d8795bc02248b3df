"""The linear model: yaw, pitch, roll and light from a generator in two minutes on a CPU, by the mirror split alone.

Every part of the reading is linear in the white latent, up to a squashing function: canonical depth and albedo are
mirror-symmetric and come from the even part, as pitch, ty, tz and three of the light's numbers do; yaw, roll, tx and
light-x come from the odd part (method.md, section 2, "beyond the paper"). It sees no picture; pictures are only what
it has to explain. Its readings are where the network begins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.generators.pool import SamplePool
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.training.symmetry import MirrorSplit
from faceaug.utils.tensors import at_side
from faceaug.utils.training.train_loop import descend, rng_of

DEPTH_GRID = 12
"""Side of the grid of depths that is enlarged to the picture's: a face is smooth."""
DEPTH_SCALE, PITCH_SCALE, ROLL_SCALE, SHIFT_SCALE, RETREAT_SCALE = 0.03, 0.3, 0.3, 0.03, 0.1
"""What a linear output of 1 means, so that Adam moves everything at a pace that suits it; yaw's is 1."""
BRIGHTEST = 1.2
"""Upper bound of ambient and of diffuse light."""
BATCH, RATE, WARMUP = 64, 3e-3, 30
SMOOTHNESS, SMALL_TURNS = 30.0, 1e-3
"""Weights of the depth's roughness and of turning far; the second decides which face counts as frontal."""


class LinearFace(nn.Module):
    """Readings that are linear in white coordinates split by the mirror.

    Parameters
    ----------
    split
        The mirror split of the generator.
    side
        Pixels of the canonical maps; even.
    seed
        Of the first weights.
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
        # The nose is nearer than the border from the start: the face is never inside out.
        self.register_buffer("bulge", -0.072 * torch.exp(-(grid[..., 0] ** 2 / 0.35 + grid[..., 1] ** 2 / 0.6)))
        rng = torch.Generator().manual_seed(seed)
        for layer in (self.depth, self.albedo, self.light_even, self.view_even):
            nn.init.normal_(layer.weight, std=1e-3, generator=rng)
            nn.init.zeros_(layer.bias)
        for layer in (self.light_odd, self.view_odd):
            nn.init.normal_(layer.weight, std=0.02, generator=rng)

    def forward(self, u: Tensor) -> FaceFactors:
        """Read white coordinates [N, K]."""
        odd, even = u @ self.odd, u @ self.even
        half = self.depth(even).view(-1, DEPTH_GRID, DEPTH_GRID // 2) * DEPTH_SCALE + self.bulge
        depth = (
            1
            + F.interpolate(_whole(half)[:, None], size=(self.side, self.side), mode="bicubic", align_corners=False)[
                :, 0
            ]
        )
        albedo = torch.sigmoid(_whole(self.albedo(even).view(-1, 3, self.side, self.side // 2)))
        strength, view_even, view_odd = self.light_even(even), self.view_even(even), self.view_odd(odd)
        light = torch.stack(
            [
                BRIGHTEST * torch.sigmoid(strength[:, 0]),
                BRIGHTEST * torch.sigmoid(strength[:, 1]),
                self.light_odd(odd)[:, 0],
                strength[:, 2] + 0.2,
            ],
            1,
        )
        view = torch.stack(
            [
                view_even[:, 0] * PITCH_SCALE,
                view_odd[:, 0],
                view_odd[:, 1] * ROLL_SCALE,
                view_odd[:, 2] * SHIFT_SCALE,
                view_even[:, 1] * SHIFT_SCALE,
                view_even[:, 2] * RETREAT_SCALE,
            ],
            1,
        )
        return FaceFactors(depth, albedo, light, view)


def _whole(half: Tensor) -> Tensor:
    """Return the symmetric map of which the left half is given."""
    return torch.cat([half, half.flip(-1)], -1)


class LinearTrainer:
    """Teaches a `LinearFace` to explain a pool of pictures by the renderer.

    Parameters
    ----------
    pool
        Draws of the generator.
    split
        Its mirror split.
    seed
        Of the first weights and of every step.
    steps
        Length of the training; the learning rate falls in its last third.
    device
        Where to compute.
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
        self.adam = torch.optim.Adam(self.model.parameters(), RATE, betas=(0.9, 0.99))

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"linear": self.model}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def advance(self) -> dict[str, float]:
        """Explain one batch and learn from the error."""
        left = (self.steps - self.step) / self.steps
        self.adam.param_groups[0]["lr"] = RATE * min(1.0, (self.step + 1) / WARMUP, 3 * left)
        rows = torch.randint(len(self.pool), (BATCH,), generator=rng_of(self.seed, 0x11, self.step))
        images = at_side(self.pool.float_images(rows, self.device), self.model.side)
        reading = self.model(self.u[rows].to(self.device))
        made = render(reading.albedo, reading.depth, reading.light, reading.view)
        seen = made.mask[:, None].float()
        error = (made.image - images).abs().mean(1, keepdim=True)
        log_sigma = self.model.log_sigma
        laplace = ((error * torch.exp(-log_sigma) + log_sigma) * seen).sum() / seen.sum()
        small = reading.view[:, :3].square().mean()
        loss = laplace + SMOOTHNESS * roughness(reading.depth) + SMALL_TURNS * small
        descend(self.adam, loss)
        return {"loss": loss.item(), "l1": ((error * seen).sum() / seen.sum()).item()}


def roughness(depth: Tensor) -> Tensor:
    """Return the mean squared step between neighbours in depth maps [N, S, S]: across and down."""
    return depth.diff(dim=1).square().mean() + depth.diff(dim=2).square().mean()
