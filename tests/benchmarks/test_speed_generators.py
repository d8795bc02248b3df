"""The benchmark of the generators runs from a checkout and compares images that are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_writes_its_record(faces, tmp_path):
    out = tmp_path / "generators.json"
    quick = ["--threads", "1", "--batches", "2", "--seconds", "0.01", "--rounds", "1", "--images", "33"]
    quick += ["--out", str(out)]
    run = subprocess.run(
        [sys.executable, "benchmarks/speed_generators.py", *quick],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(out)
    record = json.loads(out.read_text())
    assert len(record["generators"]) == 2
    for name, (found,) in record["generators"].items():
        assert found["threads"] == 1
        assert found["largest_difference"] < 1e-4, f"{name} and its alternative synthesize the same images"
        assert found["images_changed_by_the_batch"]["faceaug"] == {"1": 0, "7": 0, "32": 0}
        assert all(speed["times_the_alternative"] > 0 for speed in found["speed"])


@pytest.mark.slow
def test_the_benchmark_for_gpus_runs_without_one(tmp_path):
    out = tmp_path / "gpu.json"
    quick = ["--device", "cpu", "--resolutions", "32", "--narrower", "64", "--rounds", "1", "--repeats", "1"]
    run = subprocess.run(
        [sys.executable, "benchmarks/speed_gpu.py", *quick, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    networks = json.loads(out.read_text())["networks"]
    assert list(networks) == ["StyleGAN2, 32 px", "StyleGAN3-T, 32 px", "StyleGAN3-R, 32 px"]
    for name, found in networks.items():
        assert found["planned_batch"] == 8
        exact, rough = (
            found["variants"][variant]["mean_difference_in_standard_deviations"] for variant in ("float32", "bfloat16")
        )
        assert exact == 0, name
        assert 0 < rough < 0.05, name
