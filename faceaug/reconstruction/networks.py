"""The reconstruction network: from an image of a face to canonical depth and albedo, light and view.

A small version of Unsup3D (CVPR 2020): all factors share one encoder, and depth and albedo share the first layers of
their decoder. The canonical maps are decoded from a code without spatial positions, so that they cannot follow the pose
in the image; only the confidence maps, which belong to the image, are predicted from the encoder's feature grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from faceaug.errors import IntegrityError
from faceaug.reconstruction.factors import FaceFactors
from faceaug.utils.tensors import resize_tensor

Net = TypeVar("Net", bound=nn.Module)

NETWORK_SIDE = 64
"""Side of images and canonical maps of the default network, in pixels."""
CODE_WIDTH = 192
DEPTH_BOUND = 0.13  # canonical depth lies in 1 ± DEPTH_BOUND
ANGLE_BOUND, SHIFT_BOUND, DISTANCE_BOUND = math.radians(60), 0.1, 0.2  # of angles, of tx and ty, of tz
STRENGTH_BOUND = 2.5  # of ambient and of diffuse light, so that images twice as bright can be explained
DIRECTION_BOUND = 2.0  # of the light's x and y
_ENCODER_CHANNELS = {4: 160, 8: 128, 16: 64, 32: 32}  # by side
_DECODER_CHANNELS = {4: 128, 8: 96, 16: 64, 32: 32, 64: 16}


class ConvBlock(nn.Sequential):
    """3x3 convolution, group normalization and leaky ReLU."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.GroupNorm(max(1, o // 16), o), nn.LeakyReLU(0.2, inplace=True)
        )


class Encoder(nn.Module):
    """Map images [N, 3, S, S] in [-1, 1] to feature grids and codes [N, CODE_WIDTH]; S is 16, 32 or 64."""

    def __init__(self, side: int = NETWORK_SIDE) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 5, 2, 2), nn.LeakyReLU(0.2, inplace=True))
        sides = [s for s in (16, 8, 4) if s < side // 2]
        before = 32
        self.blocks = nn.ModuleList()
        for s in sides:
            self.blocks.append(
                nn.Sequential(
                    ConvBlock(before, _ENCODER_CHANNELS[s], 2), ConvBlock(_ENCODER_CHANNELS[s], _ENCODER_CHANNELS[s])
                )
            )
            before = _ENCODER_CHANNELS[s]
        self.to_code = nn.Sequential(nn.Flatten(), nn.Linear(before * 16, CODE_WIDTH), nn.LeakyReLU(0.2, inplace=True))

    def grid(self, x: Tensor) -> Tensor:
        """Return the features at a quarter of the side, [N, G, S/4, S/4]."""
        grid: Tensor = self.blocks[0](self.stem(x))
        return grid

    def code(self, grid: Tensor) -> Tensor:
        """Return the codes [N, CODE_WIDTH] of feature grids [N, G, S/4, S/4]."""
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

    def fused(self) -> nn.Sequential:
        """Return layers that compute the same with 4 of 9 multiplications: a transposed convolution of the small map.

        Each pixel of the small map is seen by 4 x 4 pixels of the large one, with the sum of those of the 3 x 3 weights
        that meet one of its four copies.
        """
        convolution, norm, activation = self[1].children()
        assert isinstance(convolution, nn.Conv2d)
        weight = convolution.weight.detach().flip(-1, -2).transpose(0, 1)  # [in, out, 3, 3]
        fused = nn.ConvTranspose2d(weight.shape[0], weight.shape[1], 4, stride=2, padding=1, bias=False)
        fused.weight.data = F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, 1, divisor_override=1)
        return nn.Sequential(fused.requires_grad_(False), norm, activation)


