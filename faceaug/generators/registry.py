"""Generators by name or file: built in, registered by other packages, or weights in a file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.base import GENERATOR_MEMBERS, Generator
from faceaug.generators.plugin import PluginGenerator
from faceaug.utils.device import check_device
from faceaug.utils.text import nearest

GENERATOR_ENTRY_POINTS = "faceaug.generators"

# Named here and not as entry points, so that they also work from a checkout that was never installed.
_BUILT_IN = {
    "digiface": "faceaug.generators.dcgan:load",
    "embedded": "faceaug.generators.embedded:load",
}


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
        When there is no such generator or file, when the weights are damaged, when the device is not available, or
        when a registered generator does not implement the protocol.
    """
    target = check_device(device)
    name = str(name_or_path)
    if name in _BUILT_IN:
        return _import_loader(_BUILT_IN[name])(target)
    if name.endswith(".safetensors") or isinstance(name_or_path, Path) or "/" in name:
        return _load_file(Path(name_or_path), target)
    registered = {point.name: point for point in entry_points(group=GENERATOR_ENTRY_POINTS)}
    if name not in registered:
        raise GeneratorError(
            f"there is no generator {name!r}: {nearest(name, [*_BUILT_IN, *registered])} "
            "(a file of weights must end in .safetensors)"
        )
    return _load_registered(name, registered[name].load, target)


def _import_loader(reference: str) -> Callable[[torch.device], Generator]:
    module, _, attribute = reference.partition(":")
    return cast("Callable[[torch.device], Generator]", getattr(importlib.import_module(module), attribute))


def _load_file(path: Path, device: torch.device) -> Generator:
    from faceaug.generators.file_signature import read_head
    from faceaug.generators.stylegan import load

    if path.suffix == ".safetensors":
        read_head(path, "a .safetensors file of a generator")
    return load(path, device)


def _load_registered(name: str, find: Callable[[], Any], device: torch.device) -> Generator:
    """Load a generator of another package; whatever fails ends in one sentence that names the generator."""
    try:
        generator = find()(device)
    except FaceaugError:
        raise
    except Exception as error:
        raise GeneratorError(f"the generator {name!r} failed to load: {type(error).__name__}: {error}") from error
    if not isinstance(generator, Generator):
        missing = [member for member in GENERATOR_MEMBERS if not hasattr(generator, member)]
        raise GeneratorError(
            f"the generator {name!r} does not implement faceaug.generators.base.Generator: it lacks "
            f"{', '.join(missing)}"
        )
    shapes = (np.shape(generator.w_mean), np.shape(generator.w_covariance))
    if shapes != ((generator.w_dim,), (generator.w_dim, generator.w_dim)):
        raise GeneratorError(
            f"the generator {name!r} has w_mean and w_covariance of the shapes {shapes[0]} and {shapes[1]}; "
            f"its w_dim {generator.w_dim} requires ({generator.w_dim},) and ({generator.w_dim}, {generator.w_dim})"
        )
    return PluginGenerator(name, generator)
