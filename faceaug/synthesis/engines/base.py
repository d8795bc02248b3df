"""What makes samples: a generator whose draws are edited, real faces that are rendered anew, or one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faceaug.generators.sampling import synthesize
from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import ENGINES
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.engines.latent_edit import BlockResult, LatentEditor, attempts_for


class Engine(Protocol):
    """Makes blocks of attempts at cells; what a block gives depends on seed, cell and block alone."""

    @property
    def real(self) -> NDArray[np.uint64]:
        """Perceptual hashes of the dataset's pictures, of which samples must be no near-copies."""

    def unreachable(self, cell: PlannedCell) -> str:
        """Return why no attempt at a cell could ever be accepted, or an empty text where one could."""

    def blocks(self, cell: PlannedCell) -> int:
        """Return after how many blocks a cell is given up."""

    def make(self, cell: PlannedCell, block: int) -> BlockResult:
        """Return a block of attempts."""

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        """Yield the hashes of a shard's samples that this engine made, as `fill_cells` gave them."""


class LatentEditEngine:
    """The generator at work."""

    def __init__(self, editor: LatentEditor, tries: int) -> None:
        self._editor, self._tries = editor, tries
        self._models, self._generator = editor.models, editor.generator

    @property
    def real(self) -> NDArray[np.uint64]:
        return self._models.real.hashes

    def unreachable(self, cell: PlannedCell) -> str:
        return self._editor.unreachable(cell.levels)

    def blocks(self, cell: PlannedCell) -> int:
        return attempts_for(cell.planned, self._tries)

    def make(self, cell: PlannedCell, block: int) -> BlockResult:
        return self._editor.make(cell.index, cell.levels, block)

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        return drawn_marks(self._editor, reader)


class ChainedEngine:
    """Engines one after the other: what one leaves short, the next fills."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)

    @property
    def real(self) -> NDArray[np.uint64]:
        return self._engines[0].real

    def unreachable(self, cell: PlannedCell) -> str:
        reasons = [engine.unreachable(cell) for engine in self._engines]
        return "; ".join(reasons) if all(reasons) else ""

    def blocks(self, cell: PlannedCell) -> int:
        return sum(count for _, count in self._turns(cell))

    def make(self, cell: PlannedCell, block: int) -> BlockResult:
        for engine, count in self._turns(cell):
            if block < count:
                return engine.make(cell, block)
            block -= count
        raise AssertionError("a block beyond the last")

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        for engine in self._engines:
            yield from engine.stored_hashes(reader)

    def _turns(self, cell: PlannedCell) -> list[tuple[Engine, int]]:
        return [(engine, 0 if engine.unreachable(cell) else engine.blocks(cell)) for engine in self._engines]


def drawn_marks(editor: LatentEditor, reader: ShardReader) -> Iterator[np.uint64]:
    """Yield hashes of a shard's drawn pictures as they were before finishing, drawn again from their latents."""
    if "w" not in reader.keys:
        return
    w = _rows(reader, "w", "generator")
    for start in range(0, len(w), 256):
        images = synthesize(editor.generator, w[start : start + 256], editor.batch_size)
        yield from hashes(editor.models.reader.view(images))


def _rows(reader: ShardReader, key: str, engine: str) -> NDArray[np.float32]:
    return np.asarray(reader.column(key)[reader.column("engine") == ENGINES.index(engine)])
