"""Looking at every image of a data set once, in threads, without keeping any."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

from faceaug.errors import FaceaugError, TargetError
from faceaug.images import decode, inspect
from faceaug.targets.raw import UNREADABLE, ImageSource, Problem

Check = Literal["decode", "header", "none"]
Progress = Callable[[int], object]
CHECKS: tuple[Check, ...] = ("decode", "header", "none")
_BLOCK = 64  # images a task: enough to make the cost of handing it over small
_Result = TypeVar("_Result")


def check_images(
    images: ImageSource,
    keys: Sequence[str],
    *,
    check: Check = "decode",
    max_pixels: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Problem | None]:
    """Open each image and say what is wrong with it.

    Parameters
    ----------
    images, keys
        Where the images are, and which.
    check
        "decode" decodes every pixel, "header" reads the headers only, "none" looks at nothing.
    max_pixels
        Most pixels of an image.
    workers
        Threads; as many as there are processors (at most 16) when None.
    progress
        Called with the number of images that were just finished.

    Returns
    -------
    list
        For each key None when it is sound, else a Problem.
    """
    if check not in CHECKS:
        raise TargetError(f"images cannot be checked by {check!r}: choose one of {', '.join(CHECKS)}")
    if check == "none":
        return [None] * len(keys)
    look = decode if check == "decode" else inspect

    def task(index: int) -> Problem | None:
        try:
            look(images.read(keys[index]), name=keys[index], max_pixels=max_pixels)
        except FaceaugError as error:
            return Problem(UNREADABLE, keys[index], str(error))
        return None

    return list(map_in_threads(task, len(keys), workers=workers, progress=progress))


def map_in_threads(
    task: Callable[[int], _Result], count: int, *, workers: int | None = None, progress: Progress | None = None
) -> Iterator[_Result]:
    """Yield task(0), task(1) ... task(count - 1) in that order, computed in threads a few blocks ahead.

    Pillow releases the interpreter's lock while it decodes, so threads are enough. An exception of a task is raised
    where its result would have come.
    """
    threads = worker_count(workers)

    def block(start: int) -> list[_Result]:
        return [task(index) for index in range(start, min(start + _BLOCK, count))]

    with ThreadPoolExecutor(threads, thread_name_prefix="faceaug-images") as pool:
        pending: list[Future[list[_Result]]] = []
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
        raise TargetError(f"{workers} workers were asked for: give at least 1")
    return workers
