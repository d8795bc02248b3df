"""Winograd's convolutions against the library's in double precision, and when they take its place."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from faceaug.generators.convolution import winograd
from faceaug.generators.convolution.resampling import blur
from faceaug.generators.stylegan2_networks import StyleGAN2Config, StyleGAN2Network, SynthesisLayer, reset_parameters

WIDE = StyleGAN2Config(64, z_dim=8, w_dim=8, mapping_layers=1, channel_base=1024, channel_max=32)


def parts(n, height, width, inputs, outputs, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, height, width, generator=rng).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outputs, inputs, 3, 3, generator=rng)
    style, scale = torch.rand(n, inputs, generator=rng) + 0.5, torch.rand(n, outputs, generator=rng) + 0.5
    return x, weight, style, scale, torch.randn(outputs, generator=rng)


def direct(x, weight, style, scale, bias, *, up):
    x, weight = (x * style[:, :, None, None]).double(), weight.double()
    y = blur(F.conv_transpose2d(x, 4 * weight.transpose(0, 1), stride=2), 1) if up else F.conv2d(x, weight, padding=1)
    return (y * scale[:, :, None, None] + bias[:, None, None]).float()


@torch.no_grad()
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (5, 16, 16), (2, 32, 64), (2, 64, 32), (1, 128, 256)])
def test_equals_the_direct_convolution(shape, up):
    n, height = shape[:2]
    x, weight, style, scale, bias = parts(*shape, 6, 5)

    def epilogue(band, images, rows):
        assert band.shape[:2] == (len(range(n)[images]), len(range(2 * height if up else height)[rows]))
        band.neg_()

    found = winograd.convolve(x, winograd.transform_kernels(weight, up=up), style, scale, bias, epilogue, up=up)
    expected = -direct(x, weight, style, scale, bias, up=up)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("up", [False, True])
def test_rounds_hardly_more_than_the_direct_convolution(up):
    x, weight, style, scale, bias = parts(1, 32, 32, 256, 64)
    exact = direct(x, weight, style, scale, bias, up=up)
    found = winograd.convolve(x, winograd.transform_kernels(weight, up=up), style, scale, bias, lambda *_: None, up=up)
    assert float((found - exact).std() / exact.std()) < 3e-6


@torch.no_grad()
def test_an_image_does_not_depend_on_the_others_of_its_batch():
    x, weight, style, scale, bias = parts(8, 16, 16, 32, 32)
    source = winograd.transform_kernels(weight, up=False)
    found = winograd.convolve(x, source, style, scale, bias, lambda *_: None, up=False)
    turned = [5, 0, 7, 2, 1, 6, 3, 4]
    others = winograd.convolve(x[turned], source, style[turned], scale[turned], bias, lambda *_: None, up=False)
    assert torch.equal(found[turned], others)


@pytest.fixture
def network():
    found = StyleGAN2Network(WIDE)
    reset_parameters(found, 0)
    for name, tensor in found.state_dict().items():
        if name.endswith("noise_strength"):
            tensor.fill_(0.3)
    return found


@pytest.mark.parametrize("noise", ["const", "none", 7])
@pytest.mark.parametrize("clamp", [None, 0.5])
def test_a_frozen_network_synthesizes_what_one_in_training_does(network, noise, clamp):
    for layer in network.modules():
        if isinstance(layer, SynthesisLayer):
            layer.clamp = clamp
    ws = torch.randn(3, WIDE.num_ws, 8, generator=torch.Generator().manual_seed(0))

    def draw(network):
        return network.synthesis(ws, torch.Generator().manual_seed(noise) if noise == 7 else noise)

    expected = draw(network)
    assert expected.requires_grad
    frozen = copy.deepcopy(network).requires_grad_(False)
    found = draw(frozen)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-5 * float(expected.detach().abs().max()))
    assert not torch.equal(found, expected), "another order of sums"


def test_changed_weights_are_used(network):
    ws = torch.randn(2, WIDE.num_ws, 8, generator=torch.Generator().manual_seed(0))
    network.requires_grad_(False)
    before = network.synthesis(ws)
    assert torch.equal(before, network.synthesis(ws))
    other = copy.deepcopy(network)
    reset_parameters(other, 1)
    network.load_state_dict(other.state_dict())  # in place
    assert torch.equal(network.synthesis(ws), other.synthesis(ws))
    reset_parameters(other, 2)
    network.load_state_dict(other.state_dict(), assign=True)
    network.requires_grad_(False)
    assert torch.equal(network.synthesis(ws), other.synthesis(ws))


def test_latents_with_gradients_use_the_direct_convolution(network, monkeypatch):
    network.requires_grad_(False)
    monkeypatch.setattr(winograd, "convolve", lambda *_, **__: pytest.fail("no gradients flow through bands"))
    ws = torch.randn(2, WIDE.num_ws, 8).requires_grad_()
    network.synthesis(ws).sum().backward()
    assert ws.grad.abs().max(2).values.min() > 0


def test_cached_kernels_are_no_parameters_and_allow_gradients(network):
    network.requires_grad_(False)
    names = set(network.state_dict())
    with torch.inference_mode():
        network.synthesis(torch.zeros(1, WIDE.num_ws, 8))
    assert set(network.state_dict()) == names
    ws = torch.zeros(1, WIDE.num_ws, 8, requires_grad=True)
    network.synthesis(ws).square().sum().backward()
    assert ws.grad.abs().max() > 0
    network.requires_grad_(True)
    network.synthesis(ws.detach()).sum().backward()
    assert network.synthesis.b64.conv1.weight.grad is not None
