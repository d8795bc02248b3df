"""The loop that fills the cells of a plan: blocks are computed ahead, and accounted for in the order of attempts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from faceaug.planning.plan import PlannedCell
from faceaug.shards.output_folder import OutputFolder
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.base import BlockResult, Engine
from faceaug.synthesis.executor import Executor
from faceaug.synthesis.request import RunRequest
from faceaug.utils.threads import BlockProgress, BlockReport, StageProgress


@dataclass(frozen=True, eq=False)
class _Submitted:
    """A block that is under way."""

    cell: PlannedCell
    block: int
    result: Future[BlockResult]


def fill_cells(
    request: RunRequest,
    engine: Engine,
    executor: Executor,
    output: OutputFolder,
    progress: StageProgress,
    copies: RealCopies | None = None,
) -> Accounting:
    """Fill the cells of the plan in their order, from where the output stands.

    Blocks are computed ahead by the executor. What is accepted is decided here, in the order of attempts, so the
    samples do not depend on the executor. Copies of the real images in `copies` are refused.

    Returns
    -------
    Accounting
        What was accepted and rejected, before an interruption included.
    """
    cells = [cell for cell in request.plan.cells if cell.planned]
    accounting = Accounting.resumed(output, engine, request.config, copies)
    for cell in cells:
        reason = engine.unreachable(cell)
        if reason:
            accounting.unreachable[cell.index] = reason
    total = sum(cell.planned for cell in cells)
    progress("synthesis", accounting.total_accepted, total)
    clock = _CellClock()
    with executor:
        for done in _in_order(executor, _needed_blocks(cells, accounting, engine)):
            if accounting.needs(done.cell, done.block):  # otherwise it was computed ahead in vain
                result = done.result.result()
                samples = accounting.take(done.cell, done.block, result)
                accounting.end_hopeless(done.cell, result, engine.blocks(done.cell))
                output.append(
                    samples, {done.cell.index: accounting.state(done.cell)}, accounting.progress(done.cell.index)
                )
                if isinstance(progress, BlockProgress):
                    progress.block(clock.report(done.cell, accounting, len(samples)))
                progress("synthesis", accounting.total_accepted, total)
    output.update({cell.index: accounting.state(cell, ended=True) for cell in cells})
    return accounting


class _CellClock:
    """The samples and seconds of the cell that is being filled."""

    def __init__(self) -> None:
        self._cell, self._made = -1, 0
        self._start = self._last = time.perf_counter()

    def report(self, cell: PlannedCell, accounting: Accounting, new: int) -> BlockReport:
        """Return where a cell stands, of which `new` samples have just been made."""
        if cell.index != self._cell:
            self._cell, self._made, self._start = cell.index, 0, self._last
        self._made, self._last = self._made + new, time.perf_counter()
        accepted = accounting.accepted[cell.index]
        return BlockReport(
            cell=", ".join(cell.levels.values()),
            accepted=accepted,
            planned=cell.planned,
            tried=accepted + sum(accounting.refused.get(cell.index, {}).values()),
            made=self._made,
            seconds=self._last - self._start,
        )


def _needed_blocks(
    cells: list[PlannedCell], accounting: Accounting, engine: Engine
) -> Iterator[tuple[PlannedCell, int]]:
    """Yield the blocks that are still to be computed; a cell that is full or given up by then gets no more."""
    for cell in cells:
        if cell.index in accounting.unreachable:
            continue
        for block in range(accounting.next_block(cell.index), engine.blocks(cell)):
            if accounting.needs(cell, block):
                yield cell, block


def _in_order(executor: Executor, blocks: Iterator[tuple[PlannedCell, int]]) -> Iterator[_Submitted]:
    """Yield blocks in their order once they are computed, with at most `executor.ahead` under way."""
    pending: deque[_Submitted] = deque()

    def submit_next() -> bool:
        for cell, block in blocks:
            pending.append(_Submitted(cell, block, executor.submit(cell, block)))
            return True
        return False

    try:
        while len(pending) < executor.ahead and submit_next():
            pass
        while pending:
            first = pending.popleft()
            first.result.result()  # wait; an error of the engine is raised here
            submit_next()
            yield first
    finally:
        for submitted in pending:  # after an error or an interruption nothing more is begun
            submitted.result.cancel()
