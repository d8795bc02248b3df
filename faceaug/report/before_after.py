"""Before and after: counts of cells as small multiples, figures of imbalance with their meaning, and maps of pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceaug.analysis.axes import describe
from faceaug.analysis.imbalance import imbalance_metrics
from faceaug.shards.manifest import CellRecord
from faceaug.utils.text_table import number
from faceaug.utils.typing import Indices

MOST_CELLS, _MOST_PAIRS, _MOST_LEVELS = 1000, 6, 24
ENGINE_COLOURS = 6


def engines_by_colour(engines: Sequence[str]) -> dict[str, list[str]]:
    """Return the engines of each colour class; where there are more engines than colours, the last ones share one."""
    found: dict[str, list[str]] = {}
    for k, name in enumerate(engines):
        found.setdefault(f"engine-{min(k, ENGINE_COLOURS - 1)}", []).append(name)
    return found


@dataclass(frozen=True)
class CellBar:
    """The bar of a cell.

    Attributes
    ----------
    levels : mapping of str to str
        Level of each axis.
    counts : mapping of str to int
        Its parts by colour, in their order.
    said : str
        The counts in words.
    text : str
        The numbers beside it.
    planned : int
        Cells with more are shown first where there are too many.
    """

    levels: Mapping[str, str]
    counts: Mapping[str, int]
    said: str
    text: str
    planned: int = 0


def run_bars(cells: Sequence[CellRecord], by_engine: Mapping[str, Indices]) -> list[CellBar]:
    """Return the bars of a run: real faces, samples by engine (int64 [cells] each), and what is short."""
    colours = engines_by_colour(list(by_engine))
    bars = []
    for cell in cells:
        made = {name: int(counts[cell.index]) for name, counts in by_engine.items() if counts[cell.index]}
        parts = {colour: sum(made.get(name, 0) for name in names) for colour, names in colours.items()}
        counts = {"real": cell.real, **parts, "short": cell.short}
        said = [f"{cell.real:,} real", *(f"{count:,} {name}" for name, count in made.items()), f"{cell.short:,} short"]
        text = f"{cell.real:,} → {cell.real + cell.accepted:,}" if cell.planned else f"{cell.real:,}"
        bars.append(CellBar(cell.attributes, counts, ", ".join(said), text, cell.planned))
    return bars


def cell_panels(bars: Sequence[CellBar]) -> list[dict[str, Any]]:
    """Return small multiples: a panel for each combination of levels but those of one axis, whose levels are its rows.

    That axis is the one with the most levels. Bars have one scale, so that panels can be compared. With more than
    `MOST_CELLS` cells, panels with the fewest planned samples are left out.
    """
    if not bars:
        return []
    levels = axis_levels([bar.levels for bar in bars])
    along = max(levels, key=lambda axis: (len(levels[axis]), list(levels).index(axis)))
    largest = max(1, *(sum(bar.counts.values()) for bar in bars))
    panels: dict[str, dict[str, Any]] = {}
    for bar in bars:
        others = describe({axis: level for axis, level in bar.levels.items() if axis != along})
        panel = panels.setdefault(others, {"title": others or along, "rows": [], "planned": 0})
        panel["planned"] += bar.planned
        panel["rows"].append(
            {
                "label": bar.levels[along],
                "title": f"{describe(bar.levels)}: {bar.said}",
                "parts": [(colour, 100 * count / largest) for colour, count in bar.counts.items() if count],
                "text": bar.text,
            }
        )
    shown = max(1, MOST_CELLS // len(levels[along]))
    kept = sorted(panels.values(), key=lambda panel: -panel["planned"])[:shown]
    return [panel for panel in panels.values() if any(panel is other for other in kept)]


def imbalance_rows(before: Indices, after: Indices) -> list[dict[str, str]]:
    """Return figures of imbalance of the cells before and after, each with a sentence on what it means."""
    if not len(before) or not before.sum() or not after.sum():
        return []
    uniform = np.full(len(before), 1 / len(before))
    old, new = imbalance_metrics(before, uniform, 0), imbalance_metrics(after, uniform, 0)
    rows = (
        (
            "largest : smallest",
            number(old.imbalance_ratio),
            number(new.imbalance_ratio),
            "Faces of the largest cell for each face of the smallest one that is not empty; 1 is even.",
        ),
        (
            "evenness",
            f"{old.evenness:.3f}",
            f"{new.evenness:.3f}",
            "Shannon entropy of the shares over its largest value: 1 if all cells are equal, 0 if one has all faces.",
        ),
        (
            "effective cells",
            f"{old.effective_groups:.1f}",
            f"{new.effective_groups:.1f}",
            f"As uneven as so many equal cells would be; there are {old.groups:,} cells.",
        ),
        (
            "empty cells",
            number(old.empty),
            number(new.empty),
            "Combinations of levels without any face, of which a model sees no example.",
        ),
        (
            "divergence from equal shares",
            f"{old.kl_from_reference:.3f}",
            f"{new.kl_from_reference:.3f}",
            "Kullback-Leibler divergence in nats: the surprise of who expects equal cells; 0 is even.",
        ),
    )
    return [dict(zip(("name", "before", "after", "meaning"), row, strict=True)) for row in rows]


def pair_maps(cells: Sequence[CellRecord]) -> list[dict[str, Any]]:
    """Return heat maps of counts for pairs of axes, before and after, the least even pairs first.

    Axes of more than 24 levels are left out. The shades of both maps of a pair have one scale.
    """
    levels = {
        axis: own for axis, own in axis_levels([cell.attributes for cell in cells]).items() if len(own) <= _MOST_LEVELS
    }
    pairs = []
    for first, second in itertools.combinations(levels, 2):
        shape = (len(levels[first]), len(levels[second]))
        counts = {"before": np.zeros(shape, np.int64), "after": np.zeros(shape, np.int64)}
        for cell in cells:
            place = levels[first].index(cell.attributes[first]), levels[second].index(cell.attributes[second])
            counts["before"][place] += cell.real
            counts["after"][place] += cell.real + cell.accepted
        shares = counts["before"].ravel() / max(1, counts["before"].sum())
        pairs.append((float(np.sum(shares**2)) * len(shares), first, second, counts))
    pairs.sort(key=lambda pair: -pair[0])
    return [
        {
            "name": f"{first} by {second}",
            "maps": [
                heat_map(when, levels[first], levels[second], own, max(1, int(max(c.max() for c in counts.values()))))
                for when, own in counts.items()
            ],
        }
        for _, first, second, counts in pairs[:_MOST_PAIRS]
    ]


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], counts: Indices, largest: int) -> dict[str, Any]:
    """Return what the macro `heat_map` of parts.html.jinja draws, of counts [rows, columns]."""
    return {
        "title": title,
        "columns": list(columns),
        "rows": [
            (name, [(f"{count:,}", count / largest) for count in own])
            for name, own in zip(rows, counts.tolist(), strict=True)
        ],
    }


def axis_levels(cells: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the levels of each axis, in the order in which cells, by their levels, have them."""
    axes = list(cells[0]) if cells else []
    return {axis: list(dict.fromkeys(cell[axis] for cell in cells)) for axis in axes}
