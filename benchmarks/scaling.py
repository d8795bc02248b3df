"""Measure what the driver of a run does for each sample, block and shard, as far as that decides how far a run scales.

    python benchmarks/scaling.py     # about 2 minutes on two quiet cores, 2 GB of memory

Writes benchmarks/results/scaling.json; benchmarks/figures.py computes the tables of docs/scaling.md from it and the
records of growth, speed, gpu, generator_calls and morph. Seconds are those of the processor, so that other work on the
machine counts for little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _record import environment, write_result

from faceaug._version import __version__
from faceaug.shards.manifest import (
    MANIFEST_NAME,
    CellRecord,
    CreatedBy,
    DatasetRecord,
    Manifest,
    ShardEntry,
    Totals,
    write_manifest,
)
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.engines.base import BlockResult, Candidate
from faceaug.synthesis.executors.block_files import BlockFiles, decode_block, encode_block

SEED, SIDE, BLOCK = 0, 256, 16
HASHES, QUERIES, WITHIN = (1_000_000, 2_000_000, 4_000_000), 100, 8
ROUNDS = 50
SHARDS = (1000, 10_000, 50_000)


def main() -> None:
    record = {
        **environment(SEED, ("numpy", "torch", "safetensors")),
        "near_copies": {"within": WITHIN, "points": [near_copies(size) for size in HASHES]},
        "block": block_file(),
        "manifest": [manifest(count) for count in SHARDS],
    }
    print(write_result("scaling", record))


def near_copies(size: int) -> dict[str, float]:
    """Return the seconds of one query among random hashes."""
    rng = np.random.default_rng(SEED)
    index = DuplicateIndex(rng.integers(0, 2**64, size, np.uint64), WITHIN)
    queries = rng.integers(0, 2**64, QUERIES + 1, np.uint64)
    index.near(queries[0])  # builds the parts
    seconds = processor_seconds(lambda: [index.near(value) for value in queries[1:]])
    return {"hashes": size, "milliseconds": round(1e3 * seconds / QUERIES, 3)}


def block_file() -> dict[str, float]:
    """Return bytes and seconds of the result of a block whose candidates are pixels."""
    rng = np.random.default_rng(SEED)
    result = BlockResult(tuple(_candidate(rng, attempt) for attempt in range(BLOCK)), {}, {})
    run = "0" * 64
    data = encode_block(result, run)
    with tempfile.TemporaryDirectory() as folder:
        files = BlockFiles(Path(folder), run)
        files.create()
        return {
            "side": SIDE,
            "candidates": BLOCK,
            "bytes": len(data),
            "encode_milliseconds": _milliseconds(lambda: encode_block(result, run)),
            "write_milliseconds": _milliseconds(lambda: files.write(0, 0, data)),
            "decode_milliseconds": _milliseconds(lambda: decode_block(data, run)),
        }


def manifest(count: int) -> dict[str, float]:
    """Return bytes and seconds of writing a manifest with so many shards, as the driver does for each shard."""
    cells = [
        CellRecord(index=0, attributes={"group": "one"}, real=1, wanted=1, planned=1, accepted=1, short=0, tried=1)
    ]
    shards = tuple(
        ShardEntry(name=f"shards/{k:05d}.h5", bytes=36_000_000, sha256=f"{k:064x}", rows=1) for k in range(count)
    )
    cells = [cells[0].model_copy(update={"planned": count, "accepted": count, "tried": count})]
    values = {
        "created_by": CreatedBy(faceaug=__version__, command="benchmarks/scaling.py"),
        "seed": SEED,
        "generator": None,
        "dataset": DatasetRecord(name="none", fingerprint="0" * 64, rows=1),
        "columns": (),
        "complete": False,
        "fingerprint": "0" * 64,
        "files": (),
        "cells": tuple(cells),
        "totals": Totals.of(cells),
        "shards": shards,
    }
    with tempfile.TemporaryDirectory() as folder:
        seconds = processor_seconds(lambda: write_manifest(Path(folder), Manifest(**values)))
        size = (Path(folder) / MANIFEST_NAME).stat().st_size
    return {"shards": count, "bytes": size, "seconds": round(seconds, 3)}


def processor_seconds(task: Callable[[], Any]) -> float:
    """Return the processor seconds of a task."""
    start = time.process_time()
    task()
    return time.process_time() - start


def _milliseconds(task: Callable[[], Any]) -> float:
    """Return the processor milliseconds of one of many repetitions."""
    seconds = processor_seconds(lambda: [task() for _ in range(ROUNDS)])
    return round(1e3 * seconds / ROUNDS, 3)


def _candidate(rng: np.random.Generator, attempt: int) -> Candidate:
    return Candidate(
        attempt=attempt,
        seed=attempt,
        engine="morph",
        image=rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
        quality=90,
        harmonize={},
        w=None,
        origin_w=None,
        attr={"group": "one"},
        confidence={"group": 0.9},
        semantic={"yaw": 1.0},
        plausibility=float("nan"),
        realism=float("nan"),
        hash=np.uint64(attempt),
    )


if __name__ == "__main__":
    main()
