"""Thread pools whose results come in the order of their items, and the types of progress callbacks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from statistics import median
from typing import Protocol, TypeVar, runtime_checkable

from faceaug.errors import DatasetError

Progress = Callable[[int], object]
"""Called with the number of items that were done since the last call."""
StageProgress = Callable[[str, int, int], None]
"""Called with the name of a stage, how many of its steps are done, and how many it has."""


@dataclass(frozen=True)
class BlockReport:
    """Where a cell stands after a block of attempts.

    Attributes
    ----------
    cell : str
        Its levels.
    accepted, planned, tried : int
        Samples so far, those that are planned, and all attempts.
    made, seconds : int, float
        Samples of this process, and the seconds that it has spent on the cell.
    """

    cell: str
    accepted: int
    planned: int
    tried: int
    made: int
    seconds: float


@runtime_checkable
class BlockProgress(Protocol):
    """A `StageProgress` that is told of each block of attempts, too."""

    def __call__(self, stage: str, done: int, total: int, /) -> None: ...

    def block(self, block: BlockReport) -> None:
        """Called after each block that was accounted for, before the call with the samples of all cells."""


T = TypeVar("T")
R = TypeVar("R")
_BLOCK_SIZE = 64  # images per task, so that the cost of submitting a task is small
_TIMED = 8  # items whose time decides whether there are threads
_WORTH_A_THREAD = 1.5e-4  # seconds of an item below which threads lose more on the interpreter's lock than they gain


def map_in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterator[T], ahead: int
) -> Generator[R, None, None]:
    """Yield work(item) for each item, in their order.

    Parameters
    ----------
    pool : ThreadPoolExecutor
    work : callable
    items : iterator
        Taken only as fast as results are consumed.
    ahead : int
        Most tasks that are submitted and not yet yielded.

    Notes
    -----
    When the consumer stops, tasks that have not started are cancelled. An exception of `work` is raised where its
    result would have come.
    """
    waiting = [pool.submit(work, item) for item in islice(items, ahead)]
    try:
        while waiting:
            result = waiting.pop(0).result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()


def map_in_threads(
    task: Callable[[int], R], count: int, *, workers: int | None = None, progress: Progress | None = None
) -> Iterator[R]:
    """Yield task(0), task(1) ... task(count - 1) in that order, computed in threads a few blocks ahead.

    Parameters
    ----------
    task : callable
        Called with an index.
    count : int
    workers : int, optional
        Number of threads, see `worker_count`.
    progress : callable, optional
        See `Progress`; called in the consumer's thread, once per block.

    Raises
    ------
    DatasetError
        When `workers` is below 1.

    Notes
    -----
    Pillow releases the interpreter's lock while it decodes, so threads are enough. Where items take so little time that
    handing the lock to and fro costs more than a second thread gains (headers, small images), there are none: the first
    few decide. An exception of a task is raised where its result would have come.
    """
    threads = worker_count(workers)

    def block(start: int) -> list[R]:
        return [task(index) for index in range(start, min(start + _BLOCK_SIZE, count))]

    first: list[R] = []
    seconds: list[float] = []
    for index in range(min(_TIMED, count)):
        begun = time.perf_counter()
        first.append(task(index))
        seconds.append(time.perf_counter() - begun)
    rest = iter(range(len(first), count, _BLOCK_SIZE))
    with ExitStack() as stack:
        if threads == 1 or not first or median(seconds) < _WORTH_A_THREAD:
            blocks: Iterator[list[R]] = map(block, rest)
        else:
            pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="faceaug-images"))
            blocks = stack.enter_context(closing(map_in_order(pool, block, rest, 2 * threads)))
        for results in chain([first] if first else [], blocks):
            if progress is not None:
                progress(len(results))
            yield from results


def worker_count(workers: int | None) -> int:
    """Return the number of threads: `workers`, or by default one per processor of this process, at most 16."""
    if workers is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(16, available))
    if workers < 1:
        raise DatasetError(f"{workers} workers were asked for: give at least 1")
    return workers


@contextmanager
def single_threaded() -> Iterator[None]:
    """Compute with one thread a worker: results then do not depend on how many there are. Undone at the end."""
    import torch  # only here, since commands that need no torch use the rest of this module
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(before)
