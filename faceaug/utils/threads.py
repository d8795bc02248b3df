"""Work done in threads, its results in the order of its items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from faceaug.errors import DatasetError

Progress = Callable[[int], object]
"""Called with the number of items that were finished since the last call."""
StageProgress = Callable[[str, int, int], None]
"""Called with the name of a stage, how many of its steps are done, and how many it has."""

T = TypeVar("T")
R = TypeVar("R")
_BLOCK = 64  # images a task: enough to make the cost of handing it over small


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterator[T], ahead: int) -> Iterator[R]:
    """Yield work(item) for each item in order, keeping at most `ahead` under way; what has not begun ends with us."""
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

    Pillow releases the interpreter's lock while it decodes, so threads are enough. An exception of a task is raised
    where its result would have come.
    """
    threads = worker_count(workers)

    def block(start: int) -> list[R]:
        return [task(index) for index in range(start, min(start + _BLOCK, count))]

    with ThreadPoolExecutor(threads, thread_name_prefix="faceaug-images") as pool:
        pending: list[Future[list[R]]] = []
        starts = iter(range(0, count, _BLOCK))
        try:
            while True:
                while len(pending) < 2 * threads and (start := next(starts, None)) is not None:
                    pending.append(pool.submit(block, start))
                if not pending:
                    return
                results = pending.pop(0).result()
                if progress is not None:
                    progress(len(results))
                yield from results
        finally:
            for future in pending:  # after an error or an interruption: nothing more is begun
                future.cancel()


def worker_count(workers: int | None) -> int:
    """Return the number of threads: as asked, or one a processor that this process may use, at most 16."""
    if workers is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(16, available))
    if workers < 1:
        raise DatasetError(f"{workers} workers were asked for: give at least 1")
    return workers
