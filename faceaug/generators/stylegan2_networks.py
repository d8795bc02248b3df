"""The generator networks of StyleGAN2: mapping and synthesis.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020
(arXiv 1912.04958), in the "skip" form. Parameters have the names and the layout of NVIDIA's PyTorch implementation
(``mapping.fc0.weight``, ``synthesis.b8.conv0.affine.weight`` ...), so that its weights fit. Activations are kept
channels-last in memory, which is several times faster on CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.errors import GeneratorError
from faceaug.generators.convolution import winograd
from faceaug.generators.convolution.resampling import convolve_up, upsample

NoiseMode = Literal["const", "none"]
"""Add the stored noise, or none."""
NoiseInput = NoiseMode | torch.Generator
"""A noise mode, or a random generator that fresh noise is sampled from (for training)."""

NEGATIVE_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2)  # keeps the variance through a leaky ReLU
EPSILON = 1e-8


@dataclass(frozen=True)
class StyleGAN2Config:
    """Shape of a StyleGAN2 generator.

    Parameters
    ----------
    resolution
        Side of the images in pixels, a power of two from 8 to 2048.
    z_dim, w_dim
        Widths of the latents.
    mapping_layers
        Number of fully connected layers from z to w.
    channel_base, channel_max
        A block of side r has ``min(channel_base // r, channel_max)`` channels.
    conv_clamp
        Activations and RGB are clamped to plus and minus this (256 in networks trained in fp16), or not at all.
    classes
        Classes that the mapping is conditioned on, 0 for an unconditional network.
    """

    resolution: int = 64
    z_dim: int = 256
    w_dim: int = 256
    mapping_layers: int = 4
    channel_base: int = 4096
    channel_max: int = 128
    conv_clamp: float | None = None
    classes: int = 0

    def __post_init__(self) -> None:
        if self.resolution not in {8 << k for k in range(9)}:
            raise GeneratorError(f"the resolution is {self.resolution}; it must be a power of two, 8 to 2048")
        for name, highest in (("z_dim", 4096), ("w_dim", 4096), ("mapping_layers", 32), ("channel_max", 4096)):
            if not 1 <= getattr(self, name) <= highest:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be from 1 to {highest}")
        if not self.resolution <= self.channel_base <= 1 << 20:
            raise GeneratorError(
                f"channel_base is {self.channel_base}; it must be from the resolution ({self.resolution}) to {1 << 20}"
            )
        if self.conv_clamp is not None and not self.conv_clamp > 0:
            raise GeneratorError(f"conv_clamp is {self.conv_clamp}; it must be above 0, or null for none")
        if not 0 <= self.classes <= 1 << 16:
            raise GeneratorError(f"classes is {self.classes}; it must be from 0 to {1 << 16}")

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the blocks: 4, 8, ... resolution."""
        return tuple(4 << k for k in range((self.resolution // 4).bit_length()))

    @property
    def num_ws(self) -> int:
        """Number of layers that take a w of their own (RGB layers share the next block's first)."""
        return 2 * len(self.sides)

    @property
    def largest_layer(self) -> int:
        """Number of values in the largest layer for one image."""
        return max(self.channels(side) * side**2 for side in self.sides)

    def channels(self, side: int) -> int:
        """Return the number of channels of the block of a side."""
        return min(self.channel_base // side, self.channel_max)


def leaky_relu(x: Tensor) -> Tensor:
    """Apply the leaky ReLU, scaled to keep the variance."""
    return F.leaky_relu(x, NEGATIVE_SLOPE) * ACTIVATION_GAIN


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row of x [N, D] so that the mean of its squares is 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class FullyConnected(nn.Module):
    """Linear layer with equalized learning rate; weight [out, in] is stored before its scaling."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.bias_init, self.lr_multiplier, self.activate = bias_init, lr_multiplier, activate
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def reset(self, rng: torch.Generator) -> None:
        self.weight.copy_(torch.randn(self.weight.shape, generator=rng) / self.lr_multiplier)
        self.bias.fill_(self.bias_init)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the weight [out, in] and the bias [out] after their scaling."""
        return self.weight * (self.lr_multiplier / math.sqrt(self.weight.shape[1])), self.bias * self.lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, *self.affine())
        return leaky_relu(x) if self.activate else x


class Mapping(nn.Module):
    """z to w; `w_avg` is the running mean of w, toward which truncation pulls."""

    w_avg: Tensor
    embed: FullyConnected

    def __init__(self, z_dim: int, w_dim: int, layers: int, classes: int) -> None:
        super().__init__()
        self.layers, self.classes = layers, classes
        self.register_buffer("w_avg", torch.empty(w_dim))
        if classes:
            self.embed = FullyConnected(classes, w_dim)
        for index in range(layers):
            width = z_dim + (w_dim if classes else 0) if index == 0 else w_dim
            self.add_module(f"fc{index}", FullyConnected(width, w_dim, lr_multiplier=0.01, activate=True))

    def reset(self, rng: torch.Generator) -> None:
        self.w_avg.zero_()

    def forward(self, z: Tensor, label: int = 0) -> Tensor:
        """Map z [N, Z] to w [N, W]; `label` is the class, where there are any."""
        x = normalize_second_moment(z)
        if self.classes:
            one = F.one_hot(torch.tensor([label], device=z.device), self.classes).to(z.dtype)
            x = torch.cat([x, normalize_second_moment(self.embed(one)).expand(len(x), -1)], 1)
        for index in range(self.layers):
            x = self.get_submodule(f"fc{index}")(x)
        return x  # [N, W]


class WeightCache:
    """A function of a frozen weight on a CPU, computed once, and again when the weight has changed."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        self.compute = compute
        self._cached: tuple[Tensor, int, int, Tensor] | None = None  # weight, address, version and result

    def get(self, weight: Tensor) -> Tensor:
        """Return the function's value for a weight."""
        if weight.requires_grad or weight.device.type != "cpu":
            return self.compute(weight)
        address, version = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        if self._cached is None or self._cached[0] is not weight or self._cached[1:3] != (address, version):
            with torch.inference_mode(False):  # a later call may need gradients
                self._cached = weight, address, version, self.compute(weight)
        return self._cached[3]


def kernel_energy(weight: Tensor) -> Tensor:
    """Return the sums of squares of kernels [out, in, 3, 3], [in, out]."""
    return weight.square().sum((2, 3)).T


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, leaky ReLU.

    The style scales the input and the demodulation scales the output, which equals modulating the kernels (eq. 1 and 3
    of the paper) and lets the whole batch share one convolution.
    """

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, *, up: bool, config: StyleGAN2Config) -> None:
        super().__init__()
        self.up, self.clamp = up, config.conv_clamp
        self.affine = FullyConnected(config.w_dim, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("noise_const", torch.empty(side, side))
        self.noise_strength = nn.Parameter(torch.empty([]))
        self._energy, self._kernels = (
            WeightCache(kernel_energy),
            WeightCache(partial(winograd.transform_kernels, up=up)),
        )

    def reset(self, rng: torch.Generator) -> None:
        self.weight.copy_(torch.randn(self.weight.shape, generator=rng))
        self.noise_const.copy_(torch.randn(self.noise_const.shape, generator=rng))
        self.bias.zero_()
        self.noise_strength.zero_()

    def forward(self, x: Tensor, w: Tensor, noise: NoiseInput) -> Tensor:
        style = self.affine(w)  # [N, in]
        # The activation is homogeneous, so its gain is multiplied into the factors before it: one pass over x less.
        scale = ACTIVATION_GAIN * torch.rsqrt(
            style.square() @ self._energy.get(self.weight) + EPSILON
        )  # [N, out]: demodulation
        bias = ACTIVATION_GAIN * self.bias[None, None]  # [1, 1, out], the order that x has in memory
        added_noise = None
        if noise != "none":
            added_noise = ACTIVATION_GAIN * self.noise_strength * self.sample_noise(len(x), noise)[..., None]
        frozen = not any(tensor.requires_grad for tensor in (x, style, bias, self.weight))
        if frozen and winograd.is_faster(x, up=self.up):
            return self._forward_winograd(x, style, scale, bias, added_noise)
        x = x * style[:, :, None, None].to(x.dtype)
        x = convolve_up(x, self.weight) if self.up else F.conv2d(x, self.weight.to(x.dtype), padding=1)
        offset = bias if added_noise is None else bias + added_noise
        x = x * scale[:, :, None, None].to(x.dtype)  # not addcmul, which loses channels-last
        x = F.leaky_relu_(x.add_(offset.movedim(-1, -3).to(x.dtype)), NEGATIVE_SLOPE)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    def _forward_winograd(
        self, x: Tensor, style: Tensor, scale: Tensor, bias: Tensor, added_noise: Tensor | None
    ) -> Tensor:
        """Compute the same as `forward` by Winograd's convolution."""

        def epilogue(band: Tensor, images: slice, rows: slice) -> None:
            if added_noise is not None:
                band.add_(added_noise.expand(len(x), *added_noise.shape[-3:])[images, rows])
            F.leaky_relu_(band, NEGATIVE_SLOPE)
            if self.clamp is not None:
                band.clamp_(-self.clamp, self.clamp)

        return winograd.convolve(x, self._kernels.get(self.weight), style, scale, bias, epilogue, up=self.up)

    def sample_noise(self, n: int, noise: NoiseInput) -> Tensor:
        """Return the stored noise [H, W], or fresh noise [n, H, W]."""
        if isinstance(noise, torch.Generator):
            shape = (n, *self.noise_const.shape)
            return torch.randn(shape, generator=noise, device=self.noise_const.device)
        return self.noise_const


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to RGB, without demodulation, in float32."""

    def __init__(self, inputs: int, config: StyleGAN2Config) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.affine = FullyConnected(config.w_dim, inputs, bias_init=1.0)
        self.weight = nn.Parameter(torch.empty(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(3))

    def reset(self, rng: torch.Generator) -> None:
        self.weight.copy_(torch.randn(self.weight.shape, generator=rng))
        self.bias.zero_()

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        kernels = style[:, None] * self.weight[:, :, 0, 0]  # one per image, [N, 3, in]: small beside the pixels of x
        x = torch.bmm(kernels.to(x.dtype), x.flatten(2)).view(len(x), 3, *x.shape[2:])
        x = x.float() + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """All layers of one side: up-sampling convolution (from 8 pixels on), convolution, RGB."""

    conv0: SynthesisLayer
    conv1: SynthesisLayer
    torgb: ToRGB

    def __init__(self, inputs: int, side: int, config: StyleGAN2Config) -> None:
        super().__init__()
        outputs = config.channels(side)
        if inputs == 0:
            self.const = nn.Parameter(torch.empty(outputs, side, side))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, side, up=True, config=config)
        self.conv1 = SynthesisLayer(outputs, outputs, side, up=False, config=config)
        self.torgb = ToRGB(outputs, config)

    def reset(self, rng: torch.Generator) -> None:
        if hasattr(self, "const"):
            self.const.copy_(torch.randn(self.const.shape, generator=rng))


class Synthesis(nn.Module):
    """w to images; each block adds to the up-sampled image of the one before."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.sides = config.sides
        inputs = 0
        for side in self.sides:
            self.add_module(f"b{side}", SynthesisBlock(inputs, side, config))
            inputs = config.channels(side)

    def forward(self, ws: Tensor, noise: NoiseInput = "const", dtype: torch.dtype = torch.float32) -> Tensor:
        """Synthesize images [N, 3, R, R] from a w for each layer, ws [N, num_ws, W]; `dtype` is that of activations."""
        x = rgb = torch.empty(0)
        for index, side in enumerate(self.sides):
            block = cast("SynthesisBlock", self.get_submodule(f"b{side}"))
            first = max(2 * index - 1, 0)  # layers before this block: one at 4 pixels, two from 8 pixels on
            if index == 0:
                x = block.const.to(dtype).expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
            else:
                x = block.conv0(x, ws[:, first], noise)
                first += 1
            x = block.conv1(x, ws[:, first], noise)
            new = block.torgb(x, ws[:, first + 1])
            rgb = new if index == 0 else upsample(rgb) + new
        return rgb


class StyleGAN2Network(nn.Module):
    """Mapping and synthesis together; parameters are empty until `reset_parameters` or a state fills them."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config.z_dim, config.w_dim, config.mapping_layers, config.classes)
        self.synthesis = Synthesis(config)


@torch.no_grad()
def reset_parameters(network: nn.Module, seed: int) -> None:
    """Fill a network on CPU with the random values that training starts from; the same for the same seed."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        reset = getattr(module, "reset", None)
        if reset is not None:
            reset(rng)