class Reconstructor(nn.Module):
    """Predict the factors of images [N, 3, S, S] in [-1, 1].

    Parameters
    ----------
    side
        S: 16, 32 or 64.
    seed
        Seed of the initial weights.
    """

    def __init__(self, side: int = NETWORK_SIDE, seed: int = 0) -> None:
        super().__init__()
        self.side = side
        self.encoder = Encoder(side)
        sides = [s for s in _DECODER_CHANNELS if s <= side]
        shared, own = [s for s in sides if s <= side // 4], [s for s in sides if s > side // 4]
        self.begin = nn.Linear(CODE_WIDTH, _DECODER_CHANNELS[4] * 16)
        self.shared = nn.Sequential(*(_Up(_DECODER_CHANNELS[s // 2], _DECODER_CHANNELS[s]) for s in shared[1:]))
        first = _DECODER_CHANNELS[shared[-1]]
        self.depth, self.albedo = (_head(first, own, channels) for channels in (1, 3))
        self.scalars = nn.Sequential(nn.Linear(CODE_WIDTH, 64), nn.LeakyReLU(0.2, inplace=True), nn.Linear(64, 10))
        self.sigma = nn.Sequential(ConvBlock(self.encoder.width, 32), nn.Conv2d(32, 4, 3, 1, 1))
        initialize_weights(self, seed)

    def forward(self, images: Tensor) -> FaceFactors:
        """Return the factors of images of any side; they are resized to the network's own."""
        return self.decode(self.encoder.code(self.encoder.grid(resize_tensor(images, self.side))))

    def with_confidence(self, images: Tensor) -> tuple[FaceFactors, Tensor]:
        """Return the factors and the expected errors of the rendered image, which weigh the losses.

        Returns
        -------
        FaceFactors
        float32 [N, 4, S/4, S/4]
            Logarithms of the expected errors: of the image, of the image with the mirrored canonical face, then of the
            features of both.
        """
        grid = self.encoder.grid(images)
        log_sigma: Tensor = self.sigma(grid)
        return self.decode(self.encoder.code(grid)), log_sigma.clamp(-4, 2)

    def decode(self, code: Tensor) -> FaceFactors:
        """Return the factors of codes [N, CODE_WIDTH]."""
        start = self.shared(F.leaky_relu(self.begin(code), 0.2).view(len(code), -1, 4, 4))
        depth = 1 + DEPTH_BOUND * torch.tanh(self.depth(start)[:, 0])
        albedo = torch.sigmoid(self.albedo(start))
        raw = self.scalars(code)
        strength = STRENGTH_BOUND * torch.sigmoid(raw[:, :2] - 1.4)
        light = torch.cat([strength, DIRECTION_BOUND * torch.tanh(raw[:, 2:4] / DIRECTION_BOUND)], 1)
        view = torch.tanh(raw[:, 4:] / _bounds(raw) * _VIEW_SCALE) * _bounds(raw)
        return FaceFactors(depth, albedo, light, view)


_VIEW_SCALE = 0.3  # a raw output of 1 is a turn of 17 degrees


def _bounds(like: Tensor) -> Tensor:
    """Return the bounds of views, [6]."""
    return like.new_tensor([ANGLE_BOUND, ANGLE_BOUND, ANGLE_BOUND, SHIFT_BOUND, SHIFT_BOUND, DISTANCE_BOUND])


def _head(width: int, sides: list[int], channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for side in sides:
        layers.append(_Up(width, _DECODER_CHANNELS[side]))
        width = _DECODER_CHANNELS[side]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 5, 1, 2))


def optimized_for_reading(network: Reconstructor) -> Reconstructor:
    """Return the network, changed: it reads the same in half the time on a CPU, but its weights have other names."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _Up):
                setattr(module, name, child.fused())
    for head, block in ((network.depth, 4), (network.albedo, 2)):  # 16 and 12 outputs
        head[-1] = _in_blocks(head[-1], block)
    return network


def _in_blocks(convolution: nn.Module, block: int) -> nn.Sequential:
    """Return layers that compute the same as a convolution of few outputs, for blocks of pixels at once.

    A processor computes 8 or 16 outputs of a convolution together, and where there are fewer, the others for nothing.
    So the pixels of a block are outputs of their own, of a larger kernel in which the weights lie at their place.
    """
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    outputs, inputs, side, _ = convolution.weight.shape
    weight = convolution.weight.new_zeros(outputs, block, block, inputs, side + block - 1, side + block - 1)
    for i in range(block):
        for j in range(block):
            weight[:, i, j, :, i : i + side, j : j + side] = convolution.weight.detach()
    wide = nn.Conv2d(inputs, outputs * block**2, side + block - 1, stride=block, padding=side // 2)
    wide.weight.data = weight.flatten(0, 2)
    wide.bias = nn.Parameter(convolution.bias.detach().repeat_interleave(block**2))
    return nn.Sequential(wide.requires_grad_(False), nn.PixelShuffle(block))


def initialize_weights(module: nn.Module, seed: int) -> None:
    """Initialize all weights from one seed; output layers start near zero, so that factors start near their mean."""
    rng = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, 0.2, generator=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name, child in module.named_children():
        if name in ("depth", "albedo", "scalars", "sigma"):
            last = list(child.modules())[-1]
            assert isinstance(last, (nn.Conv2d, nn.Linear))
            with torch.no_grad():
                last.weight.mul_(0.1)


def channels_last(network: Net, device: torch.device) -> Net:
    """Move a network to a device, its convolutions with channels last in memory: a third faster on a CPU."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def mirror_averaged_factors(network: Callable[[Tensor], FaceFactors], images: Tensor) -> FaceFactors:
    """Return the means of the factors of images [N, 3, S, S] in [-1, 1] and of their mirror images."""
    with torch.no_grad():
        factors, mirrored = network(images), network(images.flip(-1)).mirrored()
    return FaceFactors(
        (factors.depth + mirrored.depth) / 2,
        (factors.albedo + mirrored.albedo) / 2,
        (factors.light + mirrored.light) / 2,
        (factors.view + mirrored.view) / 2,
    )


def export_weights(network: Reconstructor) -> dict[str, NDArray[Any]]:
    """Return the weights in half precision (float16), as a directions file stores them."""
    return {name: value.detach().cpu().half().numpy() for name, value in network.state_dict().items()}


def network_from_weights(weights: Mapping[str, NDArray[Any]], where: str = "these weights") -> Reconstructor:
    """Return the network of weights from `export_weights`, in evaluation mode.

    Parameters
    ----------
    weights : mapping of str to float16 array
    where : str
        Where the weights come from, for error messages.

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
