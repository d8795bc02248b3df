"""The networks of the classifiers: two architectures, both with outputs and features."""

from __future__ import annotations

import pytest
import torch

from faceaug.classifiers.networks import DEFAULT_INPUT_SIZE, TRUNKS, ClassifierNet, ResidualBlock


def pictures(n=5):
    return torch.rand(n, 3, DEFAULT_INPUT_SIZE, DEFAULT_INPUT_SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


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
def test_an_output_does_not_depend_on_the_batch(trunk):
    net = ClassifierNet(trunk, 3).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(pictures())[2:3], net(pictures()[2:3]), atol=1e-5, rtol=1e-5)


def test_guidance_and_held_out_classifier_share_no_layer_shape():
    shapes = [{tuple(p.shape) for p in TRUNKS[name]()[0].parameters() if p.ndim == 4} for name in ("residual", "plain")]
    assert not shapes[0] & shapes[1]


@pytest.mark.parametrize(("i", "o", "stride"), [(8, 8, 1), (8, 16, 2), (8, 16, 1), (8, 8, 2)])
def test_residual_block(i, o, stride):
    x = torch.randn(2, i, 16, 16, generator=torch.Generator().manual_seed(1))
    block = ResidualBlock(i, o, stride).eval()
    assert block(x).shape == (2, o, 16 // stride, 16 // stride)
    for parameter in block.body.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), torch.relu(block.shortcut(x)))
