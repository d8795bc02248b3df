"""State of a run: what is on disk, what is not yet, and the account of the cells.

A run can be interrupted between any two steps. `OutputFolder` has one `RunState` and replaces it as a whole, so that
samples, account and progress always belong together. A state hands its mappings on to the state after the next block,
which changes them where that block does: a block costs the same, however many cells the run has. A state that was
followed by another one is therefore not used again.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue, ValidationError

from faceaug.errors import FaceaugError
from faceaug.shards.manifest import Manifest, ShardEntry, Totals
from faceaug.shards.writer import EncodedSample


@dataclasses.dataclass(frozen=True)
class CellState:
    """State of a cell.

    Attributes
    ----------
    rejected : mapping of str to int
        Attempts rejected so far, by reason.
    note : str
        Why the cell ends short; empty where it does not.
    """

    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class RunState:
    """State of a run.

    Attributes
    ----------
    manifest : Manifest
        As it is on disk.
    pending : tuple of EncodedSample
        Samples of the shard that is not full yet.
    saved : int
        How many of the pending samples are on disk, in a part.
    cells : mapping of int to CellState
        State of each cell after the last sample; a cell without attempts is absent.
    progress : JSON value
        Position of the run after the last block, as its caller gave it.
    counts : Counter
        Samples of each cell, including those that are not on disk.
    size : int
        Approximate number of bytes that the pending samples take in a shard.
    changed : bool
        Whether something of this is not on disk.
    """

    manifest: Manifest
    pending: tuple[EncodedSample, ...] = ()
    saved: int = 0
    cells: dict[int, CellState] = dataclasses.field(default_factory=dict)
    progress: JsonValue = None
    counts: Counter[int] = dataclasses.field(default_factory=Counter)
    size: int = 0
    changed: bool = False

    @classmethod
    def from_manifest(cls, manifest: Manifest, pending: Sequence[EncodedSample]) -> RunState:
        """Return the state that a manifest and the samples of its part describe."""
        cells = {cell.index: CellState(cell.rejected, cell.note) for cell in manifest.cells}
        counts = Counter({cell.index: cell.accepted for cell in manifest.cells if cell.accepted})
        size, progress = sum(sample.size for sample in pending), copy.deepcopy(manifest.progress)
        return cls(manifest, tuple(pending), len(pending), cells, progress, counts, size)

    def accepted(self) -> Counter[int]:
        """Return the number of samples of each cell, including those that are not on disk."""
        return self.counts.copy()

    def check(self, block: Sequence[EncodedSample]) -> None:
        """Check that the plan has room for a block of samples.

        Raises
        ------
        FaceaugError
            When a sample belongs to no cell of the plan, or a cell would have more samples than planned.
        """
        cells = self.manifest.cells
        for index, added in Counter(sample.sample.cell for sample in block).items():
            if not 0 <= index < len(cells):
                raise FaceaugError(f"a sample is of cell {index}; there are cells 0 to {len(cells) - 1}")
            count, planned = self.counts[index] + added, cells[index].planned
            if count > planned:
                raise FaceaugError(f"cell {index} would have {count} samples, more than the {planned} planned")

    def extended(
        self, block: Sequence[EncodedSample], cells: Mapping[int, CellState] | None, progress: JsonValue
    ) -> RunState:
        """Return the state after one more block; objects that the caller may go on changing are copied.

        Of a progress that is a mapping only the keys that are given are replaced, also in mappings inside it. None
        leaves it unchanged.
        """
        for index, state in (cells or {}).items():
            self.cells[index] = CellState(dict(state.rejected), state.note)
        self.counts.update(sample.sample.cell for sample in block)
        return dataclasses.replace(
            self,
            pending=(*self.pending, *block),
            progress=_merged(self.progress, progress),
            size=self.size + sum(sample.size for sample in block),
            changed=True,
        )

    def with_shards(self, shards: Sequence[ShardEntry]) -> Manifest:
        """Return the manifest for `shards` that contain all samples, including the pending ones."""
        counts, initial = self.counts, CellState()
        states = [(cell, self.cells.get(cell.index, initial)) for cell in self.manifest.cells]
        cells = tuple(cell.with_outcome(counts[cell.index], state.rejected, state.note) for cell, state in states)
        return self.with_changes(
            shards=tuple(shards), cells=cells, totals=Totals.of(cells), progress=copy.deepcopy(self.progress)
        )

    def written(self, manifest: Manifest, as_part: bool) -> RunState:
        """Return the state once all samples are on disk: in a part, which is written anew later, or in whole shards."""
        pending, size = (self.pending, self.size) if as_part else ((), 0)
        return dataclasses.replace(
            self, manifest=manifest, pending=pending, saved=len(pending), size=size, changed=False
        )

    def with_changes(self, **changes: Any) -> Manifest:
        """Return the manifest with other values in some fields, checked as a whole.

        Raises
        ------
        FaceaugError
            When the manifest would contradict itself.
        """
        try:
            return Manifest(**{**dict(self.manifest), **changes})
        except ValidationError as error:
            raise FaceaugError(f"the manifest would not be valid: {error.errors()[0]['msg']}") from error


def _merged(before: JsonValue, changes: JsonValue) -> JsonValue:
    """Return a position with the changes of a block; mappings, also those inside them, are changed in place."""
    if changes is None:
        return before
    if not (isinstance(before, dict) and isinstance(changes, dict)):
        return copy.deepcopy(changes)
    for name, value in changes.items():
        inner = before.get(name)
        if isinstance(inner, dict) and isinstance(value, dict):
            inner.update(copy.deepcopy(value))
        else:
            before[name] = copy.deepcopy(value)
    return before
