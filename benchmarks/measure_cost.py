"""Where the time of `faceaug measure` goes: milliseconds of one core a photograph by step, and photographs a second.

    python benchmarks/measure_cost.py utkface/images

`measure` reads 500 of them, evenly spaced in the order of their names, since names often begin with the age, with as
many threads as the machine has processors, without the cache, `ROUNDS` times, of which the median counts. Then steps
are timed on a batch of 64, as `measure` reads them together, with one thread, the median of `ROUNDS` again. Writes
benchmarks/results/measure_cost.json.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import environment, write_result

from faceaug.measurement.alignment import lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.measure import load_estimator, measure
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE
from faceaug.utils.images import decode

ROUNDS, MAX_PIXELS = 9, 2**26


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--photographs", type=int, default=500)
    given = parser.parse_args()
    os.environ["FACEAUG_CACHE"] = "off"
    files = _evenly_spaced(sorted(path for path in given.images.iterdir() if path.is_file()), given.photographs)
    estimator = load_estimator()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        table = measure(files, estimator)
        seconds.append(time.perf_counter() - began)
    torch.set_num_threads(1)
    record = {
        **environment(0, ("torch", "numpy", "pillow")),
        "photographs": len(files),
        "measured": int((table["cannot_tell"] == "").sum()),
        "photographs_a_second": len(files) / float(np.median(seconds)),
        "milliseconds": _steps([path.read_bytes() for path in _evenly_spaced(files, ESTIMATOR_BATCH_SIZE)], estimator),
    }
    print(write_result("measure_cost", record))


def _evenly_spaced(files: list[Path], count: int) -> list[Path]:
    return [files[k * len(files) // count] for k in range(count)] if len(files) > count else files


def _steps(encoded: list[bytes], estimator: FaceEstimator) -> dict[str, float]:
    """Return the milliseconds of one core a photograph by step."""

    def load() -> tuple[torch.Tensor, torch.Tensor]:
        return lay_on_canvases([decode(data, name="a photograph", max_pixels=MAX_PIXELS) for data in encoded])

    canvases, shorter = load()
    faces = estimator.aligner.align(canvases, shorter).images
    steps: dict[str, Callable[[], Any]] = {
        "decoding, laid on a canvas": load,
        "alignment": lambda: estimator.aligner.align(canvases, shorter),
        "reader, with the mirror image": lambda: estimator.read_framed(faces),
        "reconstruction, one image": lambda: estimator.reconstruct(faces),
        "all that is read": lambda: estimator.read(canvases, shorter),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, step in steps.items():
                start = time.process_time()
                step()
                times[name].append(time.process_time() - start)
    return {name: 1000 * float(np.median(each)) / len(encoded) for name, each in times.items()}


if __name__ == "__main__":
    main()
