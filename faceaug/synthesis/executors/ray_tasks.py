"""Blocks computed by a Ray cluster: a task a block, on any node that has faceaug and the data set.

Ray begins a task again, `RETRIES` times, when its worker or node was lost, its result was, or memory ran out; an error
of the engine is never tried again. Results are written to the folder of the driver as they come, so that one that is
resumed does not have them computed again. A node that joins late takes part.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from faceaug.errors import FaceaugError, UsageError
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.base import BlockResult
from faceaug.synthesis.executors.base import RETRIES, LostBlockError, Work
from faceaug.synthesis.executors.block_files import BlockFiles
from faceaug.synthesis.executors.rebuilt_engine import LearntModels, RebuiltEngine, rebuild_engine
from faceaug.utils.text import one_line, shown
from faceaug.utils.threads import single_threaded

_ENGINES: dict[bytes, RebuiltEngine] = {}
"""The engine of the run for which this worker process of Ray was started."""


def _compute(boxed: list[Any], cell: PlannedCell, block: int) -> bytes:
    """Compute a block in a worker process, which prepares its engine once."""
    import ray

    reference = boxed[0]  # in a list, so that the request is not sent along with every block
    if reference.binary() not in _ENGINES:
        contextlib.ExitStack().enter_context(single_threaded())  # for as long as the process lives
        request, models = ray.get(reference)
        _ENGINES[reference.binary()] = rebuild_engine(request, models)
    return _ENGINES[reference.binary()].encoded(cell, block)


@dataclass(eq=False)
class _RayBlock:
    """A block that Ray computes. Its result is on disk once it is there."""

    files: BlockFiles
    cell: int
    block: int
    reference: Any = None
    found: BlockResult | None = None  # on disk, from a run before
    stored: Future[None] = field(default_factory=Future)

    def arrived(self, done: Future[bytes]) -> None:
        """Write the result; called by a thread of Ray."""
        try:
            self.files.write(self.cell, self.block, done.result())
        except BaseException as error:
            self.stored.set_exception(error)
        else:
            self.stored.set_result(None)
        self.reference = None  # Ray's store may forget it

    def result(self) -> BlockResult:
        if self.found is not None:
            return self.found
        import ray

        try:
            self.stored.result()
        except ray.exceptions.RayTaskError as error:  # of the engine
            cause = error.cause
            raise cause if isinstance(cause, FaceaugError) else error from None
        except _lost() as error:
            raise LostBlockError(one_line(error)) from error
        except ray.exceptions.RayError as error:
            raise FaceaugError(
                f"the Ray cluster does not answer any more ({one_line(error)}); run the same command with --resume"
            ) from error
        result = self.files.read(self.cell, self.block)
        if result is None:
            raise FaceaugError(f"{self.files.path(self.cell, self.block)} was removed while the run was under way")
        return result

    def cancel(self) -> None:
        """Nothing: Ray would interrupt an engine that keeps what it computed for other blocks."""


def _lost() -> tuple[type[BaseException], ...]:
    """Return the errors by which Ray says that it has lost a block, and has tried it again."""
    from ray import exceptions

    return (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
    )


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
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # else without end
        import ray

        self._ray: Any = ray
        self._output, self._files = work.output, BlockFiles(work.output.path, work.output.manifest.fingerprint)
        config = work.request.config
        self._ours = not ray.is_initialized()
        if not self._ours and config.address is not None:
            raise UsageError(
                f"this process is connected to Ray already, so address {shown(config.address)} cannot be used: leave "
                "address out, or call ray.shutdown() before"
            )
        self._files.create()
        if self._ours:
            _connect(config.address, config.worker_threads)
        gpus = 0 if config.device.startswith("cpu") else 1
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=False)(_compute)
        self._resource = "GPU" if gpus else "CPU"
        models = LearntModels.of(work.output.path, work.output.manifest)
        self._boxed = [ray.put((work.request, models))]

    @property
    def ahead(self) -> int:
        """Two blocks for each processor, or GPU, that the cluster has now."""
        return max(2, 2 * int(self._ray.cluster_resources().get(self._resource, 0)))

    def submit(self, cell: PlannedCell, block: int) -> _RayBlock:
        """Begin to compute a block of attempts at a cell; its result may be there already, from a run before."""
        self._files.remove_saved(self._output.manifest)
        pending = _RayBlock(self._files, cell.index, block, found=self._files.read(cell.index, block))
        if pending.found is not None:
            return pending
        pending.reference = self._task.remote(self._boxed, cell, block)
        pending.reference.future().add_done_callback(pending.arrived)
        return pending

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            self._ray.shutdown()
        if kind is None:
            self._files.remove()


def _connect(address: str | None, processors: int) -> None:
    """Connect to a cluster, or start one on this machine."""
    import ray

    try:
        if address is None:
            ray.init(address="local", num_cpus=processors, include_dashboard=False, log_to_driver=False)
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is None:
            raise FaceaugError(f"Ray could not be started on this machine: {one_line(error)}") from error
        raise UsageError(
            f"there is no Ray cluster at {shown(address)}: {one_line(error)}; begin one with ray start"
        ) from error
