"""Generators of other packages, guarded: what one of them does wrong ends in one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator
from faceaug.utils.plugins import guarded
from faceaug.utils.typing import Floats

_Value = TypeVar("_Value")
_OUT_OF_RANGE = 16.0  # pixels in 0 to 255 are beyond it, those of networks in [-1, 1] that overshoot are not


class PluginGenerator:
    """A generator of another package; a `Generator` that checks what the other one returns.

    Parameters
    ----------
    name : str
        Of the entry point.
    generator : Generator

    Raises
    ------
    GeneratorError
        From `map` and `synthesize`, when the result has another shape, no floating point numbers, NaN or infinite
        numbers, or pixels that are not in [-1, 1].
    """

    def __init__(self, name: str, generator: Generator) -> None:
        self._name, self._generator = name, generator

    @property
    def name(self) -> str:
        return self._guard(lambda: self._generator.name)

    @property
    def z_dim(self) -> int:
        return self._guard(lambda: self._generator.z_dim)

    @property
    def w_dim(self) -> int:
        return self._guard(lambda: self._generator.w_dim)

    @property
    def resolution(self) -> int:
        return self._guard(lambda: self._generator.resolution)

    @property
    def licence(self) -> str:
        return self._guard(lambda: self._generator.licence)

    @property
    def origin(self) -> str:
        return self._guard(lambda: self._generator.origin)

    @property
    def sha256(self) -> str:
        return self._guard(lambda: self._generator.sha256)

    @property
    def w_mean(self) -> Floats:
        return self._guard(lambda: self._generator.w_mean)

    @property
    def w_covariance(self) -> Floats:
        return self._guard(lambda: self._generator.w_covariance)

    @property
    def device(self) -> torch.device:
        return self._guard(lambda: self._generator.device)

    def map(self, z: Tensor) -> Tensor:
        w = self._guard(lambda: self._generator.map(z))
        return self._checked("map", w, (len(z), self.w_dim))

    def synthesize(self, w: Tensor) -> Tensor:
        side = self.resolution
        images = self._checked(
            "synthesize", self._guard(lambda: self._generator.synthesize(w)), (len(w), 3, side, side)
        )
        if images.numel() and float(images.detach().abs().max()) > _OUT_OF_RANGE:
            raise GeneratorError(
                f"{self._who} made pixels up to {float(images.abs().max()):g}; they must be in [-1, 1]"
            )
        return images

    def to(self, device: str | torch.device) -> PluginGenerator:
        return PluginGenerator(self._name, self._guard(lambda: self._generator.to(device)))

    def _checked(self, method: str, result: Any, shape: tuple[int, ...]) -> Tensor:
        found = f"a {type(result).__name__}"
        if isinstance(result, Tensor):
            if tuple(result.shape) == shape and result.is_floating_point() and bool(torch.isfinite(result).all()):
                return result
            found = f"{result.dtype} of the shape {tuple(result.shape)}"
            if result.is_floating_point() and tuple(result.shape) == shape:
                found = "NaN or infinite numbers"
        raise GeneratorError(
            f"{self._who} returned {found} from {method}; finite floating point numbers of the shape {shape} are needed"
        )

    @property
    def _who(self) -> str:
        return f"the generator {self._name!r}"

    def _guard(self, call: Callable[[], _Value]) -> _Value:
        return guarded(self._who, call)
