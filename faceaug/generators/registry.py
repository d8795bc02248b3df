"""Which generators there are: built in, from other packages, or weights in a file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from faceaug.errors import FaceaugError, GeneratorError, nearest
from faceaug.generators.base import (
    _PROTOCOL_PARTS,
    BUILT_IN,
    ENTRY_POINT_GROUP,
    Generator,
)
from faceaug.utils.device import check_device


def load_generator(name_or_path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """Load a generator by its name, or from a ``.safetensors`` file that faceaug wrote.

    Parameters
    ----------
    name_or_path
        ``"embedded"``, ``"digiface"``, the name of an entry point in the group ``faceaug.generators``, or a path.
    device
        Where to compute: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...

    Raises
    ------
    GeneratorError
        When there is no such generator or file, when the weights are damaged, when the device is not there, or when
        somebody else's generator does not keep to the protocol.
    """
    target = check_device(device)
    name = str(name_or_path)
    if name in BUILT_IN:
        return _resolve(BUILT_IN[name])(target)
    if name.endswith(".safetensors") or isinstance(name_or_path, Path) or "/" in name:
        from faceaug.generators import file_signature as mistaken
        from faceaug.generators import stylegan as stylegan2

        path = Path(name_or_path)
        if path.suffix == ".safetensors":
            mistaken.head_of(path, "a .safetensors file of a generator")
        return stylegan2.load(path, target)
    others = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in others:
        raise GeneratorError(
            f"there is no generator {name!r}: {nearest(name, [*BUILT_IN, *others])} "
            "(a file of weights must end in .safetensors)"
        )
    return _load_plugin(name, others[name].load, target)


def _resolve(reference: str) -> Callable[[torch.device], Generator]:
    module, _, attribute = reference.partition(":")
    return cast("Callable[[torch.device], Generator]", getattr(importlib.import_module(module), attribute))


def _load_plugin(name: str, find: Callable[[], Any], device: torch.device) -> Generator:
    """Load somebody else's generator; whatever it does wrong ends in one sentence that names it."""
    try:
        generator = find()(device)
    except FaceaugError:
        raise
    except Exception as error:
        raise GeneratorError(f"the generator {name!r} failed to load: {type(error).__name__}: {error}") from error
    if not isinstance(generator, Generator):
        wanted = [part for part in _PROTOCOL_PARTS if not hasattr(generator, part)]
        raise GeneratorError(
            f"the generator {name!r} does not keep to faceaug.generators.base.Generator: it lacks {', '.join(wanted)}"
        )
    shapes = (np.shape(generator.w_mean), np.shape(generator.w_covariance))
    if shapes != ((generator.w_dim,), (generator.w_dim, generator.w_dim)):
        raise GeneratorError(
            f"the generator {name!r} has w_mean and w_covariance of the shapes {shapes[0]} and {shapes[1]}; "
            f"its w_dim {generator.w_dim} asks for ({generator.w_dim},) and ({generator.w_dim}, {generator.w_dim})"
        )
    return generator
