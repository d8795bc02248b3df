"""State of a run: what is on disk, what is not yet, and the account of the cells.

A run can be interrupted between any two steps. `OutputFolder` has one immutable `RunState` and replaces it as a whole,
so that samples, account and progress always belong together.
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
    changed : bool
        Whether something of this is not on disk.
    """

    manifest: Manifest
    pending: tuple[EncodedSample, ...] = ()
    saved: int = 0
    cells: Mapping[int, CellState] = dataclasses.field(default_factory=dict)
    progress: JsonValue = None
    changed: bool = False

    @classmethod
    def from_manifest(cls, manifest: Manifest, pending: Sequence[EncodedSample]) -> RunState:
        """Return the state that a manifest and the samples of its part describe."""
        cells = {cell.index: CellState(cell.rejected, cell.note) for cell in manifest.cells}
        return cls(manifest, tuple(pending), len(pending), cells, manifest.progress)

    @property
    def size(self) -> int:
        """Approximate number of bytes that the pending samples take in a shard."""
        return sum(sample.size for sample in self.pending)

    def accepted(self) -> Counter[int]:
        """Return the number of samples of each cell, including those that are not on disk."""
        counts = Counter({cell.index: cell.accepted for cell in self.manifest.cells if cell.accepted})
        counts.update(sample.sample.cell for sample in self.pending[self.saved :])
        return counts

    def check(self, block: Sequence[EncodedSample]) -> None:
        """Check that the plan has room for a block of samples.

        Raises
        ------
        FaceaugError
            When a sample belongs to no cell of the plan, or a cell would have more samples than planned.
        """
        cells, counts = self.manifest.cells, self.accepted()
        counts.update(sample.sample.cell for sample in block)
        for index, count in counts.items():
            if not 0 <= index < len(cells):
                raise FaceaugError(f"a sample is of cell {index}; there are cells 0 to {len(cells) - 1}")
            planned = cells[index].planned
            if count > planned:
                raise FaceaugError(f"cell {index} would have {count} samples, more than the {planned} planned")

    def extended(
        self, block: Sequence[EncodedSample], cells: Mapping[int, CellState] | None, progress: JsonValue
    ) -> RunState:
        """Return the state after one more block; objects that the caller may go on changing are copied."""
        states = {index: CellState(dict(state.rejected), state.note) for index, state in (cells or {}).items()}
        return dataclasses.replace(
            self,
            pending=(*self.pending, *block),
            cells={**self.cells, **states},
            progress=self.progress if progress is None else copy.deepcopy(progress),
            changed=True,
        )

    def with_shards(self, shards: Sequence[ShardEntry]) -> Manifest:
        """Return the manifest for `shards` that contain all samples, including the pending ones."""
        counts, initial = self.accepted(), CellState()
        states = [(cell, self.cells.get(cell.index, initial)) for cell in self.manifest.cells]
        cells = tuple(cell.with_outcome(counts[cell.index], state.rejected, state.note) for cell, state in states)
        return self.with_changes(shards=tuple(shards), cells=cells, totals=Totals.of(cells), progress=self.progress)

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
