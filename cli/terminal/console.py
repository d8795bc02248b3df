"""Output of a command: results on stdout, progress and remarks on stderr, progress bars only in a terminal."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from faceaug.utils.text import plain_lines


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to stdout or stderr; whatever labels and file names hold, the terminal shows it and obeys nothing."""
    click.echo(plain_lines(text), err=err)


def command_line(words: Sequence[str]) -> str:
    """Return a command as it is recorded: absolute paths are reduced to what they are from here, or to their name.

    The folders of a machine and the names of its users are nobody else's business.
    """

    def shortened(found: re.Match[str]) -> str:
        path = Path(found[2])
        return found[1] + str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name)

    return shlex.join(["faceaug", *(re.sub(r"(^|[=:,])([/~][^,]*)", shortened, word) for word in words)])


class StageBar(Protocol):
    """Shows the progress of a stage."""

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
        """Show that `done` of `total` steps of a stage are done, with figures of the last step if there are any."""
        ...


class Console:
    """Where a command writes.

    Parameters
    ----------
    as_json
        Print results as JSON instead of text.
    quiet
        Print neither progress nor remarks.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._has_bars = not quiet and sys.stderr.isatty()

    def show(self, text: str, value: Any) -> None:
        """Print a result: the text, or the same result as JSON."""
        echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) if self.as_json else text)

    def remark(self, text: str) -> None:
        """Print a remark to stderr unless the console is quiet."""
        if not self.quiet:
            echo(text, err=True)

    @contextlib.contextmanager
    def counter(self, title: str, unit: str, total: int | None = None) -> Iterator[Callable[[int], None] | None]:
        """Yield a function that advances a progress bar by a number of units, or None without progress bars."""
        if not self._has_bars:
            yield None
            return
        from tqdm import tqdm

        with tqdm(desc=title, unit=f" {unit}s", total=total, leave=False) as bar:

            def advance(count: int) -> None:
                bar.update(count)

            yield advance

    @contextlib.contextmanager
    def stages(self) -> Iterator[StageBar | None]:
        """Yield a function that shows one progress bar per stage, or None without progress bars."""
        if not self._has_bars:
            yield None
            return
        bars = _StageBars()
        try:
            yield bars.show
        finally:
            bars.close()


class _StageBars:
    """One progress bar at a time; each stage starts a new one."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def show(self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
        from tqdm import tqdm

        if stage != self._stage or self._bar is None:
            self.close()
            self._stage, self._bar = stage, tqdm(desc=stage, total=total, initial=done)
        self._bar.total = total
        if figures:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()}, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
