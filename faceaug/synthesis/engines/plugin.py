"""Engines of other packages, guarded: whatever one of them does wrong ends in one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from faceaug.errors import FaceaugError
from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.manifest import GeneratorRecord
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.engines.base import BlockResult, Engine, Preparation, PreparationInputs
from faceaug.synthesis.estimate import RunEstimate
from faceaug.utils.plugins import guarded

_MEMBERS = (
    *("names", "columns", "generator", "takes_image_sizes", "identity", "real_hashes"),
    *("estimate", "prepare", "unreachable", "blocks", "propose", "stored_hashes"),
)
_Value = TypeVar("_Value")


class PluginEngine:
    """An engine of another package; an `Engine`.

    Parameters
    ----------
    name : str
        Of the entry point.
    create : callable
        Makes the engine.

    Raises
    ------
    FaceaugError
        When the engine cannot be made, or does not keep to the contract.
    """

    def __init__(self, name: str, create: Callable[[], Engine]) -> None:
        self._name = name
        self._engine = self._guard(create)
        # Properties of an engine that is not prepared may raise, so the class is asked.
        missing = [member for member in _MEMBERS if not hasattr(type(self._engine), member)]
        if missing:
            raise FaceaugError(
                f"the engine {name!r} does not keep to faceaug.synthesis.engines.base.Engine: it lacks "
                f"{', '.join(missing)}"
            )
        if tuple(self.names) != (name,):
            raise FaceaugError(
                f"the engine {name!r} stores its samples as {', '.join(map(repr, self.names))}: an engine has the name "
                "of its entry point"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return self._guard(lambda: tuple(self._engine.names))

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._guard(lambda: self._engine.columns)

    @property
    def generator(self) -> GeneratorRecord | None:
        return self._guard(lambda: self._engine.generator)

    @property
    def takes_image_sizes(self) -> bool:
        return self._guard(lambda: self._engine.takes_image_sizes)

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._guard(lambda: self._engine.identity)

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return self._guard(lambda: self._engine.real_hashes)

    def estimate(self) -> RunEstimate:
        return self._guard(self._engine.estimate)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        return self._guard(lambda: self._engine.prepare(inputs))

    def unreachable(self, cell: PlannedCell) -> str:
        return self._guard(lambda: self._engine.unreachable(cell))

    def blocks(self, cell: PlannedCell) -> int:
        return self._guard(lambda: self._engine.blocks(cell))

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        return self._guard(lambda: self._engine.propose(cell, block))

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        return iter(self._guard(lambda: list(self._engine.stored_hashes(reader))))

    def _guard(self, call: Callable[[], _Value]) -> _Value:
        return guarded(f"the engine {self._name!r}", call)
