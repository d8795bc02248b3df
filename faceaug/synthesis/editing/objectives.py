"""What a cell of the plan asks of a sample: which semantics to reach, and with what probability a reading meets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from faceaug.analysis.axes import Axis
from faceaug.appearance import scene
from faceaug.classifiers.classifier import Task
from faceaug.latents.directions import Directions
from faceaug.synthesis.editing.closed_loop import EditObjective
from faceaug.synthesis.editing.readout import kept_scene
from faceaug.synthesis.latent_survey import LatentSurvey
from faceaug.utils.typing import Floats

AIM = 0.85
"""Probability of the asked class that an edit aims at, above what the gate asks for: edits land around their aim."""
VALUE_TOLERANCE = 0.15  # of a bin's width
SOUND_MARGIN, SOUND_ROOM = 0.5, 25.0  # log-odds: clear of the gate, and no face is too sound
CLEAR = 0.5  # log-odds above the gate's confidence
KEEP_TOLERANCE = 0.3  # of a kept semantic's spread; the gate's limit is wider
STILL = 1e-6  # a spread below this is rounding
WIDEN = 0.25  # how far beyond the range of draws an open bin is tried, in parts of that range


@dataclass(frozen=True)
class AttributeGoal:
    """One attribute's part of what a cell asks.

    Attributes
    ----------
    task : Task
    semantic : str
        The name of the direction to move along.
    level : str
        The axis's level, as in the plan.
    low, high : float
        A value's bin (unused for a class).
    """

    task: Task
    semantic: str
    level: str
    low: float = -math.inf
    high: float = math.inf


def attribute_goals(axes: Sequence[Axis], levels: dict[str, str], tasks: Sequence[Task]) -> tuple[AttributeGoal, ...]:
    """Return what a cell asks, an entry for each axis."""
    found = []
    for axis, task in zip(axes, tasks, strict=False):
        level = levels[axis.name]
        if axis.edges is None:
            found.append(AttributeGoal(task, f"{axis.name}={level}", level))
        else:
            k = axis.levels.index(level)
            found.append(AttributeGoal(task, axis.name, level, float(axis.edges[k]), float(axis.edges[k + 1])))
    return tuple(found)


def goal_values(parts: Sequence[AttributeGoal], found: LatentSurvey, u: Floats, confidence: float = 0.0) -> Floats:
    """Return the values to aim at: [N, A] for uniform numbers u [N, A].

    A class is asked for at `AIM`, or clear of the gate's `confidence` where that is stricter. A value is spread evenly
    over its bin, as far as the generator's draws reach, widened a little; where the bin lies beyond, its near edge is
    asked for, and gates find out.
    """
    columns = []
    for k, part in enumerate(parts):
        if part.task.kind == "classes":
            columns.append(np.full(len(u), max(_logit(AIM), _logit(confidence) + CLEAR)))
            continue
        least, most = found.range_of(part.semantic)
        slack = WIDEN * (most - least)
        margin = 0.1 * min(part.high - part.low, most - least)
        low, high = max(part.low + margin, least - slack), min(part.high - margin, most + slack)
        if low > high:
            low = high = part.low + margin if part.low > most else part.high - margin
        columns.append(low + u[:, k] * (high - low))
    return np.stack(columns, 1)


def edit_objective(
    parts: Sequence[AttributeGoal],
    aim: Floats,
    directions: Directions,
    keep: Sequence[str],
    surroundings: Sequence[str] = (),
) -> EditObjective:
    """Return the request for the closed loop: the cell's semantics at `aim` [N, A], the scene and `keep` held.

    `surroundings` are the view and light that are read. What no draw changes, such as a background that is white in all
    of them, needs no holding.
    """
    spreads = dict(zip(directions.names, directions.spread.tolist(), strict=True))
    scene_held = [name for name in kept_scene([p.task for p in parts], surroundings) if name not in keep]
    held = tuple(name for name in (*scene_held, *keep) if not spreads[name] <= STILL)
    spread = np.array([spreads[name] for name in held])
    return EditObjective(
        names=tuple(p.semantic for p in parts),
        aim=aim,
        at_least=np.array([p.task.kind == "classes" for p in parts]),
        tolerance=np.array([0.25 if p.task.kind == "classes" else _tolerance(p, directions) for p in parts]),
        keep=held,
        keep_tolerance=np.maximum(KEEP_TOLERANCE * spread, 1e-9),
    )


class AttributeReader(Protocol):
    """What reads a cell's semantics: a probe, or the reader that steers."""

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of what is read, in the order of its columns."""

    def sigma(self, attribute: str) -> float:
        """Return the standard deviation of the error of an attribute that is a value."""


def out_of_reach(
    parts: Sequence[AttributeGoal], directions: Directions, probes: Sequence[tuple[AttributeReader, float]]
) -> str:
    """Return why no attempt at a cell could ever be accepted, or "" where one could.

    Parameters
    ----------
    parts : sequence of AttributeGoal
    directions : Directions
    probes : sequence of (Probe, float)
        Each with the least probability of what is asked that its gate lets pass.
    """
    for part in parts:
        if directions.spread[directions.index([part.semantic])[0]] <= STILL:
            return f"no draw of the generator changes {part.semantic!r}, so it cannot be steered"
        for probe, least in probes:
            middle = np.zeros((1, len(probe.semantics)))
            middle[:, probe.semantics.index(part.semantic)] = (part.low + part.high) / 2
            if part.task.kind != "classes" and np.isfinite(middle).all() and confidences([part], probe, middle) < least:
                return (
                    f"the bin {part.level} of {part.task.name!r} is too narrow for what reads it, which errs by "
                    f"{probe.sigma(part.task.name):.3g}: no reading could be sure of it; ask for wider bins"
                )
    return ""


def within(ask: EditObjective, bright: tuple[float, float], sound: float) -> EditObjective:
    """Return the request with bounds on what is free otherwise.

    The face's luminance may change, for skin may become darker or lighter, but only between `bright`, as real faces do;
    and the log-odds of a sound face must stay above `sound`.
    """
    least = sound + SOUND_MARGIN
    return replace(
        ask, within=(scene.EXPOSURE, scene.SOUNDNESS), bounds=np.array([bright, (least, least + SOUND_ROOM)])
    )


def _logit(p: float) -> float:
    p = min(max(p, 1e-3), 1 - 1e-3)
    return math.log(p / (1 - p))


def _tolerance(part: AttributeGoal, directions: Directions) -> float:
    spread = float(directions.spread[directions.index([part.semantic])[0]])
    return VALUE_TOLERANCE * min(part.high - part.low, 4 * spread)


def confidences(parts: Sequence[AttributeGoal], probe: AttributeReader, values: Floats) -> Floats:
    """Return the calibrated probability [N, A] of what is asked, from what was read [N, S].

    For a class its probability; for a value, of lying in the bin, with the reading's error taken as normal.
    """
    names, columns = list(probe.semantics), []
    for part in parts:
        read = values[:, names.index(part.semantic)]
        if part.task.kind == "classes":
            columns.append(1 / (1 + np.exp(-read)))
        else:
            sigma = probe.sigma(part.task.name)
            columns.append(_normal((part.high - read) / sigma) - _normal((part.low - read) / sigma))
    return np.stack(columns, 1)


def labels(
    parts: Sequence[AttributeGoal], steering: AttributeReader, judge: AttributeReader, one: Floats, two: Floats
) -> list[dict[str, Any]]:
    """Return the label that each sample gets: the cell's class, or the mean of both probes' readings, in the bin."""
    rows: list[dict[str, Any]] = [{} for _ in range(len(one))]
    for part in parts:
        if part.task.kind == "classes":
            for row in rows:
                row[part.task.name] = part.level
            continue
        both = (one[:, steering.semantics.index(part.semantic)] + two[:, judge.semantics.index(part.semantic)]) / 2
        both = np.clip(both, part.low, np.nextafter(part.high, -np.inf))
        for row, value in zip(rows, both, strict=True):
            row[part.task.name] = float(value)
    return rows


def _normal(x: Floats) -> Floats:
    return np.asarray([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
