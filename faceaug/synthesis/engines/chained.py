"""Engines one after the other: what one leaves short, the next fills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import Column
from faceaug.shards.manifest import GeneratorRecord, ModelRecord
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.engines.base import BlockResult, Engine, Preparation, PreparationInputs
from faceaug.synthesis.estimate import RunEstimate
from faceaug.synthesis.sample_columns import joined_columns


class ChainedEngine:
    """Several engines as one; an `Engine`. The blocks of a cell are those of the first engine, then of the next.

    Parameters
    ----------
    engines : sequence of Engine
        In their order; at least one.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for engine in self._engines for name in engine.names)

    @property
    def columns(self) -> tuple[Column, ...]:
        # The last engine's columns come first: a generator's tell more of a label than that it is the photograph's.
        return joined_columns(*(engine.columns for engine in reversed(self._engines)))

    @property
    def generator(self) -> GeneratorRecord | None:
        return next((engine.generator for engine in self._engines if engine.generator), None)

    @property
    def takes_image_sizes(self) -> bool:
        return any(engine.takes_image_sizes for engine in self._engines)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {" ".join(engine.names): engine.identity for engine in self._engines}

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return np.unique(np.concatenate([engine.real_hashes for engine in self._engines]))

    def estimate(self) -> RunEstimate:
        """Return the sum of seconds and memory and the largest of the outputs: each engine may have to try all.

        Cells are those of the first engine that can tell, since the next ones fill what it leaves.
        """
        parts = [engine.estimate() for engine in self._engines]
        return RunEstimate(
            sum(part.seconds for part in parts),
            max(part.bytes for part in parts),
            sum(part.memory for part in parts),
            next((part.cells for part in parts if part.cells), ()),
        )

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Prepare all engines."""
        parts = [engine.prepare(inputs) for engine in self._engines]
        metrics: dict[str, Any] = {}
        for part in parts:
            seconds = {**metrics.get("seconds", {}), **part.metrics.get("seconds", {})}
            metrics |= {**part.metrics, **({"seconds": seconds} if seconds else {})}
        directions: ModelRecord | None = next((part.directions for part in parts if part.directions), None)
        # The classifiers of the generator come first, as they did before engines were chained.
        classifiers = tuple({record.name: record for part in reversed(parts) for record in part.classifiers}.values())
        files = tuple(dict.fromkeys(name for part in parts for name in part.files))
        return Preparation(files, directions, classifiers, metrics)

    def unreachable(self, cell: PlannedCell) -> str:
        reasons = [engine.unreachable(cell) for engine in self._engines]
        return "; ".join(reasons) if all(reasons) else ""

    def blocks(self, cell: PlannedCell) -> int:
        return sum(count for _, count in self._turns(cell))

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        turns, first = self._turns(cell), 0
        for k, (engine, count) in enumerate(turns):
            if block < first + count:
                end = first + count if k + 1 < len(turns) else None
                return replace(engine.propose(cell, block - first), next_engine=end)
            first += count
        raise AssertionError("a block beyond the last")

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        for engine in self._engines:
            yield from engine.stored_hashes(reader)

    def _turns(self, cell: PlannedCell) -> list[tuple[Engine, int]]:
        return [(engine, 0 if engine.unreachable(cell) else engine.blocks(cell)) for engine in self._engines]
