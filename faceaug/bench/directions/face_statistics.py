"""Means over faces and ratios of them, with intervals by bootstrap over faces."""

from __future__ import annotations

import numpy as np

from faceaug.bench.results.statistics import RESAMPLES, seed_summary
from faceaug.utils.typing import Floats

Figure = dict[str, float | None]
"""Mean (of a ratio: its value) and ends of the 95% interval; None where there is none."""
_LEVEL, _SEED = 0.95, 0xB008


def mean_over_faces(values: Floats) -> Figure:
    """Return the mean of a value [N] of each face; NaN counts as missing."""
    summary = seed_summary(values[np.isfinite(values)].tolist())
    return {name: summary[name] for name in ("mean", "low", "high")}


def ratio_over_faces(numerators: Floats, denominators: Floats) -> Figure:
    """Return the ratio of the means of two values [N] of each face."""
    rng = np.random.default_rng(_SEED)
    rows = rng.integers(0, len(numerators), (RESAMPLES, len(numerators)))
    ratios = numerators[rows].mean(1) / denominators[rows].mean(1)
    low, high = np.quantile(ratios, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return {"mean": float(numerators.mean() / denominators.mean()), "low": float(low), "high": float(high)}
