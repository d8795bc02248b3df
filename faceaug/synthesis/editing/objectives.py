"""What a cell of the plan requests of a sample, and the probability with which a sample meets it."""

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

EDIT_PROBABILITY = 0.85
"""Probability of the requested class to which edits go; above the threshold, since edits end around their goal."""
VALUE_TOLERANCE = 0.15  # of a bin's width
SURE_TOLERANCE = 0.48  # of the part of a bin where a reading is sure of it; the gate refuses what is read elsewhere
QUALITY_MARGIN, QUALITY_ROOM = 0.5, 25.0  # log-odds: clear of the threshold, and without a bound above
CLEAR = 0.5  # log-odds above the threshold of the confidence
KEEP_TOLERANCE = 0.3  # of a kept semantic's spread; the threshold of the gate is wider
STILL = 1e-6  # a spread below this is rounding
FAR, BISECTIONS = 20.0, 30  # standard deviations that count as far from the edge of an open bin; halvings of a margin
WIDEN = 0.25  # how far beyond the range of generated faces an open bin is tried, in parts of that range


@dataclass(frozen=True)
class AttributeGoal:
    """What a cell requests of one attribute.

    Attributes
    ----------
    task : Task
    semantic : str
        The name of the direction along which an edit moves.
    level : str
        The axis's level, as in the plan.
    low, high : float
        A value's bin (unused for a class).
    sure : (float, float)
        The part of it where a reading is sure of the bin (`sure_goals`); edits go there.
    """

    task: Task
    semantic: str
    level: str
    low: float = -math.inf
    high: float = math.inf
    sure: tuple[float, float] = (-math.inf, math.inf)


def attribute_goals(axes: Sequence[Axis], levels: dict[str, str], tasks: Sequence[Task]) -> tuple[AttributeGoal, ...]:
    """Return what a cell requests, a goal for each axis."""
    goals = []
    for axis, task in zip(axes, tasks, strict=False):
        level = levels[axis.name]
        if axis.edges is None:
            goals.append(AttributeGoal(task, f"{axis.name}={level}", level))
        else:
            k = axis.levels.index(level)
            goals.append(AttributeGoal(task, axis.name, level, float(axis.edges[k]), float(axis.edges[k + 1])))
    return tuple(goals)


def goal_values(goals: Sequence[AttributeGoal], survey: LatentSurvey, u: Floats, confidence: float = 0.0) -> Floats:
    """Return the values to reach, [N, A], for uniform numbers u [N, A].

    A class is requested at `EDIT_PROBABILITY`, or clear of the threshold `confidence` where that is stricter. A value
    is spread evenly over the part of its bin where a reading is sure of it, within the range of generated faces,
    widened a little; where that part lies outside of it, its near edge is requested, and the gates decide.
    """
    columns = []
    for k, goal in enumerate(goals):
        if goal.task.kind == "classes":
            columns.append(np.full(len(u), max(_logit(EDIT_PROBABILITY), _logit(confidence) + CLEAR)))
            continue
        least, most = survey.range_of(goal.semantic)
        slack = WIDEN * (most - least)
        width = min(goal.high - goal.low, most - least)
        room = min(VALUE_TOLERANCE * width, SURE_TOLERANCE * (goal.sure[1] - goal.sure[0]))
        first = max(goal.low + 0.1 * width, goal.sure[0] + room)
        last = min(goal.high - 0.1 * width, goal.sure[1] - room)
        low, high = max(first, least - slack), min(last, most + slack)
        if low > high:
            low = high = first if first > most + slack else last
        columns.append(low + u[:, k] * (high - low))
    return np.stack(columns, 1)


def edit_objective(
    goals: Sequence[AttributeGoal],
    values: Floats,
    directions: Directions,
    keep: Sequence[str],
    pose_light_names: Sequence[str] = (),
) -> EditObjective:
    """Return the objective of the closed loop: the cell's semantics at `values` [N, A], with the scene and `keep` held.

    `pose_light_names` are the view and light that are read. What no latent changes, such as a background that is always
    white, is not held.
    """
    spreads = dict(zip(directions.names, directions.spread.tolist(), strict=True))
    scene_held = [name for name in kept_scene([p.task for p in goals], pose_light_names) if name not in keep]
    held = tuple(name for name in (*scene_held, *keep) if not spreads[name] <= STILL)
    spread = np.array([spreads[name] for name in held])
    return EditObjective(
        names=tuple(p.semantic for p in goals),
        values=values,
        at_least=np.array([p.task.kind == "classes" for p in goals]),
        tolerance=np.array([0.25 if p.task.kind == "classes" else _tolerance(p, directions) for p in goals]),
        keep=held,
        keep_tolerance=np.maximum(KEEP_TOLERANCE * spread, 1e-9),
    )


class AttributeReader(Protocol):
    """Reads a cell's semantics: a classifier, or the reader that guides edits."""

    @property
    def semantics(self) -> tuple[str, ...]:
        """Names of what is read, in the order of its columns."""

    def sigma(self, attribute: str) -> float:
        """Return the standard deviation of the error of an attribute that is a value."""


