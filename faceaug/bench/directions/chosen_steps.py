"""The step by which a method edits an attribute: which component, which sign, how long. Selection faces decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceaug.bench.directions.attribute_readers import AttributeReaders
from faceaug.bench.directions.direction_methods import DirectionFinder
from faceaug.bench.directions.edit_effects import edited_images
from faceaug.generators.base import Generator
from faceaug.utils.typing import Floats


@dataclass(frozen=True, eq=False)
class ChosenStep:
    """How a method edits an attribute.

    Attributes
    ----------
    step : float64 [D]
        Of Mahalanobis length 1, towards higher readings.
    component : int or None
        Its number among the components of a method without names, from 0.
    response : float
        Change of the guidance reading by that step on the selection faces, above 0.
    length : float
        Of the edit that changes the reading by one standard deviation; the longest allowed where more would be needed.
    reached : bool
        Whether no more is needed.
    """

    step: Floats
    component: int | None
    response: float
    length: float
    reached: bool


def choose_steps(
    generator: Generator,
    readers: AttributeReaders,
    finder: DirectionFinder,
    method: str,
    w: Floats,
    reach: float,
) -> dict[str, ChosenStep]:
    """Return the step of a method for each attribute that it has a direction of.

    Parameters
    ----------
    generator, readers, finder
    method : str
    w : float64 [N, D]
        Of the selection faces.
    reach : float
        Longest edit.
    """
    directions = finder.find(method)
    moved = _responses(generator, readers, w, directions.steps)
    chosen = {}
    for name in readers.names:
        column = readers.semantics.index(name)
        if not directions.names:
            row: int | None = int(np.abs(moved[:, column]).argmax())
        else:
            row = directions.names.index(name) if name in directions.names else None
        if row is None:
            continue
        response = float(moved[row, column])
        needed = finder.guidance.spread[column] / max(abs(response), 1e-12)
        chosen[name] = ChosenStep(
            directions.steps[row] * (-1.0 if response < 0 else 1.0),
            None if directions.names else row,
            max(abs(response), 1e-12),
            float(min(needed, reach)),
            bool(needed <= reach),
        )
    return chosen


def _responses(generator: Generator, readers: AttributeReaders, w: Floats, steps: Floats) -> Floats:
    """Return how the guidance readings [K, S] of faces change by each step: half the difference of both ways."""
    found = []
    for step in steps:
        above, below = (readers.guidance(edited_images(generator, w + sign * step)) for sign in (1, -1))
        found.append((above - below).mean(0) / 2)
    return np.stack(found)
