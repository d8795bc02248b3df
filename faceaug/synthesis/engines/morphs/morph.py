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
from faceaug.errors import DatasetError, FaceaugError
from faceaug.identity.column import IDENTITY_DISTANCE
from faceaug.measurement.estimator import FaceEstimator, Measurements
from faceaug.morphing.blend import plan_morph, render_morph
from faceaug.morphing.donors import DonorIndex
from faceaug.morphing.face import CanonicalFace, canonical_faces, descriptor_in_place
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
    ALONE,
    CHANGED,
    DISTINCT,
    FACE,
    LABELLED,
    LIT,
    NEW_PERSON,
    REACHED,
    MorphAttempt,
    RenderedMorph,
    morph_fault,
)
from faceaug.synthesis.engines.morphs.identity_gate import IdentityGate
from faceaug.synthesis.engines.morphs.label_judge import LabelJudge
from faceaug.synthesis.engines.morphs.morph_faces import (
    LabelDistances,
    MorphFaces,
    descriptor_hashes,
    face_hashes,
    read_faces,
    rows_of_cells,
)
from faceaug.synthesis.engines.photographs import (
    Photograph,
    factor_values,
    measured,
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
from faceaug.utils.typing import Floats, Floats32

MORPH_BLOCK = 16
"""Attempts that are computed together, whatever the number of workers."""
DONOR_SHARE = (0.75, 1.0)
"""Range from which the share of the donors' features is drawn; the rest is the host's."""
NEAREST = 12
"""Faces nearest to a host from which its first donors are drawn; then come as many that are further away."""
CHOICES = 4
"""Choices of donors that an attempt tries to register, until one fits."""
_ORDER, _DONORS = 2**32 - 6, 2**32 - 7  # spawn keys of the order of hosts and of the donors of a host


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
        self._orders: dict[int, NDArray[np.int64]] = {}
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
        return morph_estimate(self._request, self._estimator, sum(map(len, self._rows().values())))

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
            self._judge = LabelJudge(classifiers, self._axes, common_aspect(self._dataset))
            metrics["classifiers"] = classifiers.metrics
            files = files_in(inputs.folder, CLASSIFIER_FILES)
        self._faces = self._read(self._rows(), inputs)
        self._check_found()
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
        candidates = []
        for number in range(block * MORPH_BLOCK, (block + 1) * MORPH_BLOCK):
            attempt = self._attempt(cell, number)
            rendered = attempt if isinstance(attempt, str) else self._render(cell, attempt)
            if isinstance(rendered, str):
                refused[number] = rendered
            else:
                candidates.append(self._candidate(rendered))
        return BlockResult(tuple(candidates), refused, {})

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        hosts = reader.column("source_sha256")
        for row in np.flatnonzero(reader.made_by(self.names[0])).tolist():
            face, _ = self._measured(reader.image(row), hosts[row].tobytes())
            if face is not None:
                yield face_hashes([face])[0]

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

    def _attempt(self, cell: PlannedCell, number: int) -> MorphAttempt | str:
        """Choose host and donors and register them; return why it cannot be rendered where that is so."""
        index = self._faces.by_cell[cell.index]
        order = self._order(cell.index, len(index))
        host, turn = int(order[number % len(order)]), number // len(order)
        seed = sample_seed(self._config.seed, cell.index, number)
        rng = np.random.Generator(np.random.PCG64(seed))
        share = float(rng.uniform(*DONOR_SHARE))
        reason = ALONE
        for donors in self._donors(cell.index, index, host, turn):
            parts = rng.dirichlet(np.full(len(donors), 4.0)) if len(donors) > 1 else np.ones(1)
            plan = plan_morph(index.faces[host], donors, (share * parts).tolist())
            reason = morph_fault(plan, self._config.thresholds)
            if not reason:
                break
        if reason:
            return reason
        faces = (plan.host, *plan.donors)
        photographs = self._photographs(faces)
        if not photographs:
            return CHANGED
        attr = self._labels.mixed([face.row for face in faces], (1 - sum(plan.shares), *plan.shares))
        return MorphAttempt(number, seed, plan, photographs, tuple(p.pixels for p in photographs), attr)

    def _photographs(self, faces: Sequence[CanonicalFace]) -> tuple[Photograph, ...]:
        """Return the photographs of faces; none where one of them is no longer the file that was read."""
        try:
            photographs = tuple(read_photograph(self._dataset, face.row) for face in faces)
        except (FaceaugError, OSError):
            return ()
        unchanged = all(p.sha256 == face.sha256 for p, face in zip(photographs, faces, strict=True))
        return photographs if unchanged else ()

    def _order(self, cell: int, count: int) -> NDArray[np.int64]:
        with self._lock:
            if cell not in self._orders:
                seed = np.random.SeedSequence(self._config.seed, spawn_key=(cell, _ORDER))
                self._orders[cell] = np.random.Generator(np.random.PCG64(seed)).permutation(count)
            return self._orders[cell]

    def _donors(self, cell: int, index: DonorIndex, host: int, turn: int) -> list[tuple[CanonicalFace, ...]]:
        """Return the choices of donors for a host in its `turn`: others each time, the nearest ones first."""
        seed = np.random.SeedSequence(self._config.seed, spawn_key=(cell, host, _DONORS))
        rng = np.random.Generator(np.random.PCG64(seed))
        count = min(self._config.donors, len(index) - 1)
        order = index.in_rings(host, NEAREST, (turn + 1) * CHOICES * count, rng)
        if not len(order):
            return []
        first = turn * CHOICES * count  # when all faces had their turn, the nearest have another
        choices = [[order[(first + k * count + donor) % len(order)] for donor in range(count)] for k in range(CHOICES)]
        distinct = dict.fromkeys(tuple(dict.fromkeys(int(donor) for donor in choice)) for choice in choices)
        return [tuple(index.faces[donor] for donor in choice) for choice in distinct]

    def _render(self, cell: PlannedCell, attempt: MorphAttempt) -> RenderedMorph | str:
        """Render a morph and measure it; return why it is refused where it is."""
        thresholds = self._config.thresholds
        picture, light = render_morph(attempt.plan, attempt.pictures)
        if light > thresholds.light_difference:
            return LIT
        info = attempt.host.info
        image, stored = stored_image(picture, self._codec, info.quality if self._codec == info.codec else None)
        faces = (attempt.plan.host, *attempt.plan.donors)
        if self._is_copy(descriptor_in_place(attempt.plan.host, stored), faces):
            return DISTINCT
        confidence: dict[str, float] = {}
        if self._judge:
            confidence, agrees = self._judge.read(
                stored, attempt.photographs, cell.levels, thresholds.held_out, attempt.reached
            )
            if not agrees:
                return LABELLED
        distance, is_new = self._identity.distance(stored, attempt.photographs) if self._identity else (None, True)
        if not is_new:
            return NEW_PERSON
        face, measurements = self._measured(stored, attempt.plan.host.sha256)
        if face is None:
            return FACE
        if not self._in_bins(cell, measurements.values[0]):
            return REACHED
        if self._is_copy(face.descriptor, faces):
            return DISTINCT
        return RenderedMorph(attempt, image, stored, face, confidence, measurements, distance)

    def _is_copy(self, descriptor: Floats32, faces: Sequence[CanonicalFace]) -> bool:
        """Return whether a face, by its descriptor [D], is nearly one of those that it is made of."""
        bits = differing_bits(descriptor_hashes(descriptor[None])[0], face_hashes(faces))
        return int(bits.min()) <= self._config.thresholds.duplicate_bits

    def _measured(self, picture: Rgb, host: bytes) -> tuple[CanonicalFace | None, Measurements]:
        """Measure one picture, by itself, so that nothing depends on what else is measured.

        Its face is where that of its host is, a file by its hash.
        """
        window = self._faces.windows.get(host)
        near = None if window is None else torch.from_numpy(window)[None]
        measurements, extents = measured(self._estimator, [picture], aligned=self._aligned, near=near)
        return canonical_faces([-1], [b""], [picture], extents, measurements)[0], measurements

    def _in_bins(self, cell: PlannedCell, values: Floats) -> bool:
        for axis in self._axes:
            if is_rendered(axis):
                code = axis.assign(pd.Series([values[FACTOR_NAMES.index(axis.name)]]))[0]
                if code != axis.levels.index(cell.levels[axis.name]):
                    return False
        return True

    def _candidate(self, rendered: RenderedMorph) -> Candidate:
        attempt, plan = rendered.attempt, rendered.attempt.plan
        semantic, certain = factor_values(rendered.measurements)
        bins = [axis.name for axis in self._axes if is_rendered(axis)]
        of_morph = {"donor_share": plan.faults.mixed, "residual": plan.faults.residual}
        if rendered.identity_distance is not None:
            of_morph[IDENTITY_DISTANCE] = rendered.identity_distance
        return Candidate(
            attempt=attempt.number,
            seed=seed_number(attempt.seed),
            engine=self.names[0],
            image=rendered.image,
            quality=attempt.host.info.quality if self._codec == attempt.host.info.codec else None,
            harmonize={},
            w=None,
            origin_w=None,
            attr={**attempt.attr, **{name: semantic[name] for name in bins}},
            confidence={**rendered.confidence, **{name: certain[name] for name in bins}},
            semantic={**semantic, **of_morph, **attempt.semantic},
            plausibility=float("nan"),
            realism=float("nan"),
            hash=face_hashes([rendered.face])[0],
            source=SourceImage(plan.host.sha256),
            donors=tuple(SourceImage(donor.sha256) for donor in plan.donors),
        )
