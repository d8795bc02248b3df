"""The account of a run while it is under way: what was accepted and refused, cell by cell, in the order of attempts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from faceaug.planning.plan import PlannedCell
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.writer import Sample
from faceaug.synthesis.acceptance.gates import DUPLICATE
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.engines.base import Engine
from faceaug.synthesis.engines.latent_edit import BlockResult, Candidate, tally
from faceaug.synthesis.sample_schema import note_for

USED_UP = "source not used up"
"""The reason of faces whose real picture has given as many samples as it may."""


class Accounting:
    """What has been accepted and refused so far, and every hash that a new sample must differ from."""

    def __init__(self, memory: DuplicateIndex, uses: int = 1) -> None:
        self.memory = memory
        self._uses, self._sources = uses, Counter[bytes]()  # of each real picture
        self.accepted: Counter[int] = Counter()
        self.refused: dict[int, Counter[str]] = {}
        self.nearest: dict[int, dict[str, float]] = {}
        self.blocks: dict[int, int] = {}
        self.beyond: dict[int, str] = {}  # cells that nothing is tried for, and why
        self._before, self._start = 0.0, time.perf_counter()

    @classmethod
    def continued(cls, folder: OutputFolder, engine: Engine, duplicate_bits: int, uses: int) -> Accounting:
        """Return the ledger as an interrupted run left it with its last whole shard, or a fresh one."""
        accounting = cls(DuplicateIndex(engine.real, duplicate_bits), uses)
        for reader in folder.readers():
            for value in engine.marks(reader):
                accounting.memory.add(value)
            if "source_sha256" in reader.keys:
                accounting._sources.update(row.tobytes() for row in reader.column("source_sha256") if row.any())
        accounting.accepted = folder.accepted()
        accounting.refused = {cell.index: Counter(cell.rejected) for cell in folder.manifest.cells}
        state = folder.manifest.progress
        if isinstance(state, dict):
            found: Mapping[str, Any] = state
            accounting.blocks = {int(k): int(v) for k, v in found["blocks"].items()}
            accounting._before = float(found.get("seconds", 0.0))
            accounting.nearest = {int(k): dict(v) for k, v in found["nearest"].items()}
        return accounting

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
            last, source = candidate.attempt, candidate.source
            if source and self._sources[source.sha256] >= self._uses:
                refused[USED_UP] += 1
                continue
            if self.memory.near(candidate.hash, source.hash if source else None):
                refused[DUPLICATE] += 1
                continue
            self.memory.add(candidate.hash)
            if source:
                self._sources[source.sha256] += 1
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


def _sample(cell: int, found: Candidate) -> Sample:
    return Sample(
        image=found.image, w=found.w, origin_w=found.origin_w, engine="rerender" if found.w is None else "generator",
        source_sha256=found.source.sha256 if found.source else None, finish=found.finish, cell=cell,
        attr=found.attr, attr_confidence=found.confidence, semantic=found.semantic,
        plausibility=found.plausibility, realism=found.realism, seed=found.seed, quality=found.quality,
    )  # fmt: skip
