"""The verdict on one candidate: read strictly, made like the data set's images, put into a cell, held to the gates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, cell_codes, cell_levels
from faceaug.datasets.thumbnails import thumbnail
from faceaug.errors import FaceaugError
from faceaug.identity.reference import IdentityReference
from faceaug.measurement.estimator import FaceEstimator, Measurements
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import EXTERNAL_ENGINE
from faceaug.synthesis.acceptance.gates import DUPLICATE, CandidateBatch, Gate, refuse
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex, hashes
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.synthesis.engines.base import Candidate, SourceImage, seed_number
from faceaug.synthesis.engines.external.candidates import NO_CLAIM, UNKNOWN_CLAIM, Candidates
from faceaug.synthesis.engines.external.label_reading import LabelReading
from faceaug.synthesis.engines.external.standards import CandidateStandards, intact_log_odds
from faceaug.synthesis.engines.photographs import factor_values, measured, stored_image
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.label_classifiers import LabelClassifiers
from faceaug.synthesis.sample_columns import NEAREST_PERSON
from faceaug.utils.images import Codec, Rgb, decode_with_info
from faceaug.utils.tensors import as_tensor

READABLE, LARGE, NOT_REAL = "candidate readable", "large enough", "no image of the data set"
FACE, PLACED, CONFIRMED = "face found", "in a cell of the plan", "claimed label confirmed"
NEW_PERSON = "nobody of the data set"
NO_CELL = -1
_NEVER_KEPT = (READABLE, LARGE, NOT_REAL, DUPLICATE, NEW_PERSON)  # reasons of which no picture is kept
_GATE_READINGS = ("misexposure", "discolouring", "face_quality", "realism")
_SIDE = 64  # of the thumbnails that classifiers read
_SEED_KEY = 2**32 - 8  # second number of the seeds' spawn key


@dataclass(frozen=True)
class Verdict:
    """What was found of one candidate.

    Attributes
    ----------
    sha256 : bytes
        Of its file; empty where that cannot be read.
    cell : int
        The cell it belongs to, also where it is refused; `NO_CELL` where that was not found out.
    reason : str
        What it does not fulfil; empty where it passes.
    detail : str
        The error of a file that cannot be read.
    values : dict of str to float
        What decided: probabilities by both classifiers, measurements, readings of gates.
    hash : uint64
        Perceptual hash of the picture as it would be stored; None before there is one.
    """

    sha256: bytes
    cell: int
    reason: str
    detail: str = ""
    values: dict[str, float] = field(default_factory=dict)
    hash: np.uint64 | None = None


@dataclass(frozen=True, eq=False)
class Judge:
    """What candidates are judged by.

    Attributes
    ----------
    axes : tuple of Axis
        Of the plan.
    classifiers : LabelClassifiers
        Both of them; without a guidance classifier there are no labelled axes.
    standards : CandidateStandards
    estimator : FaceEstimator
    aligned : bool
        Whether faces are measured without a search.
    gates : dict of Gate
        In the order in which they decide.
    people : (IdentityReference, float), optional
        The real faces as embeddings, and the least distance to the nearest of them.
    """

    axes: tuple[Axis, ...]
    classifiers: LabelClassifiers
    standards: CandidateStandards
    estimator: FaceEstimator
    aligned: bool
    gates: dict[str, Gate]
    people: tuple[IdentityReference, float] | None = None

    @property
    def labelled(self) -> tuple[Axis, ...]:
        """The axes that classifiers read."""
        return tuple(axis for axis in self.axes if not is_rendered(axis))


@dataclass(frozen=True, eq=False)
class _Stored:
    """A candidate as it would be stored."""

    image: NDArray[np.uint8] | bytes
    pixels: Rgb
    small: Rgb  # uint8 [1, 64, 64, 3]
    parameters: dict[str, float]
    quality: int | None


class CandidateAssessor:
    """Assesses candidates one by one; what it says of one depends on nothing else.

    Parameters
    ----------
    candidates : Candidates
    judge : Judge
    thresholds : AcceptanceThresholds
    seed : int
        Of the run.
    codec : "jpeg", "png", "webp" or None
        In which samples are stored; None where pixels are kept as they are.
    """

    def __init__(
        self, candidates: Candidates, judge: Judge, thresholds: AcceptanceThresholds, seed: int, codec: Codec | None
    ) -> None:
        self._candidates, self._judge, self._thresholds = candidates, judge, thresholds
        self._seed, self._codec = seed, codec
        self._real = DuplicateIndex(judge.standards.real.hashes, thresholds.duplicate_bits)

    def assess(self, row: int, attempt: int = 0) -> tuple[Verdict, Candidate | None]:
        """Return the verdict on a candidate, and the sample, numbered `attempt` in its cell, where it passes."""
        dataset = self._candidates.dataset
        try:
            data = dataset.encoded(row)
        except (FaceaugError, OSError) as error:
            return Verdict(b"", NO_CELL, READABLE, str(error)), None
        sha256 = hashlib.sha256(data).digest()
        try:
            pixels, _ = decode_with_info(data, name=dataset.keys[row], max_pixels=dataset.max_pixels)
        except FaceaugError as error:
            return Verdict(sha256, NO_CELL, READABLE, str(error)), None
        if min(pixels.shape[:2]) < self._judge.standards.least_side:
            return Verdict(sha256, NO_CELL, LARGE, values={"shorter_side": float(min(pixels.shape[:2]))}), None
        plain = thumbnail(pixels, self._judge.standards.aspect, _SIDE)
        if self._real.near(hashes(as_tensor(plain[None]))[0]):
            return Verdict(sha256, NO_CELL, NOT_REAL), None
        seed = np.random.SeedSequence(self._seed, spawn_key=(row, _SEED_KEY))
        stored = self._stored(pixels, seed)
        return self._decide(row, attempt, sha256, stored, seed)

    def picture(self, row: int, verdict: Verdict) -> Rgb | None:
        """Return a refused candidate to be looked at, uint8 [H, W, 3].

        None of what is, or may be, a copy of a real face or show its person, of what was not compared with real faces,
        and of a file that is not the one that was assessed.
        """
        dataset = self._candidates.dataset
        if verdict.reason in _NEVER_KEPT:
            return None
        try:
            data = dataset.encoded(row)
            pixels, _ = decode_with_info(data, name=dataset.keys[row], max_pixels=dataset.max_pixels)
        except (FaceaugError, OSError):
            return None
        return pixels if hashlib.sha256(data).digest() == verdict.sha256 else None

    def _stored(self, pixels: Rgb, seed: np.random.SeedSequence) -> _Stored:
        image, parameters, quality = self._judge.standards.harmonized(pixels, seed_number(seed))
        kept, seen = stored_image(image, self._codec, quality)
        return _Stored(kept, seen, thumbnail(seen, self._judge.standards.aspect, _SIDE)[None], parameters, quality)

    def _decide(
        self, row: int, attempt: int, sha256: bytes, stored: _Stored, seed: np.random.SeedSequence
    ) -> tuple[Verdict, Candidate | None]:
        judge = self._judge
        found, _ = measured(judge.estimator, [stored.pixels], aligned=judge.aligned)
        if found.refusals[0]:
            return Verdict(sha256, NO_CELL, FACE, found.refusals[0]), None
        reading = LabelReading.of(judge.labelled, judge.classifiers, stored.small)
        claims = {name: int(codes[row]) for name, codes in self._candidates.claims.items()}
        values = {**factor_values(found)[0], **reading.probabilities()}
        unknown = [name for name, code in claims.items() if code == UNKNOWN_CLAIM]
        if unknown:
            detail = f"{', '.join(unknown)} is claimed to be what the plan does not count"
            return Verdict(sha256, NO_CELL, CONFIRMED, detail, values), None
        cell = self._cell(reading, claims, found)
        if cell == NO_CELL:
            return Verdict(sha256, NO_CELL, PLACED, values=values), None
        batch = self._batch(reading, cell_levels(judge.axes, cell), stored)
        values |= {name: float(getattr(batch, name)[0]) for name in _GATE_READINGS}
        reason = CONFIRMED if reading.contradicts(claims) else refuse(batch, judge.gates)[0] or ""
        if not reason and judge.people is not None:
            reference, least = judge.people
            _, distances = reference.nearest(reference.embedder.embed([stored.pixels]))
            values[NEAREST_PERSON] = float(distances[0])
            reason = "" if distances[0] >= least else NEW_PERSON  # NaN, where no face is found, is refused
        number = hashes(as_tensor(stored.small))[0]
        if not reason and self._real.near(number):
            reason = DUPLICATE
        verdict = Verdict(sha256, cell, reason, "", values, number)
        return verdict, None if reason else self._sample(attempt, verdict, stored, (reading, batch, found, seed))

    def _cell(self, reading: LabelReading, claims: Mapping[str, int], found: Measurements) -> int:
        """Return the cell: view and light as measured, labels as claimed, or else as both classifiers read them."""
        codes = []
        for axis in self._judge.axes:
            if is_rendered(axis):
                codes.append(axis.assign(pd.Series([found.values[0, FACTOR_NAMES.index(axis.name)]])))
            else:
                claim = claims.get(axis.name, NO_CLAIM)
                codes.append(np.array([reading.likeliest(axis.name) if claim == NO_CLAIM else claim]))
        return int(cell_codes(codes, self._judge.axes)[0])

    def _batch(self, reading: LabelReading, levels: dict[str, str], stored: _Stored) -> CandidateBatch:
        """Return the candidate as gates see it; what only edits have passes."""
        standards, view, nothing = self._judge.standards, as_tensor(stored.small), np.zeros(1)
        guidance, held_out = reading.requested(levels)
        share = self._thresholds.exposure
        return CandidateBatch(
            images=view,
            origins=lambda: view,
            confidence=guidance,
            held_out=held_out,
            drift=nothing,
            spill=nothing,
            plausibility=nothing,
            realism=standards.real.remoteness(reading.features) / standards.most_remote,
            face_quality=intact_log_odds(standards.face_quality, stored.small) - standards.least_quality,
            misexposure=standards.real.misexposure(view, share),
            discolouring=standards.real.discolouring(view, share),
            thresholds=self._thresholds,
        )

    def _sample(
        self,
        attempt: int,
        verdict: Verdict,
        stored: _Stored,
        read: tuple[LabelReading, CandidateBatch, Measurements, np.random.SeedSequence],
    ) -> Candidate:
        assert verdict.hash is not None  # it passed
        reading, batch, found, seed = read
        semantic, certain = factor_values(found)
        bins = [axis.name for axis in self._judge.axes if is_rendered(axis)]
        labelled = [axis.name for axis in self._judge.labelled]
        people = {NEAREST_PERSON: verdict.values[NEAREST_PERSON]} if self._judge.people is not None else {}
        return Candidate(
            attempt=attempt,
            seed=seed_number(seed),
            engine=EXTERNAL_ENGINE,
            image=stored.image,
            quality=stored.quality,
            harmonize=stored.parameters,
            w=None,
            origin_w=None,
            attr={
                **reading.given(cell_levels(self._judge.axes, verdict.cell)),
                **{name: semantic[name] for name in bins},
            },
            confidence={
                **dict(zip(labelled, batch.held_out[0].tolist(), strict=True)),
                **{name: certain[name] for name in bins},
            },
            semantic={**semantic, **people},
            plausibility=float("nan"),
            realism=float(batch.realism[0]),
            hash=verdict.hash,
            source=SourceImage(verdict.sha256),
        )
