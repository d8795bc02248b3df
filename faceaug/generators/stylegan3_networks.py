"""The generator networks of StyleGAN3, -T and -R: Fourier features, then convolutions and filtered nonlinearities.

Karras, Aittala, Laine, Harkonen, Hellsten, Lehtinen, Aila, "Alias-Free Generative Adversarial Networks", NeurIPS 2021
(arXiv 2106.12423). Parameters have the names and the layout of NVIDIA's implementation, so that its weights fit; the
filters are constants that follow from the configuration (section 3 and appendix C of the paper).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.errors import GeneratorError
from faceaug.generators.stylegan2_networks import (
    ACTIVATION_GAIN,
    EPSILON,
    NEGATIVE_SLOPE,
    FullyConnected,
    Mapping,
    NoiseInput,
    StyleGAN2Config,
)
from faceaug.generators.stylegan3_filters import FilteredNonlinearity, Resampling, lowpass, round_lowpass, separated
from faceaug.utils.typing import Floats


@dataclass(frozen=True)
class Filters:
    """How a StyleGAN3 keeps its signals within their bands.

    Parameters
    ----------
    layers, critical
        Layers between the input and RGB, and how many of them at the end are sampled critically.
    first_cutoff, first_stopband, last_stopband
        Frequencies of the first layer, and where the last layer's stopband begins, in cutoffs of its own.
    margin
        Pixels around the image that are computed with it.
    output_scale
        Factor of the RGB values.
    kernel
        Side of the convolutions: 3 in -T, 1 in -R.
    taps
        Length of the filters, in samples of the lower rate.
    oversampling
        Rate at which the nonlinearity is applied, in rates of the layer.
    radial
        Whether down-sampling filters are round, as in -R.
    """

    layers: int = 14
    critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband: float = 2**0.3
    margin: int = 10
    output_scale: float = 0.25
    kernel: int = 3
    taps: int = 6
    oversampling: int = 2
    radial: bool = False

    def __post_init__(self) -> None:
        ranges = {
            "layers": (2, 64),
            "critical": (0, self.layers - 1),
            "margin": (0, 64),
            "kernel": (1, 7),
            "taps": (1, 32),
            "oversampling": (1, 8),
            "first_cutoff": (1, 1e4),
            "last_stopband": (1, 16),
            "first_stopband": (self.first_cutoff, 1e4),
            "output_scale": (1e-6, 1e6),
        }
        for name, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, name) <= highest:
                raise GeneratorError(f"{name} is {getattr(self, name)}; it must be from {lowest} to {highest}")


@dataclass(frozen=True)
class Band:
    """A layer's signal: samples over the width of the image, cutoff, half-width of the transition, side, channels."""

    rate: int
    cutoff: float
    half_width: float
    side: int
    channels: int


@dataclass(frozen=True)
class StyleGAN3Config(StyleGAN2Config):
    """Shape of a StyleGAN3 generator; what it shares with StyleGAN2 means the same there."""

    filters: Filters = Filters()

    def __post_init__(self) -> None:
        super().__post_init__()
        f = self.filters
        if f.first_cutoff >= self.resolution / 2 or f.first_stopband > self.resolution / 2 * f.last_stopband:
            raise GeneratorError(
                f"first_cutoff {f.first_cutoff} and first_stopband {f.first_stopband} are too high for an image "
                f"of {self.resolution} pixels"
            )

    @property
    def num_ws(self) -> int:
        """The input, the layers and RGB take a w each."""
        return self.filters.layers + 2

    @property
    def largest_layer(self) -> int:
        """Number of values in the largest layer for one image."""
        return max(band.channels * (band.side + self.filters.kernel) ** 2 for band in self.bands)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Bands of the layers and, last, of RGB: cutoffs and stopbands grow geometrically, then stay."""
        f, nyquist = self.filters, self.resolution / 2
        bands = []
        for index in range(f.layers + 1):
            share = min(index / (f.layers - f.critical), 1.0)
            cutoff = f.first_cutoff * (nyquist / f.first_cutoff) ** share
            stop = f.first_stopband * (nyquist * f.last_stopband / f.first_stopband) ** share
            rate = 2 ** math.ceil(math.log2(min(2 * stop, self.resolution)))
            side = self.resolution if index >= f.layers - 1 else rate + 2 * f.margin
            # Half is rounded to even, as everywhere in numpy, with which these networks were shaped.
            channels = 3 if index == f.layers else round(min(self.channel_base / 2 / cutoff, self.channel_max))
            bands.append(Band(rate, cutoff, max(stop, rate / 2) - cutoff, side, channels))
        return tuple(bands)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, as NVIDIA's implementation gives them."""
        return tuple(f"L{index}_{band.side}_{band.channels}" for index, band in enumerate(self.bands))


