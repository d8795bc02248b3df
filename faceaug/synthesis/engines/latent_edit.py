"""A block of attempts at one cell: draw near the cell, edit, measure, and ask the gates. It depends on seeds alone."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance import scene
from faceaug.classifiers.classifier import fit
from faceaug.generators.base import Generator
from faceaug.reconstruction.semantics import NAMES
from faceaug.shards.writer import read_back
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds, CandidateBatch, Gate, refuse
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.editing.closed_loop import EditObjective, EditResult, distance, extrapolate
from faceaug.synthesis.editing.objectives import (
    AttributeGoal,
    AttributeReader,
    attribute_goals,
    confidences,
    edit_objective,
    goal_values,
    labels,
    out_of_reach,
    within,
)
from faceaug.synthesis.editing.origin_search import (
    GENERATIONS,
    OFFSPRING,
    PARENTS,
    SEARCH_KEY,
    CellThresholds,
    Parents,
    Seeds,
    cell_thresholds,
    cost,
    nearest_draws,
    origins,
)
from faceaug.synthesis.editing.readout import kind_of
from faceaug.synthesis.latent_survey import BLOCK
from faceaug.synthesis.setup import FittedModels
from faceaug.utils.images import Codec
from faceaug.utils.tensors import as_tensor, to_uint8, unsqueezed
from faceaug.utils.typing import Floats

LOST = "judge agrees once finished"
"""The reason of samples in which the judge no longer finds what is asked after the dataset's blur, noise and codec."""
ELSEWHERE = "measured again"
"""The reason of samples that are not measured as asked, once finished, by what measured the dataset's photographs."""

REACH = 0.999  # of the plausible distance is where edits are held, clear of rounding
SEARCHING = 2  # corrections of an edit while parents are searched


@dataclass(frozen=True)
class CellContext:
    """What is known of a cell before its first attempt."""

    index: int
    goals: tuple[AttributeGoal, ...]
    required: CellThresholds
    parents: Parents


@dataclass(frozen=True)
class SourceImage:
    """A real picture that a sample was made of: the SHA-256 of its file, and its perceptual hash."""

    sha256: bytes
    hash: np.uint64


@dataclass(frozen=True)
class Candidate:
    """A sample that passed every gate but the one on near-copies."""

    attempt: int
    seed: int
    image: NDArray[np.uint8] | bytes  # [H, W, 3], finished; or encoded as it is to be stored
    quality: int | None  # of the codec
    harmonize: dict[str, float]
    w: NDArray[np.float32] | None
    origin_w: NDArray[np.float32] | None
    attr: dict[str, Any]
    confidence: dict[str, float]
    semantic: dict[str, float]
    plausibility: float
    realism: float
    hash: np.uint64
    source: SourceImage | None = None  # of a face that was rendered anew, or inverted and edited


@dataclass(frozen=True)
class HarmonizedSample:
    """A finished picture, how it was finished, and what was read off it.

    Attributes
    ----------
    confidence
        The judge's probability of each asked attribute.
    measured
        Asked attributes that were measured on the dataset's photographs, measured on it as on those.
    """

    image: NDArray[np.uint8]
    parameters: dict[str, float]
    quality: int | None
    confidence: dict[str, float]
    measured: dict[str, float]


@dataclass(frozen=True)
class BlockResult:
    """What a block gave: candidates in the order of attempts, refusals by reason, and what came nearest."""

    candidates: tuple[Candidate, ...]
    refused: dict[int, str]  # attempt -> the gate that refused it
    nearest: dict[str, float]  # attribute -> best probability of what is asked, by the judge


def sample_seed(seed: int, cell: int, attempt: int) -> np.random.SeedSequence:
    """Return the seed sequence of one attempt, the same for any block, batch or worker."""
    return np.random.SeedSequence(seed, spawn_key=(cell, attempt))


