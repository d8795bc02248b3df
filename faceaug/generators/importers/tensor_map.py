"""What a foreign file gives: the shape of its network, and where each of our tensors is to be found in it."""

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
from faceaug.generators.weights_file import believing, new_network
from faceaug.utils.text_table import shown

MEAN_NAME = "mapping.w_avg"


@dataclass(frozen=True, eq=False)
class TensorSource:
    """A tensor of the file that becomes one of ours: by its name there, times `scale`, without sides of length one.

    A piece without a value is a tensor that the file does not have, and is zero.
    """

    name: str
    value: Any = None
    scale: float = 1.0
    absent: bool = False


@dataclass(frozen=True, eq=False)
class ForeignCheckpoint:
    """A generator in somebody else's file.

    Attributes
    ----------
    file : TorchFile
    config : StyleGAN2Config
        Shape of the network, as the file's tensors have it.
    pieces : mapping of str to Piece
        For our names.
    kind : str
        What wrote the file, in a few words.
    """

    file: TorchFile
    config: StyleGAN2Config
    pieces: Mapping[str, TensorSource]
    kind: str

    @property
    def where(self) -> str | Path:
        return self.file.where

    @property
    def has_mean(self) -> bool:
        return not self.pieces[MEAN_NAME].absent

    def tensors(self) -> dict[str, Tensor]:
        """Read our tensors out of the file; all names and shapes are compared before the first is.

        Raises
        ------
        GeneratorError
            When one is missing or too many, of another shape, or holds NaN.
        """
        with believing(self.where):
            return self._tensors()

    def _tensors(self) -> dict[str, Tensor]:
        expected = {name: tuple(tensor.shape) for name, tensor in new_network(self.config).state_dict().items()}
        for name in sorted(set(expected) - set(self.pieces)):
            raise GeneratorError(f"{self.where} lacks {name}, which {self._shape()} has")
        for name in sorted(set(self.pieces) - set(expected)):
            raise GeneratorError(
                f"{self.where} has {shown(self.pieces[name].name)}, which no generator of this kind has: "
                "it is a variant that is not read"
            )
        for name, piece in self.pieces.items():
            found = expected[name] if piece.absent else self.file.shape(piece.value, piece.name)
            if _plain(found) != _plain(expected[name]):
                asked = f"{self._shape()} asks for {expected[name]}"
                raise GeneratorError(f"{self.where} has {shown(piece.name)} of the shape {found}; {asked}")
        return {name: self._tensor(self.pieces[name], shape) for name, shape in expected.items()}

    def _tensor(self, piece: TensorSource, shape: tuple[int, ...]) -> Tensor:
        if piece.absent:
            return torch.zeros(shape)
        found = self.file.tensor(piece.value, piece.name)
        if not torch.isfinite(found).all():
            raise GeneratorError(f"{self.where} has NaN or infinite numbers in {shown(piece.name)}: it cannot be used")
        return found.reshape(shape) if piece.scale == 1 else found.reshape(shape) * piece.scale

    def _shape(self) -> str:
        return f"a network of {self.config.resolution} pixels and at most {self.config.channel_max} channels"


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def channel_rule(widths: Mapping[int, int]) -> tuple[int, int]:
    """Return base and maximum such that each side r has ``min(base // r, maximum)`` channels, if there is such a rule.

    Where there is none, the shapes that follow from what is returned differ from the file's, and are refused.
    """
    highest = max(widths.values())
    falling = [side * width for side, width in widths.items() if width < highest]
    return (min(falling) if falling else highest * max(widths)), highest


def equalised(inputs: int) -> float:
    """Return what a kernel of 3 x 3 is multiplied by at run time, where its file holds it before that."""
    return 1 / math.sqrt(9 * inputs)


def sides(file: TorchFile, tensors: Mapping[str, Any], name: str, count: int) -> tuple[int, ...]:
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
    """Raise GeneratorError unless a tensor is the filter that these networks sample up and down with, times `gain`."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    found = file.tensor(value, name) if file.shape(value, name) == (4, 4) else torch.zeros(4, 4)
    if not torch.allclose(found, gain * torch.outer(line, line), rtol=0, atol=1e-6):
        raise GeneratorError(f"{file.where} samples up with another filter than (1, 3, 3, 1), which is not read")
