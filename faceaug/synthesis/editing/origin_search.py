"""Near a cell: what its samples are held to, and latents to begin with that already read nearly as asked.

A straight line from a random face to a rare one leaves what the generator draws well. So a few generations of mixtures
of draws are searched for faces near the cell that are sound, well exposed and near to real ones, and attempts begin at
mixtures of those with fresh draws. The judge's verdict takes no part in the choice.
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
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
from faceaug.synthesis.editing.closed_loop import EditObjective, distance
from faceaug.synthesis.editing.objectives import AttributeGoal
from faceaug.synthesis.setup import FittedModels
from faceaug.utils.typing import Floats

Seeds = Sequence[np.random.SeedSequence]
PARENT = 0.8  # share of a parent in the mixture that an attempt begins with; the rest, in quadrature, is fresh
PARENTS = 128  # latents that attempts at a cell begin near
KIN = 2  # of them may descend from one surveyed draw
NEAR_SHARE = 0.1  # of the surveyed draws are near a cell: what they are like is what a sample of it should be like
STEERED_EXPOSURE = 0.1  # of the cell's real faces are darker than edits may make a face, and as many brighter
GENERATIONS, OFFSPRING = 3, 256
SEARCH_KEY = 2**31  # spawn keys of the search's seeds follow those of attempts


@dataclass(frozen=True)
class CellThresholds:
    """What is asked of the realism of a cell's samples.

    Attributes
    ----------
    remote, sound : float
        Most distance to real faces, least log-odds of a sound face.
    bright : (float, float)
        Luminances of the face between which edits are steered.
    """

    remote: float
    sound: float
    bright: tuple[float, float]


@dataclass(frozen=True)
class Parents:
    """Latents w, float64 [M, D], how they read [M, S], how far each still is from what is asked [M], and its line [M].

    A line is the surveyed draw that a latent descends from.
    """

    w: Floats
    read: Floats
    cost: Floats
    line: NDArray[np.int64]

    def best(self, count: int) -> Parents:
        """Return the `count` nearest, of equals the first; of a line at most `KIN`, or one face has many children."""
        taken: list[int] = []
        kin: Counter[int] = Counter()
        for row in np.argsort(self.cost, kind="stable").tolist():
            if kin[int(self.line[row])] < KIN:
                kin[int(self.line[row])] += 1
                taken.append(row)
            if len(taken) == count:
                break
        return Parents(self.w[taken], self.read[taken], self.cost[taken], self.line[taken])

    def joined(self, other: Parents) -> Parents:
        """Return both together."""
        return Parents(
            np.concatenate([self.w, other.w]), np.concatenate([self.read, other.read]),
            np.concatenate([self.cost, other.cost]), np.concatenate([self.line, other.line]),
        )  # fmt: skip


def cell_thresholds(
    guide: FittedModels, limits: AcceptanceThresholds, cell: int, near: NDArray[np.int64]
) -> CellThresholds:
    """Return what is asked of samples of a cell, by the surveyed draws `near` it.

    Judged by all draws, a turned head or dark skin would be held against a face where few draws have either.
    """
    found = guide.survey
    return CellThresholds(
        remote=float(np.quantile(found.remoteness[near], limits.realistic)),
        sound=float(np.quantile(found.column(scene.SOUNDNESS)[near], limits.sound)),
        bright=guide.real.bright(STEERED_EXPOSURE, cell),
    )


def nearest_draws(guide: FittedModels, ask: EditObjective, inverse: Floats) -> NDArray[np.int64]:
    """Return the rows of the surveyed draws that need the least edit for what a cell asks on average, nearest first."""
    read = np.stack([guide.survey.column(name) for name in ask.names], 1)
    length = edit_length(guide, ask, ask.aim.mean(0) - read, inverse)
    return np.argsort(length, kind="stable")[: max(2 * PARENTS, int(NEAR_SHARE * len(length)))]


def edit_length(guide: FittedModels, ask: EditObjective, missing: Floats, inverse: Floats) -> Floats:
    """Return the Mahalanobis length [N] of the edits that would make up for what is missing [N, K]."""
    missing = np.where(ask.at_least, np.maximum(missing, 0), missing)
    steps = guide.directions.steps([*ask.names, *ask.keep])[:, : len(ask.names)]
    return distance(missing @ steps.T, np.zeros(len(guide.directions.w_mean)), inverse)


def cost(
    guide: FittedModels,
    parts: Sequence[AttributeGoal],
    standard: CellThresholds,
    limits: AcceptanceThresholds,
    read: Floats,
    remoteness: Floats,
) -> Floats:
    """Return how far faces [N] are from what their cell asks: 0 where steering, realism and light are all content.

    One log-odds of a class, the width of a bin, or a fifth of the distance to real faces weigh alike.
    """
    names, total = list(guide.directions.names), np.zeros(len(read))
    sure = min(max(limits.confidence, 1e-6), 1 - 1e-6)
    for part in parts:
        value = read[:, names.index(part.semantic)]
        if part.task.kind == "classes":
            total += np.maximum(math.log(sure / (1 - sure)) + 0.5 - value, 0)
        else:
            low, high = guide.survey.range_of(part.semantic)
            width = min(part.high - part.low, high - low)
            total += (np.maximum(part.low - value, 0) + np.maximum(value - part.high, 0)) / width
    total += np.maximum(standard.sound + 0.5 - read[:, names.index(scene.SOUNDNESS)], 0)
    light = read[:, names.index(scene.EXPOSURE)]
    outside = np.maximum(standard.bright[0] - light, 0) + np.maximum(light - standard.bright[1], 0)
    return np.asarray(total + 10 * outside + 5 * np.maximum(remoteness / standard.remote - 0.95, 0), np.float64)


def origins(
    generator: Generator, guide: FittedModels, parents: Parents, seeds: Seeds, ask: EditObjective, inverse: Floats, *,
    candidates: int, truncation: float,
) -> tuple[Floats, NDArray[np.int64]]:  # fmt: skip
    """Return a latent [N, D] for each seed to begin with, and the line [N] that it descends from.

    Each is a mixture of a parent and a fresh draw; of several the one is taken that is expected to need the least edit.
    """
    directions, n = guide.directions, len(seeds)
    children = [c for s in seeds for c in np.random.SeedSequence(s.entropy, spawn_key=s.spawn_key).spawn(candidates)]
    fresh = sample_latents(generator, children, truncation) - directions.w_mean
    count = len(parents.w)
    picks = np.array([int(np.random.Generator(np.random.PCG64(c)).integers(count)) for c in children])
    w = directions.w_mean + PARENT * (parents.w[picks] - directions.w_mean) + math.sqrt(1 - PARENT**2) * fresh
    expected = parents.read[picks] + (w - parents.w[picks]) @ directions.B.T
    missing = np.repeat(ask.aim, candidates, 0) - expected[:, directions.index(ask.names)]
    length = edit_length(guide, ask, missing, inverse).reshape(n, candidates)
    chosen = np.arange(n) * candidates + length.argmin(1)
    return np.asarray(w[chosen], np.float64), parents.line[picks[chosen]]
