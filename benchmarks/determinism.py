"""Are the samples the same for any batch size, number of workers, number of threads, and rounding mode of MKL?

    python benchmarks/determinism.py [--samples 8] [--seed 0] [--out FILE]

Runs ``faceaug balance`` on the demo data set, each time in a process of its own, with one setting changed, and compares
the hashes of all stored images, latents and measurements, shard by shard, with those of the first run. Other rounding
modes of MKL stand in for other processors: they may give other last bits, but each must agree with itself. Writes
benchmarks/results/determinism.json.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
from _record import environment, write_result

from faceaug import demo

BY = "yaw:-90/-25/25/90"  # two rare cells, searched and filled
COMPARED = ("sha256", "w", "seed", "cell")
"""Datasets of a shard whose bytes are compared; the images by their hashes."""


def main() -> None:
    """Run all variants and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="another place for the result")
    given = parser.parse_args()
    variants: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("batch 64, 2 workers, 1 thread", {}, {}),
        ("batch 16, 1 worker, 2 threads", {"--batch-size": "16", "--workers": "1"}, {"OMP_NUM_THREADS": "2"}),
        ("batch 1, 4 workers, 1 thread", {"--batch-size": "1", "--workers": "4"}, {}),
        ("batch 1, 2 workers, 2 threads", {"--batch-size": "1"}, {"OMP_NUM_THREADS": "2"}),
        ("COMPATIBLE, batch 64", {}, {"MKL_CBWR": "COMPATIBLE"}),
        ("COMPATIBLE, batch 1, 4 workers", {"--batch-size": "1", "--workers": "4"}, {"MKL_CBWR": "COMPATIBLE"}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        hashes = {
            name: _samples_of(Path(folder) / str(k), given, options, variables)
            for k, (name, options, variables) in enumerate(variants)
        }
    usual = [value for name, value in hashes.items() if not name.startswith("COMPATIBLE")]
    compatible = [value for name, value in hashes.items() if name.startswith("COMPATIBLE")]
    record: dict[str, Any] = {
        **environment(given.seed, ("torch", "numpy")),
        "samples": given.samples,
        "sha256_of_samples": hashes,
        "same_for_all_batches_workers_and_threads": len(set(usual)) == 1,
        "same_for_both_batches_in_compatible_mode": len(set(compatible)) == 1,
        "same_in_both_modes": len({*usual, *compatible}) == 1,
    }
    print(write_result("determinism", record, given.out))
    for name, value in hashes.items():
        print(f"{value[:16]}  {name}")


def _samples_of(out: Path, given: argparse.Namespace, options: dict[str, str], variables: dict[str, str]) -> str:
    """Balance the demo data set in a process of its own and return a hash of its samples."""
    arguments = {
        "--by": BY,
        "--engine": "generator",
        "--max-total": str(given.samples),
        "--survey-samples": "512",
        "--seed": str(given.seed),
        "--workers": "2",
        "-o": str(out),
        **options,
    }
    command = [sys.executable, "-m", "faceaug.cli", "balance", str(demo.path()), "--no-report", "--quiet"]
    command += [text for pair in arguments.items() for text in pair]
    usual = {name: value for name, value in os.environ.items() if name not in ("MKL_CBWR", "OMP_NUM_THREADS")}
    subprocess.run(command, env={**usual, "OMP_NUM_THREADS": "1", **variables}, check=True)
    digest = hashlib.sha256()
    for path in sorted((out / "shards").glob("*.h5")):
        with h5py.File(path) as shard:
            for name in COMPARED:
                digest.update(shard[name][()].tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
