"""What people see: data on stdout, progress and remarks on stderr, progress bars only in a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click


class Console:
    """Where a command writes.

    Parameters
    ----------
    as_json
        Print JSON instead of text.
    quiet
        No progress and no remarks.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._bars = not quiet and sys.stderr.isatty()

    def show(self, text: str, value: Any) -> None:
        """Print what was asked for: text for people, or the same as JSON."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) if self.as_json else text)

    def remark(self, text: str) -> None:
        """Print a remark to stderr unless quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextlib.contextmanager
    def counter(self, what: str, unit: str, total: int | None = None) -> Iterator[Callable[[int], None] | None]:
        """Yield a function that adds to a progress bar; None where none is shown."""
        if not self._bars:
            yield None
            return
        from tqdm import tqdm

        with tqdm(desc=what, unit=f" {unit}s", total=total, leave=False) as bar:

            def add(count: int) -> None:
                bar.update(count)

            yield add

    @contextlib.contextmanager
    def stages(self) -> Iterator[Callable[[str, int, int], None] | None]:
        """Yield a function (stage, done, total) that keeps a progress bar a stage; None where none is shown."""
        if not self._bars:
            yield None
            return
        bars = _Stages()
        try:
            yield bars.tell
        finally:
            bars.close()


class _Stages:
    """One progress bar at a time; each stage begins a new one."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def tell(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if stage != self._stage or self._bar is None:
            self.close()
            self._stage, self._bar = stage, tqdm(desc=stage, total=total, initial=done)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
