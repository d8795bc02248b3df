"""Morphs of the data set's own faces, as new people of a cell (docs/method.md, section 9).

An attempt takes a host of the cell and donors near to it. They are registered in the canonical frame, and what does not
fit is refused before anything is rendered. The morph has the size, background, pose and light of the host's photograph.
It is encoded as it would be stored, and everything that decides is measured on that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from faceaug.datasets.thumbnails import common_aspect
from faceaug.errors import DatasetError, FaceaugError, ImageError
from faceaug.identity.column import IDENTITY_DISTANCE
from faceaug.measurement.estimator import FaceEstimator
from faceaug.morphing.blend import MorphPlan, render_morph
from faceaug.morphing.face import CanonicalFace, descriptor_in_place
from faceaug.planning.plan import PlannedCell
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import Column
from faceaug.shards.manifest import ModelRecord
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.acceptance.near_duplicates import differing_bits
from faceaug.synthesis.engines.base import (
    BlockResult,
    Candidate,
    Engine,
    Preparation,
    PreparationInputs,
    SourceImage,
    sample_seed,
    seed_number,
)
from faceaug.synthesis.engines.latent.latent_edit import files_in, model_record
from faceaug.synthesis.engines.morphs.attempt import (
    CHANGED,
    DISTINCT,
    FACE,
    LABELLED,
    LIT,
    NEW_PERSON,
    REACHED,
    AcceptableMorph,
    JudgedMorph,
    MeasuredMorph,
    MorphAttempt,
    RenderedMorph,
)
from faceaug.synthesis.engines.morphs.identity_gate import IdentityGate
from faceaug.synthesis.engines.morphs.label_judge import LabelJudge
from faceaug.synthesis.engines.morphs.morph_faces import (
    LabelDistances,
    MorphFaces,
    descriptor_hashes,
    face_hashes,
    measure_morphs,
    read_faces,
    rows_of_cells,
)
from faceaug.synthesis.engines.morphs.proposals import CellProposals, PairReadings
from faceaug.synthesis.engines.photographs import (
    Photograph,
    read_photograph,
    requested_estimator,
    stored_image,
)
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.estimate import RunEstimate, morph_estimate
from faceaug.synthesis.label_classifiers import CLASSIFIER_FILES, HELD_OUT_FILE, fit_label_classifiers
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import kept_labels, morph_columns
from faceaug.utils.images import Codec, Rgb
from faceaug.utils.text import one_line
from faceaug.utils.typing import Floats, Floats32

MORPH_BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""


def create_engine(request: RunRequest) -> Engine:
    """Load what measures faces, and return the engine.

    Raises
    ------
    UsageError
        When a run is resumed with an estimator that has no hash.
    IntegrityError
        When the estimator's file cannot be read.
    """
    return MorphEngine(request, requested_estimator(request))


class MorphEngine:
    """Mixes real faces of a cell; an `Engine`. The rows of the data set are hosts and donors.

    Parameters
    ----------
    request : RunRequest
    estimator : FaceEstimator
        What measured the columns of the data set.
    """

    names, generator, takes_image_sizes = ("morph",), None, True

    def __init__(self, request: RunRequest, estimator: FaceEstimator) -> None:
        self._request, self._estimator = request, estimator
        self._config, self._axes = request.config, request.plan.axes
        self._dataset = request.dataset
        self._aligned = request.aligned
        self._labels = kept_labels(request.dataset, self._axes)
        self._identity = IdentityGate.of(request.config)
        self._codec: Codec | None = None
        self._faces = MorphFaces({}, {})
        self._judge: LabelJudge | None = None
        self._proposals: dict[int, CellProposals] = {}
        self._lock = threading.Lock()

    @property
    def columns(self) -> tuple[Column, ...]:
        return morph_columns(self._axes, self._labels, self._identity.embedder if self._identity else None)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"estimator": self._estimator.sha256, "identity": self._identity and self._identity.identity}

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return self._faces.hashes()

    def estimate(self) -> RunEstimate:
        return morph_estimate(self._request, self._estimator, {cell: len(rows) for cell, rows in self._rows().items()})

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Learn the held-out classifier, and read the faces of the cells.

        Raises
        ------
        DatasetError
            When an attribute cannot be learnt, or no face is found in most photographs.
        """
        self._codec = inputs.stored_codec
        metrics: dict[str, Any] = {}
        files: tuple[str, ...] = ()
        if any(not is_rendered(axis) for axis in self._axes):
            classifiers = fit_label_classifiers(self._request, inputs, guidance=False)
            self._judge = LabelJudge(
                classifiers, self._axes, common_aspect(self._dataset), self._config.thresholds.held_out
            )
            metrics["classifiers"] = classifiers.metrics
            files = files_in(inputs.folder, CLASSIFIER_FILES)
        self._faces = self._read(self._rows(), inputs)
        self._check_found()
        if self._judge:
            self._judge.read_photographs(
                inputs.thumbnails,
                self._faces.rows,
                self._config.worker_threads,
                lambda done, total: inputs.progress("labels", done, total),
            )
        metrics[self.names[0]] = {"faces": self._faces.count, "bytes": self._faces.byte_count}
        sha256 = self._estimator.sha256
        models = (ModelRecord(name="reconstruction", sha256=sha256),) if sha256 else ()
        held_out = (model_record(inputs.folder, HELD_OUT_FILE),) if HELD_OUT_FILE in files else ()
        return Preparation(files, classifiers=(*held_out, *models), metrics=metrics)

    def unreachable(self, cell: PlannedCell) -> str:
        index = self._faces.by_cell.get(cell.index)
        found, skipped = len(index) if index else 0, self._faces.skipped.get(cell.index, 0)
        if found >= 2:
            return ""
        without = f" (and {skipped} photographs in which no face was found)" if skipped else ""
        return f"a morph needs two faces of its cell, and this one has {found}{without}"

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks that hold `tries` attempts for each planned sample."""
        return -(-cell.planned * self._config.tries // MORPH_BLOCK)

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        torch.set_num_threads(1)
        refused: dict[int, str] = {}
        rendered: list[RenderedMorph] = []
        for number in range(block * MORPH_BLOCK, (block + 1) * MORPH_BLOCK):
            attempt = self._attempt(cell, number)
            if attempt is None:
                break
            result = attempt if isinstance(attempt, str) else self._render(attempt)
            if isinstance(result, str):
                refused[number] = result
            else:
                rendered.append(result)
        read: Sequence[Floats | None] = [None] * len(rendered)
        if self._judge:
            read = list(self._judge.read([morph.stored for morph in rendered]))
        judged = [self._judged(cell, morph, labels) for morph, labels in zip(rendered, read, strict=True)]
        measured = self._measured(
            [(j.rendered.stored, j.rendered.attempt.plan.host.sha256) for j in judged if not isinstance(j, str)]
        )
        candidates, pictures = [], {}
        for morph, passed in zip(rendered, judged, strict=True):
            accepted = passed if isinstance(passed, str) else self._accept(cell, passed, next(measured))
            if isinstance(accepted, str):
                refused[morph.attempt.number] = accepted
                if accepted not in (DISTINCT, NEW_PERSON):  # these show a real person
                    pictures[morph.attempt.number] = morph.stored
            else:
                candidates.append(self._candidate(accepted))
        return BlockResult(tuple(candidates), refused, {}, pictures=pictures)

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        hosts = reader.column("source_sha256")
        rows = np.flatnonzero(reader.made_by(self.names[0])).tolist()
        for start in range(0, len(rows), MORPH_BLOCK):
            some = [(reader.image(row), hosts[row].tobytes()) for row in rows[start : start + MORPH_BLOCK]]
            descriptors = (morph.descriptor for morph in self._measured(some))
            yield from (descriptor_hashes(one[None])[0] for one in descriptors if one is not None)

    def _rows(self) -> dict[int, NDArray[np.int64]]:
        """Return the rows of the faces that are mixed, by cell."""
        return rows_of_cells(self._dataset, self._request.plan, self._config.seed)

    def _read(self, rows: dict[int, NDArray[np.int64]], inputs: PreparationInputs) -> MorphFaces:
        """Read the faces of cells."""
        return read_faces(
            self._dataset,
            rows,
            self._estimator,
            LabelDistances(self._labels, self._axes, self._config.thresholds.label_distance),
            aligned=self._aligned,
            workers=self._config.worker_threads,
            progress=lambda done, total: inputs.progress("faces", done, total),
        )

    def _check_found(self) -> None:
        skipped = sum(self._faces.skipped.values())
        if skipped > self._faces.count:
            raise DatasetError(
                f"no face was found in {skipped:,} of {skipped + self._faces.count:,} photographs of "
                f"{self._dataset.name}, and morphs are made of faces: give photographs of one face each, or say "
                "--aligned if they have the framing of the generator"
            )

    def _attempt(self, cell: PlannedCell, number: int) -> MorphAttempt | str | None:
        """Return an attempt, why it cannot be rendered, or None where there is nothing more to try."""
        plan = self._proposals_of(cell).plan(number)
        if plan is None or isinstance(plan, str):
            return plan
        faces = (plan.host, *plan.donors)
        photographs = self._photographs(faces)
        if not photographs:
            return CHANGED
        attr = self._labels.mixed(_rows_of(faces), (1 - sum(plan.shares), *plan.shares))
        seed = sample_seed(self._config.seed, cell.index, number)
        return MorphAttempt(number, seed, plan, photographs, tuple(p.pixels for p in photographs), attr)

    def _proposals_of(self, cell: PlannedCell) -> CellProposals:
        with self._lock:
            if cell.index not in self._proposals:
                readings = PairReadings(
                    lambda faces: LABELLED if self._judge and self._judge.doubts(_rows_of(faces), cell.levels) else "",
                    self._known_person,
                )
                index = self._faces.by_cell[cell.index]
                self._proposals[cell.index] = CellProposals(index, cell.index, self._config, readings)
            return self._proposals[cell.index]

    def _known_person(self, faces: Sequence[CanonicalFace]) -> str:
        """Return why host and donors count as one person, or an empty text."""
        if self._identity is None:
            return ""
        by_row = {face.row: face for face in faces}
        try:
            is_one = self._identity.shows_one_person(list(by_row), lambda row: self._photograph(by_row[row]))
        except ImageError:  # the attempt will say that a file has changed
            return ""
        return NEW_PERSON if is_one else ""

    def _photographs(self, faces: Sequence[CanonicalFace]) -> tuple[Photograph, ...]:
        """Return the photographs of faces; none where one of them is no longer the file that was read."""
        try:
            return tuple(map(self._photograph, faces))
        except ImageError:
            return ()

    def _photograph(self, face: CanonicalFace) -> Photograph:
        """Return the photograph of a face; ImageError where it is no longer the file that was read."""
        try:
            photograph = read_photograph(self._dataset, face.row)
        except (FaceaugError, OSError) as error:
            raise ImageError(f"{self._dataset.keys[face.row]} can no longer be read: {one_line(error)}") from error
        if photograph.sha256 != face.sha256:
            raise ImageError(f"{self._dataset.keys[face.row]} has changed since it was read; start again")
        return photograph

    def _render(self, attempt: MorphAttempt) -> RenderedMorph | str:
        """Render a morph as it would be stored; return why it is refused where that shows before it is measured."""
        picture, light = render_morph(attempt.plan, attempt.pictures)
        if light > self._config.thresholds.light_difference:
            return LIT
        info = attempt.host.info
        image, stored = stored_image(picture, self._codec, info.quality if self._codec == info.codec else None)
        if self._is_copy(descriptor_in_place(attempt.plan.host, stored), attempt.plan):
            return DISTINCT
        return RenderedMorph(attempt, image, stored)

    def _judged(self, cell: PlannedCell, rendered: RenderedMorph, labels: Floats | None) -> JudgedMorph | str:
        """Judge labels, which were read, and identity of a morph; return why it is refused where it is."""
        attempt, confidence = rendered.attempt, dict[str, float]()
        if self._judge and labels is not None:
            rows = _rows_of((attempt.plan.host, *attempt.plan.donors))
            confidence, agrees = self._judge.verdict(labels, rows, cell.levels, attempt.reached)
            if not agrees:
                return LABELLED
        distance, is_new = None, True
        if self._identity:
            distance, is_new = self._identity.distance(rendered.stored, attempt.photographs)
        return JudgedMorph(rendered, confidence, distance) if is_new else NEW_PERSON

    def _accept(self, cell: PlannedCell, judged: JudgedMorph, measured: MeasuredMorph) -> AcceptableMorph | str:
        """Return an acceptable morph, or why it is refused by what was measured."""
        attempt = judged.rendered.attempt
        if measured.descriptor is None:
            return FACE
        if not self._in_bins(cell, measured.values):
            return REACHED
        if self._is_copy(measured.descriptor, attempt.plan):
            return DISTINCT
        return AcceptableMorph(judged, attempt.semantic, measured)

    def _is_copy(self, descriptor: Floats32, plan: MorphPlan) -> bool:
        """Return whether a face, by its descriptor [D], is nearly one of those that it is made of."""
        bits = differing_bits(descriptor_hashes(descriptor[None])[0], face_hashes((plan.host, *plan.donors)))
        return int(bits.min()) <= self._config.thresholds.duplicate_bits

    def _measured(self, morphs: Sequence[tuple[Rgb, bytes]]) -> Iterator[MeasuredMorph]:
        """Yield what is read off pictures, each with the hash of the file of its host, whose face is where its own is.

        Of a host that is not known, the whole canvas stands for its window.
        """
        windows = [self._faces.windows.get(host, np.zeros(4, np.float32)) for _, host in morphs]
        return measure_morphs(self._estimator, [picture for picture, _ in morphs], windows, aligned=self._aligned)

    def _in_bins(self, cell: PlannedCell, values: Floats) -> bool:
        for axis in self._axes:
            if is_rendered(axis):
                code = axis.assign(pd.Series([values[FACTOR_NAMES.index(axis.name)]]))[0]
                if code != axis.levels.index(cell.levels[axis.name]):
                    return False
        return True

    def _candidate(self, accepted: AcceptableMorph) -> Candidate:
        judged, measured = accepted.judged, accepted.measured
        attempt, plan = judged.rendered.attempt, judged.rendered.attempt.plan
        assert measured.descriptor is not None
        semantic, certain = (
            dict(zip(FACTOR_NAMES, each.tolist(), strict=True)) for each in (measured.values, measured.confidence)
        )
        bins = [axis.name for axis in self._axes if is_rendered(axis)]
        of_morph = {"donor_share": plan.faults.mixed, "residual": plan.faults.residual}
        if judged.identity_distance is not None:
            of_morph[IDENTITY_DISTANCE] = judged.identity_distance
        return Candidate(
            attempt=attempt.number,
            seed=seed_number(attempt.seed),
            engine=self.names[0],
            image=judged.rendered.image,
            quality=attempt.host.info.quality if self._codec == attempt.host.info.codec else None,
            harmonize={},
            w=None,
            origin_w=None,
            attr={**attempt.attr, **{name: semantic[name] for name in bins}},
            confidence={**judged.confidence, **{name: certain[name] for name in bins}},
            semantic={**semantic, **of_morph, **accepted.semantic},
            plausibility=float("nan"),
            realism=float("nan"),
            hash=descriptor_hashes(measured.descriptor[None])[0],
            source=SourceImage(plan.host.sha256),
            donors=tuple(SourceImage(donor.sha256) for donor in plan.donors),
        )


def _rows_of(faces: Sequence[CanonicalFace]) -> list[int]:
    return [face.row for face in faces]
