"""Where a run stands: what is on disk, what is not yet, and the account of the cells, as one value that is replaced.

A run can be interrupted between any two steps. `OutputFolder` holds one `RunState` and replaces it whole, so that
samples, account and progress always go together.
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
    """Where a cell stands: attempts rejected so far by reason, and why it ends short if it does."""

    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes
    ----------
    manifest : the manifest as it is on disk
    pending : samples of the shard that is not full yet
    saved : how many of these are on disk, in a part
    cells : state of each cell after the last sample; one that is not there has not been tried
    progress : what the run noted after the last block
    changed : whether anything of this is not on disk
    """

    manifest: Manifest
    pending: tuple[EncodedSample, ...] = ()
    saved: int = 0
    cells: Mapping[int, CellState] = dataclasses.field(default_factory=dict)
    progress: JsonValue = None
    changed: bool = False

    @classmethod
    def of(cls, manifest: Manifest, pending: Sequence[EncodedSample]) -> RunState:
        """Return the state that a manifest and the samples in its part describe."""
        cells = {cell.index: CellState(cell.rejected, cell.note) for cell in manifest.cells}
        return cls(manifest, tuple(pending), len(pending), cells, manifest.progress)

    @property
    def size(self) -> int:
        """Bytes that the pending samples take in a shard."""
        return sum(record.size for record in self.pending)

    def accepted(self) -> Counter[int]:
        """Return the number of samples in each cell, those included that are not on disk."""
        counts = Counter({c.index: c.accepted for c in self.manifest.cells if c.accepted})
        counts.update(record.sample.cell for record in self.pending[self.saved :])
        return counts

    def check(self, block: Sequence[EncodedSample]) -> None:
        """Refuse a block that the manifest could not account for."""
        cells, counts = self.manifest.cells, self.accepted()
        counts.update(record.sample.cell for record in block)
        for index, count in counts.items():
            if not 0 <= index < len(cells):
                raise FaceaugError(f"a sample is of cell {index}; there are cells 0 to {len(cells) - 1}")
            planned = cells[index].planned
            if count > planned:
                raise FaceaugError(f"cell {index} would have {count} samples, more than the {planned} planned")

    def extended(
        self, block: Sequence[EncodedSample], cells: Mapping[int, CellState] | None, progress: JsonValue
    ) -> RunState:
        """Return the state after one more block; what the caller goes on changing is copied."""
        states = {index: CellState(dict(state.rejected), state.note) for index, state in (cells or {}).items()}
        return dataclasses.replace(
            self,
            pending=(*self.pending, *block),
            cells={**self.cells, **states},
            progress=self.progress if progress is None else copy.deepcopy(progress),
            changed=True,
        )

    def with_shards(self, shards: Sequence[ShardEntry]) -> Manifest:
        """Return the manifest once `shards` hold all samples, the pending ones too."""
        counts, none = self.accepted(), CellState()
        states = [(cell, self.cells.get(cell.index, none)) for cell in self.manifest.cells]
        cells = tuple(cell.with_account(counts[cell.index], state.rejected, state.note) for cell, state in states)
        return self.altered(shards=tuple(shards), cells=cells, totals=Totals.of(cells), progress=self.progress)

    def altered(self, **changes: Any) -> Manifest:
        """Return the manifest with other values in some fields, checked as a whole."""
        try:
            return Manifest(**{**dict(self.manifest), **changes})
        except ValidationError as error:
            raise FaceaugError(f"the manifest would not be sound: {error.errors()[0]['msg']}") from error
