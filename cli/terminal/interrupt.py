"""Ctrl-C in a long run: work in progress has a short time to finish, then the process ends.

Files on disk are complete at every moment, and the lock of the output folder ends with the process, so ending the
process loses nothing that was written.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import click

INTERRUPTED_STATUS = 130  # 128 + SIGINT, as shells expect
GRACE = 10.0  # seconds in which threads may finish, and samples that wait for their shard may be written


class Interrupted(click.ClickException):
    """Ctrl-C; the message says how to continue."""

    exit_code = INTERRUPTED_STATUS

    def show(self, file: object = None) -> None:
        """Print the message to stderr."""
        click.echo(self.message, err=True)


class Interruptible:
    """A context in which Ctrl-C raises KeyboardInterrupt; a second one, or `GRACE` seconds, ends the process.

    Parameters
    ----------
    message
        Returns the sentence that says what is kept.
    """

    def __init__(self, message: Callable[[], str]) -> None:
        self._message = message
        self._timer: threading.Timer | None = None
        self._previous_handler: object = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._handle)

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._timer is not None:
            self._end()
        self._timer = threading.Timer(GRACE, self._end)
        self._timer.daemon = True
        self._timer.start()
        _write_stderr("\nStopping; press Ctrl-C again to stop at once.")
        raise KeyboardInterrupt

    def _end(self) -> None:
        _write_stderr(self._message())
        os._exit(INTERRUPTED_STATUS)


def _write_stderr(sentence: str) -> None:
    """Write to stderr without its buffer, to which the interrupted code may be writing."""
    os.write(2, f"{sentence}\n".encode())
