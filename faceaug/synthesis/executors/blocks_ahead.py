"""Blocks that are begun before their turn: as many as an executor has use for, few of them in vain."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.base import BlockResult, Engine
from faceaug.synthesis.executors.base import Executor, PendingBlock

_ASK_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class _Submitted:
    """A block that is under way."""

    block: int
    result: PendingBlock


class BlocksAhead:
    """Begins blocks in the order in which they are accounted for, and waits for them.

    Blocks of a cell that is full when their turn comes were computed in vain. So a cell gets only as many at a time as
    it is likely to need still, by the share of its attempts that was accepted so far; what else the executor has use
    for are the first blocks of the cells after it. At most `Executor.ahead` blocks are begun for the cells that come
    later, and as many for the one that is being filled.

    Parameters
    ----------
    executor : Executor
    engine : Engine
        Prepared.
    cells : sequence of PlannedCell
        In the order in which they are filled.
    accounting : Accounting
        Read only.
    tries : int
        Attempts allowed for each planned sample.
    """

    def __init__(
        self, executor: Executor, engine: Engine, cells: Sequence[PlannedCell], accounting: Accounting, tries: int
    ) -> None:
        self._executor, self._engine, self._accounting, self._tries = executor, engine, accounting, tries
        self._before = accounting.accepted.copy()
        self._taken = Counter[int]()  # blocks of each cell
        self._later = iter(cells)
        self._pending: dict[int, deque[_Submitted]] = {}
        self._next: dict[int, int] = {}  # first block of a cell that was not begun
        self._count = 0
        self._asked = (-math.inf, 0)

    def take(self, cell: PlannedCell, block: int) -> BlockResult:
        """Wait for a block of the cell that is being filled; blocks before it are left out.

        Raises
        ------
        LostBlockError
            When it could not be computed.
        """
        self._begin_cell(cell, block)
        pending = self._pending[cell.index]
        while pending and pending[0].block < block:
            self._leave_out(pending.popleft())
        ahead = self._ahead()
        wanted = min(self._needed(cell), ahead)
        self._begin(cell, max(1, wanted) - len(pending))
        while self._count < ahead and (after := next(self._later, None)) is not None:
            if after.index not in self._pending and after.index not in self._accounting.unreachable:
                first = self._accounting.next_block(after.index)
                self._begin_cell(after, first)
                wanted = self._needed(after) if self._accounting.needs(after, first) else 0
                self._begin(after, min(wanted, ahead - self._count))
        self._taken[cell.index] += 1
        self._count -= 1
        return pending.popleft().result.result()

    def end(self, cell: PlannedCell) -> None:
        """Leave out what was begun for a cell that needs no more."""
        for submitted in self._pending.get(cell.index, ()):
            self._leave_out(submitted)
        self._pending[cell.index] = deque()

    def __enter__(self) -> BlocksAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pending in self._pending.values():  # after an error or an interruption nothing more is begun
            for submitted in pending:
                submitted.result.cancel()

    def _ahead(self) -> int:
        """Return the executor's number; to count its workers may take a while, so it is not asked for every block."""
        now = time.monotonic()
        if now - self._asked[0] >= _ASK_SECONDS:
            self._asked = now, self._executor.ahead
        return self._asked[1]

    def _begin_cell(self, cell: PlannedCell, block: int) -> None:
        self._pending.setdefault(cell.index, deque())
        self._next[cell.index] = max(block, self._next.get(cell.index, 0))

    def _begin(self, cell: PlannedCell, count: int) -> None:
        """Begin more blocks of a cell, as far as it has so many."""
        first = self._next[cell.index]
        for block in range(first, min(first + count, self._engine.blocks(cell))):
            self._pending[cell.index].append(_Submitted(block, self._executor.submit(cell, block)))
            self._next[cell.index] = block + 1
            self._count += 1

    def _needed(self, cell: PlannedCell) -> int:
        """Return how many more blocks a cell is likely to need; before the first, as if all attempts were accepted."""
        least = -(-self._engine.blocks(cell) // self._tries)
        taken = self._taken[cell.index]
        if not taken:
            return least
        made = self._accounting.accepted[cell.index] - self._before[cell.index]
        missing = cell.planned - self._accounting.accepted[cell.index]
        return min(-(-missing * taken // max(made, 1)), taken + least)

    def _leave_out(self, submitted: _Submitted) -> None:
        submitted.result.cancel()
        self._count -= 1
