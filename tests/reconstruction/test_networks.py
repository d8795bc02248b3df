"""The network: its bounds and shapes, its size, and the weights that a bundle keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.errors import IntegrityError
from faceaug.reconstruction.networks import (
    BRIGHTEST,
    FARTHEST,
    Reconstructor,
    export_weights,
    network_from_weights,
    on_device,
)

torch.set_num_threads(1)


def noise(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("side", [16, 32, 64])
def test_readings_have_their_shapes_and_bounds(side):
    network = Reconstructor(side)
    with torch.no_grad():
        for part in network.parameters():
            part.mul_(3)  # whatever was learnt
        reading, log_sigma = network.with_confidence(noise(2, side))
    assert (reading.depth.shape, reading.albedo.shape) == ((2, side, side), (2, 3, side, side))
    assert (reading.light.shape, reading.view.shape) == ((2, 4), (2, 6))
    assert log_sigma.shape == (2, 4, side // 4, side // 4)
    assert (reading.depth - 1).abs().max() <= FARTHEST
    assert reading.albedo.min() >= 0
    assert reading.albedo.max() <= 1
    assert reading.light[:, :2].min() >= 0
    assert reading.light[:, :2].max() <= BRIGHTEST
    assert reading.view[:, :3].abs().max() <= 1.05
    assert reading.view[:, 3:].abs().max() <= 0.2


def test_it_begins_near_the_mean():
    with torch.no_grad():
        reading = Reconstructor(64)(noise(4, 64))
    assert (reading.depth - 1).abs().max() < 0.05
    assert reading.view.abs().max() < 0.2
    assert 0.3 < reading.albedo.mean() < 0.7


def test_seeds_decide_the_weights():
    one, same, other = (Reconstructor(16, seed) for seed in (1, 1, 2))
    parts = [torch.cat([p.flatten() for p in network.parameters()]) for network in (one, same, other)]
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])


def test_a_picture_is_read_alike_in_any_company():
    network = Reconstructor(16)
    images = noise(5, 16)
    with torch.no_grad():
        whole, alone = network(images), network(images[3:4])
    assert torch.allclose(whole.view[3:4], alone.view, atol=1e-5)
    assert torch.allclose(whole.albedo[3:4], alone.albedo, atol=1e-5)


@pytest.mark.parametrize("side", [16, 64])
def test_weights_go_through_half_precision(side):
    network = on_device(Reconstructor(side, 3), torch.device("cpu"))
    weights = export_weights(network)
    assert sum(value.nbytes for value in weights.values()) < 5_000_000
    again = network_from_weights(weights)
    assert again.side == side
    assert not again.training
    with torch.no_grad():
        one, other = network(noise(2, side)), again(noise(2, side))
    assert torch.allclose(one.depth, other.depth, atol=2e-3)
    assert torch.allclose(one.view, other.view, atol=2e-2)
    # What went through once stays as it is.
    assert all(np.array_equal(value, export_weights(again)[name]) for name, value in weights.items())


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
