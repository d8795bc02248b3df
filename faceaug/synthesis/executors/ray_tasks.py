"""Blocks computed by a Ray cluster: a task a block, on any node that has faceaug and the data set.

Results are written to the folder of the driver as they come, so that one that is resumed does not have them computed
again. What is tried again, and what is not, says `faceaug.cluster.ray_cluster`.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from faceaug.cluster.ray_cluster import LostTaskError, RayCluster, RemoteTask, prepared
from faceaug.errors import FaceaugError
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.base import BlockResult
from faceaug.synthesis.executors.base import LostBlockError, Work
from faceaug.synthesis.executors.block_files import BlockFiles
from faceaug.synthesis.executors.rebuilt_engine import LearntModels, RebuiltEngine, rebuild_engine
from faceaug.synthesis.request import RunRequest
from faceaug.utils.text import one_line


def _compute(box: list[Any], cell: PlannedCell, block: int) -> bytes:
    """Compute a block in a worker process, which prepares its engine once."""
    # Ray interrupts what is cancelled, but the engine keeps what it has begun to compute for other blocks, too.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return prepared(box, _engine).encoded(cell, block)
    finally:
        signal.signal(signal.SIGINT, before)


def _engine(sent: tuple[RunRequest, LearntModels]) -> RebuiltEngine:
    return rebuild_engine(*sent)


@dataclass(frozen=True, eq=False)
class _RayBlock:
    """A block that Ray computes. Its result is on disk once it is there, or was from a run before."""

    files: BlockFiles
    cell: int
    block: int
    task: RemoteTask[None] | None
    found: BlockResult | None

    def result(self) -> BlockResult:
        if self.found is not None:
            return self.found
        assert self.task is not None
        try:
            self.task.result()
        except LostTaskError as error:
            raise LostBlockError(one_line(error.__cause__ or error)) from error
        result = self.files.read(self.cell, self.block)
        if result is None:
            raise FaceaugError(f"{self.files.path(self.cell, self.block)} was removed while the run was under way")
        return result

    def cancel(self) -> None:
        """Do not begin the block, if it waits for a worker; one that is computed is finished."""
        if self.task is not None:
            self.task.cancel()


class RayExecutor:
    """Has blocks computed by a Ray cluster; an `Executor`.

    Parameters
    ----------
    work : Work
        The setting `address` names a running cluster; without, one is started on this machine for the run.

    Raises
    ------
    UsageError
        When there is no such cluster, or this process is connected to one already and `address` is given.
    OutputError
    """

    def __init__(self, work: Work) -> None:
        self._output, self._files = work.output, BlockFiles(work.output.path, work.output.manifest.fingerprint)
        self._files.create()
        config = work.request.config
        self._cluster = RayCluster(config.address, config.worker_threads, config.device)
        self._box = self._cluster.share((work.request, LearntModels.of(work.output.path, work.output.manifest)))

    @property
    def ahead(self) -> int:
        """Two blocks for each processor, or GPU, that the cluster has now."""
        return self._cluster.ahead

    def submit(self, cell: PlannedCell, block: int) -> _RayBlock:
        """Begin to compute a block of attempts at a cell; its result may be there already, from a run before."""
        self._files.remove_saved(self._output.manifest)
        key = cell.index, block
        if (found := self._files.read(*key)) is not None:
            return _RayBlock(self._files, *key, None, found)
        task = self._cluster.submit(_compute, self._box, cell, block, arrived=partial(self._files.write, *key))
        return _RayBlock(self._files, *key, task, None)

    def __enter__(self) -> RayExecutor:
        self._cluster.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.__exit__(kind, error, trace)
        if kind is None:
            self._files.remove()
