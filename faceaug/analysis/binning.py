"""Cutting a column of numbers into bins: the edges, and labels for them without noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from faceaug.errors import UsageError
from faceaug.utils.text import shown

Edges = tuple[float, ...]


def equal_width(values: npt.NDArray[np.float64], bins: int, name: str) -> tuple[Edges, str]:
    """Return the edges of bins of equal width from the least to the greatest value, and a note (mostly empty).

    Whole numbers get whole edges: [1, 15.14) and [1, 16) hold the same whole numbers.

    Parameters
    ----------
    values : float64 [N]
        Finite, N >= 1.
    bins : int
        How many bins, at least 2.
    name : str
        The column, for errors.

    Raises
    ------
    UsageError
        When the column holds one value only, or reaches further than float64 does.
    """
    low, high = _range(values, name)
    edges = np.unique(np.linspace(low, high, bins + 1))
    if bool(np.all(values == np.floor(values))):
        whole = np.ceil(edges)
        if bool(np.all(np.diff(whole) > 0)):
            edges = whole
    return tuple(map(float, edges)), _merged("equal-width", bins, len(edges) - 1)


def quantiles(values: npt.NDArray[np.float64], bins: int, name: str) -> tuple[Edges, str]:
    """Return the edges of bins that hold about the same number of rows, and a note when ties left fewer of them.

    Equal values stay together: each cut lies between two neighbouring distinct values, where the number of rows below
    it is nearest to what was asked, so that no bin is empty. Parameters and errors as in `equal_width`.
    """
    low, high = _range(values, name)
    distinct, rows = np.unique(values, return_counts=True)
    below = np.cumsum(rows)[:-1]  # [distinct - 1] rows below a cut after distinct value i
    wished = np.arange(1, bins) * (len(values) / bins)
    right = np.minimum(np.searchsorted(below, wished), len(below) - 1)
    left = np.maximum(right - 1, 0)
    cuts = np.unique(np.where(np.abs(wished - below[left]) <= np.abs(below[right] - wished), left, right))
    inner = [_short_between(float(distinct[i]), float(distinct[i + 1]), last=i + 2 == len(distinct)) for i in cuts]
    edges = np.unique(np.array([low, *inner, high]))
    return tuple(map(float, edges)), _merged("quantile", bins, len(edges) - 1)


def bin_codes(values: npt.NDArray[np.float64], edges: Sequence[float]) -> npt.NDArray[np.int64]:
    """Return the bin of each value: right-open bins, the last one closed; -1 for NaN and what lies outside.

    Parameters
    ----------
    values : float64 [N]
    edges : increasing, [bins + 1]

    Returns
    -------
    int64 [N], from -1 to bins - 1
    """
    codes = np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="right").astype(np.int64) - 1
    codes[values == edges[-1]] = len(edges) - 2
    codes[~(values <= edges[-1])] = -1  # NaN compares false
    return codes


def edge_labels(edges: Sequence[float]) -> tuple[str, ...]:
    """Return a label for each bin, as "-10 to 10", with no more digits than it takes to tell the edges apart."""
    names: list[str] = []
    for digits in range(6, 18):
        names = [tidy(edge, digits) for edge in edges]
        if len(set(names)) == len(names):
            break
    return tuple(f"{low} to {high}" for low, high in itertools.pairwise(names))


def tidy(value: float, digits: int = 6) -> str:
    """Return a number as a person writes it: "10", "-0.25"; no exponent, `digits` digits (more before the point)."""
    whole_digits = len(str(int(abs(value))))
    text = format(Decimal(format(value, f".{max(digits, whole_digits)}g")), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _range(values: npt.NDArray[np.float64], name: str) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise UsageError(
            f"the column {shown(name)} holds the single value {tidy(low)} and cannot be cut into bins; "
            f"write {shown(name)} alone"
        )
    if not math.isfinite(high - low):
        raise UsageError(
            f"the column {shown(name)} reaches from {low:g} to {high:g}, too far to cut; give edges instead"
        )
    return low, high


def _merged(kind: str, asked: int, left: int) -> str:
    if left == asked:
        return ""
    return f"{asked} {kind} bins were asked, {left} remain, since equal values stay together"


def _short_between(low: float, high: float, *, last: bool) -> float:
    """Return the number with the fewest decimals in (low, high], or in (low, high) when `high` is the last value."""
    middle = low + (high - low) / 2
    for decimals in range(18):
        step = 10.0**-decimals
        for candidate in (round(middle, decimals), round(math.floor(high / step) * step, decimals)):
            if low < candidate < high or (candidate == high and not last):
                return candidate
    return middle if low < middle else high
