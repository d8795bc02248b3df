"""Least squares of 2,048 values on 512 coordinates of 100,000 samples: `StreamingRegression` beside scikit-learn.

Samples come in batches as a generator gives them; scikit-learn needs all of them in memory, and what it needs beside
them is measured. Peak memory is that of arrays that are allocated while the work runs, the samples included.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work
from faceaug.latents.regression import StreamingRegression
from faceaug.utils.typing import Floats

TITLE = "linear regression of many values on latents"
AIM, AIM_MEMORY, WITHIN = 5.0, 0.1, 1e-6
SHAPES = {"full": (100_000, 512, 2048), "tiny": (600, 16, 24)}
_BATCH = 2000


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the one case."""
    samples, width, values = SHAPES[size]
    works: dict[str, Work] = {
        OURS: lambda: _streamed(samples, width, values),
        "scikit-learn LinearRegression": lambda: _at_once(samples, width, values),
    }
    peaks = {}

    def agree() -> str:
        found = {}
        for name, work in works.items():
            tracemalloc.start()
            found[name] = work()
            peaks[name] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        ours, theirs = found.values()
        off = float(np.abs(ours - theirs).max() / np.abs(theirs).max())  # type: ignore[operator, call-overload]
        if off > WITHIN:
            raise Disagreement(f"coefficients differ by {off:.1e} of the largest")
        figures["peak_megabytes"] = {name: round(peak / 1e6, 1) for name, peak in peaks.items()}
        figures["memory_ratio"] = round(peaks[OURS] / peaks["scikit-learn LinearRegression"], 4)
        return f"coefficients differ by {off:.0e} of the largest at most"

    figures: dict[str, object] = {"aim_memory_ratio": AIM_MEMORY}
    name = f"{samples:,} samples, {width} coordinates, {values:,} values"
    yield Case(name, "samples", samples, works, agree, aim=AIM, rounds=3, figures=figures)


def _batches(samples: int, width: int, values: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield samples and their values; the noise of the values has a pattern that repeats, so that it costs no time."""
    rng = np.random.default_rng(0)
    slopes, noise = rng.standard_normal((width, values)), rng.standard_normal((_BATCH, values))
    for start in range(0, samples, _BATCH):
        x = np.random.default_rng(start).standard_normal((min(_BATCH, samples - start), width))
        yield x, x @ slopes + np.roll(noise[: len(x)], start // _BATCH, axis=0)


def _streamed(samples: int, width: int, values: int) -> Floats:
    regression = StreamingRegression(width, values)
    for x, y in _batches(samples, width, values):
        regression.update(x, y)
    return regression.solve().B


def _at_once(samples: int, width: int, values: int) -> Floats:
    from sklearn.linear_model import LinearRegression

    x, y = (np.empty((samples, size)) for size in (width, values))
    for number, (some_x, some_y) in enumerate(_batches(samples, width, values)):
        rows = slice(number * _BATCH, number * _BATCH + len(some_x))
        x[rows], y[rows] = some_x, some_y
    return np.asarray(LinearRegression().fit(x, y).coef_)
