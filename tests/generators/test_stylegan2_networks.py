"""The networks against the paper's own formulas, written out without tricks."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faceaug.errors import GeneratorError
from faceaug.generators.stylegan2_networks import (
    StyleGAN2Config,
    StyleGAN2Network,
    reset_parameters,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def naive():
    spec = importlib.util.spec_from_file_location("naive_stylegan2", ROOT / "benchmarks" / "naive_stylegan2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def layered(generator, n=4, seed=5):
    """A different w for every layer, so that a layer that reads its neighbour's is found out."""
    rng = torch.Generator().manual_seed(seed)
    layers = generator.network.config.num_ws
    z = torch.randn(n * layers, generator.z_dim, generator=rng)
    return generator.network.mapping(z).view(n, layers, -1)


@torch.no_grad()
@pytest.mark.parametrize("noise", ["const", "none"])
def test_synthesis_equals_modulated_kernels(small, naive, noise):
    ws = layered(small)
    expected = naive.synthesize(small.network.state_dict(), ws, noise=noise == "const")
    found = small.network.synthesis(ws, noise)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_mapping_equals_the_formula(small, naive):
    z = torch.randn(6, small.z_dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small.map(z), naive.naive_map(small.network.state_dict(), z), rtol=0, atol=1e-5)


def test_gradients_equal_those_of_modulated_kernels(small, naive):
    state = {key: value.clone().requires_grad_() for key, value in small.network.state_dict().items()}
    ws = layered(small)
    weighting = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    (naive.synthesize(state, ws) * weighting).sum().backward()
    network = StyleGAN2Network(small.network.config)
    network.load_state_dict(small.network.state_dict())
    (network.synthesis(ws) * weighting).sum().backward()
    for name, parameter in network.synthesis.named_parameters():
        expected = state[f"synthesis.{name}"].grad
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-4 * float(expected.abs().max()), msg=name)


def test_fresh_noise_differs_and_repeats_by_its_seed(small):
    ws = layered(small)
    first, again, other = (small.network.synthesis(ws, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(small.network.synthesis(ws, "const"), small.network.synthesis(ws, "none"))


@torch.no_grad()
def test_clamped_activations():
    config = StyleGAN2Config(8, z_dim=4, w_dim=4, mapping_layers=1, channel_base=64, channel_max=8)
    loud, clamped = StyleGAN2Network(config), StyleGAN2Network(replace(config, conv_clamp=0.5))
    reset_parameters(loud, 0)
    clamped.load_state_dict(loud.state_dict())
    ws = torch.randn(3, config.num_ws, 4, generator=torch.Generator().manual_seed(0))
    assert loud.synthesis(ws).abs().max() > 1
    block = clamped.synthesis.b8
    assert block.conv0(torch.randn(3, 8, 4, 4), ws[:, 1], "none").abs().max() == 0.5
    assert clamped.synthesis(ws).abs().max() <= 1 + 1e-6, "the sum of two images of at most 0.5"


def test_names_and_shapes_are_those_of_the_official_networks():
    """As NVIDIA's PyTorch networks name theirs, less the filters, which are constants here."""
    with torch.device("meta"):
        state = StyleGAN2Network(StyleGAN2Config(32, 512, 512, 8, 16384, 512)).state_dict()
    layer = {
        "affine.weight": (512, 512),
        "affine.bias": (512,),
        "weight": (512, 512, 3, 3),
        "bias": (512,),
        "noise_strength": (),
    }
    rgb = {"affine.weight": (512, 512), "affine.bias": (512,), "weight": (3, 512, 1, 1), "bias": (3,)}
    expected = {"mapping.w_avg": (512,), "synthesis.b4.const": (512, 4, 4)}
    for index in range(8):
        expected |= {f"mapping.fc{index}.weight": (512, 512), f"mapping.fc{index}.bias": (512,)}
    for side in (4, 8, 16, 32):
        for name in ("conv1",) if side == 4 else ("conv0", "conv1"):
            expected |= {f"synthesis.b{side}.{name}.{key}": shape for key, shape in layer.items()}
            expected[f"synthesis.b{side}.{name}.noise_const"] = (side, side)
        expected |= {f"synthesis.b{side}.torgb.{key}": shape for key, shape in rgb.items()}
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


@pytest.mark.parametrize(("resolution", "sides", "layers"), [(8, (4, 8), 4), (64, (4, 8, 16, 32, 64), 10)])
def test_config_counts(resolution, sides, layers):
    config = StyleGAN2Config(resolution)
    assert config.sides == sides
    assert config.num_ws == layers
    assert config.channels(64) == 64
    assert config.channels(8) == 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 48}, "power of two"),
        ({"resolution": 4}, "power of two"),
        ({"z_dim": 0}, "z_dim is 0"),
        ({"mapping_layers": 1000}, "from 1 to 32"),
        ({"channel_base": 32}, "from the resolution"),
        ({"conv_clamp": -1.0}, "above 0"),
    ],
)
def test_configurations_out_of_range_are_refused(change, message):
    with pytest.raises(GeneratorError, match=message):
        replace(StyleGAN2Config(), **change)


def test_random_weights_repeat_and_leave_the_global_generator_alone():
    config = StyleGAN2Config(8, z_dim=4, w_dim=4, mapping_layers=2, channel_base=64, channel_max=8)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    states = []
    for seed in (1, 1, 2):
        network = StyleGAN2Network(config)
        reset_parameters(network, seed)
        states.append(network.state_dict())
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["synthesis.b4.const"], states[2]["synthesis.b4.const"])
    assert all(torch.isfinite(tensor).all() for tensor in states[0].values())
