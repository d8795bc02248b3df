"""The benchmarks run from a checkout and write a record that says how to repeat them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_analysis_benchmark_writes_its_record(tmp_path: Path) -> None:
    out = tmp_path / "new" / "analysis.json"
    arguments = ["--rows", "200", "400", "--rounds", "1", "--seed", "7", "--out", str(out)]
    run = subprocess.run(
        [sys.executable, "benchmarks/speed_analysis.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(out)
    record = json.loads(out.read_text())
    assert (record["format"], record["version"], record["name"]) == ("faceaug-benchmark", 1, "analysis")
    assert record["seed"] == 7
    assert record["command"].startswith("python benchmarks/speed_analysis.py --rows 200 400 --rounds 1")
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"].keys() == {"python", "faceaug", "numpy", "pandas"}
    assert record["machine"].endswith("CPU")
    assert [size["rows"] for size in record["sizes"]] == [200, 400]
    assert record["growth"][0]["rows_times"] == 2
    assert all(size["analyze_seconds"] > 0 for size in record["sizes"])
