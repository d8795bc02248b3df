"""Edits of generated faces towards a cell, and the verdict on them: shared by the engines that edit latents.

A block of attempts begins near its cell, is edited in a closed loop, passes the gates, is harmonized, and is read again
as it would be written. All of it depends on seeds alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance import scene
from faceaug.generators.base import Generator
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.writer import read_back
from faceaug.synthesis.acceptance.gates import CandidateBatch, Gate, refuse
from faceaug.synthesis.acceptance.near_duplicates import hashes
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.editing.closed_loop import EditObjective, EditOptions, EditResult, distance, extrapolate
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
    nearest_latents,
    origins,
)
from faceaug.synthesis.editing.readout import kind_of
from faceaug.synthesis.engines.base import BlockResult, Candidate, sample_seed, seed_number
from faceaug.synthesis.fitted_models import FittedModels
from faceaug.utils.images import Codec, restore_aspect
from faceaug.utils.tensors import as_tensor, to_uint8
from faceaug.utils.typing import Floats

EDIT_BLOCK = 64
"""Attempts that are computed together, whatever the number of workers."""
LOST = "held-out classifier agrees after harmonization"
"""The reason where the held-out classifier no longer finds what is requested after blur, noise and codec."""
ELSEWHERE = "measured value in its bin"
"""The reason of harmonized samples whose value, measured as on the data set's images, is outside its bin."""
REACH = 0.999  # of the plausible distance is where edits are held, clear of rounding
SEARCH_CORRECTIONS = 2  # corrections of an edit while parents are searched


@dataclass(frozen=True)
class CellContext:
    """What is known of a cell before its first attempt."""

    index: int
    goals: tuple[AttributeGoal, ...]
    required: CellThresholds
    parents: Parents


@dataclass(frozen=True, eq=False)
class EditedBlock:
    """Edited latents of a block of attempts at one cell, for the verdict.

    Attributes
    ----------
    goals : tuple of AttributeGoal
    required : CellThresholds
    objective : EditObjective
    edited : EditResult
    attempts : sequence of int, length N
    seeds : sequence of SeedSequence, length N
    least : (float64 [N, A], float64 [N, A]), optional
        What the guidance classifier and the held-out classifier must say of what is requested, where not the run's
        thresholds.
    """

    goals: tuple[AttributeGoal, ...]
    required: CellThresholds
    objective: EditObjective
    edited: EditResult
    attempts: Sequence[int]
    seeds: Seeds
    least: tuple[Floats, Floats] | None = None


@dataclass(frozen=True)
class HarmonizedSample:
    """A harmonized image, its parameters, and what is measured on it.

    Attributes
    ----------
    image : uint8 [H, W, 3]
    parameters : dict
        Of its harmonization.
    quality : int or None
        Of the codec.
    confidence : dict
        The held-out classifier's probability of each requested attribute.
    measured : dict
        Requested attributes that were measured on the data set's images, measured on it as on those.
    refused : str
        Why it is rejected, or an empty text.
    """

    image: NDArray[np.uint8]
    parameters: dict[str, float]
    quality: int | None
    confidence: dict[str, float]
    measured: dict[str, float]
    refused: str


