"""Intervals of shares that come from measured columns: their sampling, and the error of the measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from faceaug.analysis.axes import Axis, Codes, attribute, cell_count, numbers
from faceaug.analysis.imbalance import Counts
from faceaug.utils.typing import Floats

ERROR_SUFFIX = "_error"
"""Suffix of the column with the standard errors of a column."""
INTERVAL_LEVEL = 0.95
_MOST_PRODUCTS = 1 << 22  # rows x cells at a time; bounds the memory


def known_errors(table: pd.DataFrame, axes: Sequence[Axis], given: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the standard errors [N] of the columns of numbers among the axes: those given, or of columns "X_error"."""
    errors = {}
    for axis in axes:
        if axis.edges is None:
            continue
        if axis.name in given:
            errors[axis.name] = given[axis.name]
        elif axis.name + ERROR_SUFFIX in table.columns:
            errors[axis.name] = numbers(attribute(table, axis.name + ERROR_SUFFIX), axis.name + ERROR_SUFFIX)
    return errors


def share_intervals(
    table: pd.DataFrame, axes: Sequence[Axis], levels: Sequence[Codes], counts: Counts, errors: Mapping[str, Floats]
) -> Floats | None:
    """Return an interval for the share of each cell (docs/method.md, Balancing).

    Wilson's score interval of the share, for faces as a sample, is widened on both sides by how much the share changes
    when every value is moved by its error once more. The counted shares contain the error once, so this change
    estimates what it did to them (the step of SIMEX, Cook and Stefanski, J. Am. Stat. Assoc. 89, 1994).

    Parameters
    ----------
    table : DataFrame
    axes : sequence of Axis
    levels : int64 [N] for each axis
        From `Axis.assign`.
    counts : int64 [cells]
    errors : mapping of str to float64 [N]
        Standard errors by the names of axes, from `known_errors`; other axes are taken as exact.

    Returns
    -------
    float64 [cells, 2] or None
        None where no axis has errors.
    """
    if not any(axis.name in errors for axis in axes):
        return None
    blurred = np.zeros(cell_count(axes))
    step = max(1, _MOST_PRODUCTS // len(blurred))
    for start in range(0, len(table), step):
        rows = slice(start, start + step)
        product = np.ones((len(table.iloc[rows]), 1))
        for axis, codes in zip(axes, levels, strict=True):
            if axis.name in errors:
                values = numbers(attribute(table.iloc[rows], axis.name), axis.name)
                of_axis = _probabilities(values, errors[axis.name][rows], axis, codes[rows])
            else:
                of_axis = _exact(codes[rows], len(axis.levels))
            product = (product[:, :, None] * of_axis[:, None, :]).reshape(len(product), -1)
        blurred += product.sum(0)
    shares = counts / counts.sum()
    moved = np.abs(blurred / max(blurred.sum(), np.finfo(np.float64).tiny) - shares)
    low, high = _wilson(shares, int(counts.sum()))
    return np.stack([np.maximum(low - moved, 0.0), np.minimum(high + moved, 1.0)], 1)


def _probabilities(values: Floats, errors: Floats, axis: Axis, codes: Codes) -> Floats:
    """Return the probability [N, levels] of each bin for values that are moved by a normal error."""
    assert axis.edges is not None
    known = np.isfinite(values) & (errors > 0)
    result = _exact(codes, len(axis.levels))
    steps = (np.array(axis.edges) - values[known, None]) / errors[known, None]
    result[known] = np.diff(norm.cdf(steps), axis=1)
    return result


def _exact(codes: Codes, levels: int) -> Floats:
    return np.asarray(codes[:, None] == np.arange(levels), np.float64)


def _wilson(shares: Floats, total: int) -> tuple[Floats, Floats]:
    """Return Wilson's score interval of shares of `total` faces (J. Am. Stat. Assoc. 22, 1927)."""
    z = float(norm.ppf((1 + INTERVAL_LEVEL) / 2))
    middle = (shares + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(shares * (1 - shares) / total + (z / (2 * total)) ** 2)
    return middle - half, middle + half
