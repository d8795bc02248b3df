"""The recognition network of dlib in torch, read from dlib's own file of weights.

The wheels of dlib compute it without a fast matrix product, and hold Python's lock meanwhile. Torch takes about a tenth
of the time; embeddings differ by about 1e-6 (benchmarks/results/identity.json).

The network is that of dlib's example dnn_face_recognition_ex.cpp: a ResNet of 29 convolutions, whose normalizations are
fixed scales and offsets. The file holds the layers from the image to the embedding; numbers are stored as a byte with
their length and then that many bytes, arrays as a version, four sizes and float32 values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceaug.errors import IntegrityError

CHIP_SIDE = 150
"""Side of the aligned faces that the network reads, in pixels."""
_DIMENSIONS = 128
_MEAN_COLOUR = (122.782, 117.001, 104.298)
_COLOUR_SCALE = 256.0
_STAGES = ((False, 3), (True, 3), (True, 2), (True, 2), (True, 0))
"""Whether a stage begins with a block that halves the size, and how many blocks that keep it follow."""
_LAYER = re.compile(rb"\x05con_4|\x07affine_|\x04fc_2")
_ARRAY_VERSION = 2


class DlibNetwork(nn.Module):
    """The network, frozen.

    Parameters
    ----------
    weights : bytes
        Content of dlib_face_recognition_resnet_model_v1.dat, whose hash the caller has checked.

    Raises
    ------
    IntegrityError
        When the content is not that of the file.
    """

    def __init__(self, weights: bytes) -> None:
        super().__init__()
        kernels, scales, last = _read_layers(weights)
        for k, (kernel, scale) in enumerate(zip(kernels, scales, strict=True)):
            folded, offset = _fold(kernel, scale, 3 if k == 0 else len(scales[k - 1]) // 2)
            self.register_buffer(f"kernel{k}", folded)
            self.register_buffer(f"offset{k}", offset)
        self.register_buffer("last", last.view(-1, _DIMENSIONS))
        self.register_buffer("mean", torch.tensor(_MEAN_COLOUR).view(1, 3, 1, 1))

    def forward(self, chips: Tensor) -> Tensor:
        """Return the embeddings [N, 128] of aligned faces [N, 3, 150, 150] in 0 to 255."""
        layers = iter(range(sum(name.startswith("kernel") for name, _ in self.named_buffers())))
        x = self._convolve(next(layers), (chips - self.get_buffer("mean")) / _COLOUR_SCALE, 2, 0)
        x = F.max_pool2d(F.relu(x), 3, 2)
        for halves, count in _STAGES:
            for downward in [True] * halves + [False] * count:
                x = self._block(layers, x, downward)
        embeddings: Tensor = x.mean((2, 3)) @ self.get_buffer("last")
        return embeddings

    def _block(self, layers: Iterator[int], x: Tensor, downward: bool) -> Tensor:
        stride, padding = (2, 0) if downward else (1, 1)
        y = F.relu(self._convolve(next(layers), x, stride, padding))
        y = self._convolve(next(layers), y, 1, 1)
        shortcut = F.avg_pool2d(x, 2, 2) if downward else x
        shape = [max(a, b) for a, b in zip(y.shape[1:], shortcut.shape[1:], strict=True)]
        return F.relu(_filled(y, shape) + _filled(shortcut, shape))

    def _convolve(self, layer: int, x: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, self.get_buffer(f"kernel{layer}"), self.get_buffer(f"offset{layer}"), stride, padding)


def _filled(x: Tensor, shape: list[int]) -> Tensor:
    """Fill maps with zeros to more channels and to a larger size, right and below, as dlib adds maps of two sizes."""
    channels, height, width = (size - own for size, own in zip(shape, x.shape[1:], strict=True))
    return F.pad(x, (0, width, 0, height, 0, channels)) if channels or height or width else x


def _fold(parameters: Tensor, scale: Tensor, inputs: int) -> tuple[Tensor, Tensor]:
    """Return kernel and offset of a convolution with the scale and the offset that follow it."""
    outputs = len(scale) // 2
    side = math.isqrt((len(parameters) - outputs) // (outputs * inputs))
    kernel = parameters[: outputs * inputs * side * side].view(outputs, inputs, side, side)
    gain, offset = scale[:outputs], scale[outputs:]
    folded = (kernel * gain.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    return folded, parameters[kernel.numel() :] * gain + offset


def _read_layers(data: bytes) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return the parameters of the convolutions, of the scales that follow them, and of the last layer."""
    arrays: dict[bytes, list[Tensor]] = {b"con_4": [], b"affine_": [], b"fc_2": []}
    try:
        for match in _LAYER.finditer(data):
            at = match.end()
            if match[0].endswith(b"fc_2"):  # its numbers of outputs and inputs come first
                at = _number(data, _number(data, at)[1])[1]
            arrays[match[0][1:]].append(_array(data, at))
        kernels, scales, (last,) = arrays.values()
    except (ValueError, IndexError) as error:
        raise IntegrityError(f"the weights of dlib's network cannot be read: {error}") from error
    if len(kernels) != len(scales):
        raise IntegrityError("the weights of dlib's network have another number of layers than that network")
    return kernels, scales, last


def _array(data: bytes, at: int) -> Tensor:
    version, at = _number(data, at)
    if version != _ARRAY_VERSION:
        raise ValueError(f"an array of version {version} was found where {_ARRAY_VERSION} is read")
    count = 1
    for _ in range(4):
        size, at = _number(data, at)
        count *= size
    return torch.from_numpy(np.frombuffer(data, "<f4", count, at).copy())


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer as dlib stores it, and where the next value begins."""
    end = at + 1 + (data[at] & 15)
    return int.from_bytes(data[at + 1 : end], "little"), end
