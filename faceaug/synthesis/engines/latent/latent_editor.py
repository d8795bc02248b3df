"""Edits of generated faces towards a cell, and the verdict on them: shared by the engines that edit latents.

A block of attempts begins near its cell, is edited in a closed loop, passes the gates, is harmonized, and is read again
as it would be written. All of it depends on seeds alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance import scene
from faceaug.generators.base import Generator
from faceaug.generators.sampling import synthesize
from faceaug.planning.plan import PlannedCell
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
    sure_goals,
    within,
)
from faceaug.synthesis.editing.origin_search import (
    GENERATIONS,
    OFFSPRING,
    PARENTS,
    READY,
    SEARCH_KEY,
    CellThresholds,
    FaceReadings,
    Parents,
    Seeds,
    cell_thresholds,
    cost,
    goal_distance,
    nearest_latents,
    origins,
    ready_origins,
)
from faceaug.synthesis.editing.readout import kind_of
from faceaug.synthesis.engines.base import BlockResult, Candidate, sample_seed, seed_number
from faceaug.synthesis.engines.latent.harmonized_samples import harmonized_samples
from faceaug.synthesis.fitted_models import FittedModels
from faceaug.utils.images import Codec
from faceaug.utils.tensors import to_uint8
from faceaug.utils.typing import Floats

EDIT_BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""
REACH = 0.999  # of the plausible distance is where edits are held, clear of rounding
SEARCH_CORRECTIONS = 2  # corrections of an edit while parents are searched
READY_CORRECTIONS = 3  # of an edit that begins with a surveyed face; after more, another face costs fewer images


@dataclass(frozen=True)
class CellContext:
    """What is known of a cell before its first attempt.

    Attributes
    ----------
    index : int
    goals : tuple of AttributeGoal
    required : CellThresholds
    near : int64 [M]
        Rows of the surveyed latents near the cell.
    ready : int64 [R]
        The surveyed latent that each of the first attempts begins with.
    """

    index: int
    goals: tuple[AttributeGoal, ...]
    required: CellThresholds
    near: NDArray[np.int64]
    ready: NDArray[np.int64]

    @property
    def changes_scene(self) -> bool:
        """Whether view or light changes, and with it the scene by nature."""
        return any(kind_of(goal.task.name) != "attribute" for goal in self.goals)


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
    cells : sequence of PlannedCell
        Of the plan, among which surveyed faces are divided; none where attempts do not begin with these.
    """

    def __init__(
        self,
        generator: Generator,
        models: FittedModels,
        gates: dict[str, Gate],
        config: RunConfig,
        codec: Codec | None,
        cells: Sequence[PlannedCell] = (),
    ) -> None:
        self.generator, self.models, self.gates, self.config, self.codec = generator, models, gates, config, codec
        self._precision, self._cells = models.directions.precision, [cell for cell in cells if cell.planned]
        self._contexts: dict[int, CellContext] = {}
        self._parents: dict[int, Parents] = {}
        self._lock = threading.Lock()

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        """Return block number `block` of attempts at a cell."""
        torch.set_num_threads(1)
        attempts = range(block * EDIT_BLOCK, (block + 1) * EDIT_BLOCK)
        seeds = [self._seed(cell, attempt) for attempt in attempts]
        with self._lock:  # the first worker to come searches, the others wait for its result
            context = self._contexts.get(cell.index)
            if context is None:
                context = self._contexts[cell.index] = self._context(cell)
            ready = context.ready[attempts.start : attempts.stop]
            if len(ready) < len(attempts) and cell.index not in self._parents:
                self._parents[cell.index] = self._search(context)
        if len(ready) == len(attempts):
            objective, edited = self._edit_ready(context, ready, seeds)
        else:
            objective, edited, _ = self._edit(context, self._parents[cell.index], seeds, self.config.corrections)
        return self.assess(EditedBlock(context.goals, context.required, objective, edited, attempts, seeds))

    def _seed(self, cell: PlannedCell, attempt: int) -> np.random.SeedSequence:
        return sample_seed(self.config.seed, cell.index, attempt)

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
        goals = sure_goals(goals, models.reader, self.config.thresholds.confidence)
        middle = goal_values(goals, models.survey, np.full((1, len(goals)), 0.5), self.config.thresholds.confidence)
        objective = edit_objective(goals, middle, models.directions, models.kept(), models.reader.pose_light_names)
        near = nearest_latents(models.survey, objective, self._precision)
        return goals, cell_thresholds(models.survey, models.real, self.config.thresholds, cell, near), near

    def _context(self, cell: PlannedCell) -> CellContext:
        """Return what is known of a cell, without an image."""
        latents = self.models.survey
        goals, required, near = self.requirements(cell.index, cell.levels)
        costs = cost(latents, goals, required, self.config.thresholds, self._surveyed(slice(None)))
        costs[self._nearest_cells != cell.index] = np.inf
        attempts = min(
            int((costs <= READY).sum()), cell.planned * self.config.tries + 2 * EDIT_BLOCK
        )  # no more are made
        objective = self._objective(goals, required, [self._seed(cell, attempt) for attempt in range(attempts)])
        ready = ready_origins(latents, costs, objective, self._precision, self.config.origins)
        return CellContext(cell.index, goals, required, near, ready)

    @cached_property
    def _nearest_cells(self) -> NDArray[np.int64]:
        """The index of the planned cell that each surveyed face is nearest to, so that no face begins in two."""
        models, confidence = self.models, self.config.thresholds.confidence
        nearest, least = np.full(len(models.survey.w), -1), np.full(len(models.survey.w), np.inf)
        for cell in self._cells:
            goals = sure_goals(attribute_goals(models.axes, cell.levels, models.tasks), models.reader, confidence)
            found = goal_distance(models.survey, goals, confidence, models.survey.read.astype(np.float64))
            nearest, least = np.where(found < least, cell.index, nearest), np.minimum(found, least)
        return nearest

    def _surveyed(self, rows: NDArray[np.int64] | slice) -> FaceReadings:
        """Return what is known of surveyed faces."""
        latents, share = self.models.survey, self.config.thresholds.exposure
        discolouring = self.models.real.coldness(latents.tints[rows], share)
        return FaceReadings(latents.read[rows].astype(np.float64), latents.remoteness[rows], discolouring)

    def _search(self, context: CellContext) -> Parents:
        """Search a few generations of mixtures for faces near the cell (origin_search.py)."""
        models, near = self.models, context.near
        w_mean, w_near = models.directions.w_mean, models.survey.w[near].astype(np.float64)
        w = w_mean + self.config.truncation_psi * (w_near - w_mean)
        faces = self._surveyed(near)
        faces = replace(faces, read=faces.read + (w - w_near) @ models.directions.B.T)
        parents = Parents(w, faces.read, self._costs(context, faces), near).best(PARENTS)
        for generation in range(GENERATIONS):
            first, found = SEARCH_KEY + generation * OFFSPRING, parents
            # The other workers wait for the parents, so as many threads as there are workers search them.
            with ThreadPoolExecutor(self.config.worker_threads) as pool:
                starts = range(first, first + OFFSPRING, EDIT_BLOCK)
                for more in pool.map(partial(self._offspring, context, parents), starts):
                    found = found.joined(more)
            parents = found.best(PARENTS)
        return parents

    def _offspring(self, context: CellContext, parents: Parents, start: int) -> Parents:
        """Return a block of mixtures of parents with fresh latents, edited towards a cell."""
        torch.set_num_threads(1)
        models = self.models
        seeds = [sample_seed(self.config.seed, context.index, start + i) for i in range(EDIT_BLOCK)]
        _, edited, lineage = self._edit(context, parents, seeds, SEARCH_CORRECTIONS)
        views = models.reader.view(edited.images)
        remoteness = models.real.remoteness(models.held_out.read(views)[1])
        discolouring = models.real.discolouring(views, self.config.thresholds.exposure)
        costs = self._costs(context, FaceReadings(edited.measured, remoteness, discolouring))
        return Parents(edited.w.astype(np.float64), edited.measured, costs, lineage)

    def _costs(self, context: CellContext, faces: FaceReadings) -> Floats:
        return cost(self.models.survey, context.goals, context.required, self.config.thresholds, faces)

    def _objective(self, goals: Sequence[AttributeGoal], required: CellThresholds, seeds: Seeds) -> EditObjective:
        """Return what attempts of these seeds request of their faces."""
        models = self.models
        uniform = np.array([np.random.Generator(np.random.PCG64(s)).random(len(goals)) for s in seeds])
        values = goal_values(goals, models.survey, uniform.reshape(-1, len(goals)), self.config.thresholds.confidence)
        objective = edit_objective(goals, values, models.directions, models.kept(), models.reader.pose_light_names)
        return within(objective, required.bright, required.face_quality)

    def _edit_ready(
        self, context: CellContext, rows: NDArray[np.int64], seeds: Seeds
    ) -> tuple[EditObjective, EditResult]:
        """Edit surveyed latents, a row for each seed, to what the cell requests.

        Where view or light changes, no gate looks at the faces before the edit, and how they read is known: the first
        image is that of the first step. Elsewhere edits begin with the image of the truncated latent.
        """
        directions, latents, psi = self.models.directions, self.models.survey, self.config.truncation_psi
        objective = self._objective(context.goals, context.required, seeds)
        w, read = latents.w[rows], None
        if context.changes_scene:
            read = latents.read[rows].astype(np.float64)
        else:
            w = (directions.w_mean + psi * (w - directions.w_mean)).astype(np.float32)
        corrections = min(READY_CORRECTIONS, self.config.corrections)
        return objective, self.extrapolate(w, objective, context.goals, corrections, read)

    def _edit(
        self, context: CellContext, parents: Parents, seeds: Seeds, corrections: int
    ) -> tuple[EditObjective, EditResult, NDArray[np.int64]]:
        """Draw a latent for each seed near the cell and edit it to what the cell requests; return its lineage, too."""
        objective = self._objective(context.goals, context.required, seeds)
        w, lineage = origins(self.generator, parents, seeds, objective, self.models.directions, self.config)
        return objective, self.extrapolate(w.astype(np.float32), objective, context.goals, corrections), lineage

    def extrapolate(
        self,
        w: NDArray[np.float32],
        objective: EditObjective,
        goals: Sequence[AttributeGoal],
        corrections: int | None = None,
        read: Floats | None = None,
    ) -> EditResult:
        """Edit latents w [N, D] to an objective; `goals` are those that move, `read` is how w read, where known."""
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
                truncation_psi=config.truncation_psi,
                batch_size=config.batch_size,
            ),
            read,
        )

    def assess(self, block: EditedBlock) -> BlockResult:
        """Apply the gates, harmonize the samples that pass, and check these with the held-out classifier again."""
        models, goals, edited = self.models, block.goals, block.edited
        viewed = models.reader.view(edited.images)
        read, features = models.held_out.read(viewed)
        batch = self._candidate_batch(block, viewed, read, features)
        reasons = refuse(batch, self.gates)
        passed = [i for i, reason in enumerate(reasons) if reason is None]
        least = self.config.thresholds.held_out if block.least is None else block.least[1]
        pictures = dict(zip(passed, to_uint8(viewed[passed]), strict=True)) if passed else {}
        agreed = np.broadcast_to(least, (len(viewed), len(goals)))
        harmonized = harmonized_samples(models, self.codec, goals, pictures, block.seeds, agreed)
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
        before = edited.origin_images
        spill = np.zeros(len(edited.w))
        if not exempt:
            assert before is not None, "edits of attributes alone begin with an image"
            spill = scene.measure_spill(before, edited.images, models.reader.ellipse).double().numpy()
        quality = edited.measured[:, directions.index([scene.FACE_QUALITY])[0]]
        return CandidateBatch(
            images=edited.images,
            origins=lambda: (
                synthesize(self.generator, edited.origin_w, self.config.batch_size) if before is None else before
            ),
            confidence=confidences(goals, models.reader, edited.measured),
            held_out=confidences(goals, models.held_out, read),
            drift=drift.max(1, initial=0.0),
            spill=spill,
            plausibility=distance(edited.w.astype(np.float64), directions.w_mean, self._precision) / models.reach,
            realism=models.real.remoteness(features) / block.required.remote,
            face_quality=quality - block.required.face_quality,
            misexposure=models.real.misexposure(viewed, thresholds.exposure),
            discolouring=models.real.discolouring(viewed, thresholds.exposure),
            thresholds=thresholds,
            least_confidence=block.least and block.least[0],
            least_held_out=block.least and block.least[1],
        )