class LatentEditor:
    """Edits latents towards cells and decides on the results. What it keeps, contexts of cells, depends on seeds alone.

    Parameters
    ----------
    generator : Generator
    models : FittedModels
    gates : dict of Gate
        In the order in which they decide.
    config : RunConfig
    codec : "jpeg", "png", "webp" or None
        In which samples are stored; None where pixels are kept as they are.
    """

    def __init__(
        self, generator: Generator, models: FittedModels, gates: dict[str, Gate], config: RunConfig, codec: Codec | None
    ) -> None:
        self.generator, self.models, self.gates, self.config, self.codec = generator, models, gates, config, codec
        self._precision = models.directions.precision
        self._contexts: dict[int, CellContext] = {}
        self._lock = threading.Lock()

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        """Return block number `block` of attempts at a cell."""
        torch.set_num_threads(1)
        with self._lock:  # the first worker to come searches, the others wait for its result
            context = self._contexts.get(cell.index)
            if context is None:
                context = self._contexts[cell.index] = self._search(cell)
        attempts = range(block * EDIT_BLOCK, (block + 1) * EDIT_BLOCK)
        seeds = [sample_seed(self.config.seed, cell.index, attempt) for attempt in attempts]
        objective, edited, _ = self._edit(context, seeds, self.config.corrections)
        return self.assess(EditedBlock(context.goals, context.required, objective, edited, attempts, seeds))

    def unreachable(self, levels: dict[str, str]) -> str:
        """Return why no attempt at a cell of these levels could ever be accepted, or an empty text where one could."""
        models, thresholds = self.models, self.config.thresholds
        readers: tuple[tuple[AttributeReader, float], ...] = (
            (models.reader, thresholds.confidence),
            (models.held_out, thresholds.held_out),
        )
        return out_of_reach(attribute_goals(models.axes, levels, models.tasks), models.directions, readers)

    def requirements(
        self, cell: int, levels: dict[str, str]
    ) -> tuple[tuple[AttributeGoal, ...], CellThresholds, NDArray[np.int64]]:
        """Return what a cell requests, what its samples must be like, and the rows of surveyed latents near it."""
        models = self.models
        goals = attribute_goals(models.axes, levels, models.tasks)
        middle = goal_values(goals, models.survey, np.full((1, len(goals)), 0.5), self.config.thresholds.confidence)
        objective = edit_objective(goals, middle, models.directions, models.kept(), models.reader.pose_light_names)
        near = nearest_latents(models.survey, objective, self._precision)
        return goals, cell_thresholds(models.survey, models.real, self.config.thresholds, cell, near), near

    def _search(self, cell: PlannedCell) -> CellContext:
        """Search a few generations of mixtures for faces near the cell (origin_search.py)."""
        models, latents = self.models, self.models.survey
        goals, required, near = self.requirements(cell.index, cell.levels)
        w_mean, w_near = models.directions.w_mean, latents.w[near].astype(np.float64)
        w = w_mean + self.config.truncation_psi * (w_near - w_mean)
        read = latents.read[near] + (w - w_near) @ models.directions.B.T
        costs = cost(latents, goals, required, self.config.thresholds, read, latents.remoteness[near])
        context = CellContext(cell.index, goals, required, Parents(w, read, costs, near).best(PARENTS))
        for generation in range(GENERATIONS):
            first = SEARCH_KEY + generation * OFFSPRING
            parents = context.parents
            # The other workers wait for this context, so as many threads as there are workers search it.
            with ThreadPoolExecutor(self.config.worker_threads) as pool:
                for more in pool.map(partial(self._offspring, context), range(first, first + OFFSPRING, EDIT_BLOCK)):
                    parents = parents.joined(more)
            context = replace(context, parents=parents.best(PARENTS))
        return context

    def _offspring(self, context: CellContext, start: int) -> Parents:
        """Return a block of mixtures of a context's parents with fresh latents, edited towards its cell."""
        torch.set_num_threads(1)
        models = self.models
        seeds = [sample_seed(self.config.seed, context.index, start + i) for i in range(EDIT_BLOCK)]
        _, edited, lineage = self._edit(context, seeds, SEARCH_CORRECTIONS)
        remoteness = models.real.remoteness(models.held_out.read(models.reader.view(edited.images))[1])
        thresholds = self.config.thresholds
        costs = cost(models.survey, context.goals, context.required, thresholds, edited.measured, remoteness)
        return Parents(edited.w.astype(np.float64), edited.measured, costs, lineage)

    def _edit(
        self, context: CellContext, seeds: Seeds, corrections: int
    ) -> tuple[EditObjective, EditResult, NDArray[np.int64]]:
        """Draw a latent for each seed near the cell and edit it to what the cell requests; return its lineage, too."""
        models, goals = self.models, context.goals
        uniform = np.stack([np.random.Generator(np.random.PCG64(s)).random(len(goals)) for s in seeds])
        values = goal_values(goals, models.survey, uniform, self.config.thresholds.confidence)
        objective = within(
            edit_objective(goals, values, models.directions, models.kept(), models.reader.pose_light_names),
            context.required.bright,
            context.required.face_quality,
        )
        w, lineage = origins(self.generator, context.parents, seeds, objective, models.directions, self.config)
        return objective, self.extrapolate(w.astype(np.float32), objective, goals, corrections), lineage

    def extrapolate(
        self,
        w: NDArray[np.float32],
        objective: EditObjective,
        goals: Sequence[AttributeGoal],
        corrections: int | None = None,
    ) -> EditResult:
        """Edit latents w [N, D] to an objective; `goals` are those that move."""
        models, config = self.models, self.config
        return extrapolate(
            self.generator,
            models.directions,
            models.reader,
            w,
            objective,
            EditOptions(
                covariance=models.covariance(goals),
                corrections=config.corrections if corrections is None else corrections,
                reach=REACH * models.reach,
                batch_size=config.batch_size,
            ),
        )

    def assess(self, block: EditedBlock) -> BlockResult:
        """Apply the gates, harmonize the samples that pass, and check these with the held-out classifier again."""
        models, goals, edited = self.models, block.goals, block.edited
        viewed = models.reader.view(edited.images)
        read, features = models.held_out.read(viewed)
        batch = self._candidate_batch(block, viewed, read, features)
        reasons = refuse(batch, self.gates)
        passed = [i for i, reason in enumerate(reasons) if reason is None]
        harmonized = self._harmonize(block, viewed, passed)
        refused = {i: reason for i, reason in enumerate(reasons) if reason is not None}
        refused |= {i: sample.refused for i, sample in harmonized.items() if sample.refused}
        given = labels(goals, models.reader, models.held_out, edited.measured, read)
        sample_hashes = hashes(viewed)
        candidates = tuple(
            Candidate(
                attempt=block.attempts[i],
                seed=seed_number(block.seeds[i]),
                engine="generator",
                image=sample.image,
                quality=sample.quality,
                harmonize=sample.parameters,
                w=edited.w[i],
                origin_w=edited.origin_w[i],
                attr=given[i] | sample.measured,
                confidence=sample.confidence,
                semantic=dict(zip(models.directions.names, edited.measured[i].tolist(), strict=True)),
                plausibility=float(batch.plausibility[i]),
                realism=float(batch.realism[i]),
                hash=sample_hashes[i],
            )
            for i, sample in sorted(harmonized.items())
            if not sample.refused
        )
        highest = {g.task.name: float(np.nan_to_num(batch.held_out[:, k]).max()) for k, g in enumerate(goals)}
        return BlockResult(
            candidates,
            {block.attempts[i]: refused[i] for i in sorted(refused)},
            highest,
            pictures={block.attempts[i]: to_uint8(viewed[i : i + 1])[0] for i in refused},
            from_photographs=False,
        )

    def _candidate_batch(
        self, block: EditedBlock, viewed: Tensor, read: Floats, features: NDArray[np.float32]
    ) -> CandidateBatch:
        """Return edited latents as gates see them; the held-out classifier read `read` [N, S] and its features."""
        models, thresholds = self.models, self.config.thresholds
        goals, edited, directions = block.goals, block.edited, models.directions
        # Pose and light change the scene by nature; attributes that are to be kept are kept all the same.
        names = (*block.objective.names, *(goal.task.name for goal in goals))
        exempt = any(kind_of(name) != "attribute" for name in names)
        kept = directions.index([name for name in block.objective.keep if not exempt or name not in scene.NAMES])
        drift = np.abs(edited.measured - edited.origin_measured)[:, kept] / np.maximum(directions.spread[kept], 1e-9)
        spill = scene.measure_spill(edited.origin_images, edited.images, models.reader.ellipse).double().numpy()
        quality = edited.measured[:, directions.index([scene.FACE_QUALITY])[0]]
        return CandidateBatch(
            images=edited.images,
            origin_images=edited.origin_images,
            confidence=confidences(goals, models.reader, edited.measured),
            held_out=confidences(goals, models.held_out, read),
            drift=drift.max(1, initial=0.0),
            spill=np.zeros_like(spill) if exempt else spill,
            plausibility=distance(edited.w.astype(np.float64), directions.w_mean, self._precision) / models.reach,
            realism=models.real.remoteness(features) / block.required.remote,
            face_quality=quality - block.required.face_quality,
            misexposure=models.real.misexposure(viewed, thresholds.exposure),
            discolouring=models.real.discolouring(viewed, thresholds.exposure),
            thresholds=thresholds,
            least_confidence=block.least and block.least[0],
            least_held_out=block.least and block.least[1],
        )

    def _harmonize(self, block: EditedBlock, viewed: Tensor, passed: Sequence[int]) -> dict[int, HarmonizedSample]:
        """Harmonize the samples that passed, and read what would be written."""
        models, goals = self.models, block.goals
        least = self.config.thresholds.held_out if block.least is None else block.least[1]
        agreed = np.broadcast_to(least, (len(viewed), len(goals)))
        pictures = to_uint8(viewed[list(passed)]) if passed else ()
        samples: dict[int, HarmonizedSample] = {}
        written: dict[int, NDArray[np.uint8]] = {}
        for i, picture in zip(passed, pictures, strict=True):
            image, parameters, quality = self._harmonized_image(picture, block.seeds[i])
            written[i] = read_back(image, self.codec, quality)
            read = confidences(goals, models.held_out, models.held_out.read(as_tensor(written[i][None]))[0])[0]
            confidence = {goal.task.name: float(value) for goal, value in zip(goals, read, strict=True)}
            refused = LOST if (read < agreed[i]).any() else ""
            samples[i] = HarmonizedSample(image, parameters, quality, confidence, {}, refused)
        return self._measure_again(samples, written, goals)

    def _harmonized_image(
        self, picture: NDArray[np.uint8], seed: np.random.SeedSequence
    ) -> tuple[NDArray[np.uint8], dict[str, float], int | None]:
        """Return a picture as it is to be written, the parameters of its harmonization, and the codec's quality."""
        if self.models.harmonizer:
            return self.models.harmonizer(picture, seed_number(seed))
        return restore_aspect(picture, self.models.reader.framing.aspect), {}, None

    def _measure_again(
        self,
        samples: dict[int, HarmonizedSample],
        written: dict[int, NDArray[np.uint8]],
        goals: Sequence[AttributeGoal],
    ) -> dict[int, HarmonizedSample]:
        """Return the samples, measured as the data set's images were where that is what their cells count."""
        learned, rows = self.models.learned, [i for i, sample in samples.items() if not sample.refused]
        measured = [goal for goal in goals if learned and goal.task.name in learned.measured]
        if learned is None or not measured or not rows:
            return samples
        checked = dict(samples)
        for i, values in zip(rows, learned.measure([written[i] for i in rows]), strict=True):
            read = {goal.task.name: float(values[FACTOR_NAMES.index(goal.task.name)]) for goal in measured}
            inside = all(goal.low <= read[goal.task.name] < goal.high for goal in measured)  # NaN is in no bin
            checked[i] = replace(samples[i], measured=read, refused="" if inside else ELSEWHERE)
        return checked
