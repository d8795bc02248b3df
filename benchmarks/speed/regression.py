"""Least squares of 2,048 values on 512 coordinates of 100,000 samples: `StreamingRegression` beside scikit-learn.

Time is that of the fit, on samples that are in memory for both. Peak memory is that of all arrays that are allocated
when samples come in batches, as a generator gives them: scikit-learn has to store them first.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, Work
from faceaug.latents.regression import StreamingRegression
from faceaug.utils.typing import Floats

TITLE = "linear regression of many values on latents"
AIM, AIM_MEMORY, WITHIN = 5.0, 0.1, 1e-6
SHAPES = {"full": (100_000, 512, 2048), "tiny": (600, 16, 24)}
OTHER = "scikit-learn LinearRegression"
_BATCH = 2000


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield the one case."""
    shape = SHAPES[size]
    figures: dict[str, object] = {"aim_memory_ratio": AIM_MEMORY}

    def agree() -> str:
        ours, peak = _traced(lambda: _streamed(shape, _batches(*shape)))
        theirs, their_peak = _traced(lambda: _at_once(*_stored(shape)))
        off = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        if off > WITHIN:
            raise Disagreement(f"coefficients differ by {off:.1e} of the largest")
        figures["peak_megabytes"] = {OURS: round(peak / 1e6, 1), OTHER: round(their_peak / 1e6, 1)}
        figures["memory_ratio"] = round(peak / their_peak, 4)
        return f"coefficients differ by {off:.0e} of the largest at most"

    x, y = _stored(shape)
    works: dict[str, Work] = {
        OURS: lambda: _streamed(shape, ((x[k : k + _BATCH], y[k : k + _BATCH]) for k in range(0, len(x), _BATCH))),
        OTHER: lambda: _at_once(x, y),
    }
    name = f"{shape[0]:,} samples, {shape[1]} coordinates, {shape[2]:,} values"
    yield Case(name, "samples", shape[0], works, agree, aim=AIM, rounds=2, figures=figures)


def _traced(work: Work) -> tuple[Floats, int]:
    """Return coefficients, and the peak of memory in bytes."""
    tracemalloc.start()
    coefficients = np.asarray(work(), np.float64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return coefficients, peak


def _batches(samples: int, width: int, values: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield samples and their values; the noise of the values repeats, so that it costs no time."""
    rng = np.random.default_rng(0)
    slopes, noise = rng.standard_normal((width, values)), rng.standard_normal((_BATCH, values))
    for start in range(0, samples, _BATCH):
        x = np.random.default_rng(start).standard_normal((min(_BATCH, samples - start), width))
        yield x, x @ slopes + np.roll(noise[: len(x)], start // _BATCH, axis=0)


def _stored(shape: tuple[int, int, int]) -> tuple[Floats, Floats]:
    """Return all samples and their values."""
    samples, width, values = shape
    x, y = np.empty((samples, width)), np.empty((samples, values))
    start = 0
    for some_x, some_y in _batches(*shape):
        x[start : start + len(some_x)], y[start : start + len(some_x)] = some_x, some_y
        start += len(some_x)
    return x, y


def _streamed(shape: tuple[int, int, int], batches: Iterable[tuple[Floats, Floats]]) -> Floats:
    regression = StreamingRegression(*shape[1:])
    for x, y in batches:
        regression.update(x, y)
    return regression.solve().B


def _at_once(x: Floats, y: Floats) -> Floats:
    from sklearn.linear_model import LinearRegression

    return np.asarray(LinearRegression().fit(x, y).coef_)
