"""Measure how time and peak memory grow with samples, cells, attributes and real faces; each point in a fresh process.

    python -m benchmarks.growth                      # about 6 minutes on two quiet cores
    python -m benchmarks.growth samples cells        # some axes; the others stay as they are in the results

Writes benchmarks/results/growth.json; benchmarks/figures.py draws the plots of docs/performance.md from it. The
exponent of an axis is the slope of a line through the upper half of its points in logarithms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import RESULTS, ROOT, environment, write_result

SIZES = {
    "full": {
        "samples": [1000, 3000, 10_000, 20_000, 60_000, 200_000, 1_000_000],
        "cells": [10, 100, 1000, 3000, 10_000],
        "attributes": [2, 5, 10, 20, 40],
        "real": [1000, 10_000, 100_000, 300_000, 1_000_000],
    },
    "tiny": {"samples": [64, 128], "real": [20, 40]},
}
PACKAGES = ("numpy", "pandas", "h5py", "torch")
SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the axes and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="AXIS", help="some of samples, cells, attributes, real")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "growth.json", help="the record")
    parser.add_argument("--size", choices=["full", "tiny"], default="full", help="tiny is for tests")
    parser.add_argument("--largest", type=int, help="leave out points that are larger")
    options = parser.parse_args(arguments)
    sizes = SIZES[options.size]
    names = options.names or list(sizes)
    if unknown := sorted({*names} - {*sizes}):
        parser.error(f"there is no axis {', '.join(unknown)}; choose among {', '.join(sizes)}")
    axes: dict[str, Any] = json.loads(options.out.read_text("utf-8"))["axes"] if options.out.exists() else {}
    for name in names:
        chosen = [size for size in sizes[name] if size <= (options.largest or size)]
        axes[name] = measured(name, chosen)
        print(f"{name}: seconds grow with the power {axes[name]['exponent']:.2f}", flush=True)
    record = {**environment(SEED, PACKAGES), "axes": {name: axes[name] for name in SIZES["full"] if name in axes}}
    print(write_result("growth", record, options.out))
    return 0


def measured(name: str, sizes: Sequence[int]) -> dict[str, Any]:
    """Return the points of an axis and the exponent of its upper half."""
    points = []
    for size in sizes:
        points.append(point(name, size))
        print(f"  {name} {points[-1]}", flush=True)
    upper = points[len(points) // 2 - (len(points) == 2) :]
    logarithms = np.log([[each["size"], each["seconds"]] for each in upper])
    slope = float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0])
    return {"points": points, "exponent": round(slope, 3)}


def point(name: str, size: int) -> dict[str, Any]:
    """Measure one point in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="faceaug-growth-") as folder:
        words = [sys.executable, "-m", "benchmarks.growth.points", name, str(size), folder]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    sys.exit(main())
