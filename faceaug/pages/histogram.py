"""Histograms of one quantity as inline SVG: stacked bars by source, and the target distribution as a line over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceaug.utils.text_table import number
from faceaug.utils.typing import Floats

_WIDTH, _HEIGHT = 360, 190  # of the drawing; a page shows it about as large
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 350, 10, 166
_BINS, _TICKS = 36, 5


@dataclass(frozen=True)
class HistogramPlot:
    """What the macro `histogram` of parts.html.jinja draws, in units of the drawing.

    Attributes
    ----------
    about : str
        What a screen reader says.
    bars : list of dict
        Colour, x, y, width, height of each.
    target : str
        Points of the line of the target distribution; empty without one.
    ticks_x, ticks_y : list of dict
        Position and text.
    """

    about: str
    bars: list[dict[str, Any]]
    target: str
    ticks_x: list[dict[str, Any]]
    ticks_y: list[dict[str, Any]]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM


def histogram_plot(
    about: str,
    values: Mapping[str, Floats],
    *,
    edges: Sequence[float] = (),
    target: Sequence[float] = (),
) -> HistogramPlot:
    """Return a histogram.

    Parameters
    ----------
    about : str
        What it shows, for a screen reader.
    values : mapping of str to float64 [N]
        Values by colour ("real", "engine-0" ...), stacked in this order; those that are not finite are left out. At
        least one is finite.
    edges : sequence of float, length B + 1
        Edges of bins to which the target distribution refers.
    target : sequence of float, length B
        Wanted count of each of these bins; spread evenly over the bin.
    """
    known = {colour: each[np.isfinite(each)] for colour, each in values.items()}
    bounds = _bounds(np.concatenate(list(known.values())))
    counts = {colour: np.histogram(each, bounds)[0] for colour, each in known.items()}
    step = bounds[1] - bounds[0]
    wanted = [
        (low, high, count * step / (high - low))
        for count, low, high in zip(target, edges, edges[1:], strict=False)
        if high > bounds[0] and low < bounds[-1]
    ]
    stacked = np.sum(list(counts.values()), 0)
    top = max([1.0, float(stacked.max()), *(count for _, _, count in wanted)])

    def x(value: float) -> float:
        share = (min(max(value, bounds[0]), bounds[-1]) - bounds[0]) / (bounds[-1] - bounds[0])
        return float(round(_LEFT + share * (_RIGHT - _LEFT), 1))

    def y(count: float) -> float:
        return float(round(_BOTTOM - count / top * (_BOTTOM - _TOP), 1))

    bars, below = [], np.zeros(len(bounds) - 1)
    for colour, own in counts.items():
        for k in np.flatnonzero(own).tolist():
            low, high = y(below[k]), y(below[k] + own[k])
            width = max(round(x(bounds[k + 1]) - x(bounds[k]) - 0.6, 1), 0.5)
            bars.append(
                {"colour": colour, "x": x(bounds[k]), "y": high, "width": width, "height": round(low - high, 1)}
            )
        below += own
    return HistogramPlot(
        about=about,
        bars=bars,
        target=" ".join(f"{x(low)},{y(count)} {x(high)},{y(count)}" for low, high, count in wanted),
        ticks_x=[{"at": x(tick), "text": f"{tick:g}"} for tick in round_ticks(bounds[0], bounds[-1])],
        ticks_y=[{"at": y(tick), "text": number(tick)} for tick in round_ticks(0.0, top) if tick],
    )


def round_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between two others."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(step * k, 6) for k in range(first, last + 1)]


def _bounds(values: Floats) -> Floats:
    """Return equal bins over all but the outermost thousandths of values."""
    low, high = np.quantile(values, [0.001, 0.999])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)
