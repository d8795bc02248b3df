"""Real faces as the origins of edits: each is inverted, then turned and relit in the latent, and keeps its labels.

What a cell asks of labels, its photographs have; what it asks of view and light, the edit reaches. In a cell of labels
alone a face takes the yaw and the light from the side of another photograph of the data set, as far as that is not far.
Its labels are those of its photograph: where the picture drawn of it lost one, the edit gives it back, and of the
probes it is asked that they find it as they find it in the photograph, or as surely as they are asked of a draw. Where
the judge does not find it in the photograph, nothing could tell whether it was lost: no edit begins there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance import scene
from faceaug.classifiers.classifier import Task
from faceaug.generators.sampling import synthesize
from faceaug.inversion.inverter import Inverter
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.semantics import NAMES
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.editing.closed_loop import EditObjective, EditResult, extrapolate
from faceaug.synthesis.editing.objectives import (
    CLEAR,
    SOUND_ROOM,
    AttributeGoal,
    confidences,
    edit_objective,
    goal_values,
)
from faceaug.synthesis.editing.origin_search import CellThresholds, Seeds
from faceaug.synthesis.engines.base import drawn_marks
from faceaug.synthesis.engines.face_crops import FaceCropper
from faceaug.synthesis.engines.latent_edit import REACH, BlockResult, Candidate, LatentEditor, SourceImage, sample_seed
from faceaug.synthesis.engines.source_faces import SourceFaces
from faceaug.synthesis.sample_schema import ERROR, KeptLabels
from faceaug.utils.typing import Floats

BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""
UNLIKE = "photograph drawn alike"
"""The reason of real faces of which the generator draws too little for an edit to begin with."""
UNMOVED = "turned or relit"
"""The reason of those of which no edit came nearer to what was asked than the picture drawn of the photograph."""
UNREAD = "label read off the photograph"
"""The reason of those in which the judge finds their own label less surely than by chance."""
TURNED = dict(yaw=20.0, light_x=30.0)
"""What is given to faces where their cell asks for labels alone, and by how many degrees at most."""


@dataclass(frozen=True, eq=False)
class InvertedSource:
    """A photograph, inverted."""

    w: NDArray[np.float32]
    error: float
    sha256: bytes
    refused: str  # why it cannot be begun with, or ""
    steering: Floats  # what the steering probe reads off the photograph, and the judge
    judged: Floats


class InversionEngine:
    """Makes samples of inverted real faces; an `Engine`.

    Parameters
    ----------
    editor : LatentEditor
        Of the run; it judges and finishes.
    inverter : Inverter
    studio : FaceCropper
    sources : SourceFaces
        Of the plan's cells, a cell's own faces among them.
    labels : KeptLabels
    common : float64 [M, 2]
        Yaw and light_x of photographs of the data set; may be empty where all cells ask for view or light.
    tries, uses : int
        Attempts for each planned sample; samples that one photograph may give.
    """

    def __init__(
        self, editor: LatentEditor, inverter: Inverter, studio: FaceCropper, sources: SourceFaces, labels: KeptLabels,
        common: Floats, *, tries: int, uses: int,
    ) -> None:  # fmt: skip
        self._workshop, self._guide, self._inverter, self._studio = editor, editor.guide, inverter, studio
        self._sources, self._labels, self._common, self._tries, self._uses = sources, labels, common, tries, uses
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._standing: dict[int, tuple[tuple[AttributeGoal, ...], CellThresholds]] = {}
        self._origins: dict[int, InvertedSource] = {}
        self._lock, self._all = threading.Lock(), threading.Lock()

    @property
    def real(self) -> NDArray[np.uint64]:
        return self._guide.real.hashes

    def beyond(self, cell: PlannedCell) -> str:
        return self._workshop.beyond(cell.levels) if len(self._rows_of(cell)) else self._sources.none_for(cell.levels)

    def blocks(self, cell: PlannedCell) -> int:
        return -(-self._attempts(cell) // BLOCK)

    def make(self, cell: PlannedCell, block: int) -> BlockResult:
        """Return block number `block` of attempts at a cell."""
        torch.set_num_threads(1)
        attempts = list(range(block * BLOCK, (block + 1) * BLOCK))
        parts, standard = self._standing_of(cell)
        sources = self._sources_of(cell, parts, attempts)
        attempts = attempts[: len(sources)]
        origins = self._inverted(sources)
        reasons = [self._refusal(origins[row], parts) for row in sources]
        refused = {attempt: why for attempt, why in zip(attempts, reasons, strict=True) if why}
        left = [k for k, attempt in enumerate(attempts) if attempt not in refused]
        if not left:
            return BlockResult((), refused, {})
        attempts, sources = [attempts[k] for k in left], [sources[k] for k in left]
        seeds = [sample_seed(self._workshop.seed, cell.index, attempt) for attempt in attempts]
        begun = [origins[row] for row in sources]
        least = self._least(parts, begun)
        ask, edited = self._edited(parts, standard, sources, begun, least[0], seeds)
        made = self._workshop.judge(parts, standard, ask, edited, attempts, seeds, least)
        still = {a for a, steps in zip(attempts, edited.steps.tolist(), strict=True) if not steps}
        refused |= dict.fromkeys(still, UNMOVED)
        made = replace(made, candidates=tuple(found for found in made.candidates if found.attempt not in still))
        of = dict(zip(attempts, sources, strict=True))
        candidates = tuple(self._labelled(cell, found, of[found.attempt], origins) for found in made.candidates)
        return BlockResult(candidates, {**made.refused, **refused}, made.nearest)

    def marks(self, reader: ShardReader) -> Iterator[np.uint64]:
        return drawn_marks(self._workshop, reader)

    def _attempts(self, cell: PlannedCell) -> int:
        """Allowed are so many for each sample that is planned, as far as its photographs may give so many samples."""
        return max(2 * BLOCK, min(cell.planned, len(self._rows_of(cell)) * self._uses) * self._tries)

    def _sources_of(self, cell: PlannedCell, parts: Sequence[AttributeGoal], attempts: Sequence[int]) -> list[int]:
        """Return the photograph of each attempt: every one once, and then again those that can be begun with.

        There are fewer where no photograph is any good.
        """
        rows = self._rows_of(cell).tolist()
        if attempts[-1] < len(rows):
            return [rows[attempt] for attempt in attempts]
        with self._all:  # the first to come inverts them, for all
            good = [row for row, origin in self._inverted(rows).items() if not self._refusal(origin, parts)]
        once = [rows[attempt] for attempt in attempts if attempt < len(rows)]
        again = [good[(attempt - len(rows)) % len(good)] for attempt in attempts if attempt >= len(rows) and good]
        return [*once, *again]

    def _refusal(self, origin: InvertedSource, parts: Sequence[AttributeGoal]) -> str:
        """Return why no edit towards a cell begins with a photograph, or an empty text."""
        classes = [part for part in parts if part.task.kind == "classes"]
        if origin.refused or not classes:
            return origin.refused
        sure = confidences(classes, self._guide.judge, origin.judged[None])[0]
        chance = np.array([1 / len(part.task.levels) for part in classes])
        return UNREAD if (sure < chance).any() else ""

    def _rows_of(self, cell: PlannedCell) -> NDArray[np.int64]:
        with self._lock:
            if cell.index not in self._rows:
                self._rows[cell.index] = self._sources.rows(cell.index, cell.levels)
            return self._rows[cell.index]

    def _standing_of(self, cell: PlannedCell) -> tuple[tuple[AttributeGoal, ...], CellThresholds]:
        with self._lock:
            if cell.index not in self._standing:
                self._standing[cell.index] = self._workshop.standing(cell.index, cell.levels)[:2]
            return self._standing[cell.index]

    def _inverted(self, rows: Sequence[int]) -> dict[int, InvertedSource]:
        """Return these photographs inverted; of one that was met before, what was found then.

        Two threads may meet one at the same time and find the same.
        """
        new = [row for row in dict.fromkeys(rows) if row not in self._origins]
        taken = self._studio.take(new)
        usable = [k for k, why in enumerate(taken.refused) if not why]
        place = {k: at for at, k in enumerate(usable)}
        found = self._inverter(taken.images[usable])
        steering, judged = self._read(taken.images)
        most = self._workshop.limits.inversion
        for k, row in enumerate(new):
            if taken.refused[k]:
                nothing = np.zeros(self._workshop.generator.w_dim, np.float32)
                w, error, why = nothing, float("nan"), taken.refused[k]
            else:
                w, error = found.w[place[k]], float(found.error[place[k]])
                why = "" if error <= most else UNLIKE
            self._origins[row] = InvertedSource(w, error, taken.sha256[k], why, steering[k], judged[k])
        return {row: self._origins[row] for row in rows}

    def _read(self, photographs: Tensor) -> tuple[Floats, Floats]:
        """Return what the probes read off photographs, each on its own: company changes the last bits."""
        judge = self._guide.judge
        probe = self._guide.reader.probe or judge
        steering = [probe.read(photograph[None])[0] for photograph in photographs]
        judged = [judge.read(photograph[None])[0] for photograph in photographs]
        return (np.concatenate(steering), np.concatenate(judged)) if steering else (np.empty((0, 0)), np.empty((0, 0)))

    def _least(self, parts: Sequence[AttributeGoal], origins: Sequence[InvertedSource]) -> tuple[Floats, Floats]:
        """Return what must be read of what is asked [N, A], by the steering probe and by the judge.

        Of labels no more than the photograph is given: they are known, and no probe is right about every face.
        """
        guide, limits = self._guide, self._workshop.limits
        both = []
        for probe, most, read in (
            (guide.reader.probe or guide.judge, limits.confidence, [origin.steering for origin in origins]),
            (guide.judge, limits.judge, [origin.judged for origin in origins]),
        ):
            least = np.full((len(origins), len(parts)), most)
            for k, part in enumerate(parts):
                if not _moves(part):
                    least[:, k] = np.minimum(most, confidences([part], probe, np.stack(read))[:, 0])
            both.append(least)
        return both[0], both[1]

    def _edited(
        self, parts: Sequence[AttributeGoal], standard: CellThresholds, rows: Sequence[int], origins: Sequence[InvertedSource],
        least: Floats, seeds: Seeds,
    ) -> tuple[EditObjective, EditResult]:  # fmt: skip
        """Edit origins towards what their cell asks."""
        editor, guide = self._workshop, self._guide
        w = np.stack([origin.w for origin in origins])
        read = guide.reader(synthesize(editor.generator, w, editor.batch_size))
        ask = replace(
            self._ask(parts, read, rows, least, seeds), within=(scene.SOUNDNESS,),
            bounds=np.array([[standard.sound, standard.sound + SOUND_ROOM]]),
        )  # fmt: skip
        moving = [part for part in parts if _moves(part)]
        edited = extrapolate(
            editor.generator, guide.directions, guide.reader, w, ask, covariance=guide.covariance(moving),
            corrections=editor.corrections, reach=REACH * guide.reach, batch_size=editor.batch_size,
        )  # fmt: skip
        return ask, edited

    def _ask(
        self, parts: Sequence[AttributeGoal], read: Floats, rows: Sequence[int], least: Floats, seeds: Seeds
    ) -> EditObjective:  # fmt: skip
        """Return what is asked of faces that read as `read` [N, S] now; of labels, `least` [N, A] at least."""
        guide = self._guide
        streams = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        moving, held = [part for part in parts if _moves(part)], [part for part in parts if not _moves(part)]
        if moving:
            aim = goal_values(moving, guide.survey, np.stack([stream.random(len(moving)) for stream in streams]))
        else:
            moving = [AttributeGoal(Task(name, "value", ()), name, "") for name in TURNED]
            others = self._common[[int(stream.integers(len(self._common))) for stream in streams]]
            now, most = read[:, guide.directions.index(list(TURNED))], np.array(list(TURNED.values()))
            aim = np.clip(others, now - most, now + most)
        # The skin stays as it is: a photograph's light was the camera's choice, a darker or lighter face is nobody's.
        ask = edit_objective(moving, aim, guide.directions, (*guide.kept(), scene.EXPOSURE), guide.reader.surroundings)
        if not held:
            return ask
        label = np.empty((len(rows), len(held)))
        for k, part in enumerate(held):
            if part.task.kind == "classes":
                share = least[:, parts.index(part)].clip(1e-3, 1 - 1e-3)
                label[:, k] = np.log(share / (1 - share)) + CLEAR
            else:  # a number that the photograph is labelled with
                label[:, k] = [self._labels.of(row)[part.task.name] for row in rows]
        also = edit_objective(held, label, guide.directions, ())
        return replace(
            ask, names=(*ask.names, *also.names), aim=np.concatenate([ask.aim, also.aim], 1),
            at_least=np.concatenate([ask.at_least, also.at_least]),
            tolerance=np.concatenate([ask.tolerance, also.tolerance]),
        )  # fmt: skip

    def _labelled(self, cell: PlannedCell, found: Candidate, row: int, origins: dict[int, InvertedSource]) -> Candidate:
        """Give a sample the labels of its photograph, and say which it is."""
        origin, labels = origins[row], self._labels.of(row)
        reached = {name: value for name, value in found.attr.items() if name not in self._labels.values}
        return replace(
            found, attr={**labels, **reached}, semantic={**found.semantic, ERROR: origin.error},
            source=SourceImage(origin.sha256, self.real[row]),
        )  # fmt: skip


def _moves(part: AttributeGoal) -> bool:
    return part.task.kind != "classes" and part.task.name in NAMES
