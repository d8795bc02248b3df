"""Blocks computed by threads of this process."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.base import BlockResult, Engine


class LocalExecutor:
    """Computes blocks in threads of this process; an `Executor`.

    Parameters
    ----------
    engine : Engine
        Prepared.
    workers : int
        Number of threads.
    """

    def __init__(self, engine: Engine, workers: int) -> None:
        self._engine, self._pool, self.ahead = engine, ThreadPoolExecutor(workers), workers + 1

    def submit(self, cell: PlannedCell, block: int) -> Future[BlockResult]:
        """Begin to compute a block of attempts at a cell."""
        return self._pool.submit(self._engine.propose, cell, block)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)  # no result is wanted any more
        self._pool.shutdown(wait=not interrupted, cancel_futures=True)
