"""Run the demo as `make demo` does, and record what was accepted, what was refused and why, and how long it took.

    python benchmarks/demo_run.py [--out FILE]

The run begins with an empty cache, as the first one of a user does, and is verified. Writes
benchmarks/results/demo.json; `python benchmarks/figures.py` brings its figures into README.md and docs/results.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import environment, write_result

from faceaug import demo
from faceaug.cache.store import CACHE_VARIABLE
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.config import RunConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file than benchmarks/results/demo.json")
    options = parser.parse_args()
    about = environment(RunConfig().seed, ("numpy", "torch"))  # before the run, which is load itself
    print(write_result("demo", {**about, **run_demo()}, options.out))


def run_demo() -> dict[str, Any]:
    """Run the demo in a process of its own, and return what its manifest says and the seconds from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo-out"
        words = ["balance", str(demo.path()), "--recipe", "demo", "-o", str(out), "--quiet"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "faceaug.cli", *words],
            env={**os.environ, CACHE_VARIABLE: str(Path(folder) / "cache")},
            check=True,
        )
        seconds = time.perf_counter() - start
        manifest, report = read_manifest(out), verify(out)
    totals = manifest.totals
    return {
        "run": "faceaug balance $(python -m faceaug.demo) --recipe demo -o demo-out/",
        "planned": totals.planned,
        "accepted": totals.accepted,
        "short": totals.short,
        "refused": dict(sorted(totals.rejected.items(), key=lambda item: (-item[1], item[0]))),
        "seconds": manifest.measured["seconds"],
        "seconds_in_all": round(seconds, 1),
        "sound": report.ok,
    }


if __name__ == "__main__":
    main()
