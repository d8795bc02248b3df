"""Means over seeds, and paired differences between arms with intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from faceaug.bench.metrics import FIGURES

BASELINES = ("rwg", "dfr")
"""Arms to which all others are compared, where they are in the recipe."""
RESAMPLES = 10_000
_LEVEL, _BOOTSTRAP_SEED = 0.95, 0xB007


def seed_summary(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean, interval and values over seeds; None where a value is missing, no interval for one seed.

    The interval is the percentile bootstrap over seeds (95%, `RESAMPLES` resamples with a fixed seed). With few seeds
    it is narrower than it should be.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "low": None, "high": None, "values": list(values)}
    low, high = _interval(np.array(known))
    return {"mean": float(np.mean(known)), "low": low, "high": high, "values": known}


def arm_summaries(runs: Mapping[tuple[str, int], Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Return the summary of every figure of every arm.

    Parameters
    ----------
    runs : mapping of (arm, seed) to figures
        The keys of `FIGURES`, means over tasks.
    """
    result: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(name for name, _ in runs):
        own = [figures for (name, _), figures in runs.items() if name == arm]
        result[arm] = {figure: seed_summary([figures[figure] for figures in own]) for figure in FIGURES}
    return result


def paired_differences(
    runs: Mapping[tuple[str, int], Mapping[str, float | None]], baseline: str
) -> dict[str, dict[str, Any]]:
    """Return, by arm, the summary of its differences to a baseline in every figure, seed by seed.

    Seeds that only one of the two has are left out. "worst_group_error_reduction" is the share of the baseline's error
    in its worst group that the arm saves.
    """
    result: dict[str, dict[str, Any]] = {}
    for arm in dict.fromkeys(name for name, _ in runs):
        seeds = [seed for name, seed in runs if name == arm and (baseline, seed) in runs]
        if arm == baseline or not seeds:
            continue
        pairs = [(runs[arm, seed], runs[baseline, seed]) for seed in seeds]
        result[arm] = {figure: seed_summary([difference(a[figure], b[figure]) for a, b in pairs]) for figure in FIGURES}
        result[arm]["worst_group_error_reduction"] = seed_summary(
            [_saved(a["worst_group"], b["worst_group"]) for a, b in pairs]
        )
    return result


def best_real_arm(summaries: Mapping[str, Mapping[str, Any]], real: Collection[str]) -> str | None:
    """Return the arm without synthesis, of `real`, whose worst group is read best on the test part; None without.

    It is chosen by the test part, which favours it: an arm that wins against it wins the harder comparison.
    """
    worst = {
        name: figures["worst_group"]["mean"]
        for name, figures in summaries.items()
        if name in real and figures["worst_group"]["mean"] is not None
    }
    return max(worst, key=lambda name: worst[name]) if worst else None


def difference_cell(figure: Mapping[str, Any]) -> str:
    """Return the summary of a difference as text: "+1.2 [-0.3, +2.6]" points."""
    if figure["mean"] is None:
        return "\N{EN DASH}"
    mean = f"{100 * figure['mean']:+.1f}"
    return mean if figure["low"] is None else f"{mean} [{100 * figure['low']:+.1f}, {100 * figure['high']:+.1f}]"


def difference(a: float | None, b: float | None) -> float | None:
    """Return a - b; None where either is missing."""
    return None if a is None or b is None else a - b


def _saved(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or b >= 1 else 1 - (1 - a) / (1 - b)


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
