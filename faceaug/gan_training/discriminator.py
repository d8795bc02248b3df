"""The discriminator of StyleGAN2, in the "residual" form (arXiv 1912.04958).

Names and layout of parameters are those of NVIDIA's implementation.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.generators.convolution.resampling import convolve_down
from faceaug.generators.stylegan2_networks import EPSILON, FullyConnected, StyleGAN2Config, leaky_relu


class DiscriminatorConvolution(nn.Module):
    """Convolution with equalized learning rate; down-sampling follows the (1, 3, 3, 1) filter."""

    bias: nn.Parameter | None

    def __init__(
        self, inputs: int, outputs: int, size: int, *, down: bool = False, activate: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.size, self.down, self.gain = size, down, gain
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.empty(outputs)) if activate else None

    def reset(self, rng: torch.Generator) -> None:
        self.weight.copy_(torch.randn(self.weight.shape, generator=rng))
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / math.sqrt(self.weight[0].numel())
        x = convolve_down(x, weight) if self.down else F.conv2d(x, weight.to(x.dtype), padding=self.size // 2)
        if self.bias is not None:
            x = leaky_relu(x + self.bias.to(x.dtype)[:, None, None])
        return x * self.gain


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a skip connection, to half the side; the first block takes RGB."""

    def __init__(self, side: int, config: StyleGAN2Config, *, takes_rgb: bool) -> None:
        super().__init__()
        inputs, outputs = config.channels(side), config.channels(side // 2)
        self.fromrgb = DiscriminatorConvolution(3, inputs, 1) if takes_rgb else None
        self.conv0 = DiscriminatorConvolution(inputs, inputs, 3)
        self.conv1 = DiscriminatorConvolution(inputs, outputs, 3, down=True, gain=math.sqrt(0.5))
        self.skip = DiscriminatorConvolution(inputs, outputs, 1, down=True, activate=False, gain=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        result: Tensor = self.skip(x) + self.conv1(self.conv0(x))
        return result


class DiscriminatorHead(nn.Module):
    """The last block, at 4 pixels: the minibatch standard deviation as a channel, then one score per image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = DiscriminatorConvolution(channels + 1, channels, 3)
        self.fc = FullyConnected(channels * 16, channels, activate=True)
        self.out = FullyConnected(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        group = next(size for size in (4, 3, 2, 1) if len(x) % size == 0)
        deviation = x.view(group, len(x) // group, *x.shape[1:]).var(0, unbiased=False).add(EPSILON).sqrt()
        deviation = deviation.mean((1, 2, 3)).repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        score: Tensor = self.out(self.fc(self.conv(torch.cat([x, deviation], 1)).flatten(1)))
        return score


class Discriminator(nn.Module):
    """Images [N, 3, R, R] to scores [N, 1]; resolution and channels of `config` are used."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.sides = config.sides[:0:-1]
        for side in self.sides:
            self.add_module(f"b{side}", DiscriminatorBlock(side, config, takes_rgb=side == config.resolution))
        self.b4 = DiscriminatorHead(config.channels(4))

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        x = x.to(dtype)
        for side in self.sides:
            x = self.get_submodule(f"b{side}")(x)
        score: Tensor = self.b4(x.float())
        return score
