"""Output of commands: bars only in a terminal, to stderr, and not when quiet; sizes with units."""

from __future__ import annotations

import sys

import command_line  # noqa: F401  (makes faceaug.cli importable)
import pytest
from faceaug.cli.terminal.console import Console
from faceaug.cli.terminal.summary import byte_size


@pytest.mark.parametrize(
    ("terminal", "quiet", "bars"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_bars_only_in_a_terminal_and_not_when_quiet(monkeypatch, capsys, terminal, quiet, bars):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    console = Console(quiet=quiet)
    with console.counter("reading", "image", total=3) as advance:
        assert (advance is not None) == bars
        if bars:
            advance(3)
    with console.stages() as progress:
        assert (progress is not None) == bars
        if bars:
            progress("training", 0, 2)
            progress("training", 2, 2, {"loss": 0.25})
            progress("synthesis", 5, 9)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("reading: " in shown.err) == bars
    assert ("training: 100%" in shown.err) == bars
    assert ("loss=0.25" in shown.err) == bars
    assert ("5/9" in shown.err) == bars  # a resumed stage begins where it stands


def test_remarks_are_left_out_when_quiet(capsys):
    Console().remark("look")
    Console(quiet=True).remark("at this")
    assert capsys.readouterr() == ("", "look\n")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (25e6, "25 MB"), (3e9, "3.0 GB"), (4e12, "4.0 TB")],
)
def test_sizes(count, text):
    assert byte_size(count) == text
