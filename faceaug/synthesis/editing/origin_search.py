"""The latents at which attempts at a cell begin, and what its samples must be like.

The survey has read many faces, and those that are nearly what a cell requests cost no image: attempts begin with them,
each once in a run. Where there are no more of them, a straight line from a random face to a rare one leaves the region
where the generator is good. So a few generations of mixtures of latents are searched for faces near the cell that are
of good quality, well exposed and near to real ones, and attempts begin at mixtures of those with fresh latents. The
held-out classifier's labels take no part in the choice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceaug.appearance import scene
from faceaug.generators.base import Generator
from faceaug.generators.sampling import sample_latents
from faceaug.latents.directions import Directions
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.editing.closed_loop import EditObjective
from faceaug.synthesis.editing.objectives import AttributeGoal
from faceaug.synthesis.latent_survey import LatentSurvey, RealFaces
from faceaug.utils.typing import Floats

Seeds = Sequence[np.random.SeedSequence]
PARENT = 0.8  # share of a parent in the mixture that an attempt begins with; the rest, in quadrature, is fresh
PARENTS = 128  # latents that attempts at a cell begin near
KIN = 2  # of them may descend from one surveyed latent
READY = 0.5
"""Cost up to which attempts begin with a surveyed face; beyond it, they are accepted less than after a search."""
NEAR_SHARE = 0.1  # of the surveyed latents count as near a cell; its samples must be like their faces
EXPOSURE_SHARE = 0.1  # of the cell's real faces are darker than edits may make a face, and as many brighter
GENERATIONS, OFFSPRING = 3, 256
SEARCH_KEY = 2**31  # spawn keys of the search's seeds follow those of attempts


@dataclass(frozen=True)
class CellThresholds:
    """How realistic the samples of a cell must be.

    Attributes
    ----------
    remote, face_quality : float
        Largest distance to real faces, least log-odds of a face of good quality.
    bright : (float, float)
        Luminances between which edits keep the face.
    """

    remote: float
    face_quality: float
    bright: tuple[float, float]


@dataclass(frozen=True)
class FaceReadings:
    """What is known of faces that may serve as origins.

    Attributes
    ----------
    read : float [N, S]
        In the order of the directions' names.
    remoteness, discolouring : float64 [N]
        As `RealFaces` measures them.
    """

    read: Floats
    remoteness: Floats
    discolouring: Floats


@dataclass(frozen=True)
class Parents:
    """Latents near a cell.

    Attributes
    ----------
    w : float64 [M, D]
    read : float64 [M, S]
        How their faces read.
    cost : float64 [M]
        How far each is from what the cell requests.
    lineage : int64 [M]
        The surveyed latent from which each descends.
    """

    w: Floats
    read: Floats
    cost: Floats
    lineage: NDArray[np.int64]

    def best(self, count: int) -> Parents:
        """Return the `count` of least cost, of equals the first, and at most `KIN` of one lineage."""
        taken: list[int] = []
        kin: Counter[int] = Counter()
        for row in np.argsort(self.cost, kind="stable").tolist():
            if kin[int(self.lineage[row])] < KIN:
                kin[int(self.lineage[row])] += 1
                taken.append(row)
            if len(taken) == count:
                break
        return Parents(self.w[taken], self.read[taken], self.cost[taken], self.lineage[taken])

    def joined(self, other: Parents) -> Parents:
        """Return both together."""
        return Parents(
            np.concatenate([self.w, other.w]),
            np.concatenate([self.read, other.read]),
            np.concatenate([self.cost, other.cost]),
            np.concatenate([self.lineage, other.lineage]),
        )


def cell_thresholds(
    latents: LatentSurvey, real: RealFaces, thresholds: AcceptanceThresholds, cell: int, near: NDArray[np.int64]
) -> CellThresholds:
    """Return what samples of a cell must be like, by the surveyed latents `near` it.

    By all generated faces, a turned head or dark skin would count against a face where few of them have either.
    """
    return CellThresholds(
        remote=float(np.quantile(latents.remoteness[near], thresholds.realistic)),
        face_quality=float(np.quantile(latents.column(scene.FACE_QUALITY)[near], thresholds.face_quality)),
        bright=real.bright(EXPOSURE_SHARE, cell),
    )


def nearest_latents(latents: LatentSurvey, objective: EditObjective, precision: Floats) -> NDArray[np.int64]:
    """Return the rows of the surveyed latents that need the shortest edit for a cell's mean goal, nearest first."""
    read = np.stack([latents.column(name) for name in objective.names], 1)
    length = EditLengths(latents.directions, objective, precision)(objective.values.mean(0) - read)
    return np.argsort(length, kind="stable")[: max(2 * PARENTS, int(NEAR_SHARE * len(length)))]


