"""Output of a command: results on stdout, progress and remarks on stderr, progress bars only in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from faceaug.utils.text import plain_lines, without_secrets

if TYPE_CHECKING:
    from rich.console import RenderableType

    from faceaug.utils.threads import BlockReport

_URL_OR_PATH = r"(?<![^=,])(?!file:)\w+://[^,]*|(^|[=:,])([/~][^,]*)"
_LEAST_COLUMNS = 80  # of a terminal, for tables with bars
_LONGEST_CELL = 32  # characters of a cell's name beside the bar


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to stdout or stderr; whatever labels and file names hold, the terminal shows it and obeys nothing.

    URLs are printed without queries, users and passwords.
    """
    click.echo(plain_lines(without_secrets(text)), err=err)


def command_line(words: Sequence[str]) -> str:
    """Return a command as it is recorded: absolute paths are reduced to what they are from here, or to their name.

    The folders of a machine, its users and the address of a cluster are nobody else's business. URLs of data
    stay, without queries, users and passwords.
    """

    def shortened(found: re.Match[str]) -> str:
        if found[2] is None:
            return found[0]
        path = Path(found[2])
        return found[1] + str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name)

    words = [without_secrets(word) for word in words]
    kept = [
        "ADDRESS"
        if before == "--address" and word != "auto"
        else re.sub(r"^(--address=)(?!auto$).*", r"\1ADDRESS", word)
        for before, word in zip(["", *words], words, strict=False)
    ]
    return shlex.join(["faceaug", *(re.sub(_URL_OR_PATH, shortened, word) for word in kept)])


def shows_colours() -> bool:
    """Return whether stdout is a terminal, wide enough, that shows colours and blocks, and its user wants colours."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower()
    wide = shutil.get_terminal_size().columns >= _LEAST_COLUMNS
    return (
        wide and sys.stdout.isatty() and not _dumb() and not os.environ.get("NO_COLOR") and encoding.startswith("utf")
    )


def _dumb() -> bool:
    return os.environ.get("TERM", "") in ("dumb", "unknown")


class StageBar(Protocol):
    """Shows the progress of a stage."""

    def block(self, block: BlockReport) -> None:
        """Show where the cell stands whose block of attempts has just been accounted for."""

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
        self._has_bars = not quiet and sys.stderr.isatty() and not _dumb()

    def show(self, text: str, value: Any, view: Callable[[], Sequence[RenderableType]] | None = None) -> None:
        """Print a result: the text, or the same result as JSON.

        `view` returns what a terminal shows instead of the text, where it can show colours and bars.
        """
        if view is not None and not self.as_json and shows_colours():
            from rich.console import Console as Terminal

            terminal = Terminal(markup=False, emoji=False, highlight=False)
            for part in view():
                terminal.print(part)
            return
        if not self.as_json:
            echo(text)
            return
        written = json.dumps(_without_secrets(value), indent=2, ensure_ascii=False, allow_nan=False)
        click.echo(plain_lines(written))

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
            yield bars
        finally:
            bars.close()


def _without_secrets(value: Any) -> Any:
    """Return a value of JSON whose texts are `without_secrets`: in written JSON, a URL can end within an escape."""
    if isinstance(value, Mapping):
        return {key: _without_secrets(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(each) for each in value]
    return without_secrets(value) if isinstance(value, str) else value


class _StageBars:
    """One progress bar at a time; each stage starts a new one."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None, /) -> None:
        from tqdm import tqdm

        if stage != self._stage or self._bar is None:
            self.close()
            self._stage, self._bar = stage, tqdm(desc=stage, total=total, initial=done)
        self._bar.total = total
        if figures:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()}, refresh=False)
        self._bar.update(done - self._bar.n)

    def block(self, block: BlockReport) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(block_text(block), refresh=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def block_text(block: BlockReport) -> str:
    """Return where a cell stands: samples of those planned, attempts, and the time left for it at its rate so far."""
    from faceaug.utils.text_table import clip, duration

    left = block.planned - block.accepted
    time = f", {duration(block.seconds * left / block.made)} left" if block.made and left else ""
    return f"{clip(block.cell, _LONGEST_CELL)} {block.accepted:,}/{block.planned:,} of {block.tried:,} tried{time}"
