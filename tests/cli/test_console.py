"""Output of commands: bars only in a terminal, to stderr, and not when quiet; sizes with units."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace

import command_line  # noqa: F401  (makes faceaug.cli importable)
import pandas as pd
import pytest
from faceaug.cli.terminal.console import Console, block_text
from faceaug.cli.terminal.console import command_line as recorded
from faceaug.cli.terminal.summary import byte_size
from faceaug.cli.terminal.tables import analysis_view, cell_table, plan_view
from rich.console import Console as RichConsole

from faceaug.analysis.analyze import analyze
from faceaug.planning.plan import plan
from faceaug.shards.manifest import CellRecord
from faceaug.utils.threads import BlockReport


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


def test_no_bars_where_the_terminal_is_dumb(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with Console().stages() as progress:
        assert progress is None


def test_a_cell_is_shown_with_its_attempts_and_the_time_left():
    report = BlockReport("female\x1b[2J, asian", accepted=20, planned=60, tried=50, made=10, seconds=5.0)
    assert block_text(report) == "female?[2J, asian 20/60 of 50 tried, 20 s left"
    assert block_text(replace(report, accepted=60)) == "female?[2J, asian 60/60 of 50 tried"


def test_a_command_is_recorded_with_its_urls_and_without_the_folders_of_a_machine():
    words = ["s3://bucket/faces", "--out=s3://b/out", "s3://b/1,/home/ann/2", "/home/ann/f", "file:///home/ann/f"]
    assert recorded(words) == "faceaug s3://bucket/faces --out=s3://b/out s3://b/1,2 f file:f"


class Terminal(io.StringIO):
    """A terminal that shows colours."""

    encoding = "utf-8"

    def isatty(self):
        return True


def test_tables_have_bars_where_the_terminal_can_and_are_plain_where_it_cannot(monkeypatch):
    hostile = "[red]a[/red]\x1b[31m\x07"
    table = pd.DataFrame({"group": [hostile] * 3 + ["b"], "age": [1, 2, 3, 4]})
    analysis = analyze(table, "group")
    wanted = plan(analysis, "uniform")
    for environment, bars in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        monkeypatch.setattr(sys, "stdout", terminal := Terminal())
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        Console().show(analysis.to_text(), {}, lambda: analysis_view(analysis))
        Console().show(wanted.to_text(), {}, lambda: plan_view(wanted))
        shown = terminal.getvalue()
        assert ("█" in shown) == bars
        assert "[red]a[/red]" in shown  # as text
        assert "\x1b[31m" not in shown
        assert "\x07" not in shown
        assert "all cells" in shown
        assert "Shannon evenness" in shown


def test_the_outcome_of_a_cell_has_a_bar_and_whole_numbers():
    record = CellRecord.planned_only(0, {"group": "[b]a[/b]"}, real=40, wanted=40, planned=40)
    record = record.with_outcome(30, {"plausible": 9}, "")
    terminal = RichConsole(file=io.StringIO(), width=80, color_system=None)
    for part in cell_table([record], ["plausible 9"]):
        terminal.print(part)
    line = next(line for line in terminal.file.getvalue().splitlines() if "[b]a[/b]" in line)
    assert re.search(r"40 +40 +30 +10 +█{20}", line)


def test_json_holds_file_names_as_they_are_and_urls_without_queries(capsys):
    names = {"file": "faces/who?a=b.png", "labels": ['say "what?x=1"', 'https://host/a?key=SECRET\\"\nend?y=2']}
    Console(as_json=True).show("", names)
    shown = json.loads(capsys.readouterr().out)
    assert shown == names | {"labels": ['say "what?x=1"', 'https://host/a"\nend?y=2']}
    Console().show("what?x=1,2 left", {})
    assert capsys.readouterr().out == "what?x=1,2 left\n"


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


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--address", "ray://head.lab.local:10001"], "--address ADDRESS"),
        (["--address=head.lab.local:6379"], "--address=ADDRESS"),
        (["--address", "auto"], "--address auto"),
    ],
)
def test_a_recorded_command_does_not_hold_the_address_of_a_cluster(words, shown):
    assert recorded(["balance", "faces", *words]) == f"faceaug balance faces {shown}"
