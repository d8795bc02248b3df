"""The two small convolutional networks of the classifiers: guidance and held-out classifier differ in architecture."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., "Deep Residual Learning for Image Recognition", 2016).

    Parameters
    ----------
    in_channels, out_channels : int
    stride : int
        2 halves the side; the shortcut is then averaged over 2x2 pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            convolution = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride), convolution, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, S, S] to [N, out_channels, S / stride, S / stride]."""
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_trunk() -> tuple[nn.Sequential, int]:
    """Return the trunk of the guidance classifier, with residual blocks, and the number of its features."""
    stem = [nn.Conv2d(3, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)]
    blocks = [ResidualBlock(32, 64, 2), ResidualBlock(64, 128, 2), ResidualBlock(128, 192, 2)]
    return nn.Sequential(*stem, *blocks), 192


def plain_trunk() -> tuple[nn.Sequential, int]:
    """Return the trunk of the held-out classifier, convolutions and max pooling, and the number of its features."""
    layers: list[nn.Module] = []
    for i, o in [(3, 16), (16, 48), (48, 96), (96, 160), (160, 160)]:
        layers += [nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if i != o else []
    return nn.Sequential(*layers), 160


DEFAULT_INPUT_SIZE = 64
"""Side in pixels of the images that classifiers read."""

TRUNKS = {"residual": residual_trunk, "plain": plain_trunk}


class ClassifierNet(nn.Module):
    """A trunk, mean pooling, and one linear layer for the outputs of all tasks.

    Parameters
    ----------
    trunk : str
        A key of `TRUNKS`.
    outputs : int
        Number of outputs of all tasks together.

    Notes
    -----
    The input is [N, 3, S, S] in [-1, 1]; S is 64 unless a `ClassifierConfig` sets another size.
    """

    dropout = 0.3
    """Share of the features that training sets to zero. The caller draws the mask from a generator of its own."""

    def __init__(self, trunk: str, outputs: int) -> None:
        super().__init__()
        self.trunk, width = TRUNKS[trunk]()
        self.head = nn.Linear(width, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features [N, F]."""
        pooled: Tensor = self.trunk(x).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw outputs [N, outputs]: logits of classes, standardized values."""
        outputs: Tensor = self.head(self.features(x))
        return outputs