class InputTransform(FullyConnected):
    """w to the rotation and translation of the waves: cosine, sine, right, down; initially the identity."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 4)

    def reset(self, rng: torch.Generator) -> None:
        self.weight.zero_()
        self.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))


class FourierInput(nn.Module):
    """Waves of fixed frequencies and phases, rotated and translated by w, and mixed."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.band = config.bands[0]
        channels = self.band.channels
        self.affine = InputTransform(config.w_dim)
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.register_buffer("transform", torch.empty(3, 3))
        self.register_buffer("freqs", torch.empty(channels, 2))
        self.register_buffer("phases", torch.empty(channels))

    def reset(self, rng: torch.Generator) -> None:
        waves = torch.randn(self.freqs.shape, generator=rng)
        radius = waves.norm(dim=1, keepdim=True)
        self.freqs.copy_(self.band.cutoff * waves / (radius * torch.exp(radius.square() / 4)))
        self.phases.copy_(torch.rand(self.phases.shape, generator=rng) - 0.5)
        self.weight.copy_(torch.randn(self.weight.shape, generator=rng))
        self.transform.copy_(torch.eye(3))

    def forward(self, w: Tensor) -> Tensor:
        band = self.band
        cosine, sine, right, down = self.affine(w).unbind(1)
        length = torch.hypot(cosine, sine)
        cosine, sine, right, down = (t / length for t in (cosine, sine, right, down))
        turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)  # [N, 2, 2]
        # A point p of the image is looked up at turn (M p + m - shift), where M and m are the parts of the transform.
        shift = torch.stack([right, down], 1)
        offset = (turn @ (self.transform[:2, 2] - shift)[:, :, None])[:, :, 0]  # [N, 2]
        phases = self.phases + offset @ self.freqs.T  # [N, C]
        freqs = self.freqs @ (turn @ self.transform[:2, :2])  # [N, C, 2]
        attenuation = (freqs.norm(dim=2) - band.cutoff) / (band.rate / 2 - band.cutoff)
        amplitudes = (1 - attenuation).clamp(0, 1)  # [N, C]
        steps = (torch.arange(band.side, device=w.device, dtype=w.dtype) + 0.5 - band.side / 2) / band.rate
        across, along = freqs[:, None, :, 0] * steps[:, None], freqs[:, None, :, 1] * steps[:, None]  # [N, side, C]
        angles = along[:, :, None] + across[:, None] + phases[:, None, None]  # [N, H, W, C]
        waves = torch.sin(2 * math.pi * angles) * amplitudes[:, None, None]
        mixed: Tensor = waves @ (self.weight.T / math.sqrt(band.channels))
        return mixed  # [N, H, W, C], the layout of the layers


FilterDesign = Floats | None


