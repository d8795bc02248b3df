"""The loop that fills the cells of a plan: blocks are computed ahead, and accounted for in the order of attempts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from faceaug.errors import FaceaugError
from faceaug.planning.plan import PlannedCell
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.writer import Sample
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.engines.base import Engine
from faceaug.synthesis.executors.base import Executor, LostBlockError
from faceaug.synthesis.executors.blocks_ahead import BlocksAhead
from faceaug.synthesis.request import RunRequest
from faceaug.utils.text import one_line
from faceaug.utils.threads import BlockProgress, BlockReport, StageProgress


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
    with executor:  # from here on whatever fails ends it
        accounting = Accounting.resumed(output, engine, request.config, copies)
        for cell in cells:
            reason = engine.unreachable(cell)
            if reason:
                accounting.unreachable[cell.index] = reason
        total = sum(cell.planned for cell in cells)
        progress("synthesis", accounting.total_accepted, total)
        clock = _CellClock()
        with BlocksAhead(executor, engine, cells, accounting, request.config.tries) as ahead:
            for cell in cells:
                blocks = 0 if cell.index in accounting.unreachable else engine.blocks(cell)
                while (block := accounting.next_block(cell.index)) < blocks and accounting.needs(cell, block):
                    samples = _filled(cell, block, blocks, ahead, accounting)
                    output.append(samples, {cell.index: accounting.state(cell)}, accounting.progress(cell.index))
                    if isinstance(progress, BlockProgress):
                        progress.block(clock.report(cell, accounting, len(samples)))
                    progress("synthesis", accounting.total_accepted, total)
                ahead.end(cell)
            if accounting.unsure_of_workers:
                _check_workers(executor, accounting, cells)
            output.update({cell.index: accounting.state(cell, ended=True) for cell in cells})
    return accounting


def _filled(cell: PlannedCell, block: int, blocks: int, ahead: BlocksAhead, accounting: Accounting) -> Sequence[Sample]:
    """Account for a block of a cell that has `blocks` of them, and return the samples that were accepted."""
    try:
        result = ahead.take(cell, block)
    except LostBlockError as error:
        accounting.lose(cell, block, blocks, one_line(error))
        return ()
    samples = accounting.take(cell, block, result)
    accounting.end_hopeless(cell, result, blocks)
    return samples


def _check_workers(executor: Executor, accounting: Accounting, cells: Sequence[PlannedCell]) -> None:
    """Tell blocks that end their workers from workers that are gone: they compute again what they could before.

    Raises
    ------
    FaceaugError
        When they cannot. The run can be resumed, and what was lost is then tried again.
    """
    reachable = [cell for cell in cells if cell.index not in accounting.unreachable]  # one at least: a block was lost
    number, block = accounting.computed_before or (reachable[0].index, 0)
    try:
        executor.submit(next(cell for cell in cells if cell.index == number), block).result()
    except LostBlockError as error:
        raise FaceaugError(
            f"the last blocks were lost with their workers ({one_line(error)}), and so was one that was computed "
            "before; see to the workers, and run the same command with --resume"
        ) from error


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
