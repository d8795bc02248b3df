"""Workers of a shared folder say that they live; the driver notices those that have been silent for long.

Each worker has a file, `shares/RANK`, that holds the block which it computes, and sets its time again and again. The
driver compares these times with one another and never with its own clock, which may differ from those of the workers.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from faceaug.errors import FaceaugError, OutputError
from faceaug.utils.files import read_regular, write_bytes

SHARES_FOLDER = "shares"
DIED = "died"
"""Kind of files on a block: that a worker ended while computing it."""
_SIGNS = 12  # of a worker in the time after which it is taken for lost, so that one or another may come late


class Heartbeat:
    """The sign of life of a worker, in a `with` statement.

    Parameters
    ----------
    folder : Path
        With the results of blocks.
    rank : int
        Of the worker. Where a worker of this rank was lost while it computed a block, that is noted.
    timeout : float
        Seconds of silence after which the driver takes it for lost. It may be changed meanwhile.
    """

    def __init__(self, folder: Path, rank: int, timeout: float) -> None:
        self._folder, self._file, self.timeout = folder, folder / SHARES_FOLDER / str(rank), timeout
        self._block, self._lock, self._ended = "", threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="faceaug-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        with while_there_is(self._folder):  # the run may be finished by now
            note_death(self._folder, self._file)
            self._write("")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def computing(self, block: str) -> Iterator[None]:
        """Say that a block, named "CELL-BLOCK", is computed; that stays where the process is killed."""
        self._say(block)
        try:
            yield
        finally:
            self._say("")

    def sign(self) -> None:
        """Give a sign of life, also after the driver has taken the worker for lost."""
        with self._lock, while_there_is(self._folder):
            try:
                os.utime(self._file)
            except FileNotFoundError:
                self._write(self._block)

    def _say(self, block: str) -> None:
        with self._lock:
            self._block = block
            self._write(block)

    def _write(self, block: str) -> None:
        self._file.parent.mkdir(exist_ok=True)  # the folder of a driver that was resumed is another one
        write_bytes(self._file, block.encode())

    def _beat(self) -> None:
        while not self._ended.wait(self.timeout / _SIGNS):
            with contextlib.suppress(OSError, FaceaugError):  # of a disk that is full; the next sign may succeed
                self.sign()


class SilentWorkers:
    """Notices workers that give no sign of life any more; the driver asks it while it waits.

    Parameters
    ----------
    folder : Path
        With the results of blocks.
    timeout : float
        Seconds of silence after which a worker is taken for lost. If it lives, its results are still used.
    """

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder, self._timeout = folder, timeout
        self._signs: dict[str, tuple[int, float]] = {}  # by rank, time of the file, and when it was first seen
        self._looked = float("-inf")

    def look(self, now: float) -> dict[str, bool]:
        """Note the deaths of workers that have been silent; return by their ranks whether they computed a block.

        Parameters
        ----------
        now : float
            `time.monotonic()`. Asked again within the time between two signs, nothing is read. After a pause of the
            driver all workers are given the whole time anew.
        """
        if now - self._looked < self._timeout / _SIGNS:
            return {}
        if now - self._looked > self._timeout / 2:
            self._signs.clear()
        self._looked, silent = now, dict[str, bool]()
        shares = self._folder / SHARES_FOLDER
        for path in sorted(shares.iterdir()) if shares.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                sign, since = path.lstat().st_mtime_ns, now
                if path.name in self._signs and self._signs[path.name][0] == sign:
                    since = self._signs[path.name][1]
                self._signs[path.name] = sign, since
                if now - since > self._timeout and path.name.isdecimal():
                    computed = note_death(self._folder, path)
                    path.unlink()
                    silent[path.name] = computed
        return silent


def note_death(folder: Path, file: Path) -> bool:
    """Note that the worker of a file of `shares` ended while it computed a block; return whether it did."""
    try:
        block = read_regular(file)
    except OSError:  # it is absent, or a pipe
        return False
    if not re.fullmatch(rb"\d+-\d+", block):
        return False
    (folder / f"{block.decode()}.{time.time_ns()}.{DIED}").touch()
    return True


@contextlib.contextmanager
def while_there_is(folder: Path) -> Iterator[None]:
    """Pass over what fails because the driver has finished and removed the folder."""
    try:
        yield
    except (OSError, OutputError):
        if folder.exists():
            raise