class AliasFreeLayer(nn.Module):
    """Modulated convolution, then a leaky ReLU at a higher rate between two low-pass filters; RGB has none."""

    magnitude_ema: Tensor

    def __init__(self, before: Band, after: Band, config: StyleGAN3Config, *, is_rgb: bool, critical: bool) -> None:
        super().__init__()
        f = config.filters
        self.is_rgb, self.clamp, self.side = is_rgb, config.conv_clamp, after.side
        kernel = 1 if is_rgb else f.kernel
        self.affine = FullyConnected(config.w_dim, before.channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.empty(after.channels, before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(after.channels))
        self.register_buffer("magnitude_ema", torch.empty([]))
        self.designs: tuple[FilterDesign, FilterDesign] = (None, None)
        self.nonlinearity: FilteredNonlinearity | None = None
        if not is_rgb:
            self._design(before, after, f, critical)

    def _design(self, before: Band, after: Band, f: Filters, critical: bool) -> None:
        """Design the filters: up to the rate of the nonlinearity, and down to the rate of the next layer."""
        rate = f.oversampling * max(before.rate, after.rate)
        up, down = rate // before.rate, rate // after.rate
        up_taps, down_taps = f.taps * up if up > 1 else 1, f.taps * down if down > 1 else 1
        input_side, inner_side = before.side + f.kernel - 1, (after.side - 1) * down + down_taps
        missing = inner_side + up_taps - 1 - input_side * up
        rise = lowpass(up_taps, before.cutoff, 2 * before.half_width, rate) if up > 1 else np.ones(1)
        # The gain compensates for the zeros between samples, and includes that of the homogeneous nonlinearity.
        # The positions of samples are kept (appendix C.3).
        upsampling = Resampling(tuple(math.sqrt(ACTIVATION_GAIN) * up * rise), up=up, low=(missing + up) // 2)
        pairs, fall = np.ones((1, 2, 1)), None
        if down > 1 and f.radial and not critical:
            fall = round_lowpass(down_taps, after.cutoff, 2 * after.half_width, rate)
            pairs = separated(fall)
        elif down > 1:
            fall = lowpass(down_taps, after.cutoff, 2 * after.half_width, rate)
            pairs = np.stack([fall, fall])[None]
        self.designs = (rise if up > 1 else None, fall)
        downsamplings = tuple((Resampling(tuple(a), down=down), Resampling(tuple(b), down=down)) for a, b in pairs)
        self.nonlinearity = FilteredNonlinearity(upsampling, downsamplings, input_side, inner_side, after.side)

    def reset(self, rng: torch.Generator) -> None:
        self.weight.copy_(torch.randn(self.weight.shape, generator=rng))
        self.bias.zero_()
        self.magnitude_ema.fill_(1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Take x [N, H, W, in], contiguous, to [N, side, side, out]."""
        style = self.affine(w)  # [N, in]
        if self.is_rgb:
            factors = torch.ones_like(self.bias).expand(len(x), -1)
            style = style / math.sqrt(self.weight.shape[1])
        else:
            # The paper normalizes weights and styles before they are multiplied; demodulation cancels that.
            factors = torch.rsqrt(style.square() @ self.weight.square().sum((2, 3)).T + EPSILON)  # [N, out]
        x = self._convolve(x, style * torch.rsqrt(self.magnitude_ema), factors)
        return self._clamp(x) if self.nonlinearity is None else self.nonlinearity(x, self._activate)

    def _convolve(self, x: Tensor, style: Tensor, factors: Tensor) -> Tensor:
        """Convolve x, scaled by `style` [N, in] before and by `factors` [N, out] after, and add the bias."""
        bias = self.bias.to(x.dtype)
        if self.weight.shape[-1] == 1:  # one kernel per image costs nothing here
            kernels = (self.weight[:, :, 0, 0] * style[:, None] * factors[:, :, None]).transpose(1, 2).to(x.dtype)
            flat = torch.baddbmm(bias.expand(len(x), 1, -1), x.flatten(1, 2), kernels)
            return flat.view(*x.shape[:3], -1)
        x = (x * style[:, None, None].to(x.dtype)).permute(0, 3, 1, 2)
        x = F.conv2d(x, self.weight.to(x.dtype), padding=self.weight.shape[-1] - 1).permute(0, 2, 3, 1).contiguous()
        return torch.addcmul(bias, x, factors[:, None, None].to(x.dtype))

    def _activate(self, x: Tensor) -> Tensor:
        return self._clamp(F.leaky_relu_(x, NEGATIVE_SLOPE))

    def _clamp(self, x: Tensor) -> Tensor:
        if self.clamp is None:
            return x
        # The gradient of a leaky ReLU needs its result.
        return x.clamp(-self.clamp, self.clamp) if x.requires_grad else x.clamp_(-self.clamp, self.clamp)


class AliasFreeSynthesis(nn.Module):
    """w to images: Fourier features through all layers, the last of which returns RGB."""

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.scale, self.names = config.filters.output_scale, config.names
        self.input = FourierInput(config)
        before = config.bands[0]
        last = config.filters.layers
        for index, (name, band) in enumerate(zip(self.names, config.bands, strict=True)):
            critical = index >= last - config.filters.critical
            self.add_module(name, AliasFreeLayer(before, band, config, is_rgb=index == last, critical=critical))
            before = band

    def filter_designs(self) -> dict[str, tuple[FilterDesign, FilterDesign]]:
        """Return for each layer its filters up, float64 [T], and down, [T] or [T, T]; None where there is none."""
        return {name: cast("AliasFreeLayer", self.get_submodule(name)).designs for name in self.names}

    def forward(self, ws: Tensor, noise: NoiseInput = "const", dtype: torch.dtype = torch.float32) -> Tensor:
        """Synthesize images [N, 3, R, R] from a w for each layer, ws [N, num_ws, W]; these networks have no noise.

        `dtype` is that of the activations; the waves at the input and RGB are float32.
        """
        x: Tensor = self.input(ws[:, 0]).to(dtype)
        for index, name in enumerate(self.names):
            x = self.get_submodule(name)(x if index < len(self.names) - 1 else x.float(), ws[:, index + 1])
        return (x * self.scale).permute(0, 3, 1, 2).contiguous()


class StyleGAN3Network(nn.Module):
    """Mapping and synthesis together; parameters are empty until `reset_parameters` or a state fills them."""

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config.z_dim, config.w_dim, config.mapping_layers, config.classes)
        self.synthesis = AliasFreeSynthesis(config)
