"""The reconstruction network: one picture of a face in, its canonical depth and albedo, light and view out.

After Unsup3D (CVPR 2020), made small: one encoder serves all, and depth and albedo share the first layers of their
decoder. What leads to the canonical maps passes through a code without positions, so that they cannot follow the
picture's pose; only the confidence maps, which belong to the picture, are read off the encoder's grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from faceaug.errors import IntegrityError
from faceaug.reconstruction.factors import FaceFactors
from faceaug.utils.tensors import at_side

Net = TypeVar("Net", bound=nn.Module)

NETWORK_SIDE = 64
"""Pixels of the pictures and the canonical maps, unless a smaller network is asked for."""
CODE_WIDTH = 192
FARTHEST = 0.13  # canonical depth lies within 1 ± this
TURN, SHIFT, RETREAT = math.radians(60), 0.1, 0.2  # bounds of angles, tx and ty, and tz
BRIGHTEST = 2.5  # upper bound of ambient and of diffuse light, so that pictures twice as bright can be read
SIDEWAYS = 2.0  # bound of the light's x and y
_ENCODER = {4: 160, 8: 128, 16: 64, 32: 32}  # channels by side
_DECODER = {4: 128, 8: 96, 16: 64, 32: 32, 64: 16}


class ConvBlock(nn.Sequential):
    """A 3x3 convolution, group normalisation and a leaky ReLU."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.GroupNorm(max(1, o // 16), o), nn.LeakyReLU(0.2, inplace=True)
        )


class Encoder(nn.Module):
    """A picture [N, 3, S, S] in [-1, 1] to feature grids and a code [N, CODE_WIDTH]; S is 16, 32 or 64."""

    def __init__(self, side: int = NETWORK_SIDE) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 5, 2, 2), nn.LeakyReLU(0.2, inplace=True))
        sides = [s for s in (16, 8, 4) if s < side // 2]
        before = 32
        self.blocks = nn.ModuleList()
        for s in sides:
            self.blocks.append(nn.Sequential(ConvBlock(before, _ENCODER[s], 2), ConvBlock(_ENCODER[s], _ENCODER[s])))
            before = _ENCODER[s]
        self.to_code = nn.Sequential(nn.Flatten(), nn.Linear(before * 16, CODE_WIDTH), nn.LeakyReLU(0.2, inplace=True))

    def grid(self, x: Tensor) -> Tensor:
        """Return the features at a quarter of the picture's side, [N, G, S/4, S/4]."""
        grid: Tensor = self.blocks[0](self.stem(x))
        return grid

    def code(self, grid: Tensor) -> Tensor:
        """Return the code [N, CODE_WIDTH] of a feature grid."""
        for block in list(self.blocks)[1:]:
            grid = block(grid)
        code: Tensor = self.to_code(grid)
        return code

    @property
    def width(self) -> int:
        """Channels G of the feature grid."""
        return int(self.blocks[0][0][0].out_channels)  # type: ignore[index]


class _Up(nn.Sequential):
    def __init__(self, i: int, o: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2, mode="nearest"), ConvBlock(i, o))


