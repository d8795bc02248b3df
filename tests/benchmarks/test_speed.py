"""The benchmarks of speed and growth: contenders are checked, measured in turns, and missing ones are named."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--size", "tiny", "--rounds", "2", "--seconds", "0.001"]


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.speed.protocol")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/speed/__main__.py as a module."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.speed.__main__")


def test_contenders_are_measured_in_turns_and_ratios_taken_within_rounds(protocol):
    order = []
    times = {"faceaug": iter([9.0, 1.0, 2.0, 4.0, 8.0]), "other": iter([9.0, 3.0, 6.0, 12.0, 24.0])}

    def work(name):
        def call():
            order.append(name)
            return protocol.OwnSeconds(next(times[name]))

        return call

    case = protocol.Case("a", "images", 8, {name: work(name) for name in times}, lambda: "alike", aim=2.5)
    found = protocol.measure(case, rounds=4, seconds=0.0)
    assert order[2:] == ["faceaug", "other", "other", "faceaug"] * 2
    assert found["times_as_fast_as"]["other"] == {"ratio": 3.0, "interval": [3.0, 3.0]}
    assert found["contenders"]["faceaug"] == {
        "median_seconds": 3.0, "quartiles": [1.75, 5.0], "per_second": 2.667, "rounds": 4
    }  # fmt: skip
    assert (found["agreement"], found["fastest_opponent"], found["met"]) == ("alike", "other", True)


def test_an_opponent_that_is_not_installed_is_named(protocol):
    opponents = protocol.find_opponents(json="json", no_such="no_such_package")
    assert opponents.missing == {"no-such": "not installed"}
    assert list(opponents.of({"json text": len, "no-such writer": len, "faceaug": len})) == ["json text", "faceaug"]


def test_contenders_that_disagree_are_an_error(protocol, command, tmp_path, monkeypatch, capsys):
    row = importlib.import_module("benchmarks.speed.near_copies")
    monkeypatch.setattr(row, "_brute", lambda known, query, within: True)
    out = tmp_path / "speed.json"
    assert command.main(["near_copies", *QUICK, "-o", str(out)]) == 1
    assert "gives other verdicts" in json.loads(out.read_text())["rows"]["near_copies"]["error"]
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["reading", "writing", "decoding", "indexing", "analysis", "near_copies", "rendering"])
def test_a_row_runs_and_its_contenders_agree(command, tmp_path, name):
    out = tmp_path / "speed.json"
    assert command.main([name, *QUICK, "-o", str(out)]) == 0
    row = json.loads(out.read_text())["rows"][name]
    assert row["cases"]
    for case in row["cases"]:
        assert case["agreement"]
        assert set(case["contenders"]) - {"faceaug"} == set(case["times_as_fast_as"])
        assert all(low <= high for low, high in (each["interval"] for each in case["times_as_fast_as"].values()))


def test_rows_of_an_earlier_run_stay_with_what_is_said_of_them(command, tmp_path):
    out, earlier = tmp_path / "speed.json", {"versions": {"torch": "1"}, "rows": {"start": {"title": "", "cases": []}}}
    out.write_text(json.dumps(earlier))
    assert command.main(["near_copies", *QUICK, "-o", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["versions"] == earlier["versions"]
    assert record["rows"]["start"] == earlier["rows"]["start"]
    assert record["rows"]["near_copies"]["measured"]["versions"]["torch"] != "1"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synthesis", "atoms", "regression", "start"])
def test_a_longer_row_runs_and_its_contenders_agree(command, tmp_path, name):
    test_a_row_runs_and_its_contenders_agree(command, tmp_path, name)


@pytest.mark.slow
def test_growth_is_measured_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    out = tmp_path / "growth.json"
    assert importlib.import_module("benchmarks.growth.__main__").main(["real", "--size", "tiny", "-o", str(out)]) == 0
    axis = json.loads(out.read_text())["axes"]["real"]
    assert [point["size"] for point in axis["points"]] == [20, 40]
    assert all(point["seconds"] > 0 and point["peak_megabytes"] > 10 for point in axis["points"])
