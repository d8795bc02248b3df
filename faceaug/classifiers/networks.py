"""The two small convolutional networks that probes are made of: one steers, the other, of another build, judges."""

from __future__ import annotations

from torch import Tensor, nn

from faceaug.utils.blocks import Residual

INPUT_SIZE = 64
"""Side in pixels of the pictures that probes read."""


def residual_trunk() -> tuple[nn.Sequential, int]:
    """The steering probe's trunk: residual; returns it and its feature width."""
    stem = [nn.Conv2d(3, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)]
    blocks = [Residual(32, 64, 2), Residual(64, 128, 2), Residual(128, 192, 2)]
    return nn.Sequential(*stem, *blocks), 192


def plain_trunk() -> tuple[nn.Sequential, int]:
    """The judge's trunk: plain convolutions and max pooling; returns it and its feature width."""
    layers: list[nn.Module] = []
    for i, o in [(3, 16), (16, 48), (48, 96), (96, 160), (160, 160)]:
        layers += [nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if i != o else []
    return nn.Sequential(*layers), 160


TRUNKS = {"residual": residual_trunk, "plain": plain_trunk}


class ClassifierNet(nn.Module):
    """A trunk, mean pooling, and one linear layer for all heads together.

    Input [N, 3, 64, 64] in [-1, 1]; `features` gives [N, F], `forward` [N, outputs].
    """

    drop_share = 0.3
    """Share of features that training drops, drawn by the caller's own generator rather than the global one."""

    def __init__(self, trunk: str, outputs: int) -> None:
        super().__init__()
        self.trunk, width = TRUNKS[trunk]()
        self.head = nn.Linear(width, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features [N, F]."""
        pooled: Tensor = self.trunk(x).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.features(x))
        return outputs
