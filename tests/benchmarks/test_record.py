"""Records say how to repeat a benchmark."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_record_names_command_seed_versions_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from _record import environment, write_result

    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks/atoms.py"), "--seed", "7"])
    path = write_result("some", environment(7, ["numpy"]), tmp_path / "new" / "some.json")
    record = json.loads(path.read_text())
    assert (record["format"], record["version"], record["name"], record["seed"]) == ("faceaug-benchmark", 1, "some", 7)
    assert record["command"] == "python benchmarks/atoms.py --seed 7"
    assert record["versions"].keys() == {"python", "faceaug", "numpy"}
    assert record["versions"]["python"] == platform.python_version()
    assert record["machine"].endswith("CPU")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks/speed/__main__.py"), "reading"])
    assert environment(0)["command"] == "python -m benchmarks.speed reading"
