"""Generators to test: small ones with random weights, and digiface where its package is installed."""

from __future__ import annotations

import pytest
import torch

from faceaug.errors import GeneratorError
from faceaug.generators import dcgan
from faceaug.generators.stylegan import initialize
from faceaug.generators.stylegan2_networks import StyleGAN2Config

SMALL = StyleGAN2Config(resolution=16, z_dim=12, w_dim=10, mapping_layers=3, channel_base=256, channel_max=24)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small():
    """A StyleGAN2 of 16 pixels whose noise and biases do something, as in a trained one."""
    generator = initialize(SMALL, seed=3, statistics_samples=20_000)
    rng = torch.Generator().manual_seed(1)
    for name, tensor in generator.network.state_dict().items():
        if name.endswith("noise_strength"):
            tensor.fill_(0.3)
        elif name.startswith("synthesis") and name.endswith("bias"):
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=rng))
    return generator


@pytest.fixture(scope="session")
def faces():
    """`digiface`, or a skip with the line that installs its weights."""
    try:
        return dcgan.load()
    except GeneratorError as error:
        pytest.skip(str(error))
