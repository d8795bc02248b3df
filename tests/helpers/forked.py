"""Processes of their own that need not import faceaug first: forks of a server that has imported it.

Importing torch and faceaug takes seconds of a processor, which tests that end, kill and continue runs would spend
dozens of times. Where importing, or a thread count, is what a test is about, it starts Python itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["torch", "pandas", "faceaug.synthesis.loop", "faceaug.cli.balance"])


class ForkedProcess:
    """A function that runs in a process of its own, with what of `subprocess.Popen` tests need.

    Parameters
    ----------
    target : callable
        Of a module; what it raises, `SystemExit` included, ends the process as it ends Python.
    words
        Its arguments.
    folder : Path
        In which the process works.
    """

    def __init__(self, target: Callable[..., Any], *words: Any, folder: Path) -> None:
        self._files = [tempfile.NamedTemporaryFile() for _ in range(2)]  # noqa: SIM115
        places = [file.name for file in self._files]
        self._process = context.Process(target=_begin, args=(target, words, folder, dict(os.environ), places))
        self._process.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None  # it was started
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative where a signal has ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return `returncode`."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once; nothing where it has ended."""
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)

    def wait_for(self, words: str, seconds: float = 60, *, errors: bool = True) -> str:
        """Wait until it has said something on stdout, or stderr if `errors`, and return all that it has said there."""
        end = time.monotonic() + seconds
        while True:
            ended = self.returncode is not None or time.monotonic() > end  # before what it said last is read
            out, err = self._said()
            said = out + err if errors else out
            if words in said:
                return said
            assert not ended, out + err
            time.sleep(0.02)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it said on stdout and stderr."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self._said()

    def _said(self) -> tuple[str, str]:
        out, err = (Path(file.name).read_text("utf-8") for file in self._files)
        return out, err

    def __enter__(self) -> ForkedProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._process.join()


def start_forked(code: str, *words: object) -> ForkedProcess:
    """Begin to run a text of Python with arguments, as `python -c` does."""
    return ForkedProcess(_execute, code, [str(word) for word in words], folder=Path.cwd())


def run_forked(code: str, *words: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run such a text to its end, and return what it said and its exit status."""
    with start_forked(code, *words) as process:
        out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(code, process.returncode or 0, out, err)


def _execute(code: str, words: list[str]) -> None:
    sys.argv = ["-c", *words]
    exec(compile(code, "<code of a test>", "exec"), {"__name__": "__main__"})


def _begin(
    target: Callable[..., Any], words: tuple[Any, ...], folder: Path, environment: dict[str, str], places: list[str]
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # or by nohup
    for number, place in enumerate(places, 1):
        os.dup2(os.open(place, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    target(*words)
