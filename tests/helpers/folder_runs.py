"""Runs of small output folders, whole or interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shard_samples import cells, header, plan, sample

from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.run_state import CellState
from faceaug.shards.writer import Sample

FINGERPRINT = "f" * 64
BLOCKS = 6


def begin_run(path: Path, **options: Any) -> OutputFolder:
    """Open a folder and begin its run, unless it has begun already."""
    folder = OutputFolder.open(path, FINGERPRINT, **options)
    if not folder.started:
        folder.begin(header(), cells(), plan())
    return folder


def blocks(start: int = 0) -> Iterator[tuple[int, list[Sample], dict[int, CellState]]]:
    """Yield six blocks of five samples each, with the states of the cells after each."""
    for block in range(start, BLOCKS):
        samples = [sample(k) for k in range(5 * block, 5 * block + 5)]
        states = {0: CellState({"blurred": block}), 1: CellState({"far": 2 * block}, note=f"block {block}")}
        yield block, samples, states


def run(path: Path, stop: int | None = None, **options: Any) -> None:
    """Write all blocks, or leave the folder before block `stop`, as Ctrl-C does; `changes` go to the header."""
    changes = options.pop("changes", {})
    with OutputFolder.open(path, FINGERPRINT, max_rows=12, **options) as folder:
        if not folder.started:
            folder.begin(header(**changes), cells(), plan())
        start = 0 if folder.manifest.progress is None else folder.manifest.progress + 1
        for block, samples, states in blocks(start):
            if block == stop:
                return
            folder.append(samples, states, progress=block)
        folder.finish(measured={"seconds": 1.0})


def contents(path: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}
