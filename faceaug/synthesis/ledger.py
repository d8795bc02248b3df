"""The account of a run while it is under way: what was accepted and refused, cell by cell, in the order of attempts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from faceaug.generators.base import Generator
from faceaug.planning import PlannedCell
from faceaug.shards.folder import OutputFolder
from faceaug.shards.reader import ShardReader
from faceaug.shards.state import CellState
from faceaug.shards.writer import Sample
from faceaug.synthesis.account import note_for
from faceaug.synthesis.block import BlockResult, Candidate, tally
from faceaug.synthesis.duplicates import Memory, hashes
from faceaug.synthesis.extrapolate import synthesize
from faceaug.synthesis.gates import DUPLICATE
from faceaug.synthesis.guide import Guide


class Ledger:
    """What has been accepted and refused so far, and every hash that a new sample must differ from."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.accepted: Counter[int] = Counter()
        self.refused: dict[int, Counter[str]] = {}
        self.nearest: dict[int, dict[str, float]] = {}
        self.blocks: dict[int, int] = {}
        self.beyond: dict[int, str] = {}  # cells that nothing is tried for, and why
        self._before, self._start = 0.0, time.perf_counter()

    @classmethod
    def continued(
        cls, folder: OutputFolder, generator: Generator, guide: Guide, duplicate_bits: int, batch_size: int
    ) -> Ledger:
        """Return the ledger as an interrupted run left it with its last whole shard, or a fresh one."""
        ledger = cls(Memory(guide.real.hashes, duplicate_bits))
        for reader in folder.readers():
            for value in _hashes_of(reader, generator, guide, batch_size):
                ledger.memory.add(value)
        ledger.accepted = folder.accepted()
        ledger.refused = {cell.index: Counter(cell.rejected) for cell in folder.manifest.cells}
        state = folder.manifest.progress
        if isinstance(state, dict):
            found: Mapping[str, Any] = state
            ledger.blocks = {int(k): int(v) for k, v in found["blocks"].items()}
            ledger._before = float(found.get("seconds", 0.0))
            ledger.nearest = {int(k): dict(v) for k, v in found["nearest"].items()}
        return ledger

    def next_block(self, cell: int) -> int:
        """Return the first block of a cell that has not been taken in."""
        return self.blocks.get(cell, 0)

    def take(self, cell: PlannedCell, block: int, result: BlockResult) -> list[Sample]:
        """Accept a block's candidates in order while the cell needs them, and account for the rest."""
        samples: list[Sample] = []
        refused = self.refused.setdefault(cell.index, Counter())
        last = None
        for candidate in result.candidates:
            if self.accepted[cell.index] + len(samples) >= cell.planned:
                break
            last = candidate.attempt
            if self.memory.near(candidate.hash):
                refused[DUPLICATE] += 1
                continue
            self.memory.add(candidate.hash)
            samples.append(_sample(cell.index, candidate))
        self.accepted[cell.index] += len(samples)
        full = self.accepted[cell.index] >= cell.planned
        refused.update(tally(result, last if full else None))
        self.blocks[cell.index] = block + 1
        nearest_yet = self.nearest.setdefault(cell.index, {})
        for name, value in result.nearest.items():
            nearest_yet[name] = max(value, nearest_yet.get(name, 0.0))
        return samples

    def state(self, cell: PlannedCell, ended: bool = False) -> CellState:
        """Return the cell's account for the manifest; with the reason, where it has ended short."""
        refused = self.refused.get(cell.index, Counter())
        short = cell.planned - self.accepted[cell.index]
        if not (ended and short):
            return CellState(dict(refused), "")
        known = self.beyond.get(cell.index)
        return CellState(dict(refused), known or note_for(short, refused, self.nearest.get(cell.index, {})))

    def seconds(self) -> float:
        """Return the seconds that samples have been made for, those before an interruption included."""
        return self._before + time.perf_counter() - self._start

    def progress(self) -> dict[str, Any]:
        """Return where the run stands, as JSON."""
        return dict(
            seconds=round(self.seconds(), 2),
            blocks={str(k): v for k, v in self.blocks.items()},
            nearest={str(k): v for k, v in self.nearest.items()},
        )


def _hashes_of(reader: ShardReader, generator: Generator, guide: Guide, batch_size: int) -> Iterator[Any]:
    """Yield the hash of each sample of a shard, from its latent: as it was before finishing."""
    w = reader.column("w")
    for start in range(0, len(w), 256):
        yield from hashes(guide.reader.view(synthesize(generator, w[start : start + 256], batch_size)))


def _sample(cell: int, found: Candidate) -> Sample:
    return Sample(
        image=found.image, w=found.w, origin_w=found.origin_w, engine="generator", source_sha256=None,
        finish=found.finish,
        cell=cell, attr=found.attr, attr_confidence=found.confidence, semantic=found.semantic,
        plausibility=found.plausibility, realism=found.realism, seed=found.seed, quality=found.quality,
    )  # fmt: skip