class LatentEditor:
    """Makes blocks for a run. What it keeps, the rooms of cells, depends on seeds alone."""

    def __init__(
        self, generator: Generator, models: FittedModels, thresholds: AcceptanceThresholds, gates: dict[str, Gate], *,
        seed: int, candidates: int, truncation_psi: float, corrections: int, batch_size: int, codec: Codec | None = None,
        workers: int = 1,
    ) -> None:  # fmt: skip
        self.codec = codec  # None where pixels are kept as they are
        self.generator, self.models, self.thresholds, self.gates = generator, models, thresholds, gates
        self.seed, self.candidates, self.truncation_psi = seed, candidates, truncation_psi
        self.corrections, self.batch_size, self.workers = corrections, batch_size, workers
        self._inverse = models.directions.precision
        self._contexts: dict[int, CellContext] = {}
        self._lock = threading.Lock()

    def make(self, cell: int, levels: dict[str, str], block: int) -> BlockResult:
        """Return block number `block` of attempts at the cell with these levels."""
        torch.set_num_threads(1)
        with self._lock:  # the first worker to come searches, the others wait for its room
            context = self._contexts.get(cell)
            if context is None:
                context = self._contexts[cell] = self._searched(cell, levels)
        attempts = range(block * BLOCK, (block + 1) * BLOCK)
        seeds = [sample_seed(self.seed, cell, a) for a in attempts]
        objective, edited, _ = self._edited(context, seeds, self.corrections)
        return self.assess(context.goals, context.required, objective, edited, attempts, seeds)

    def unreachable(self, levels: dict[str, str]) -> str:
        """Return why no attempt at a cell of these levels could ever be accepted, or an empty text where one could."""
        models, thresholds = self.models, self.thresholds
        judges: tuple[tuple[AttributeReader, float], ...] = (
            (models.reader, thresholds.confidence),
            (models.held_out, thresholds.held_out),
        )
        return out_of_reach(attribute_goals(models.axes, levels, models.tasks), models.directions, judges)

    def standing(
        self, cell: int, levels: dict[str, str]
    ) -> tuple[tuple[AttributeGoal, ...], CellThresholds, NDArray[np.int64]]:
        """Return what a cell asks, what its samples are held to, and the surveyed draws that are near it."""
        models = self.models
        goals = attribute_goals(models.axes, levels, models.tasks)
        half = goal_values(goals, models.survey, np.full((1, len(goals)), 0.5), self.thresholds.confidence)
        middle = edit_objective(goals, half, models.directions, models.kept(), models.reader.pose_light_names)
        near = nearest_draws(models, middle, self._inverse)
        return goals, cell_thresholds(models, self.thresholds, cell, near), near

    def _searched(self, cell: int, levels: dict[str, str]) -> CellContext:
        """Search a few generations of mixtures for faces near the cell (search.py)."""
        models, found = self.models, self.models.survey
        goals, required, near = self.standing(cell, levels)
        w_mean, drawn = models.directions.w_mean, found.w[near].astype(np.float64)
        w = w_mean + self.truncation_psi * (drawn - w_mean)
        read = found.read[near] + (w - drawn) @ models.directions.B.T
        costs = cost(models, goals, required, self.thresholds, read, found.remoteness[near])
        context = CellContext(cell, goals, required, Parents(w, read, costs, near).best(PARENTS))
        for generation in range(GENERATIONS):
            first = SEARCH_KEY + generation * OFFSPRING
            parents = context.parents
            # The other workers wait for this room, so as many threads as there are workers search it.
            with ThreadPoolExecutor(self.workers) as pool:
                for more in pool.map(partial(self._offspring, context), range(first, first + OFFSPRING, BLOCK)):
                    parents = parents.joined(more)
            context = replace(context, parents=parents.best(PARENTS))
        return context

    def _offspring(self, context: CellContext, start: int) -> Parents:
        """Return a block of mixtures of a room's parents with fresh draws, edited towards its cell."""
        torch.set_num_threads(1)
        models = self.models
        seeds = [sample_seed(self.seed, context.index, start + i) for i in range(BLOCK)]
        _, edited, line = self._edited(context, seeds, SEARCHING)
        remote = models.real.remoteness(models.held_out.read(models.reader.view(edited.images))[1])
        costs = cost(models, context.goals, context.required, self.thresholds, edited.measured, remote)
        return Parents(edited.w.astype(np.float64), edited.measured, costs, line)

    def _edited(
        self, context: CellContext, seeds: Seeds, corrections: int
    ) -> tuple[EditObjective, EditResult, NDArray[np.int64]]:
        """Draw a latent for each seed near the cell and edit it to what the cell asks; say which line each is of."""
        models = self.models
        uniform = np.stack([np.random.Generator(np.random.PCG64(s)).random(len(context.goals)) for s in seeds])
        objective = edit_objective(
            context.goals, goal_values(context.goals, models.survey, uniform, self.thresholds.confidence), models.directions, models.kept(),
            models.reader.pose_light_names,
        )  # fmt: skip
        objective = within(objective, context.required.bright, context.required.face_quality)
        w, line = origins(
            self.generator, models, context.parents, seeds, objective, self._inverse,
            candidates=self.candidates, truncation_psi=self.truncation_psi,
        )  # fmt: skip
        edited = extrapolate(
            self.generator, models.directions, models.reader, w.astype(np.float32), objective,
            covariance=models.covariance(context.goals), corrections=corrections, reach=REACH * models.reach,
            batch_size=self.batch_size,
        )  # fmt: skip
        return objective, edited, line

    def assess(
        self, goals: tuple[AttributeGoal, ...], required: CellThresholds, objective: EditObjective, edited: EditResult, attempts: Sequence[int],
        seeds: Seeds, least: tuple[Floats, Floats] | None = None,
    ) -> BlockResult:  # fmt: skip
        """Ask the gates about edited latents, finish those that pass, and let the judge look again.

        `least` [N, A] each is what the steering probe and the judge must say of what is asked, where not the limits.
        """
        models, directions = self.models, self.models.directions
        viewed = models.reader.view(edited.images)
        held_out_confidence, features = models.held_out.read(viewed)
        # Pose and light change the scene by nature; attributes that are to be kept are kept all the same.
        exempt = any(kind_of(name) != "attribute" for name in (*objective.names, *(p.task.name for p in goals)))
        held = directions.index([name for name in objective.keep if not exempt or name not in scene.NAMES])
        drift = np.abs(edited.measured - edited.origin_measured)[:, held] / np.maximum(directions.spread[held], 1e-9)
        spill = scene.spill(edited.origin_images, edited.images, models.reader.ellipse).double().numpy()
        batch = CandidateBatch(
            images=edited.images, origin_images=edited.origin_images,
            confidence=confidences(goals, models.reader, edited.measured),
            held_out_confidence=confidences(goals, models.held_out, held_out_confidence),
            drift=drift.max(1, initial=0.0),
            spill=np.zeros_like(spill) if exempt else spill,
            plausibility=distance(edited.w.astype(np.float64), directions.w_mean, self._inverse) / models.reach,
            realism=models.real.remoteness(features) / required.remote,
            face_quality=edited.measured[:, directions.index([scene.FACE_QUALITY])[0]] - required.face_quality,
            misexposure=models.real.misexposure(viewed, self.thresholds.exposure),
            discolouring=models.real.discolouring(viewed, self.thresholds.exposure), thresholds=self.thresholds,
            least_confidence=least and least[0], least_held_out=least and least[1],
        )  # fmt: skip
        reasons = refuse(batch, self.gates)
        nearest = {
            p.task.name: float(np.nan_to_num(batch.held_out_confidence[:, k]).max()) for k, p in enumerate(goals)
        }
        agreed = least[1] if least else np.full(batch.held_out_confidence.shape, self.thresholds.held_out)
        finals = self._harmonized(viewed, reasons, goals, seeds, agreed)
        given = labels(goals, models.reader, models.held_out, edited.measured, held_out_confidence)
        stored_hashes = hashes(viewed)
        candidates = tuple(
            Candidate(
                attempt=attempts[i], seed=_number(seeds[i]),
                image=final.image, quality=final.quality, harmonize=final.parameters,
                w=edited.w[i], origin_w=edited.origin_w[i], attr=given[i] | final.measured, confidence=final.confidence,
                semantic=dict(zip(directions.names, edited.measured[i].tolist(), strict=True)),
                plausibility=float(batch.plausibility[i]), realism=float(batch.realism[i]), hash=stored_hashes[i],
            ) for i, final in sorted(finals.items()) if reasons[i] is None
        )  # fmt: skip
        refused = {attempts[i]: reason for i, reason in enumerate(reasons) if reason is not None}
        return BlockResult(candidates, refused, nearest)

    def _harmonized(
        self,
        viewed: Tensor,
        reasons: list[str | None],
        goals: Sequence[AttributeGoal],
        seeds: Sequence[np.random.SeedSequence],
        agreed: Floats,
    ) -> dict[int, HarmonizedSample]:
        """Finish the samples that passed, and let the judge look at what would be written; `reasons` is completed."""
        passed = [i for i, reason in enumerate(reasons) if reason is None]
        pictures = to_uint8(viewed[passed]) if passed else ()
        harmonizer = self.models.harmonizer
        finals: dict[int, HarmonizedSample] = {}
        written: dict[int, NDArray[np.uint8]] = {}
        for i, picture in zip(passed, pictures, strict=True):
            if harmonizer:
                image, parameters, quality = harmonizer(picture, _number(seeds[i]))
            else:
                image, parameters, quality = unsqueezed(picture, self.models.reader.framing.aspect), {}, None
            written[i] = read_back(image, self.codec, quality)
            small = fit(as_tensor(written[i][None]))
            held_out_confidence = confidences(goals, self.models.held_out, self.models.held_out.read(small)[0])[0]
            if (held_out_confidence < agreed[i]).any():
                reasons[i] = LOST
            finals[i] = HarmonizedSample(
                image,
                parameters,
                quality,
                {p.task.name: float(c) for p, c in zip(goals, held_out_confidence, strict=True)},
                {},
            )
        self._measure_again(finals, written, reasons, goals)
        return finals

    def _measure_again(
        self,
        finals: dict[int, HarmonizedSample],
        written: dict[int, NDArray[np.uint8]],
        reasons: list[str | None],
        goals: Sequence[AttributeGoal],
    ) -> None:
        """Measure finished samples as the dataset's photographs were, where that is what their cells count."""
        found, rows = self.models.found, [i for i in finals if reasons[i] is None]
        goals = [goal for goal in goals if found and goal.task.name in found.measured]
        if found is None or not goals or not rows:
            return
        values = found.measure([written[i] for i in rows])
        for i, value in zip(rows, values, strict=True):
            told = {goal.task.name: float(value[NAMES.index(goal.task.name)]) for goal in goals}
            finals[i] = replace(finals[i], measured=told)
            if not all(goal.low <= told[goal.task.name] < goal.high for goal in goals):  # NaN is nowhere
                reasons[i] = ELSEWHERE


def _number(seed: np.random.SeedSequence) -> int:
    return int(seed.generate_state(1, np.uint64)[0])


def tally(result: BlockResult, until: int | None = None) -> Counter[str]:
    """Return refusals by reason, of attempts before `until`."""
    return Counter(reason for attempt, reason in result.refused.items() if until is None or attempt < until)


def attempts_for(planned: int, tries: int) -> int:
    """Return how many blocks a cell may take: `tries` attempts for each planned sample, at least two blocks."""
    return max(2, math.ceil(planned * tries / BLOCK))
