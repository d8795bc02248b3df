"""Ctrl-C, SIGTERM and SIGHUP in a long run: what is computed is written, then the process ends.

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

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 5.0  # seconds in which samples that wait for their shard may be written


def status_of(ending: signal.Signals | BaseException | None) -> int:
    """Return the exit status of an interruption as shells expect it, 128 + the number of the signal.

    Parameters
    ----------
    ending : signal, or the KeyboardInterrupt that it raised
        Without either, SIGINT is meant.
    """
    number = ending.args[0] if isinstance(ending, KeyboardInterrupt) and ending.args else ending
    return 128 + (number if isinstance(number, int) else signal.SIGINT)


class Interrupted(click.ClickException):
    """The end of a run by a signal; the message says how to continue."""

    def __init__(self, message: str, by: KeyboardInterrupt | None = None) -> None:
        super().__init__(message)
        self.status = status_of(by)

    def show(self, file: object = None) -> None:
        """Print the message to stderr."""
        click.echo(self.message, err=True)


class Interruptible:
    """A context in which `ENDING_SIGNALS` raise KeyboardInterrupt; a second one, or `GRACE` seconds, ends the process.

    Parameters
    ----------
    message
        Returns the sentence that says what is kept.
    """

    def __init__(self, message: Callable[[], str]) -> None:
        self._message = message
        self._timer: threading.Timer | None = None
        self._previous_handlers: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                    self._previous_handlers[number] = signal.signal(number, self._handle)

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._timer is not None:
            self._end(number)
        self._timer = threading.Timer(GRACE, self._end, (number,))
        self._timer.daemon = True
        self._timer.start()
        _write_stderr("\nStopping; press Ctrl-C again to stop at once.")
        raise KeyboardInterrupt(number)

    def _end(self, number: int) -> None:
        _write_stderr(self._message())
        os._exit(status_of(signal.Signals(number)))


def _write_stderr(sentence: str) -> None:
    """Write to stderr without its buffer, to which the interrupted code may be writing."""
    os.write(2, f"{sentence}\n".encode("utf-8", "backslashreplace"))
