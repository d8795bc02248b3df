"""Ctrl-C in a long run: what is under way may finish for a moment, and then the process ends whatever its threads do.

Ending it hard loses nothing that was on disk: files are whole at every moment, and the folder's lock ends with the
process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import click

STATUS = 130  # 128 + SIGINT, as shells expect
GRACE = 10.0  # seconds in which threads that compute may finish, and samples that wait for their shard be written


class Interrupted(click.ClickException):
    """Ctrl-C, with what to do next."""

    exit_code = STATUS

    def show(self, file: object = None) -> None:
        """Print the sentence."""
        click.echo(self.message, err=True)


class Interruptible:
    """While this is entered, Ctrl-C raises KeyboardInterrupt; a second one, or `GRACE` seconds, ends the process.

    Parameters
    ----------
    message
        Called for the sentence that tells what was kept.
    """

    def __init__(self, message: Callable[[], str]) -> None:
        self._message = message
        self._timer: threading.Timer | None = None
        self._before: object = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._timer is not None:
            self._end()
        self._timer = threading.Timer(GRACE, self._end)
        self._timer.daemon = True
        self._timer.start()
        _tell("\nStopping; press Ctrl-C again to stop at once.")
        raise KeyboardInterrupt

    def _end(self) -> None:
        _tell(self._message())
        os._exit(STATUS)


def _tell(sentence: str) -> None:
    """Print to stderr past its buffer, which the interrupted code may be in the middle of writing to."""
    os.write(2, f"{sentence}\n".encode())