class Reconstructor(nn.Module):
    """Reads pictures [N, 3, S, S] in [-1, 1].

    Parameters
    ----------
    side
        S: 16, 32 or 64.
    seed
        Of the first weights.
    """

    def __init__(self, side: int = NETWORK_SIDE, seed: int = 0) -> None:
        super().__init__()
        self.side = side
        self.encoder = Encoder(side)
        sides = [s for s in _DECODER if s <= side]
        shared, own = [s for s in sides if s <= side // 4], [s for s in sides if s > side // 4]
        self.begin = nn.Linear(CODE_WIDTH, _DECODER[4] * 16)
        self.shared = nn.Sequential(*(_Up(_DECODER[s // 2], _DECODER[s]) for s in shared[1:]))
        first = _DECODER[shared[-1]]
        self.depth, self.albedo = (_head(first, own, channels) for channels in (1, 3))
        self.scalars = nn.Sequential(nn.Linear(CODE_WIDTH, 64), nn.LeakyReLU(0.2, inplace=True), nn.Linear(64, 10))
        self.sigma = nn.Sequential(ConvBlock(self.encoder.width, 32), nn.Conv2d(32, 4, 3, 1, 1))
        initialize_weights(self, seed)

    def forward(self, images: Tensor) -> FaceFactors:
        """Read pictures of any side; they are brought to the network's own."""
        return self.read_code(self.encoder.code(self.encoder.grid(at_side(images, self.side))))

    def with_confidence(self, images: Tensor) -> tuple[FaceFactors, Tensor]:
        """Read pictures, and tell how well each place will be explained.

        Returns
        -------
        Reading, Tensor
            The logarithms of the expected errors, [N, 4, S/4, S/4]: of the picture and of the mirrored canonical face's
            picture, then of the features of both.
        """
        grid = self.encoder.grid(images)
        log_sigma: Tensor = self.sigma(grid)
        return self.read_code(self.encoder.code(grid)), log_sigma.clamp(-4, 2)

    def read_code(self, code: Tensor) -> FaceFactors:
        """Return the reading that a code [N, CODE_WIDTH] stands for."""
        start = self.shared(F.leaky_relu(self.begin(code), 0.2).view(len(code), -1, 4, 4))
        depth = 1 + FARTHEST * torch.tanh(self.depth(start)[:, 0])
        albedo = torch.sigmoid(self.albedo(start))
        raw = self.scalars(code)
        strength = BRIGHTEST * torch.sigmoid(raw[:, :2] - 1.4)
        light = torch.cat([strength, SIDEWAYS * torch.tanh(raw[:, 2:4] / SIDEWAYS)], 1)
        view = torch.tanh(raw[:, 4:] / _bounds(raw) * _PACE) * _bounds(raw)
        return FaceFactors(depth, albedo, light, view)


_PACE = 0.3  # a raw output of 1 is a turn of 17 degrees


def _bounds(like: Tensor) -> Tensor:
    """Return the largest view."""
    return like.new_tensor([TURN, TURN, TURN, SHIFT, SHIFT, RETREAT])


def _head(width: int, sides: list[int], channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for side in sides:
        layers.append(_Up(width, _DECODER[side]))
        width = _DECODER[side]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 5, 1, 2))


def initialize_weights(module: nn.Module, seed: int) -> None:
    """Draw all weights from one seed; the last layers begin near zero, so that everything begins near its mean."""
    rng = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, 0.2, generator=rng)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for name, part in module.named_children():
        if name in ("depth", "albedo", "scalars", "sigma"):
            last = list(part.modules())[-1]
            assert isinstance(last, (nn.Conv2d, nn.Linear))
            with torch.no_grad():
                last.weight.mul_(0.1)


def on_device(network: Net, device: torch.device) -> Net:
    """Move a network; convolutions are a third faster on a CPU with channels last in memory."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def export_weights(network: Reconstructor) -> dict[str, NDArray[Any]]:
    """Return a network's weights in half precision, as a bundle keeps them."""
    return {name: value.detach().cpu().half().numpy() for name, value in network.state_dict().items()}


def network_from_weights(weights: Mapping[str, NDArray[Any]], where: str = "these weights") -> Reconstructor:
    """Make the network of weights that `export_weights` gave, ready to read.

    Raises
    ------
    IntegrityError
        When names, shapes or types are not those of a reconstruction network, or numbers are not finite.
    """
    for side in (64, 32, 16):
        network = Reconstructor(side)
        expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        if {name: value.shape for name, value in weights.items()} == expected:
            break
    else:
        raise IntegrityError(f"{where} hold no reconstruction network of this version: find the directions again")
    for name, value in weights.items():
        if value.dtype != np.float16 or not np.isfinite(value).all():
            raise IntegrityError(f"{where} have {name} as {value.dtype} or not finite, expected float16: damaged")
    network.load_state_dict({name: torch.from_numpy(np.array(value)).float() for name, value in weights.items()})
    return network.eval().requires_grad_(False)
