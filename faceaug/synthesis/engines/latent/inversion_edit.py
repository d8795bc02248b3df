"""Real faces as the origins of edits: each is inverted, then turned and relit in the latent, and keeps its labels.

What a cell requests of labels, its photographs have; what it requests of view and light, the edit reaches. In a cell of
labels alone a face takes the yaw and the light from the side of another photograph of the data set, as far as that is
not far. Its labels are those of its photograph: where the generated picture lost one, the edit restores it. The
classifiers must find a label as surely as in the photograph, or as surely as in a generated face. Where the held-out
classifier does not find it in the photograph, nothing could tell whether it was lost, and no edit begins there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance import scene
from faceaug.classifiers.classifier import Task
from faceaug.datasets.thumbnails import common_aspect
from faceaug.errors import DatasetError, UsageError
from faceaug.generators.base import Generator
from faceaug.generators.sampling import synthesize
from faceaug.inversion.distance import MIN_PHOTOGRAPHS
from faceaug.inversion.inverter import Inverter
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import Column
from faceaug.synthesis.editing.closed_loop import EditObjective, EditResult
from faceaug.synthesis.editing.objectives import (
    CLEAR,
    QUALITY_ROOM,
    AttributeGoal,
    confidences,
    edit_objective,
    goal_values,
)
from faceaug.synthesis.editing.origin_search import CellThresholds, Seeds
from faceaug.synthesis.editing.pose_readout import LearnedDirections
from faceaug.synthesis.engines.base import (
    BlockResult,
    Candidate,
    Preparation,
    PreparationInputs,
    SourceImage,
    sample_seed,
)
from faceaug.synthesis.engines.latent.face_crops import FaceCropper
from faceaug.synthesis.engines.latent.fitted_inversion import (
    ENCODER_FILE,
    INVERSION_FILE,
    MOST_TURNED,
    fit_inversion,
    too_few_photographs,
)
from faceaug.synthesis.engines.latent.latent_edit import LatentEditBase, files_in
from faceaug.synthesis.engines.latent.latent_editor import EditedBlock
from faceaug.synthesis.engines.rerendering.source_faces import SourceFaces, is_rendered
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import INVERSION_ERROR, inversion_columns, joined_columns, kept_labels
from faceaug.utils.typing import Floats

INVERSION_BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""
UNLIKE = "inversion close enough"
"""The reason of photographs of which the generator shows too little for an edit to begin with."""
UNMOVED = "turned or relit"
"""The reason of those of which no edit came nearer to the request than the generated picture of the photograph."""
UNREAD = "label found in the photograph"
"""The reason of those in which the held-out classifier finds their own label with less than chance probability."""


@dataclass(frozen=True, eq=False)
class InvertedSource:
    """A photograph, inverted.

    Attributes
    ----------
    w : float32 [D]
    error : float
        Distance between the photograph and its generated picture; NaN where it was not inverted.
    sha256 : bytes
    refused : str
        Why no edit begins with it, or an empty text.
    guidance, held_out : float64 [S]
        What the guidance classifier and the held-out classifier read from the photograph.
    """

    w: NDArray[np.float32]
    error: float
    sha256: bytes
    refused: str
    guidance: Floats
    held_out: Floats


class InversionEngine(LatentEditBase):
    """Edits inverted real faces; an `Engine`.

    Raises
    ------
    DatasetError, UsageError
        When there are too few photographs, or nothing could turn or relight a face.
    """

    def __init__(self, request: RunRequest, generator: Generator, learned: LearnedDirections | None) -> None:
        super().__init__(request, generator, learned)
        dataset, axes = request.dataset, request.plan.axes
        if len(dataset) < MIN_PHOTOGRAPHS:
            raise DatasetError(too_few_photographs(dataset, len(dataset), {}))
        if learned is None and not any(is_rendered(axis) for axis in axes):
            raise UsageError(
                f"--from-real turns and relights real faces, and no directions of view and light are known in "
                f"{generator.name!r}: find them with faceaug discover and name the file as --directions FILE"
            )
        config = request.config
        self._sources = SourceFaces(dataset, axes, (), config.thresholds.drift, config.seed, own=True)
        self._labels = kept_labels(dataset, axes)
        self._inverter: Inverter | None = None
        self._cropper: FaceCropper | None = None
        self._common: Floats = np.empty((0, len(MOST_TURNED)))
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._requirements: dict[int, tuple[tuple[AttributeGoal, ...], CellThresholds]] = {}
        self._inverted: dict[int, InvertedSource] = {}
        self._lock, self._all = threading.Lock(), threading.Lock()

    @property
    def columns(self) -> tuple[Column, ...]:
        return joined_columns(inversion_columns(self._labels), super().columns)

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Fit classifiers, directions and the inversion, or read those of an interrupted run."""
        fitted = super().prepare(inputs)
        request, models = self.request, self.editor.models
        self._cropper = FaceCropper(
            request.dataset,
            models.reader.framing,
            common_aspect(request.dataset),
            self.learned.instrument if self.learned else None,
            request.aligned,
        )
        inversion = fit_inversion(request, self.editor, self._cropper, inputs.folder, inputs.progress)
        self._inverter, self._common = inversion.inverter, inversion.common
        return replace(
            fitted,
            files=(*fitted.files, *files_in(inputs.folder, (ENCODER_FILE, INVERSION_FILE))),
            metrics={**fitted.metrics, "inversion": inversion.metrics},
        )

    def unreachable(self, cell: PlannedCell) -> str:
        if not len(self._rows_of(cell)):
            return self._sources.none_for(cell.levels)
        return self.editor.unreachable(cell.levels)

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks of `tries` attempts for each planned sample that its photographs may give."""
        config = self.request.config
        samples = min(cell.planned, len(self._rows_of(cell)) * config.uses_limit)
        return -(-max(2 * INVERSION_BLOCK, samples * config.tries) // INVERSION_BLOCK)

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        torch.set_num_threads(1)
        numbers = list(range(block * INVERSION_BLOCK, (block + 1) * INVERSION_BLOCK))
        goals, required = self._requirements_of(cell)
        rows = self._sources_of(cell, goals, numbers)
        inverted = self._invert(rows)
        source_of = dict(zip(numbers, rows, strict=False))  # fewer where no photograph is any good
        refused = {
            number: reason for number, row in source_of.items() if (reason := self._refusal(inverted[row], goals))
        }
        attempts = [number for number in source_of if number not in refused]
        if not attempts:
            return BlockResult((), refused, {})
        origins = [inverted[source_of[number]] for number in attempts]
        seeds = [sample_seed(self.request.config.seed, cell.index, number) for number in attempts]
        least = self._least(goals, origins)
        rows = [source_of[number] for number in attempts]
        objective, edited = self._edit(goals, required, _Origins(rows, origins, least[0], seeds))
        result = self.editor.assess(EditedBlock(goals, required, objective, edited, attempts, seeds, least))
        unmoved = {a for a, steps in zip(attempts, edited.steps.tolist(), strict=True) if not steps}
        refused |= dict.fromkeys(unmoved, UNMOVED)
        candidates = tuple(
            self._labelled(candidate, source_of[candidate.attempt], inverted)
            for candidate in result.candidates
            if candidate.attempt not in unmoved
        )
        return BlockResult(candidates, {**result.refused, **refused}, result.nearest, pictures=result.pictures)

    def _sources_of(self, cell: PlannedCell, goals: Sequence[AttributeGoal], attempts: Sequence[int]) -> list[int]:
        """Return the photograph of each attempt: each one once, and then again those that edits can begin with.

        There are fewer where no photograph is any good.
        """
        rows = self._rows_of(cell).tolist()
        if attempts[-1] < len(rows):
            return [rows[attempt] for attempt in attempts]
        with self._all:  # the first worker to come inverts them, for all
            good = [row for row, source in self._invert(rows).items() if not self._refusal(source, goals)]
        once = [rows[attempt] for attempt in attempts if attempt < len(rows)]
        again = [good[(attempt - len(rows)) % len(good)] for attempt in attempts if attempt >= len(rows) and good]
        return [*once, *again]

    def _refusal(self, source: InvertedSource, goals: Sequence[AttributeGoal]) -> str:
        """Return why no edit towards a cell begins with a photograph, or an empty text."""
        classes = [goal for goal in goals if goal.task.kind == "classes"]
        if source.refused or not classes:
            return source.refused
        read = confidences(classes, self.editor.models.held_out, source.held_out[None])[0]
        chance = np.array([1 / len(goal.task.levels) for goal in classes])
        return UNREAD if (read < chance).any() else ""

    def _rows_of(self, cell: PlannedCell) -> NDArray[np.int64]:
        with self._lock:
            if cell.index not in self._rows:
                self._rows[cell.index] = self._sources.rows(cell.index, cell.levels)
            return self._rows[cell.index]

    def _requirements_of(self, cell: PlannedCell) -> tuple[tuple[AttributeGoal, ...], CellThresholds]:
        with self._lock:
            if cell.index not in self._requirements:
                self._requirements[cell.index] = self.editor.requirements(cell.index, cell.levels)[:2]
            return self._requirements[cell.index]

    def _invert(self, rows: Sequence[int]) -> dict[int, InvertedSource]:
        """Return these photographs inverted; each is inverted once.

        Two threads may invert one at the same time and find the same.
        """
        assert self._cropper is not None, "an engine is prepared before it proposes"
        assert self._inverter is not None, "an engine is prepared before it proposes"
        new = [row for row in dict.fromkeys(rows) if row not in self._inverted]
        crops = self._cropper.take(new)
        usable = [k for k, reason in enumerate(crops.refused) if not reason]
        place = {k: at for at, k in enumerate(usable)}
        inversions = self._inverter(crops.images[usable])
        guidance, held_out = self._read(crops.images)
        for k, row in enumerate(new):
            if crops.refused[k]:
                w, error, reason = np.zeros(self.source_generator.w_dim, np.float32), float("nan"), crops.refused[k]
            else:
                w, error = inversions.w[place[k]], float(inversions.error[place[k]])
                reason = "" if error <= self.request.config.thresholds.inversion else UNLIKE
            self._inverted[row] = InvertedSource(w, error, crops.sha256[k], reason, guidance[k], held_out[k])
        return {row: self._inverted[row] for row in rows}

    def _read(self, photographs: Tensor) -> tuple[Floats, Floats]:
        """Return what the classifiers read from photographs, each on its own: a batch changes the last bits."""
        models = self.editor.models
        guidance = models.reader.classifier or models.held_out
        if not len(photographs):
            return np.empty((0, 0)), np.empty((0, 0))
        return (
            np.concatenate([guidance.read(photograph[None])[0] for photograph in photographs]),
            np.concatenate([models.held_out.read(photograph[None])[0] for photograph in photographs]),
        )

    def _least(self, goals: Sequence[AttributeGoal], sources: Sequence[InvertedSource]) -> tuple[Floats, Floats]:
        """Return what must be read of the request [N, A], by the guidance classifier and by the held-out classifier.

        Of labels no more than is read from the photograph: they are known, and no classifier is right about every face.
        """
        models, thresholds = self.editor.models, self.request.config.thresholds
        guidance = models.reader.classifier or models.held_out
        both = []
        for classifier, most, read in (
            (guidance, thresholds.confidence, [source.guidance for source in sources]),
            (models.held_out, thresholds.held_out, [source.held_out for source in sources]),
        ):
            least = np.full((len(sources), len(goals)), most)
            for k, goal in enumerate(goals):
                if not _moves(goal):
                    least[:, k] = np.minimum(most, confidences([goal], classifier, np.stack(read))[:, 0])
            both.append(least)
        return both[0], both[1]

    def _edit(
        self, goals: Sequence[AttributeGoal], required: CellThresholds, origins: _Origins
    ) -> tuple[EditObjective, EditResult]:
        """Edit inverted faces towards what their cell requests."""
        models = self.editor.models
        w = np.stack([source.w for source in origins.sources])
        read = models.reader(synthesize(self.source_generator, w, self.request.config.batch_size))
        least = required.face_quality
        objective = replace(
            self._objective(goals, read, origins),
            within=(scene.FACE_QUALITY,),
            bounds=np.array([[least, least + QUALITY_ROOM]]),
        )
        return objective, self.editor.extrapolate(w, objective, [goal for goal in goals if _moves(goal)])

    def _objective(self, goals: Sequence[AttributeGoal], read: Floats, origins: _Origins) -> EditObjective:
        """Return the request for faces that read as `read` [N, S] now."""
        models, directions = self.editor.models, self.editor.models.directions
        streams = [np.random.Generator(np.random.PCG64(seed)) for seed in origins.seeds]
        moving, fixed = [goal for goal in goals if _moves(goal)], [goal for goal in goals if not _moves(goal)]
        if moving:
            uniform = np.stack([stream.random(len(moving)) for stream in streams])
            values = goal_values(moving, models.survey, uniform)
        else:
            moving = [AttributeGoal(Task(name, "value", ()), name, "") for name in MOST_TURNED]
            others = self._common[[int(stream.integers(len(self._common))) for stream in streams]]
            now, most = read[:, directions.index(list(MOST_TURNED))], np.array(list(MOST_TURNED.values()))
            values = np.clip(others, now - most, now + most)
        # The skin stays as it is: a changed skin would be another person's.
        kept = (*models.kept(), scene.EXPOSURE)
        objective = edit_objective(moving, values, directions, kept, models.reader.pose_light_names)
        if not fixed:
            return objective
        labels = edit_objective(fixed, self._label_values(goals, fixed, origins), directions, ())
        return replace(
            objective,
            names=(*objective.names, *labels.names),
            values=np.concatenate([objective.values, labels.values], 1),
            at_least=np.concatenate([objective.at_least, labels.at_least]),
            tolerance=np.concatenate([objective.tolerance, labels.tolerance]),
        )

    def _label_values(
        self, goals: Sequence[AttributeGoal], fixed: Sequence[AttributeGoal], origins: _Origins
    ) -> Floats:
        """Return the values [N, K] at which the labels of photographs are read, or by which they are numbers."""
        values = np.empty((len(origins.rows), len(fixed)))
        for k, goal in enumerate(fixed):
            if goal.task.kind == "classes":
                share = origins.least[:, goals.index(goal)].clip(1e-3, 1 - 1e-3)
                values[:, k] = np.log(share / (1 - share)) + CLEAR
            else:
                values[:, k] = [self._labels.of(row)[goal.task.name] for row in origins.rows]
        return values

    def _labelled(self, candidate: Candidate, row: int, inverted: dict[int, InvertedSource]) -> Candidate:
        """Give a candidate the labels of its photograph, and record which it is."""
        source, labels = inverted[row], self._labels.of(row)
        reached = {name: value for name, value in candidate.attr.items() if name not in self._labels.values}
        return replace(
            candidate,
            attr={**labels, **reached},
            semantic={**candidate.semantic, INVERSION_ERROR: source.error},
            source=SourceImage(source.sha256, self.real_hashes[row]),
        )


@dataclass(frozen=True, eq=False)
class _Origins:
    """The inverted faces of a block of attempts: rows of the data set, and by attempt what must be read of labels."""

    rows: Sequence[int]
    sources: Sequence[InvertedSource]
    least: Floats  # [N, A], by the guidance classifier
    seeds: Seeds


def _moves(goal: AttributeGoal) -> bool:
    """Return whether an edit reaches a goal; the others are labels that it keeps."""
    return goal.task.kind != "classes" and goal.task.name in FACTOR_NAMES
