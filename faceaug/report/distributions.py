"""Histograms of what was measured on faces, real and synthetic, with the target distribution over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from faceaug.datasets.dataset import FaceDataset
from faceaug.pages.histogram import HistogramPlot, histogram_plot
from faceaug.planning.plan import Plan
from faceaug.report.before_after import engines_by_colour
from faceaug.report.faces.samples import StoredSamples
from faceaug.utils.typing import Floats

_MEASURED = ("yaw", "light", "age", "pitch", "light_x", "light_y", "roll")
_MOST = 8


def measured_histograms(
    samples: StoredSamples, plan: Plan, dataset: FaceDataset | None
) -> list[tuple[str, HistogramPlot]]:
    """Return name and histogram of each quantity that is known of samples: axes with bins first, then view, light, age.

    The target by bin is drawn where the plan counts by the quantity: planned samples, and real faces where these are
    drawn.
    """
    binned = {axis.name: axis for axis in plan.axes if axis.edges is not None}
    plots = []
    for name in dict.fromkeys([*binned, *_MEASURED]):
        synthetic = _of_samples(samples, name)
        values = {"real": _of_dataset(dataset, name), **synthetic}
        known = {colour: each for colour, each in values.items() if np.isfinite(each).any()}
        if not known or not any(np.isfinite(each).any() for each in synthetic.values()):
            continue
        axis, target = binned.get(name), _target(plan, name, real="real" in known)
        unit = next((c.unit for c in samples.columns if c.name == name and c.unit not in ("", "as labelled")), "")
        about = f"{name}{f', {unit}' if unit else ''}"
        edges = axis.edges if axis is not None and axis.edges is not None else ()
        plot = histogram_plot(_said(about, known), known, edges=edges, target=target)
        plots.append((about, plot))
    return plots[:_MOST]


def _of_samples(samples: StoredSamples, name: str) -> dict[str, Floats]:
    """Return the values of a quantity by the colour of the engine: its label, or else what was measured."""
    values = samples.numbers.get(name, samples.numbers.get(f"semantic/{name}"))
    if values is None:
        return {}
    engines = np.array(samples.engines, object)
    colours = engines_by_colour(list(dict.fromkeys(samples.engines)))
    return {colour: values[np.isin(engines, names)] for colour, names in colours.items()}


def _of_dataset(dataset: FaceDataset | None, name: str) -> Floats:
    if dataset is None or name not in dataset.table.columns:
        return np.zeros(0)
    return np.asarray(pd.to_numeric(dataset.table[name], errors="coerce"), np.float64)


def _target(plan: Plan, name: str, *, real: bool) -> list[int]:
    """Return planned samples of each level of an axis, with its real faces if asked for; empty without such an axis."""
    levels = next((axis.levels for axis in plan.axes if axis.name == name and axis.edges is not None), ())
    return [
        sum(cell.planned + (cell.real if real else 0) for cell in plan.cells if cell.levels[name] == level)
        for level in levels
    ]


def _said(about: str, values: Mapping[str, Any]) -> str:
    """Return a histogram in words."""
    count = sum(int(np.isfinite(each).sum()) for each in values.values())
    everything = np.concatenate([each[np.isfinite(each)] for each in values.values()])
    low, middle, high = np.quantile(everything, [0.05, 0.5, 0.95])
    return f"Histogram of {about}: {count:,} faces, median {middle:.3g}, nine of ten between {low:.3g} and {high:.3g}"
