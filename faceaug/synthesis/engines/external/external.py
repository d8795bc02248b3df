"""The engine `external`: images that were made elsewhere fill the cells that they are found to belong to.

Every candidate is assessed once, while the engine prepares; attempts at a cell are its candidates, in a random order
that the seed decides. Their pictures are made again where they are stored, so that a run depends on none in memory, and
are read again by an engine that did not assess them itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faceaug.cache.arrays import keep_files, restore_files
from faceaug.cache.key import CacheKey, array_sha256
from faceaug.datasets.content import content_sha256
from faceaug.datasets.thumbnails import common_aspect, thumbnail
from faceaug.errors import FaceaugError
from faceaug.identity.reference import IdentityReference
from faceaug.measurement.estimator import FaceEstimator
from faceaug.planning.plan import PlannedCell
from faceaug.shards.columns import EXTERNAL_ENGINE, Column
from faceaug.shards.manifest import ModelRecord
from faceaug.shards.reader import ShardReader
from faceaug.synthesis.acceptance.gates import DUPLICATE, all_gates, gate_identities
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex, hashes
from faceaug.synthesis.acceptance.refused_pictures import KEPT
from faceaug.synthesis.engines.base import BlockResult, Candidate, Engine, Preparation, PreparationInputs
from faceaug.synthesis.engines.external.assessment import READABLE, CandidateAssessor, Judge, Verdict
from faceaug.synthesis.engines.external.candidates import Candidates, open_candidates
from faceaug.synthesis.engines.external.standards import STANDARDS_FILES, fit_standards
from faceaug.synthesis.engines.external.verdicts import CANDIDATES_FILE, read_verdicts, refusals, write_verdicts
from faceaug.synthesis.engines.latent.latent_edit import files_in, model_record
from faceaug.synthesis.engines.morphs.identity_gate import NO_EMBEDDER, IdentityGate
from faceaug.synthesis.engines.photographs import requested_estimator
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.estimate import RunEstimate, external_estimate
from faceaug.synthesis.label_classifiers import CLASSIFIER_FILES, GUIDANCE_FILE, HELD_OUT_FILE, fit_label_classifiers
from faceaug.synthesis.request import RunRequest
from faceaug.synthesis.sample_columns import external_columns
from faceaug.synthesis.stages import THUMBNAIL_SIDE
from faceaug.utils.files import sha256_file
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.threads import map_in_order

EXTERNAL_BLOCK = 16
"""Candidates of a cell that are computed together, whatever the number of workers."""
ASSESSMENT_VERSION = 2
"""Raised whenever the same candidates are judged otherwise than before, so that no cached verdicts are read."""
_FILES = (*STANDARDS_FILES, CANDIDATES_FILE)
_ORDER = 2**32 - 9  # spawn key of the order of candidates


def create_engine(request: RunRequest) -> Engine:
    """List the candidates, load what measures faces, and return the engine.

    Raises
    ------
    UsageError
        When no candidates are named, or a run is resumed with an estimator that has no hash.
    DatasetError
        When there are no candidates, or what is claimed of them cannot be read.
    IntegrityError
        When the estimator's file cannot be read.
    """
    return ExternalEngine(request, open_candidates(request.config, request.plan.axes), requested_estimator(request))


class ExternalEngine:
    """Fills cells with candidates; an `Engine`.

    Parameters
    ----------
    request : RunRequest
    candidates : Candidates
    estimator : FaceEstimator
        What measured the columns of the data set.
    """

    names, generator, takes_image_sizes = (EXTERNAL_ENGINE,), None, True

    def __init__(self, request: RunRequest, candidates: Candidates, estimator: FaceEstimator) -> None:
        self._request, self._config, self._axes = request, request.config, request.plan.axes
        self._candidates, self._estimator = candidates, estimator
        self._people = None
        if self._config.embedder not in (None, NO_EMBEDDER):
            self._people = IdentityGate.of(self._config)
        self._verdicts: tuple[Verdict, ...] = ()
        self._assessor: CandidateAssessor | None = None
        self._aspect = 1.0
        self._real: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._rows: dict[int, NDArray[np.int64]] = {}

    @property
    def columns(self) -> tuple[Column, ...]:
        return external_columns(
            self._axes, harmonize=self._config.harmonize, embedder=self._people.embedder if self._people else None
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "estimator": self._estimator.sha256,
            "candidates": self._candidates.dataset.fingerprint(),
            "gates": gate_identities(),
            "identity": self._people and self._people.identity,
            "version": ASSESSMENT_VERSION,
        }

    @property
    def real_hashes(self) -> NDArray[np.uint64]:
        return self._real

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was found of each candidate; once prepared."""
        return self._verdicts

    def estimate(self) -> RunEstimate:
        return external_estimate(self._request, self._estimator, len(self._candidates))

    def prepare(self, inputs: PreparationInputs) -> Preparation:
        """Learn the classifiers, measure the data set, and assess every candidate.

        Raises
        ------
        DatasetError
            When an attribute cannot be learnt.
        IntegrityError
            When what an interrupted run has left is damaged.
        """
        bins = [axis.name for axis in self._axes if is_rendered(axis)]
        classifiers = fit_label_classifiers(
            self._request, inputs, measured=bins, guidance=len(bins) < len(self._request.axes)
        )
        folder = inputs.folder
        key = None if (folder / CANDIDATES_FILE).exists() else self._key(inputs)
        known = key is None or restore_files(key, folder, _FILES)
        standards = fit_standards(self._request, inputs, classifiers, self._candidates.dataset)
        self._real, self._aspect = standards.real.hashes, standards.aspect
        people = None
        if self._people is not None:
            reference = IdentityReference.build(self._request.dataset, self._people.embedder)
            people = (reference, self._people.least)
        judge = Judge(self._axes, classifiers, standards, self._estimator, self._request.aligned, all_gates(), people)
        thresholds, seed = self._config.thresholds, self._config.seed
        self._assessor = CandidateAssessor(self._candidates, judge, thresholds, seed, inputs.stored_codec)
        if key is None or known:
            self._verdicts = tuple(read_verdicts(folder / CANDIDATES_FILE, len(self._candidates)))
        else:
            self._verdicts = self._assess_all(inputs)
            write_verdicts(folder / CANDIDATES_FILE, self._candidates, self._verdicts, self._axes)
            keep_files(key, folder, _FILES)
        models = [model_record(folder, name) for name in files_in(folder, (GUIDANCE_FILE, HELD_OUT_FILE))]
        if self._estimator.sha256:
            models.append(ModelRecord(name="reconstruction", sha256=self._estimator.sha256))
        metrics = {"classifiers": classifiers.metrics, EXTERNAL_ENGINE: self._summary(standards.framing.to_dict())}
        return Preparation(files_in(folder, (*CLASSIFIER_FILES, *_FILES)), None, tuple(models), metrics)

    def unreachable(self, cell: PlannedCell) -> str:
        if len(self._of(cell)):
            return ""
        return f"none of the {len(self._candidates):,} candidates was found to belong to it"

    def blocks(self, cell: PlannedCell) -> int:
        """Return the number of blocks in which each of its candidates is tried once."""
        return -(-len(self._of(cell)) // EXTERNAL_BLOCK)

    def propose(self, cell: PlannedCell, block: int) -> BlockResult:
        torch.set_num_threads(1)
        assert self._assessor is not None  # prepared
        first = block * EXTERNAL_BLOCK
        refused: dict[int, str] = {}
        pictures: dict[int, Rgb] = {}
        passed: dict[int, int] = {}
        looked_at = Counter[str]()  # by reason: more than are kept need not be decoded
        for number, row in enumerate(self._of(cell)[first : first + EXTERNAL_BLOCK].tolist(), first):
            reason = self._verdicts[row].reason
            if not reason:
                passed[number] = row
                continue
            refused[number] = reason
            looked_at[reason] += 1
            wanted = self._config.keep_refused and looked_at[reason] <= KEPT
            if wanted and (picture := self._assessor.picture(row, self._verdicts[row])) is not None:
                pictures[number] = picture
        candidates: list[Candidate] = []
        for (number, row), (verdict, sample) in zip(
            passed.items(), self._assessor.assess(list(passed.values())), strict=True
        ):
            if sample is None or verdict.sha256 != self._verdicts[row].sha256:
                refused[number] = verdict.reason or READABLE  # another file than the one that was assessed
            else:
                candidates.append(replace(sample, attempt=number))
        # Every candidate is looked at, and any may be a photograph.
        return BlockResult(tuple(candidates), refused, {}, steady=False, pictures=pictures)

    def stored_hashes(self, reader: ShardReader) -> Iterator[np.uint64]:
        aspect = common_aspect(self._request.dataset)
        for row in np.flatnonzero(reader.made_by(EXTERNAL_ENGINE)).tolist():
            yield hashes(as_tensor(thumbnail(reader.image(row), aspect, THUMBNAIL_SIDE)[None]))[0]

    def _of(self, cell: PlannedCell) -> NDArray[np.int64]:
        """Return the candidates of a cell, those that are refused among them, in the order in which they are tried."""
        if not self._rows:
            cells = np.array([verdict.cell for verdict in self._verdicts], np.int64)
            for planned in self._request.plan.cells:
                seed = np.random.SeedSequence(self._config.seed, spawn_key=(planned.index, _ORDER))
                rng = np.random.Generator(np.random.PCG64(seed))
                self._rows[planned.index] = rng.permutation(np.flatnonzero(cells == planned.index))
        return self._rows[cell.index]

    def _assess_all(self, inputs: PreparationInputs) -> tuple[Verdict, ...]:
        """Assess the candidates, and refuse those that are nearly the same as one before."""
        assert self._assessor is not None
        assess, total = self._assessor.assess, len(self._candidates)

        def task(rows: range) -> list[Verdict]:
            torch.set_num_threads(1)
            return [verdict for verdict, _ in assess(rows)]

        index = DuplicateIndex(np.empty(0, np.uint64), self._config.thresholds.duplicate_bits)
        verdicts: list[Verdict] = []
        groups = (range(k, min(k + EXTERNAL_BLOCK, total)) for k in range(0, total, EXTERNAL_BLOCK))
        workers = self._config.worker_threads
        with ThreadPoolExecutor(workers, thread_name_prefix="faceaug-candidates") as pool:
            for verdict in chain.from_iterable(map_in_order(pool, task, groups, 2 * workers)):
                passed = verdict.hash if not verdict.reason else None
                copied = passed is not None and index.near(passed)
                if passed is not None and not copied:
                    index.add(passed)
                verdicts.append(replace(verdict, reason=DUPLICATE) if copied else verdict)
                inputs.progress("candidates", len(verdicts), total)
        return tuple(verdicts)

    def _summary(self, framing: Mapping[str, float | None]) -> dict[str, Any]:
        """Return what became of the candidates, as JSON values."""
        dataset = self._candidates.dataset
        return {
            "candidates": len(dataset),
            "name": dataset.name,
            "fingerprint": dataset.fingerprint(),
            "left_out": len(dataset.problems),
            "passed": sum(not verdict.reason for verdict in self._verdicts),
            "refused": refusals(self._verdicts),
            "framing": dict(framing),
        }

    def _key(self, inputs: PreparationInputs) -> CacheKey:
        """Return the key of the verdicts in the cache."""
        folder, dataset = inputs.folder, self._candidates.dataset
        config = self._config
        return CacheKey(
            "candidates",
            {
                **self.identity,
                "pictures": content_sha256(self._readable, len(dataset), config.worker_threads),
                "problems": [[p.kind, p.name, p.detail] for p in dataset.problems],
                "dataset": self._request.dataset.fingerprint(),
                "thumbnails": array_sha256(inputs.thumbnails),
                "axes": [axis.to_dict() for axis in self._axes],
                "classifiers": [sha256_file(folder / n) for n in files_in(folder, (GUIDANCE_FILE, HELD_OUT_FILE))],
                "config": {"seed": config.seed, "harmonize": config.harmonize, "device": config.device},
                "thresholds": config.thresholds.model_dump(),
                "codec": [inputs.codec, inputs.stored_codec],
                "aligned": self._request.aligned,
            },
        )

    def _readable(self, row: int) -> bytes:
        """Return the bytes of a candidate; none of one that cannot be read, which its verdict says."""
        try:
            return self._candidates.dataset.encoded(row)
        except (FaceaugError, OSError):
            return b""
