"""The engines `unguided` and `mirrored`: ways to sample a generator without guidance, for experiments to compare with.

Neither checks its samples by gates, except that on near-copies, which is applied to every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from faceaug.generators.sampling import sample_latents, synthesize
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.acceptance.gates import Gate, attribute_reached
from faceaug.synthesis.editing.closed_loop import EditObjective, EditResult
from faceaug.synthesis.editing.objectives import AttributeGoal, edit_objective, goal_values
from faceaug.synthesis.editing.origin_search import Seeds
from faceaug.synthesis.engines.base import BlockResult, Engine, Preparation, PreparationInputs, sample_seed
from faceaug.synthesis.engines.latent.latent_edit import (
    LatentEditBase,
    check_labels,
    loaded_generator,
    prepared_directions,
)
from faceaug.synthesis.engines.latent.latent_editor import EDIT_BLOCK, EditedBlock, LatentEditor
from faceaug.synthesis.request import RunRequest

DRAWS_A_TRY = 16
"""Faces that `unguided` draws where the other engines have one attempt: a draw costs a fraction of an edit."""
_LIKELIER_THAN_NOT = 0.5  # probability of a class of which a drawn face takes the label


def create_unguided(request: RunRequest) -> Engine:
    """Load the generator, and return the engine that draws its faces as they come; raises as that of `generator`."""
    return _created(UnguidedEngine, request)


def create_mirrored(request: RunRequest) -> Engine:
    """Load the generator, and return the engine that mirrors its latents; raises as that of `generator`."""
    return _created(MirroredEngine, request)


class UnguidedEngine(LatentEditBase):
    """Draws faces, and gives each the label that the guidance classifier reads; an `Engine`."""

    names = ("unguided",)
    _steady = False  # a draw costs little, and a rare class needs many

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Fit what labels the faces, and let no other gate decide."""
        prepared = super().prepare(inputs)
        self._editor = LatentEditor(
            self.source_generator, self.editor.models, self._gates(), self.request.config, inputs.stored_codec
        )
        return prepared

    def unreachable(self, cell: PlannedCell) -> str:
        return ""

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks that hold `DRAWS_A_TRY` draws for each try; at least two."""
        return max(2, -(-cell.planned * self.request.config.tries * DRAWS_A_TRY // EDIT_BLOCK))

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        torch.set_num_threads(1)
        goals, required, _ = self.editor.requirements(cell.index, cell.levels)
        attempts = range(block * EDIT_BLOCK, (block + 1) * EDIT_BLOCK)
        seeds = [sample_seed(self.request.config.seed, cell.index, attempt) for attempt in attempts]
        objective, edited = self._edited(goals, seeds)
        one = np.ones((len(seeds), len(goals)))
        least = (_LIKELIER_THAN_NOT * one, 0.0 * one)  # the held-out classifier has no say
        result = self.editor.assess(EditedBlock(goals, required, objective, edited, attempts, seeds, least))
        own = tuple(replace(candidate, engine=self.names[0]) for candidate in result.candidates)
        return replace(result, candidates=own, steady=self._steady)

    def _gates(self) -> dict[str, Gate]:
        return {"attribute reached": attribute_reached}

    def _edited(self, goals: Sequence[AttributeGoal], seeds: Seeds) -> tuple[EditObjective, EditResult]:
        config, models = self.request.config, self.editor.models
        w = sample_latents(self.source_generator, seeds, config.truncation_psi).astype(np.float32)
        images = synthesize(self.source_generator, w, config.batch_size)
        read = models.reader(images)
        values = read[:, models.directions.index([goal.semantic for goal in goals])]
        unmoved = EditResult(w, w, images, images, read, read, np.zeros(len(w)), np.zeros(len(w), np.int64))
        return edit_objective(goals, values, models.directions, ()), unmoved


class MirroredEngine(UnguidedEngine):
    """Mirrors latents at the boundary of what a cell requests, in one straight step; an `Engine`.

    A face that is read as another class by some log-odds is moved until it should be read as the requested one by as
    many; what the cell requests besides stays. The face gets the cell's labels, whatever it shows. After Ramaswamy et
    al., "Fair Attribute Classification through Latent Space De-biasing", CVPR 2021, who move latents of two classes
    along the normals of linear classifiers.
    """

    names = ("mirrored",)
    _steady = True

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks that hold `tries` attempts for each planned sample; at least two."""
        return max(2, -(-cell.planned * self.request.config.tries // EDIT_BLOCK))

    def _gates(self) -> dict[str, Gate]:
        return {}

    def _edited(self, goals: Sequence[AttributeGoal], seeds: Seeds) -> tuple[EditObjective, EditResult]:
        models = self.editor.models
        _, drawn = super()._edited(goals, seeds)
        uniform = np.stack([np.random.Generator(np.random.PCG64(seed)).random(len(goals)) for seed in seeds])
        values = goal_values(goals, models.survey, uniform)
        read = drawn.measured[:, models.directions.index([goal.semantic for goal in goals])]
        classes = [goal.task.kind == "classes" for goal in goals]
        objective = edit_objective(goals, np.where(classes, np.abs(read), values), models.directions, ())
        objective = replace(objective, keep=(), keep_tolerance=np.empty(0))
        return objective, self.editor.extrapolate(drawn.w, objective, goals, corrections=0)


def _created(engine: type[UnguidedEngine], request: RunRequest) -> Engine:
    generator = loaded_generator(request.config)
    created = engine(request, generator, prepared_directions(request, generator))
    check_labels(request)
    return created
