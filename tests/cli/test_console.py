"""Where commands write: bars only in a terminal, to stderr, and not when quiet; durations and sizes for people."""

from __future__ import annotations

import sys

import command_line  # noqa: F401  (makes faceaug.cli importable)
import pytest
from faceaug.cli.console import Console
from faceaug.cli.summary import duration, size


@pytest.mark.parametrize(
    ("terminal", "quiet", "bars"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_bars_only_in_a_terminal_and_not_when_quiet(monkeypatch, capsys, terminal, quiet, bars):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    console = Console(quiet=quiet)
    with console.counter("looking", "image", total=3) as add:
        assert (add is not None) == bars
        if bars:
            add(3)
    with console.stages() as tell:
        assert (tell is not None) == bars
        if bars:
            tell("learning", 0, 2)
            tell("learning", 2, 2)
            tell("making", 5, 9)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("looking: " in shown.err) == bars
    assert ("learning: 100%" in shown.err) == bars
    assert ("5/9" in shown.err) == bars  # a resumed stage begins where it stands


def test_remarks_are_left_out_when_quiet(capsys):
    Console().remark("look")
    Console(quiet=True).remark("at this")
    assert capsys.readouterr() == ("", "look\n")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (25e6, "25 MB"), (3e9, "3.0 GB"), (4e12, "4.0 TB")],
)
def test_sizes(count, said):
    assert size(count) == said
