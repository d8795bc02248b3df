"""The executors: built in, or of other packages through the entry point group ``faceaug.executors``.

Such an entry point is a callable that takes the `Work` and returns an `Executor`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from faceaug.cluster.placement import FOLDER, LOCAL, RAY, check_address
from faceaug.errors import UsageError
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.executors.base import Executor, Work
from faceaug.utils.plugins import guarded
from faceaug.utils.text import nearest, shown

EXECUTOR_ENTRY_POINTS = "faceaug.executors"
_BUILT_IN = {
    LOCAL: "faceaug.synthesis.executors.registry:_local",
    RAY: "faceaug.synthesis.executors.ray_tasks:RayExecutor",
    FOLDER: "faceaug.synthesis.executors.shared_folder:FolderExecutor",
}


def check_executor(config: RunConfig) -> None:
    """Refuse an executor that is not there, before anything is read.

    Raises
    ------
    UsageError
    """
    if config.executor not in _BUILT_IN and config.executor not in (points := _entry_points()):
        known = nearest(config.executor, [*_BUILT_IN, *points])
        raise UsageError(f"there is no executor {shown(config.executor)}: {known}")
    check_address(config.executor, config.address)


def create_executor(work: Work) -> Executor:
    """Return the executor that a run names.

    Raises
    ------
    FaceaugError
        When it cannot be reached, or that of another package fails.
    """
    name = work.request.config.executor
    if name in _BUILT_IN:
        module, _, function = _BUILT_IN[name].partition(":")
        executor: Executor = getattr(importlib.import_module(module), function)(work)
        return executor

    def created() -> Executor:
        create: Callable[[Work], Executor] = _entry_points()[name].load()
        return create(work)

    return guarded(f"the executor {name!r}", created)


def _local(work: Work) -> Executor:
    from faceaug.synthesis.executors.local import LocalExecutor

    return LocalExecutor(work.engine, work.request.config.worker_threads)


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=EXECUTOR_ENTRY_POINTS)}
