"""Where blocks of attempts are computed: an executor takes them in any number and returns their results.

Acceptance is decided elsewhere, in the order of attempts (`faceaug.synthesis.loop`), so an executor may compute blocks
in any order and on any machine. Threads of this process are the only executor so far.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.base import BlockResult, Engine


class Executor(Protocol):
    """Computes blocks. Used in a `with` statement, which ends with no block under way, unless it is interrupted."""

    @property
    def ahead(self) -> int:
        """Number of blocks that are worth having under way at a time."""

    def submit(self, cell: PlannedCell, block: int) -> Future[BlockResult]:
        """Begin to compute a block of attempts at a cell."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LocalExecutor:
    """Computes blocks in threads of this process.

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
