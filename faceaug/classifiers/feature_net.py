"""Classifiers on frozen features of a pretrained network: only two layers are learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.classifiers.networks import ClassifierNet
from faceaug.pretrained.efficientnet import EFFICIENTNET_SHA256, STAGES, EfficientNetStages, by_tiles

HIDDEN = 256  # features of the learnt layer
_TILE = 16  # rows of a product, see `by_tiles`


@dataclass(frozen=True)
class FrozenTrunk:
    """Which features of EfficientNet-Lite0 a classifier reads.

    Attributes
    ----------
    stages : int
        Stages of the network that are computed.
    side : int
        Side in pixels to which images are resized.
    grid : int
        The maps are averaged over a grid of grid x grid windows: where something is on a face tells more than that it
        is there.
    """

    stages: int
    side: int
    grid: int

    @property
    def width(self) -> int:
        """Number of frozen features."""
        return STAGES[self.stages - 1][1] * self.grid**2

    @property
    def sha256(self) -> str:
        """Of the weights of the network."""
        return EFFICIENTNET_SHA256


FROZEN_TRUNKS = {"lite0-stage3": FrozenTrunk(3, 64, 6), "lite0-stage4": FrozenTrunk(4, 96, 6)}
"""By name: the features of the guidance classifier, which are quicker, and those of the held-out classifier
(benchmarks/classifiers.py compares others)."""


class TiledLinear(nn.Linear):
    """A linear layer whose rows, once it is trained, do not depend on how many there are."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in] to [N, out]."""
        return super().forward(x) if self.training else by_tiles(super().forward, x, _TILE)


class FeatureNet(ClassifierNet):
    """Frozen features, a layer of `HIDDEN` rectified units, and one linear layer for the outputs of all tasks.

    Parameters
    ----------
    trunk : str
        A key of `FROZEN_TRUNKS`.
    outputs : int
        Number of outputs of all tasks together.

    Raises
    ------
    GeneratorError
        When the weights of the pretrained network are not installed, or are others.
    """

    def __init__(self, trunk: str, outputs: int) -> None:
        nn.Module.__init__(self)
        self.source = FROZEN_TRUNKS[trunk]
        self.frozen = EfficientNetStages(self.source.stages)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(self.source.width))
        self.register_buffer("scale", torch.ones(self.source.width))
        self.hidden, self.norm = TiledLinear(self.source.width, HIDDEN), nn.BatchNorm1d(HIDDEN)
        self.head = TiledLinear(HIDDEN, outputs)

    def frozen_features(self, x: Tensor) -> Tensor:
        """Return the frozen features [N, F] of images [N, 3, S, S] in [-1, 1]; they are differentiable."""
        side, grid = self.source.side, self.source.grid
        if x.shape[-1] != side:
            smaller = x.shape[-1] > side
            x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=smaller, align_corners=False)
        return F.adaptive_avg_pool2d(self.frozen(x), grid).flatten(1)

    def learnt_features(self, frozen: Tensor) -> Tensor:
        """Return the features [N, HIDDEN] of frozen features [N, F]."""
        return torch.relu(self.norm(self.hidden((frozen - self.mean) / self.scale)))

    def features(self, x: Tensor) -> Tensor:
        """Return the learnt features [N, HIDDEN]."""
        return self.learnt_features(self.frozen_features(x))

    def learnt_state(self) -> dict[str, Tensor]:
        """Return the state without that of the pretrained network."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("frozen.")}

    def load_learnt_state(self, state: Mapping[str, Tensor]) -> None:
        """Take a state of `learnt_state`; RuntimeError where it is of another network."""
        frozen = {f"frozen.{name}": value for name, value in self.frozen.state_dict().items()}
        self.load_state_dict({**state, **frozen})
