"""StyleGAN3's synthesis against its paper's formulas, written out with zeros between samples and plain convolutions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foreign_files import network

from faceaug.errors import GeneratorError
from faceaug.generators.stylegan import initialize, load, save
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.stylegan3_filters import (
    FilteredNonlinearity,
    Resampling,
    TileSizes,
    lowpass,
    round_lowpass,
    separated,
)
from faceaug.generators.stylegan3_networks import Filters, StyleGAN3Config

SMALL = StyleGAN3Config(
    32, z_dim=6, w_dim=5, mapping_layers=2, channel_base=96, channel_max=6, filters=Filters(layers=5, margin=4)
)
ROUND = replace(SMALL, filters=Filters(layers=5, margin=4, kernel=1, radial=True))


def filtered(x, kernel):
    """Convolve every channel of x [N, C, H, W] with a kernel [T, T], without padding."""
    return F.conv2d(x, kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])


def square(design):
    design = torch.as_tensor(design)
    return torch.outer(design, design) if design.ndim == 1 else design


def plain_input(part, config, w):
    """Fourier features, point by point: sin(2 pi (f . p' + phase)), p' the point where the learnt movement looks."""
    band = config.bands[0]
    weight, bias = part.affine.weight.double(), part.affine.bias.double()
    out = torch.zeros(len(w), band.channels, band.side, band.side, dtype=torch.float64)
    for n, one in enumerate(w.double()):
        t = weight @ one / math.sqrt(len(one)) + bias
        t = t / t[:2].norm()
        turn = torch.stack([torch.stack([t[0], -t[1]]), torch.stack([t[1], t[0]])])
        for i in range(band.side):
            for j in range(band.side):
                p = torch.tensor([j + 0.5 - band.side / 2, i + 0.5 - band.side / 2], dtype=torch.float64) / band.rate
                m = part.transform.double()
                looked = turn @ (m[:2, :2] @ p + m[:2, 2] - t[2:])
                waves = torch.sin(2 * math.pi * (part.freqs.double() @ looked + part.phases.double()))
                freqs = part.freqs.double() @ turn @ m[:2, :2]
                damp = (1 - (freqs.norm(dim=1) - band.cutoff) / (band.rate / 2 - band.cutoff)).clamp(0, 1)
                out[n, :, i, j] = part.weight.double() @ (waves * damp) / math.sqrt(band.channels)
    return out


def plain_layer(layer, config, x, w, index):
    """Appendix C: modulate, demodulate, up-sample, apply the nonlinearity, down-sample; a kernel per image."""
    f, colours = config.filters, index == config.filters.layers
    before, after = config.bands[max(index - 1, 0)], config.bands[index]
    style = w.double() @ layer.affine.weight.double().T / math.sqrt(w.shape[1]) + layer.affine.bias.double()
    images = []
    for one, s in zip(x, style, strict=True):
        kernel = layer.weight.double()
        if colours:
            kernel = kernel * s[:, None, None] / math.sqrt(len(s))
        else:  # normalized before they meet, as the paper has it
            kernel = kernel * torch.rsqrt(kernel.square().mean((1, 2, 3), keepdim=True))
            kernel = kernel * (s * torch.rsqrt(s.square().mean()))[:, None, None]
            kernel = kernel * torch.rsqrt(kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        kernel = kernel * torch.rsqrt(layer.magnitude_ema.double())
        images.append(F.conv2d(one[None], kernel, padding=kernel.shape[-1] - 1))
    x = torch.cat(images) + layer.bias.double()[:, None, None]
    if colours:
        return x if config.conv_clamp is None else x.clamp(-config.conv_clamp, config.conv_clamp)
    between = f.oversampling * max(before.rate, after.rate)
    up, down = between // before.rate, between // after.rate
    rise, fall = layer.designs
    n, c, h, width = x.shape
    spread = x.new_zeros(n, c, h, up, width, up)
    spread[:, :, :, 0, :, 0] = x * up**2
    missing = (after.side - 1) * down + 1 - h * up + len(rise) + len(fall) - 2
    low = (missing + up) // 2
    x = F.pad(spread.view(n, c, h * up, width * up), (low, missing - low, low, missing - low))
    x = F.leaky_relu(filtered(x, square(rise)), 0.2) * math.sqrt(2)
    if config.conv_clamp is not None:
        x = x.clamp(-config.conv_clamp, config.conv_clamp)
    return filtered(x, square(fall))[:, :, ::down, ::down]


@torch.no_grad()
@pytest.mark.parametrize("config", [SMALL, ROUND, replace(SMALL, conv_clamp=0.3)], ids=["T", "R", "clamp"])
def test_synthesis_equals_the_formulas(config):
    source = network(config, seed=4)
    for layer in source.synthesis.children():
        if getattr(layer, "nonlinearity", None) is not None:
            layer.nonlinearity = replace(layer.nonlinearity, tiles=TileSizes(24, 2_000))  # an image at a time
    ws = torch.randn(2, config.num_ws, config.w_dim, generator=torch.Generator().manual_seed(0))
    x = plain_input(source.synthesis.input, config, ws[:, 0])
    scale = float(x.abs().max())
    torch.testing.assert_close(source.synthesis.input(ws[:, 0]).movedim(3, 1).double(), x, rtol=0, atol=2e-5 * scale)
    for index, name in enumerate(config.names):
        x = plain_layer(source.synthesis.get_submodule(name), config, x, ws[:, index + 1], index)
    expected = config.filters.output_scale * x
    assert expected.shape == (2, 3, 32, 32)
    close = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(source.synthesis(ws).double(), expected, rtol=0, atol=close)


def test_bands_of_the_published_networks():
    """Layers of the networks of the paper: names carry side and channels."""
    t = StyleGAN3Config(1024, 512, 512, 2, 32768, 512)
    assert t.names[:5] == ("L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512")
    assert t.names[5:10] == ("L5_148_512", "L6_148_512", "L7_276_323", "L8_276_203", "L9_532_128")
    assert t.names[10:] == ("L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3")
    assert t.num_ws == 16
    r = StyleGAN3Config(256, 512, 512, 2, 32768, 1024)
    assert r.names[0] == "L0_36_1024"
    assert r.names[-1] == "L14_256_3"


def test_filters_pass_what_is_low_and_stop_what_is_high():
    line = lowpass(12, cutoff=2.0, width=4.0, rate=16.0)
    assert line.sum() == pytest.approx(1)
    np.testing.assert_allclose(line, line[::-1])
    gain = np.abs(np.fft.rfft(line, 256))  # bin k is k / 16 cycles
    assert gain[: int(0.5 * 16)].min() > 0.9
    assert gain[(5 * 16) :].max() < 0.05
    kernel = round_lowpass(11, cutoff=2.0, width=4.0, rate=16.0)
    assert kernel.sum() == pytest.approx(1)
    assert np.isfinite(kernel).all(), "also in the middle, where the formula divides by nothing"
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel, kernel[::-1])


def test_round_filters_are_sums_of_outer_products():
    kernel = round_lowpass(12, cutoff=2.0, width=4.0, rate=16.0)
    pairs = separated(kernel)
    assert len(pairs) <= 4
    summed = sum(np.outer(a, b) for a, b in pairs)
    np.testing.assert_allclose(summed, kernel, atol=2e-5 * np.abs(kernel).max())


def sampled(x, line, up, down, low, length):
    """Sample rows x [..., L] with zeros written out and a plain convolution."""
    spread = torch.zeros(*x.shape, up, dtype=x.dtype)
    spread[..., 0] = x
    padded = F.pad(spread.flatten(-2), (low, length * down + len(line)))
    kernel = torch.tensor(line, dtype=x.dtype)[None, None]
    return F.conv1d(padded.flatten(0, -2)[:, None], kernel, stride=down).view(*x.shape[:-1], -1)[..., :length]


@pytest.mark.parametrize(
    ("up", "down", "low", "taps", "pairs"),
    [(2, 2, 9, 12, 1), (4, 2, 3, 24, 2), (2, 4, 3, 12, 3), (2, 1, -7, 12, 1), (1, 1, 0, 1, 1), (1, 2, 5, 1, 2)],
)
@pytest.mark.parametrize("span", [5, 64])
def test_filtered_nonlinearity_equals_zeros_and_convolutions(up, down, low, taps, pairs, span):
    rng = np.random.default_rng(taps + up)
    x = torch.from_numpy(rng.normal(size=(2, 17, 17, 3)))
    rise, falls = rng.normal(size=taps), rng.normal(size=(pairs, 2, 6 * down if down > 1 else 1))
    side = 13
    between = (side - 1) * down + falls.shape[-1]
    filtered_relu = FilteredNonlinearity(
        Resampling(tuple(rise), up=up, low=low),
        tuple((Resampling(tuple(a), down=down), Resampling(tuple(b), down=down)) for a, b in falls),
        *(17, between, side),
        TileSizes(span, 1),
    )
    y = sampled(sampled(x.movedim(3, 1), rise, up, 1, low, between).mT, rise, up, 1, low, between).mT.relu()
    parts = [sampled(sampled(y, b, 1, down, 0, side).mT, a, 1, down, 0, side).mT for a, b in falls]
    torch.testing.assert_close(filtered_relu(x, torch.relu_), sum(parts).movedim(1, 3))


def test_file_and_settings(tmp_path):
    source = initialize(ROUND, 1, statistics_samples=500)
    sha256 = save(source, tmp_path / "g.safetensors")
    found = load(tmp_path / "g.safetensors")
    assert found.sha256 == sha256
    assert found.network.config == ROUND
    w = found.map(torch.ones(2, 6))
    assert torch.equal(found.synthesize(w), source.synthesize(w))
    assert found.synthesize(w).std() > 0.01


@pytest.mark.parametrize("config", [SMALL, ROUND, StyleGAN2Config(32, 6, 5, 2, 256, 16)], ids=["T", "R", "StyleGAN2"])
def test_bfloat16_draws_nearly_the_same(config):
    source = initialize(config, 1, statistics_samples=500)
    rough = source.with_config(precision="bfloat16")
    w = source.map(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)))
    exact, found = source.synthesize(w), rough.synthesize(w)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert (found - exact).square().mean().sqrt() < 0.03 * exact.std(), "eight bits a number"
    assert torch.equal(rough.with_config(precision="float32").synthesize(w), exact)


def test_a_precision_that_is_not_known():
    with pytest.raises(GeneratorError, match="'float8' is unknown: it is float32 or bfloat16"):
        initialize(SMALL, 1, statistics_samples=500).with_config(precision="float8")


def test_gradients_reach_the_latent():
    source = initialize(SMALL, 1, statistics_samples=500)
    w = torch.zeros(1, 5, requires_grad=True)
    source.synthesize(w).square().sum().backward()
    assert torch.isfinite(w.grad).all()
    assert w.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 1}, "layers is 1"),
        ({"critical": 5}, "critical is 5"),
        ({"taps": 1000}, "taps is 1000"),
        ({"first_cutoff": 16.0, "first_stopband": 17.0}, "too high for an image of 32 pixels"),
        ({"first_stopband": 1.0}, "first_stopband is 1.0"),
        ({"output_scale": float("nan")}, "output_scale is nan"),
    ],
)
def test_configs_that_cannot_be(change, message):
    with pytest.raises(GeneratorError, match=message):
        replace(SMALL, filters=replace(SMALL.filters, **change))
