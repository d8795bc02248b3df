"""The network: its bounds and shapes, its size, and the weights that a bundle keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.errors import IntegrityError
from faceaug.reconstruction.networks import (
    DEPTH_BOUND,
    STRENGTH_BOUND,
    Reconstructor,
    channels_last,
    export_weights,
    network_from_weights,
    optimized_for_reading,
)

torch.set_num_threads(1)


def noise(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("side", [16, 32, 64])
def test_factors_have_their_shapes_and_bounds(side):
    network = Reconstructor(side)
    with torch.no_grad():
        for part in network.parameters():
            part.mul_(3)  # any weights
        factors, log_sigma = network.with_confidence(noise(2, side))
    assert (factors.depth.shape, factors.albedo.shape) == ((2, side, side), (2, 3, side, side))
    assert (factors.light.shape, factors.view.shape) == ((2, 4), (2, 6))
    assert log_sigma.shape == (2, 4, side // 4, side // 4)
    assert (factors.depth - 1).abs().max() <= DEPTH_BOUND
    assert factors.albedo.min() >= 0
    assert factors.albedo.max() <= 1
    assert factors.light[:, :2].min() >= 0
    assert factors.light[:, :2].max() <= STRENGTH_BOUND
    assert factors.view[:, :3].abs().max() <= 1.05
    assert factors.view[:, 3:].abs().max() <= 0.2


def test_it_starts_near_the_mean():
    with torch.no_grad():
        factors = Reconstructor(64)(noise(4, 64))
    assert (factors.depth - 1).abs().max() < 0.05
    assert factors.view.abs().max() < 0.2
    assert 0.3 < factors.albedo.mean() < 0.7


def test_seeds_decide_the_weights():
    one, same, other = (Reconstructor(16, seed) for seed in (1, 1, 2))
    parts = [torch.cat([p.flatten() for p in network.parameters()]) for network in (one, same, other)]
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])


def test_factors_do_not_depend_on_the_rest_of_the_batch():
    network = Reconstructor(16)
    images = noise(5, 16)
    with torch.no_grad():
        whole, alone = network(images), network(images[3:4])
    assert torch.allclose(whole.view[3:4], alone.view, atol=1e-5)
    assert torch.allclose(whole.albedo[3:4], alone.albedo, atol=1e-5)


@pytest.mark.parametrize("side", [16, 64])
def test_weights_go_through_half_precision(side):
    network = channels_last(Reconstructor(side, 3), torch.device("cpu"))
    weights = export_weights(network)
    assert sum(value.nbytes for value in weights.values()) < 5_000_000
    again = network_from_weights(weights)
    assert again.side == side
    assert not again.training
    with torch.no_grad():
        one, other = network(noise(2, side)), again(noise(2, side))
    assert torch.allclose(one.depth, other.depth, atol=2e-3)
    assert torch.allclose(one.view, other.view, atol=2e-2)
    # A second conversion changes nothing.
    assert all(np.array_equal(value, export_weights(again)[name]) for name, value in weights.items())


@pytest.mark.parametrize("side", [16, 32, 64])
def test_a_network_that_was_optimized_for_reading_reads_the_same(side):
    images = noise(3, side)
    with torch.no_grad():
        one, other = Reconstructor(side, 3)(images), optimized_for_reading(Reconstructor(side, 3))(images)
    # float32 rounds differences of 1e-7; a weight in a wrong place would change albedo by 1e-2.
    for name in ("depth", "albedo", "light", "view"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name), atol=1e-5, rtol=0)


def test_other_weights_are_refused():
    weights = export_weights(Reconstructor(16))
    with pytest.raises(IntegrityError, match="no reconstruction network of this version"):
        network_from_weights(dict(list(weights.items())[1:]))
    name = next(iter(weights))
    with pytest.raises(IntegrityError, match=f"x.safetensors have {name} as float32"):
        network_from_weights(weights | {name: weights[name].astype(np.float32)}, "x.safetensors")
    broken = weights[name].copy()
    broken.flat[0] = np.nan
    with pytest.raises(IntegrityError, match="not finite"):
        network_from_weights(weights | {name: broken})
