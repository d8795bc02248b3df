"""A checkpoint of another program: the shape of its network, and the source of each of our tensors in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.importers.torch_file import TorchFile
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.generators.weights_file import errors_name_file, new_network
from faceaug.utils.text import printable

W_AVG = "mapping.w_avg"


@dataclass(frozen=True, eq=False)
class TensorSource:
    """The source of one of our tensors: its name in the file, times `scale`, regardless of sides of length one.

    An absent source is a tensor that the file does not have; it is zero.
    """

    name: str
    value: Any = None
    scale: float = 1.0
    absent: bool = False


@dataclass(frozen=True, eq=False)
class ForeignCheckpoint:
    """A generator in the file of another program.

    Attributes
    ----------
    file : TorchFile
    config : StyleGAN2Config
        Shape of the network, as the file's tensors have it.
    sources : mapping of str to TensorSource
        By our names.
    kind : str
        Architecture and program, in a few words.
    """

    file: TorchFile
    config: StyleGAN2Config
    sources: Mapping[str, TensorSource]
    kind: str

    @property
    def where(self) -> str | Path:
        """Path of the file, for errors."""
        return self.file.where

    @property
    def has_mean(self) -> bool:
        """Whether the file holds the running mean of w."""
        return not self.sources[W_AVG].absent

    def tensors(self) -> dict[str, Tensor]:
        """Read our tensors from the file; all names and shapes are compared before the first tensor is read.

        Raises
        ------
        GeneratorError
            When one is missing, unexpected, of another shape, or holds NaN.
        """
        with errors_name_file(self.where):
            return self._tensors()

    def _tensors(self) -> dict[str, Tensor]:
        expected = {name: tuple(tensor.shape) for name, tensor in new_network(self.config).state_dict().items()}
        for name in sorted(set(expected) - set(self.sources)):
            raise GeneratorError(f"{self.where} lacks {name}, which {self._describe()} has")
        for name in sorted(set(self.sources) - set(expected)):
            raise GeneratorError(
                f"{self.where} has {printable(self.sources[name].name)}, which no generator of this kind has: "
                "it is a variant that is not read"
            )
        for name, source in self.sources.items():
            shape = expected[name] if source.absent else self.file.shape(source.value, source.name)
            if _without_ones(shape) != _without_ones(expected[name]):
                requirement = f"{self._describe()} requires {expected[name]}"
                raise GeneratorError(f"{self.where} has {printable(source.name)} of the shape {shape}; {requirement}")
        return {name: self._tensor(self.sources[name], shape) for name, shape in expected.items()}

    def _tensor(self, source: TensorSource, shape: tuple[int, ...]) -> Tensor:
        if source.absent:
            return torch.zeros(shape)
        tensor = self.file.tensor(source.value, source.name)
        if not torch.isfinite(tensor).all():
            raise GeneratorError(
                f"{self.where} has NaN or infinite numbers in {printable(source.name)}: it cannot be used"
            )
        return tensor.reshape(shape) if source.scale == 1 else tensor.reshape(shape) * source.scale

    def _describe(self) -> str:
        return f"a network of {self.config.resolution} pixels and at most {self.config.channel_max} channels"


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def channel_rule(widths: Mapping[int, int]) -> tuple[int, int]:
    """Return base and maximum such that each side r has ``min(base // r, maximum)`` channels, if there is such a rule.

    Where there is none, the shapes that follow from the returned rule differ from the file's, and are refused.
    """
    highest = max(widths.values())
    falling = [side * width for side, width in widths.items() if width < highest]
    return (min(falling) if falling else highest * max(widths)), highest


def equalized_lr_scale(inputs: int) -> float:
    """Return the factor of a 3 x 3 kernel at run time, for files that hold the kernel before this scaling."""
    return 1 / math.sqrt(9 * inputs)


def tensor_shape(file: TorchFile, tensors: Mapping[str, Any], name: str, count: int) -> tuple[int, ...]:
    """Return the shape of a tensor of the file that must have `count` sides, none of them 0.

    Raises
    ------
    GeneratorError
        When there is no such tensor, or it has another shape.
    """
    if name not in tensors:
        raise GeneratorError(f"{file.where} lacks {name}: it is no generator of a kind that is read")
    shape = file.shape(tensors[name], name)
    if len(shape) != count or not all(shape):
        raise GeneratorError(f"{file.where} has {name} of the shape {shape}; expected {count} sides, none of them 0")
    return shape


def check_blur(file: TorchFile, name: str, value: Any, gain: float) -> None:
    """Raise GeneratorError unless a tensor is the resampling filter of these networks, times `gain`."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = file.tensor(value, name) if file.shape(value, name) == (4, 4) else torch.zeros(4, 4)
    if not torch.allclose(kernel, gain * torch.outer(line, line), rtol=0, atol=1e-6):
        raise GeneratorError(f"{file.where} samples up with another filter than (1, 3, 3, 1), which is not read")
