"""Filling the cells of a plan with whatever engine: blocks are made ahead by workers, and accounted for in order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from faceaug.planning.plan import Plan, PlannedCell
from faceaug.shards.output_folder import OutputFolder
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.config import RunConfig, workers_of
from faceaug.synthesis.engines.base import Engine
from faceaug.synthesis.engines.latent_edit import BlockResult
from faceaug.utils.threads import StageProgress, in_order


def fill_cells(folder: OutputFolder, plan: Plan, engine: Engine, settings: RunConfig, told: StageProgress) -> float:
    """Fill the cells in order; return the seconds that this took, those before an interruption included.

    Workers compute blocks ahead; what is accepted is decided here, in order of attempts.
    """
    cells = [cell for cell in plan.cells if cell.planned]
    accounting = Accounting.continued(folder, engine, settings.limits.duplicate_bits, settings.uses)
    total, workers = sum(cell.planned for cell in cells), workers_of(settings)
    for cell in cells:
        why = engine.beyond(cell)
        if why:
            accounting.beyond[cell.index] = why
    told("making", sum(accounting.accepted.values()), total)

    def jobs() -> Iterator[tuple[PlannedCell, int]]:
        for cell in cells:
            if cell.index in accounting.beyond:
                continue
            for block in range(accounting.next_block(cell.index), engine.blocks(cell)):
                if accounting.accepted[cell.index] >= cell.planned:
                    break
                yield cell, block

    def work(job: tuple[PlannedCell, int]) -> tuple[PlannedCell, int, BlockResult]:
        return (*job, engine.make(*job))

    with ThreadPoolExecutor(workers) as pool:
        for cell, block, result in in_order(pool, work, jobs(), workers + 1):
            if accounting.accepted[cell.index] < cell.planned:  # else it was computed ahead and is not needed
                samples = accounting.take(cell, block, result)
                folder.append(samples, {cell.index: accounting.state(cell)}, accounting.progress())
                told("making", sum(accounting.accepted.values()), total)
    folder.update({cell.index: accounting.state(cell, ended=True) for cell in cells}, accounting.progress())
    return accounting.seconds()
