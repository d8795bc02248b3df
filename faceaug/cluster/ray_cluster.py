"""A Ray cluster: joined or started, tasks that are begun again where they are lost, and their results in order.

Ray begins a task again, `RETRIES` times, when its worker or node was lost, its result was, or memory ran out; an error
of faceaug or of what plugs into it is never tried again. A node that joins late takes part.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

from faceaug.cluster.placement import RETRIES, Placement
from faceaug.errors import FaceaugError, UsageError
from faceaug.utils.text import one_line, shown
from faceaug.utils.threads import single_threaded, worker_count

PATIENCE_SECONDS = 600.0
"""After so long without a node that has processors, or GPUs where they are needed, the work ends with an error."""
_ASK_SECONDS, _LOOK_SECONDS, _REMARK_SECONDS = 1.0, 5.0, 30.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
_ANSWER_SECONDS = 10.0  # in which a machine takes a connection
_KEPT = 2  # shared values that a worker process holds
_PREPARED: OrderedDict[bytes, Any] = OrderedDict()
"""What this worker process of Ray made of the values that were shared with it last."""
_LIMITS = contextlib.ExitStack()
"""One thread for all tasks of this worker process: held as long as it lives, since what is let go is undone."""
_log = logging.getLogger(__name__)
R = TypeVar("R")


class LostTaskError(FaceaugError):
    """A part of the work could not be computed: the process or machine that computed it was lost each time."""


class RemoteTask(Generic[R]):
    """A task that Ray computes.

    Parameters
    ----------
    reference
        Of its result.
    arrived : callable
        See `RayCluster.submit`.
    look : callable
        Called every few seconds while the result is waited for; what it raises ends the wait.
    """

    def __init__(self, reference: Any, arrived: Callable[[Any], R], look: Callable[[], object]) -> None:
        self._reference, self._arrived, self._look, self._stored = reference, arrived, look, Future[R]()
        reference.future().add_done_callback(self._take)

    def _take(self, done: Future[Any]) -> None:
        try:
            self._stored.set_result(self._arrived(done.result()))
        except BaseException as error:
            self._stored.set_exception(error)
        self._reference = None  # Ray's store may forget it

    def result(self) -> R:
        """Wait for the result.

        Raises
        ------
        LostTaskError
            When its worker was lost each time.
        FaceaugError
            When the cluster is gone, or has had no processors for long.
        Exception
            What the task raised.
        """
        with _errors_told():
            while not wait((self._stored,), _LOOK_SECONDS).done:
                self._look()
            return self._stored.result()

    def cancel(self) -> None:
        """Do not compute it, where that can still be helped."""
        import ray

        reference = self._reference
        if reference is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(reference)


class RayCluster:
    """A Ray cluster that this process uses, in a `with` statement.

    Parameters
    ----------
    address : str, optional
        A running cluster. Without, the one to which this process is connected, or else one that is started on this
        machine and ends with the statement.
    processors : int
        Of a cluster that is started.
    device : str
        Each task gets one processor, and a GPU where this is one.

    Raises
    ------
    UsageError
        When there is no such cluster, or this process is connected to one already and `address` is given.
    FaceaugError
        When none can be started.
    """

    def __init__(self, address: str | None, processors: int, device: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # else without end
        import ray

        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if not self._ours and address is not None:
            raise UsageError(
                f"this process is connected to Ray already, so address {shown(address)} cannot be used: leave address "
                "out, or call ray.shutdown() before"
            )
        if self._ours:
            _connect(address, processors)
        self._gpus = 0 if device.startswith("cpu") else 1
        self._remote: dict[Callable[..., Any], Any] = {}
        self._asked = (float("-inf"), 0)
        self._deserted_since, self._remarked = float("inf"), False

    @property
    def ahead(self) -> int:
        """Two tasks for each processor, or GPU, that the cluster has now."""
        return max(2, 2 * self._processors(time.monotonic()))

    def _processors(self, now: float) -> int:
        """Return how many processors, or GPUs, the cluster has at a time, `time.monotonic()`."""
        if now - self._asked[0] >= _ASK_SECONDS:  # it takes a while to ask
            with _errors_told():
                resources = self._ray.cluster_resources()
            self._asked = now, int(resources.get("GPU" if self._gpus else "CPU", 0))
        return self._asked[1]

    def look(self, now: float) -> None:
        """See whether there are nodes that compute; Ray waits without end for others to join.

        Parameters
        ----------
        now : float
            `time.monotonic()`.

        Raises
        ------
        FaceaugError
            When there were none for `PATIENCE_SECONDS`.
        """
        if self._processors(now):
            self._deserted_since, self._remarked = float("inf"), False
            return
        self._deserted_since = min(self._deserted_since, now)
        what, seconds = "GPUs" if self._gpus else "processors", now - self._deserted_since
        if seconds > PATIENCE_SECONDS:
            raise FaceaugError(
                f"the Ray cluster has had no {what} for {seconds / 60:.0f} minutes: let nodes join it, and run the "
                "same command again, with --resume where there is one"
            )
        if seconds > _REMARK_SECONDS and not self._remarked:
            self._remarked = True
            _log.warning("the Ray cluster has no %s now; the work goes on when a node joins it", what)

    def share(self, value: Any) -> list[Any]:
        """Return a box with the reference of a value, which is sent to each process once; see `prepared`."""
        with _errors_told():
            return [self._ray.put(value)]  # Ray would send what is no box along with every task

    def submit(
        self, function: Callable[..., Any], *words: Any, arrived: Callable[[Any], R] = lambda result: result
    ) -> RemoteTask[R]:
        """Begin a task.

        Parameters
        ----------
        function : callable
            Known by name on every node.
        *words
            Its arguments.
        arrived : callable, optional
            Called in this process with the result as soon as it is there, in a thread of Ray; what it returns is the
            result.
        """
        if function not in self._remote:
            options = {"num_cpus": 1, "num_gpus": self._gpus, "max_retries": RETRIES, "retry_exceptions": False}
            self._remote[function] = self._ray.remote(**options)(function)
        with _errors_told():
            reference = self._remote[function].remote(*words)
        return RemoteTask(reference, arrived, lambda: self.look(time.monotonic()))

    def in_order(
        self, tasks: Iterable[RemoteTask[R]], lost: Callable[[LostTaskError], object] | None = None
    ) -> Iterator[R]:
        """Yield the results of tasks in their order; `tasks` begins each when asked for, `ahead` are under way.

        Parameters
        ----------
        tasks : iterable of RemoteTask
        lost : callable, optional
            Called with the error of a task that was lost each time; the others then go on.

        Raises
        ------
        LostTaskError, Exception
            As `RemoteTask.result`, where the result would have come.
        """
        waiting: deque[RemoteTask[R]] = deque()
        left = iter(tasks)
        try:
            while True:
                waiting.extend(islice(left, max(0, self.ahead - len(waiting))))
                if not waiting:
                    return
                try:
                    result = waiting.popleft().result()
                except LostTaskError as error:
                    if lost is None:
                        raise
                    lost(error)
                else:
                    yield result
        finally:
            for task in waiting:  # after an error or an interruption nothing more is begun
                task.cancel()

    def __enter__(self) -> RayCluster:
        if self._ours:  # Ray prints what it says of lost workers, between what a command prints for machines
            self._printed = contextlib.redirect_stdout(sys.stderr)
            self._printed.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            self._ray.shutdown()
            self._printed.__exit__(None, None, None)


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """Raise what an error of Ray says; see `_told`."""
    try:
        yield
    except Exception as error:
        told = _told(error)
        if told is error:
            raise
        raise told from error


def _told(error: Exception) -> Exception:
    """Return what an error of Ray says of a task: the task's own error, `LostTaskError`, or a cluster that is gone."""
    from ray import exceptions

    if isinstance(error, exceptions.RayTaskError):
        cause: Exception = error.cause
        return cause if isinstance(cause, FaceaugError) else error
    lost = (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
    )
    if isinstance(error, lost):
        return LostTaskError(
            f"a part of the work was lost with its worker {RETRIES + 1} times ({one_line(error)}): see to the workers, "
            "and run the same command again, with --resume where there is one"
        )
    if isinstance(error, exceptions.RayError):
        return FaceaugError(
            f"the Ray cluster does not answer any more ({one_line(error)}): see to it, and run the same command again, "
            "with --resume where there is one"
        )
    return error