class EditLengths:
    """The Mahalanobis length [N] of the edits that would make up for what is missing [N, K] of an objective.

    Parameters
    ----------
    directions : Directions
    objective : EditObjective
    precision : float64 [D, D]
        Pseudo-inverse of the covariance of latents.
    """

    def __init__(self, directions: Directions, objective: EditObjective, precision: Floats) -> None:
        steps = directions.steps([*objective.names, *objective.keep])[:, : len(objective.names)]
        self._metric, self._at_least = steps.T @ precision @ steps, objective.at_least

    def __call__(self, missing: Floats) -> Floats:
        missing = np.where(self._at_least, np.maximum(missing, 0), missing)
        return np.asarray(np.sqrt(np.maximum(((missing @ self._metric) * missing).sum(1), 0)), np.float64)


def goal_distance(latents: LatentSurvey, goals: Sequence[AttributeGoal], confidence: float, read: Floats) -> Floats:
    """Return how far readings [N, S] are from what a cell requests [N]; 0 where a classifier would be sure of them.

    One log-odds of a class weighs as much as the width of a bin, or a standard deviation over generated faces where
    that is less.
    """
    names, total = list(latents.directions.names), np.zeros(len(read))
    sure = min(max(confidence, 1e-6), 1 - 1e-6)
    for goal in goals:
        value = read[:, names.index(goal.semantic)]
        if goal.task.kind == "classes":
            total += np.maximum(math.log(sure / (1 - sure)) + 0.5 - value, 0)
        else:
            width = min(goal.high - goal.low, float(latents.directions.spread[names.index(goal.semantic)]))
            first, last = max(goal.low, goal.sure[0]), min(goal.high, goal.sure[1])
            total += (np.maximum(first - value, 0) + np.maximum(value - last, 0)) / width
    return total


def cost(
    latents: LatentSurvey,
    goals: Sequence[AttributeGoal],
    required: CellThresholds,
    thresholds: AcceptanceThresholds,
    faces: FaceReadings,
) -> Floats:
    """Return how far faces [N] are from what their cell requests; 0 where all is met that does not ask a classifier.

    To the distance of their readings comes what they lack of quality, light and colour. A fifth of the distance to
    real faces weighs as much as one log-odds.
    """
    read, names = faces.read, list(latents.directions.names)
    total = goal_distance(latents, goals, thresholds.confidence, read)
    total += np.maximum(required.face_quality + 0.5 - read[:, names.index(scene.FACE_QUALITY)], 0)
    light = read[:, names.index(scene.EXPOSURE)]
    outside = np.maximum(required.bright[0] - light, 0) + np.maximum(light - required.bright[1], 0)
    unlike = np.maximum(faces.remoteness / required.remote - 0.95, 0) + np.maximum(faces.discolouring - 0.95, 0)
    return np.asarray(total + 10 * outside + 5 * unlike, np.float64)


def ready_origins(
    latents: LatentSurvey, costs: Floats, objective: EditObjective, precision: Floats, candidates: int
) -> NDArray[np.int64]:
    """Return for attempts 0, 1, ... the surveyed latent that each begins with; each is there once.

    Those of the least `costs` [P] come first. Of the next `candidates` of them, an attempt takes the one that needs the
    shortest edit to its value in `objective`, which has one for each attempt that there may be.
    """
    order = np.argsort(costs, kind="stable")
    waiting = order[costs[order] <= READY].tolist()
    read = np.stack([latents.column(name) for name in objective.names], 1)
    lengths, taken = EditLengths(latents.directions, objective, precision), []
    for values in objective.values[: len(waiting)]:
        taken.append(waiting.pop(int(lengths(values - read[waiting[:candidates]]).argmin())))
    return np.array(taken, np.int64)


def origins(
    generator: Generator,
    parents: Parents,
    seeds: Seeds,
    objective: EditObjective,
    directions: Directions,
    config: RunConfig,
) -> tuple[Floats, NDArray[np.int64]]:
    """Return a latent [N, D] for each seed to begin with, and the lineage [N] from which it descends.

    Each is a mixture of a parent and a fresh latent; of `config.origins` the one is taken that is expected to need
    the shortest edit.
    """
    n, candidates = len(seeds), config.origins
    children = [c for s in seeds for c in np.random.SeedSequence(s.entropy, spawn_key=s.spawn_key).spawn(candidates)]
    fresh = sample_latents(generator, children, config.truncation_psi) - directions.w_mean
    count = len(parents.w)
    picks = np.array([int(np.random.Generator(np.random.PCG64(c)).integers(count)) for c in children])
    w = directions.w_mean + PARENT * (parents.w[picks] - directions.w_mean) + math.sqrt(1 - PARENT**2) * fresh
    expected = parents.read[picks] + (w - parents.w[picks]) @ directions.B.T
    missing = np.repeat(objective.values, candidates, 0) - expected[:, directions.index(objective.names)]
    length = EditLengths(directions, objective, directions.precision)(missing).reshape(n, candidates)
    chosen = np.arange(n) * candidates + length.argmin(1)
    return np.asarray(w[chosen], np.float64), parents.lineage[picks[chosen]]
