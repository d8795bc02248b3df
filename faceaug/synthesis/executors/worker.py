"""One worker of a shared folder: computes its share of the blocks that the driver wants, until the run is finished."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from faceaug.cluster.placement import RETRIES
from faceaug.errors import FaceaugError, IntegrityError, OutputError, UsageError
from faceaug.planning.plan import PlannedCell
from faceaug.shards.manifest import MANIFEST_NAME, Manifest, read_manifest
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.executors.block_files import BlockFiles
from faceaug.synthesis.executors.heartbeats import DIED, Heartbeat, while_there_is
from faceaug.synthesis.executors.rebuilt_engine import LearntModels, RebuiltEngine, rebuild_engine
from faceaug.synthesis.executors.shared_folder import FAILED, LOST_BLOCK, WantedBlocks, read_wanted
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.stages import fingerprint
from faceaug.utils.files import write_bytes
from faceaug.utils.text import one_line
from faceaug.utils.threads import single_threaded

_IDLE_SECONDS = 0.3


@dataclass(frozen=True)
class Share:
    """Which of the blocks a worker computes first: those whose cell and number add up to `rank` modulo `of`.

    Attributes
    ----------
    rank : int
        From 0.
    of : int
        Number of workers.
    """

    rank: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.of:
            raise UsageError(f"the rank is {self.rank} of {self.of} workers; it must be 0 to {self.of - 1}")

    def ordered(self, wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the blocks in the order in which this worker computes them: its own, then those of the others.

        The others may have ended. A block that two workers compute has the same result.
        """
        return sorted(wanted, key=lambda key: (sum(key) - self.rank) % self.of)


def work_share(request: RunRequest, out: Path, share: Share, *, patience: float = 600.0) -> int:
    """Compute blocks of a run whose driver has the executor `folder`, until the run is finished.

    Parameters
    ----------
    request : RunRequest
        That of the driver.
    out : Path
        The output folder of the driver, which may still be absent.
    share : Share
        No two workers have the same rank at a time.
    patience : float
        Seconds without a block to compute after which the worker ends. The time in which a driver that has begun
        learns its models does not count.

    Returns
    -------
    int
        Number of blocks that were computed.

    Raises
    ------
    OutputError
        When the folder has the run of another configuration, or the images of the data set differ.
    FaceaugError
        What the engine raised; the driver ends with the same error.
    """
    expected = fingerprint(request, create_engine(request))
    files, computed = BlockFiles(out, expected), 0
    worker: _Worker | None = None
    with single_threaded(), contextlib.ExitStack() as alive:
        waited_since = time.monotonic()
        while time.monotonic() - waited_since < patience:
            wanted = read_wanted(files.folder, expected)
            if worker is None or wanted is None:  # it is finished where the folder is gone
                manifest = _manifest(out)
                _check_run(out, manifest, expected)
                if manifest is not None and manifest.complete:
                    break
                if wanted is None and not computed and out.exists():  # the driver learns
                    waited_since = time.monotonic()
                if manifest is not None and wanted is not None:
                    heartbeat = alive.enter_context(Heartbeat(files.folder, share.rank, wanted.worker_timeout))
                    worker = _Worker.begun(request, manifest, files, heartbeat)
            if worker is not None and wanted is not None and worker.compute_first(share, wanted):
                computed, waited_since = worker.computed, time.monotonic()
            else:
                time.sleep(_IDLE_SECONDS)
    return computed


def _check_run(out: Path, manifest: Manifest | None, expected: str) -> None:
    if manifest is not None and manifest.fingerprint != expected:
        raise OutputError(
            f"{out} has the run of another configuration ({manifest.created_by.command}); give the worker the "
            "data set, plan and settings of the driver"
        )


class _Worker:
    """A prepared engine that computes blocks."""

    def __init__(
        self, engine: RebuiltEngine, cells: dict[int, PlannedCell], files: BlockFiles, heartbeat: Heartbeat
    ) -> None:
        self._engine, self._cells, self._files, self._heartbeat = engine, cells, files, heartbeat
        self.computed = 0

    @classmethod
    def begun(cls, request: RunRequest, manifest: Manifest, files: BlockFiles, heartbeat: Heartbeat) -> _Worker:
        """Prepare the engine of a worker that gives signs of life."""
        models = LearntModels.of(files.folder.parent, manifest)
        cells = {cell.index: cell for cell in request.plan.cells}
        return cls(rebuild_engine(request, models), cells, files, heartbeat)

    def compute_first(self, share: Share, wanted: WantedBlocks) -> bool:
        """Compute the first block of a share that has no result; return whether there was one."""
        self._heartbeat.timeout = wanted.worker_timeout  # a driver that was resumed may have another
        for cell, block in share.ordered(wanted.blocks):
            if any(self._files.path(cell, block, kind).exists() for kind in ("safetensors", FAILED, LOST_BLOCK)):
                continue
            with while_there_is(self._files.folder):
                self._compute(cell, block)
            return True
        return False

    def _compute(self, cell: int, block: int) -> None:
        if cell not in self._cells:
            raise IntegrityError(f"the driver wants a block of cell {cell}, which is not in the plan")
        deaths = len(list(self._files.folder.glob(f"{cell}-{block}.*.{DIED}")))
        if deaths > RETRIES:
            why = f"{deaths} workers ended while they computed it"
            write_bytes(self._files.path(cell, block, LOST_BLOCK), why.encode())
            return
        with self._heartbeat.computing(f"{cell}-{block}"):
            try:
                self._files.write(cell, block, self._engine.encoded(self._cells[cell], block))
                self.computed += 1
            except OutputError:
                raise
            except Exception as error:
                said = str(error) if isinstance(error, FaceaugError) else f"{type(error).__name__}: {one_line(error)}"
                write_bytes(self._files.path(cell, block, FAILED), said.encode())
                raise


def _manifest(out: Path) -> Manifest | None:
    """Return the manifest of the run; None where there is none yet, or it is being replaced."""
    with contextlib.suppress(IntegrityError):
        return read_manifest(out) if (out / MANIFEST_NAME).exists() else None
    return None
