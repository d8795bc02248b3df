"""The benchmark of the shards runs from a checkout and records a ratio to its baseline."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_writes_its_record(tmp_path):
    out = tmp_path / "shards.json"
    arguments = [
        "--images",
        "40",
        "--side",
        "64",
        "--seconds",
        "0.01",
        "--rounds",
        "2",
        "--seed",
        "5",
        "--out",
        str(out),
    ]
    done = subprocess.run(
        [sys.executable, "benchmarks/speed_shards.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert (record["format"], record["version"], record["name"], record["seed"]) == (
        "faceaug-benchmark",
        1,
        "shards",
        5,
    )
    assert record["baseline"] in record["layouts"]
    assert record["layouts"][record["baseline"]]["ratio"] == 1
    assert {"blob", "raw"} < set(record["layouts"])
    for layout in record["layouts"].values():
        low, high = layout["ratio_range"]
        assert 0 < low <= layout["ratio"] <= high
    assert record["bytes"]["blob"] < record["bytes"]["raw"]
