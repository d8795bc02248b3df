"""One point of a curve of growth, in a process of its own: `python -m benchmarks.growth.points AXIS SIZE FOLDER`.

Prints seconds and peak memory as JSON. The data that the work needs is made first and does not count.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd

import faceaug
from benchmarks.growth.trivial_engine import NAME
from faceaug.datasets.dataset import FaceDataset, LoadOptions, load_dataset
from faceaug.synthesis.engines import registry
from faceaug.utils.images import encode

_FOLDERS, _LINKS = 100, 30_000  # a file system allows so many names of one file at most
_FACES = 200


def samples(size: int, folder: Path) -> Callable[[], None]:
    """A run that makes `size` samples in 10 cells."""
    dataset = _few_faces(folder, {"group": 10})
    return lambda: _run(dataset, folder, "group", size)


def cells(size: int, folder: Path) -> Callable[[], None]:
    """A run with a sample in each of `size` cells, of two attributes."""
    side = max(2, round(size**0.5))
    dataset = _few_faces(folder, {"first": side, "second": side})
    return lambda: _run(dataset, folder, "first,second", side * side)


def attributes(size: int, folder: Path) -> Callable[[], None]:
    """A run of 2,000 samples by one of `size` attributes; the others are kept."""
    names = [f"attribute{k}" for k in range(size)]
    dataset = _few_faces(folder, dict.fromkeys(names, 4))
    return lambda: _run(dataset, folder, names[0], 2000, keep=tuple(names[1:]))


def real(size: int, folder: Path) -> Callable[[], None]:
    """Indexing of `size` images by their headers, with labels, analysis and plan."""
    _linked_images(folder / "faces", size)
    names = [f"{k % _FOLDERS:03d}/{k:07d}.jpg" for k in range(size)]
    rng = np.random.default_rng(0)
    labels = {"file": names, "group": rng.integers(0, 5, size), "age": rng.integers(0, 90, size)}
    pd.DataFrame(labels).to_csv(folder / "labels.csv", index=False)

    def work() -> None:
        dataset = load_dataset(folder / "faces", folder / "labels.csv", options=LoadOptions(check="header"))
        assert len(dataset) == size
        dataset.fingerprint()
        faceaug.plan(faceaug.analyze(dataset, "group,age:5"), "uniform")

    return work


AXES = {"samples": samples, "cells": cells, "attributes": attributes, "real": real}


def _few_faces(folder: Path, levels: dict[str, int]) -> FaceDataset:
    """Return a data set with labels that have every level; more rows than pictures where there are many levels."""
    count = max(_FACES, *levels.values())
    _linked_images(folder / "faces", count)
    table = pd.DataFrame({"file": [f"{k % _FOLDERS:03d}/{k:07d}.jpg" for k in range(count)]})
    for name, number in levels.items():
        table[name] = [f"{name}{k % number:04d}" for k in range(count)]
    table.to_csv(folder / "labels.csv", index=False)
    return load_dataset(folder / "faces", folder / "labels.csv")


def _linked_images(folder: Path, count: int) -> None:
    """Write images that are names of a few files, so that a million of them need no space."""
    for k in range(_FOLDERS):
        (folder / f"{k:03d}").mkdir(parents=True)
    source = folder
    for k in range(count):
        path = folder / f"{k % _FOLDERS:03d}" / f"{k:07d}.jpg"
        if k % _LINKS == 0:
            path.write_bytes(encode(np.full((32, 32, 3), k // _LINKS, np.uint8), "jpeg"))
            source = path
        else:
            os.link(source, path)


def _run(dataset: FaceDataset, folder: Path, by: str, total: int, keep: tuple[str, ...] = ()) -> None:
    """Make samples, as many in each cell."""
    analysis = faceaug.analyze(dataset, by)
    cells = len(analysis.counts)
    plan = faceaug.plan(analysis, f"min:{analysis.counts.max() + -(-total // cells)}", faceaug.Budget(max_total=total))
    thresholds = faceaug.AcceptanceThresholds(resemblance=1.0)
    config = faceaug.RunConfig(engine=NAME, keep=keep, report=False, thresholds=thresholds)
    result = faceaug.balance(dataset, folder / "out", plan=plan, config=config)
    assert result.accepted >= 0.99 * total, (result.accepted, total)


def main() -> None:
    """Measure one point."""
    axis, size, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    registry.entry_points = lambda group: [  # type: ignore[assignment]
        EntryPoint(NAME, "benchmarks.growth.trivial_engine:spec", group)
    ]
    work = AXES[axis](size, folder)
    start, used = time.perf_counter(), time.process_time()
    work()
    seconds, processor = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = {"size": size, "seconds": round(seconds, 3), "processor_seconds": round(processor, 3)}
    print(json.dumps({**figures, "peak_megabytes": round(peak / 1e6, 1)}))


if __name__ == "__main__":
    main()