def sure_goals(goals: Sequence[AttributeGoal], reader: AttributeReader, confidence: float) -> tuple[AttributeGoal, ...]:
    """Return goals that know where readings are sure of them: where in its bin a value has at least `confidence`."""
    return tuple(replace(goal, sure=_sure(goal, reader, confidence)) for goal in goals)


def _sure(goal: AttributeGoal, reader: AttributeReader, confidence: float) -> tuple[float, float]:
    """Return the part of a bin where readings are sure of it; all numbers for a class, or where there is no such part.

    The probability falls from the middle to the edges, alike on both sides, so a margin is found by bisection.
    """
    if goal.task.kind == "classes" or not (np.isfinite(goal.low) or np.isfinite(goal.high)):
        return -math.inf, math.inf
    most = min(goal.high - goal.low, FAR * reader.sigma(goal.task.name)) / 2
    values, column = np.zeros((1, len(reader.semantics))), reader.semantics.index(goal.semantic)

    def probability(margin: float) -> float:
        values[:, column] = goal.low + margin if np.isfinite(goal.low) else goal.high - margin
        return float(confidences([goal], reader, values)[0, 0])

    if probability(most) < confidence:
        return -math.inf, math.inf
    least = 0.0
    for _ in range(BISECTIONS):
        middle = (least + most) / 2
        least, most = (least, middle) if probability(middle) >= confidence else (middle, most)
    return goal.low + most, goal.high - most


def out_of_reach(
    goals: Sequence[AttributeGoal], directions: Directions, readers: Sequence[tuple[AttributeReader, float]]
) -> str:
    """Return why no attempt at a cell could ever be accepted, or "" where one could.

    Parameters
    ----------
    goals : sequence of AttributeGoal
    directions : Directions
    readers : sequence of (AttributeReader, float)
        Each with the least probability of the request that its gate lets pass.
    """
    for goal in goals:
        if directions.spread[directions.index([goal.semantic])[0]] <= STILL:
            return f"no latent of the generator changes {goal.semantic!r}, so it cannot be edited"
        for reader, least in readers:
            middle = np.zeros((1, len(reader.semantics)))
            middle[:, reader.semantics.index(goal.semantic)] = (goal.low + goal.high) / 2
            if (
                goal.task.kind != "classes"
                and np.isfinite(middle).all()
                and confidences([goal], reader, middle) < least
            ):
                return (
                    f"the bin {goal.level} of {goal.task.name!r} is too narrow for the estimator, whose error is "
                    f"{reader.sigma(goal.task.name):.3g}: no estimate could be confident of it; use wider bins"
                )
    return ""


def within(objective: EditObjective, bright: tuple[float, float], face_quality: float) -> EditObjective:
    """Return the objective with bounds on what is free otherwise.

    The face's luminance may change, for skin may become darker or lighter, but only between `bright`, as real faces do;
    and the log-odds of a face of good quality must stay above `face_quality`.
    """
    least = face_quality + QUALITY_MARGIN
    return replace(
        objective, within=(scene.EXPOSURE, scene.FACE_QUALITY), bounds=np.array([bright, (least, least + QUALITY_ROOM)])
    )


def _logit(p: float) -> float:
    p = min(max(p, 1e-3), 1 - 1e-3)
    return math.log(p / (1 - p))


def _tolerance(goal: AttributeGoal, directions: Directions) -> float:
    spread = float(directions.spread[directions.index([goal.semantic])[0]])
    width = min(goal.high - goal.low, 4 * spread)
    return min(VALUE_TOLERANCE * width, SURE_TOLERANCE * (goal.sure[1] - goal.sure[0]))


def confidences(goals: Sequence[AttributeGoal], reader: AttributeReader, values: Floats) -> Floats:
    """Return the calibrated probability [N, A] of the request, from what was read [N, S].

    For a class its probability; for a value that of lying in the bin, with a normal error of the reading.
    """
    names, columns = list(reader.semantics), []
    for goal in goals:
        read = values[:, names.index(goal.semantic)]
        if goal.task.kind == "classes":
            columns.append(1 / (1 + np.exp(-read)))
        else:
            sigma = reader.sigma(goal.task.name)
            columns.append(_normal((goal.high - read) / sigma) - _normal((goal.low - read) / sigma))
    return np.stack(columns, 1)


def labels(
    goals: Sequence[AttributeGoal], guidance: AttributeReader, held_out: AttributeReader, one: Floats, two: Floats
) -> list[dict[str, Any]]:
    """Return the label that each sample gets: the cell's class, or the mean of both readings, within the bin."""
    rows: list[dict[str, Any]] = [{} for _ in range(len(one))]
    for goal in goals:
        if goal.task.kind == "classes":
            for row in rows:
                row[goal.task.name] = goal.level
            continue
        both = (one[:, guidance.semantics.index(goal.semantic)] + two[:, held_out.semantics.index(goal.semantic)]) / 2
        both = np.clip(both, goal.low, np.nextafter(goal.high, -np.inf))
        for row, value in zip(rows, both, strict=True):
            row[goal.task.name] = float(value)
    return rows


def _normal(x: Floats) -> Floats:
    return np.asarray([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
