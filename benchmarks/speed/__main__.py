"""Measure faceaug beside named alternatives, row by row; see docs/performance.md for how to install these.

    python -m benchmarks.speed                       # every row, about 12 minutes on two cores
    python -m benchmarks.speed reading decoding      # some rows; the others stay as they are in the results
    python -m benchmarks.speed -o results.json       # instead of benchmarks/results/speed.json

Each row runs in a process of its own. An opponent that is not installed is named as missing. The exit status is 1 when
contenders disagree or a row fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._record import RESULTS, ROOT, environment, write_result
from benchmarks.speed.protocol import Disagreement, Row, measure

ROWS = (
    "synthesis",
    "rendering",
    "balance",
    "reading",
    "writing",
    "decoding",
    "indexing",
    "analysis",
    "regression",
    "atoms",
    "near_copies",
    "start",
)
PACKAGES = ("numpy", "torch", "h5py", "pillow", "pandas", "scikit-learn")
SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows and write the record; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"some of {', '.join(ROWS)}; every row by default")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "speed.json", help="the record")
    parser.add_argument("--size", choices=["full", "tiny"], default="full", help="tiny is for tests")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each contender")
    parser.add_argument("--seconds", type=float, default=0.3, help="least time of a measurement")
    options = parser.parse_args(arguments)
    names = options.names or list(ROWS)
    if unknown := sorted({*names} - {*ROWS}):
        parser.error(f"there is no row {', '.join(unknown)}; choose among {', '.join(ROWS)}")
    before: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    rows: dict[str, Any] = before.get("rows", {})
    for name in names:
        rows[name] = run_row(name, options) if len(names) == 1 else run_apart(name, options)
        print(as_text(name, rows[name]), flush=True)
    measured = {**environment(SEED, PACKAGES), "size": options.size}
    if {*rows} - {*names}:  # rows of an earlier run stay as they were measured, and so does what is said of them
        rows |= {name: {**rows[name], "measured": measured} for name in names}
        measured = {key: before[key] for key in before if key != "rows"}
    record = {**measured, "rows": {name: rows[name] for name in ROWS if name in rows}}
    print(write_result("speed", record, options.out))
    return int(any("error" in rows[name] for name in names))


def run_row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one row in this process."""
    row: Row = importlib.import_module(f"benchmarks.speed.{name}")  # type: ignore[assignment]
    result: dict[str, Any] = {"title": row.TITLE, "cases": []}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faceaug-speed-") as folder:
        try:
            for case in row.cases(options.size, Path(folder)):
                result["cases"].append(measure(case, options.rounds, options.seconds))
        except Disagreement as error:
            result["error"] = f"the contenders disagree: {error}"
    return {**result, "seconds": round(time.perf_counter() - start, 1)}


def run_apart(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one row in a process of its own, so that no row works in what another one left."""
    with tempfile.TemporaryDirectory(prefix="faceaug-speed-") as folder:
        out = Path(folder) / "row.json"
        words = [sys.executable, "-m", "benchmarks.speed", name, "-o", str(out), "--size", options.size]
        words += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        if not out.exists():
            return {"title": name, "cases": [], "error": f"the process ended with status {done.returncode}"}
        row: dict[str, Any] = json.loads(out.read_text("utf-8"))["rows"][name]
        return row


def as_text(name: str, row: dict[str, Any]) -> str:
    """Return what a row gave as lines for the terminal."""
    lines = [f"{name}: {row['title']}  ({row.get('seconds', 0):.0f} s)"]
    for case in row["cases"]:
        lines.append(f"  {case['name']}: {case['agreement']}")
        for contender, found in case["contenders"].items():
            speed = f"{found['per_second']:,.6g} {case['unit']}/s"
            lines.append(f"    {contender:45} {speed:>24} {found['median_seconds']:>10.4g} s")
            if ratio := case["times_as_fast_as"].get(contender):
                low, high = ratio["interval"]
                lines[-1] += f"   faceaug is {ratio['ratio']:g} times as fast ({low:g} to {high:g})"
        lines += [f"    {package:28} {why}" for package, why in case["missing"].items()]
        if case["met"] is not None:
            aim = f"{case['aim']:g} times the fastest" if case["aim"] else f"{case['aim_seconds']:g} s"
            lines.append(f"    aim: {aim}: {'met' if case['met'] else 'MISSED'}")
    if "error" in row:
        lines.append(f"  FAILED: {row['error']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
