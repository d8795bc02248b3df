"""The probes' networks: two builds, both with what readings and features need."""

from __future__ import annotations

import pytest
import torch

from faceaug.classifiers.networks import INPUT_SIZE, TRUNKS, ClassifierNet
from faceaug.utils.blocks import Residual


def pictures(n=5):
    return torch.rand(n, 3, INPUT_SIZE, INPUT_SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("trunk", sorted(TRUNKS))
def test_shapes(trunk):
    net = ClassifierNet(trunk, 7).eval()
    features = net.features(pictures())
    assert features.shape == (5, TRUNKS[trunk]()[1])
    assert net(pictures()).shape == (5, 7)
    torch.testing.assert_close(net(pictures()), net.head(features))


@pytest.mark.parametrize("trunk", sorted(TRUNKS))
def test_every_weight_learns(trunk):
    """A layer that is built and not used would stay without a gradient."""
    net = ClassifierNet(trunk, 2).train()
    net(pictures()).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("trunk", sorted(TRUNKS))
def test_reading_does_not_depend_on_company(trunk):
    net = ClassifierNet(trunk, 3).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(pictures())[2:3], net(pictures()[2:3]), atol=1e-5, rtol=1e-5)


def test_the_judge_is_of_another_build_than_the_steering_probe():
    shapes = [{tuple(p.shape) for p in TRUNKS[name]()[0].parameters() if p.ndim == 4} for name in ("residual", "plain")]
    assert not shapes[0] & shapes[1]


@pytest.mark.parametrize(("i", "o", "stride"), [(8, 8, 1), (8, 16, 2), (8, 16, 1), (8, 8, 2)])
def test_residual_block(i, o, stride):
    x = torch.randn(2, i, 16, 16, generator=torch.Generator().manual_seed(1))
    block = Residual(i, o, stride).eval()
    assert block(x).shape == (2, o, 16 // stride, 16 // stride)
    for parameter in block.body.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), torch.relu(block.shortcut(x)))
