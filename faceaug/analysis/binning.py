"""Bins of a column of numbers: edges, codes and short labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from faceaug.errors import UsageError
from faceaug.utils.text import shown
from faceaug.utils.typing import Floats

Edges = tuple[float, ...]
_Split = Callable[[Floats, float], tuple[Floats, Floats]]
_FEW_EDGES = 16


def equal_width(values: Floats, bins: int, name: str) -> tuple[Edges, str]:
    """Return the edges of bins of equal width from the least to the greatest value, and a note (usually empty).

    Whole numbers get whole edges: [1, 15.14) and [1, 16) contain the same whole numbers.

    Parameters
    ----------
    values : float64 [N]
        Finite, N >= 1.
    bins : int
        Number of bins, at least 2.
    name : str
        Name of the column, for error messages.

    Raises
    ------
    UsageError
        If the column has a single value, or its range exceeds that of float64.
    """
    low, high = _range(values, name)
    edges = np.unique(np.linspace(low, high, bins + 1))
    if bool(np.all(values == np.floor(values))):
        rounded_up = np.ceil(edges)
        if bool(np.all(np.diff(rounded_up) > 0)):
            edges = rounded_up
    return tuple(map(float, edges)), _merged("equal-width", bins, len(edges) - 1)


def quantiles(values: Floats, bins: int, name: str) -> tuple[Edges, str]:
    """Return the edges of bins with about the same number of rows, and a note if ties left fewer bins.

    Equal values stay together: each cut lies between two neighbouring distinct values, where the number of rows below
    it is nearest to the quantile, so that no bin is empty. Parameters and errors are those of `equal_width`.
    """
    low, high = _range(values, name)
    wanted = np.asarray(np.arange(1, bins) * (len(values) / bins), np.float64)
    split = _split
    if bins > _FEW_EDGES:  # one sort costs less than a pass over all values for each cut
        values, split = np.sort(values), _split_sorted
    ranked = zip(wanted.tolist(), _at_ranks(values, wanted), strict=True)
    cuts = {_cut_near(values, rows, at, split) for rows, at in ranked}
    inner = [_short_between(below, above, last=above == high) for below, above in sorted(cuts)]
    edges = np.unique(np.array([low, *inner, high]))
    return tuple(map(float, edges)), _merged("quantile", bins, len(edges) - 1)


def _at_ranks(values: Floats, wanted: Floats) -> list[float]:
    """Return for each number of rows the least value that has at least as many rows up to it; time is linear."""
    ranks = np.ceil(wanted).astype(np.int64) - 1
    return [float(value) for value in np.partition(values, np.unique(ranks))[ranks]]


def _split(values: Floats, at: float) -> tuple[Floats, Floats]:
    return values[values < at], values[values > at]


def _split_sorted(values: Floats, at: float) -> tuple[Floats, Floats]:
    return values[: np.searchsorted(values, at)], values[np.searchsorted(values, at, side="right") :]


def _cut_near(values: Floats, wanted: float, at: float, split: _Split) -> tuple[float, float]:
    """Return the neighbouring distinct values between which the number of rows below is nearest to `wanted`.

    `at` is the value at that rank, so the cut lies beside it. Of two that are equally near, the lower one is taken.
    """
    below, above = split(values, at)
    if len(below) and (not len(above) or abs(wanted - len(below)) <= abs(len(values) - len(above) - wanted)):
        return float(below.max()), at
    return at, float(above.min())


def bin_codes(values: Floats, edges: Sequence[float]) -> npt.NDArray[np.int64]:
    """Return the bin of each value: right-open bins, the last one closed; -1 for NaN and values outside of the edges.

    Parameters
    ----------
    values : float64 [N]
    edges : increasing, [bins + 1]

    Returns
    -------
    int64 [N], from -1 to bins - 1
    """
    if len(edges) <= _FEW_EDGES:  # comparisons are faster than a search of each value
        codes = np.full(len(values), -1, np.int64)
        for edge in edges:
            codes += values >= edge
    else:
        codes = np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="right").astype(np.int64) - 1
    codes[values == edges[-1]] = len(edges) - 2
    codes[~(values <= edges[-1])] = -1  # NaN compares false
    return codes


def edge_labels(edges: Sequence[float]) -> tuple[str, ...]:
    """Return a label for each bin, as "-10 to 10", with the fewest digits (at least 6) that distinguish the edges."""
    names: list[str] = []
    for digits in range(6, 18):
        names = [tidy(edge, digits) for edge in edges]
        if len(set(names)) == len(names):
            break
    return tuple(f"{low} to {high}" for low, high in itertools.pairwise(names))


def tidy(value: float, digits: int = 6) -> str:
    """Return a number as decimal text without exponent, as "10" or "-0.25", with `digits` significant digits."""
    whole_digits = len(str(int(abs(value))))
    text = format(Decimal(format(value, f".{max(digits, whole_digits)}g")), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _range(values: Floats, name: str) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise UsageError(
            f"the column {shown(name)} has the single value {tidy(low)} and cannot be binned; write {shown(name)} alone"
        )
    if not math.isfinite(high - low):
        raise UsageError(
            f"the column {shown(name)} reaches from {low:g} to {high:g}, too wide a range for bins; give edges instead"
        )
    return low, high


def _merged(kind: str, requested: int, remaining: int) -> str:
    if remaining == requested:
        return ""
    return f"{requested} {kind} bins were requested, {remaining} remain, since equal values stay together"


def _short_between(low: float, high: float, *, last: bool) -> float:
    """Return the number with the fewest decimals in (low, high], or in (low, high) when `high` is the last value."""
    middle = low + (high - low) / 2
    for decimals in range(18):
        step = 10.0**-decimals
        for candidate in (round(middle, decimals), round(math.floor(high / step) * step, decimals)):
            if low < candidate < high or (candidate == high and not last):
                return candidate
    return middle if low < middle else high