@contextlib.contextmanager
def cluster_of(placement: Placement, device: str, workers: int | None = None) -> Iterator[RayCluster | None]:
    """Use the cluster that a placement names, as `RayCluster` does; None where the work is done in this process.

    `workers` is the number of processors of one that is started: all by default.
    """
    if not placement.on_ray:
        yield None
        return
    with RayCluster(placement.address, worker_count(workers), device) as cluster:
        yield cluster


def prepared(box: list[Any], make: Callable[[Any], R] = lambda value: value) -> R:
    """Return what a task makes of a shared value; its process makes it once, and keeps those of the last two values."""
    import ray

    key = box[0].binary()
    if key not in _PREPARED:
        if not _PREPARED:
            _LIMITS.enter_context(single_threaded())
        while len(_PREPARED) >= _KEPT:
            _PREPARED.popitem(last=False)
        _PREPARED[key] = make(ray.get(box[0]))
    _PREPARED.move_to_end(key)
    value: R = _PREPARED[key]
    return value


def _connect(address: str | None, processors: int) -> None:
    """Connect to a cluster, or start one on this machine."""
    import ray

    try:
        if address is None:
            ray.init(address="local", num_cpus=processors, include_dashboard=False, **_QUIET)
        else:
            _check_answers(address)
            ray.init(address=address, **_QUIET)
    except (OSError, ValueError, RuntimeError) as error:
        if address is None:
            raise FaceaugError(f"Ray could not be started on this machine: {one_line(error)}") from error
        raise UsageError(
            f"there is no Ray cluster at {shown(address)}: {one_line(error)}; begin one with ray start"
        ) from error


def _check_answers(address: str) -> None:
    """Raise OSError where HOST:PORT takes no connection: Ray would wait for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
