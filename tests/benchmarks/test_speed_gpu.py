"""The benchmark for GPUs runs from a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
