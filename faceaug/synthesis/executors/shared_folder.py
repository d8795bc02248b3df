"""Blocks computed by processes that share the output folder with the driver; each makes its share of them.

There is no daemon. The driver writes which blocks it wants, and when it takes a silent worker for lost (`wanted.json`).
Every process that runs ``faceaug worker`` writes results, each as a file that is whole or absent
(`faceaug.synthesis.executors.worker`). Any of them can be ended and begun again at any time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.engines.base import BlockResult
from faceaug.synthesis.executors.base import LostBlockError, Work
from faceaug.synthesis.executors.block_files import BlockFiles
from faceaug.synthesis.executors.heartbeats import DIED, SHARES_FOLDER, SilentWorkers
from faceaug.utils.files import parse_json, read_regular, write_bytes

WANTED_NAME = "wanted.json"
FAILED, LOST_BLOCK = "failed", "lost"
"""Kinds of files on a block: an error of the engine, that it was given up."""
POLL_SECONDS = 0.1
REMARK_SECONDS = 60.0
"""After so long without the result of a block the driver says so, once."""
_LEAST_AHEAD = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _WantedBlock:
    """A block that some worker will compute."""

    executor: FolderExecutor
    cell: int
    block: int

    def result(self) -> BlockResult:
        return self.executor.wait(self.cell, self.block)

    def cancel(self) -> None:
        self.executor.leave_out(self.cell, self.block)


class FolderExecutor:
    """Has blocks computed by the workers of a shared folder; an `Executor`.

    Parameters
    ----------
    work : Work
    """

    def __init__(self, work: Work) -> None:
        self._output, self._run = work.output, work.output.manifest.fingerprint
        self._files = BlockFiles(work.output.path, self._run)
        self._wanted: dict[tuple[int, int], None] = {}  # in the order in which they were submitted
        self._published: list[list[int]] | None = None
        self._timeout = work.request.config.worker_timeout
        self._remarked, self._silent = False, SilentWorkers(self._files.folder, self._timeout)
        self._files.create()
        for path in self._files.folder.iterdir():  # what failed before may be mended
            if path.suffix[1:] in (FAILED, LOST_BLOCK, DIED):
                path.unlink(missing_ok=True)

    @property
    def ahead(self) -> int:
        """Two blocks for each worker that has begun and was not lost."""
        shares = self._files.folder / SHARES_FOLDER
        return max(_LEAST_AHEAD, 2 * sum(path.name.isdecimal() for path in shares.iterdir()) if shares.is_dir() else 0)

    def submit(self, cell: PlannedCell, block: int) -> _WantedBlock:
        """Want a block of attempts at a cell; its result may be there already, from before an interruption."""
        self._wanted[cell.index, block] = None
        return _WantedBlock(self, cell.index, block)

    def wait(self, cell: int, block: int) -> BlockResult:
        """Return the result of a block once a worker has written it.

        Raises
        ------
        LostBlockError
            When every worker that computed it ended.
        FaceaugError
            What a worker says of an error.
        """
        self._files.remove_saved(self._output.manifest)
        start = time.monotonic()
        while (result := self._files.read(cell, block)) is None:
            if (said := _text(self._files.path(cell, block, FAILED))) is not None:
                raise FaceaugError(said)
            if (said := _text(self._files.path(cell, block, LOST_BLOCK))) is not None:
                self.leave_out(cell, block)
                raise LostBlockError(said)
            self._publish()
            for rank, computed in self._silent.look(time.monotonic()).items():
                _log.warning(
                    "worker %s has given no sign of life for %g seconds%s",
                    rank,
                    self._timeout,
                    ": its block is left to others" if computed else "; it had no block",
                )
            if not self._remarked and time.monotonic() - start > REMARK_SECONDS:
                self._remarked = True
                _log.warning(
                    "no worker has handed over a block for %.0f seconds; if none runs, begin some: faceaug worker "
                    "... -o %s --rank 0 --of 1",
                    REMARK_SECONDS,
                    self._output.path,
                )
            time.sleep(POLL_SECONDS)
        self.leave_out(cell, block)
        return result

    def leave_out(self, cell: int, block: int) -> None:
        """Want a block no longer."""
        self._wanted.pop((cell, block), None)

    def _publish(self) -> None:
        """Write what is wanted, if that has changed; called before each wait, so that workers have enough to do."""
        wanted = [list(key) for key in self._wanted]
        if wanted != self._published:
            self._write_wanted(wanted)
            self._published = wanted

    def __enter__(self) -> FolderExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._files.remove()
        else:  # the workers wait for the driver to be resumed
            with contextlib.suppress(FaceaugError):
                self._write_wanted([])

    def _write_wanted(self, blocks: list[list[int]]) -> None:
        content = {"run": self._run, "worker_timeout": self._timeout, "blocks": blocks}
        write_bytes(self._files.folder / WANTED_NAME, json.dumps(content).encode())


@dataclass(frozen=True)
class WantedBlocks:
    """What the driver of a run wants of its workers.

    Attributes
    ----------
    blocks : list of (int, int)
        Pairs of cell and block that are to be computed, most urgent first.
    worker_timeout : float
        Seconds of silence after which the driver takes a worker for lost.
    """

    blocks: list[tuple[int, int]]
    worker_timeout: float


def read_wanted(folder: Path, run: str) -> WantedBlocks | None:
    """Return what the driver of a run wants, or None where it has not said so yet."""
    text = _text(folder / WANTED_NAME)
    try:
        wanted = None if text is None else parse_json(text)
        if wanted is None or wanted["run"] != run:
            return None
        blocks = [(int(cell), int(block)) for cell, block in wanted["blocks"]]
        timeout = float(wanted["worker_timeout"])
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ValueError(timeout)
        return WantedBlocks(blocks, timeout)
    except (LookupError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / WANTED_NAME} is no list of blocks: run faceaug balance --resume") from error


def _text(path: Path) -> str | None:
    try:
        return read_regular(path).decode(errors="replace")
    except FileNotFoundError:
        return None
