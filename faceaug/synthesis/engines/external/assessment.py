"""The verdict on one candidate: read strictly, made like the data set's images, put into a cell, held to the gates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, cell_codes, cell_levels
from faceaug.datasets.thumbnails import thumbnail
from faceaug.errors import FaceaugError
from faceaug.identity.reference import IdentityReference
from faceaug.measurement.estimator import FaceEstimator
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
from faceaug.utils.typing import Floats

READABLE, LARGE, NOT_REAL = "candidate readable", "large enough", "no image of the data set"
FACE, PLACED, CONFIRMED = "face found", "in a cell of the plan", "claimed label confirmed"
NEW_PERSON = "nobody of the data set"
NO_CELL = -1
_NEVER_KEPT = (READABLE, LARGE, NOT_REAL, DUPLICATE, NEW_PERSON)  # reasons of which no picture is kept
_GATE_READINGS = ("misexposure", "discolouring", "face_quality", "realism")
_SIDE = 64  # of the thumbnails that classifiers read
_SEED_KEY = 2**32 - 8  # second number of the seeds' spawn key
_TILE = 8  # candidates that networks read at once: twice as many are hardly quicker


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

    row: int
    sha256: bytes  # of its file
    seed: np.random.SeedSequence
    image: NDArray[np.uint8] | bytes
    pixels: Rgb
    small: Rgb  # uint8 [64, 64, 3]
    parameters: dict[str, float]
    quality: int | None


@dataclass(frozen=True, eq=False)
class _Face:
    """What was measured of a candidate: why it is refused, and view and light with the confidence of each, by name."""

    refusal: str
    semantic: dict[str, float]
    certain: dict[str, float]


class CandidateAssessor:
    """Assesses candidates; what it says of one depends on nothing else.

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
        self._passed: dict[int, tuple[Verdict, Candidate]] = {}  # without their pictures

    def assess(self, rows: Sequence[int]) -> list[tuple[Verdict, Candidate | None]]:
        """Return the verdict on each candidate, and where it passes the sample, as attempt 0 of its cell.

        The networks read several of them at once, and those that have passed before not again.
        """
        opened = [self._open(row) for row in rows]
        new = [one for one in opened if isinstance(one, _Stored) and not self._has_passed(one)]
        faces = {one.row: face for one, face in zip(new, self._measure(new), strict=True)}
        framed = [one for one in new if not faces[one.row].refusal]
        read = {one.row: found for one, found in zip(framed, self._read(framed), strict=True)}
        assessed: list[tuple[Verdict, Candidate | None]] = []
        for one in opened:
            if isinstance(one, Verdict):
                assessed.append((one, None))
            elif one.row in read:
                assessed.append(self._decide(one, faces[one.row], *read[one.row]))
            elif one.row in faces:
                assessed.append((Verdict(one.sha256, NO_CELL, FACE, faces[one.row].refusal), None))
            else:
                verdict, sample = self._passed[one.row]
                assessed.append((verdict, replace(sample, image=one.image)))
        return assessed

    def _has_passed(self, stored: _Stored) -> bool:
        """Whether this very file has passed before."""
        return stored.row in self._passed and self._passed[stored.row][0].sha256 == stored.sha256

    def _open(self, row: int) -> Verdict | _Stored:
        """Return a candidate as it would be stored, or why it cannot be."""
        dataset, standards = self._candidates.dataset, self._judge.standards
        try:
            data = dataset.encoded(row)
        except (FaceaugError, OSError) as error:
            return Verdict(b"", NO_CELL, READABLE, str(error))
        sha256 = hashlib.sha256(data).digest()
        try:
            pixels, _ = decode_with_info(data, name=dataset.keys[row], max_pixels=dataset.max_pixels)
        except FaceaugError as error:
            return Verdict(sha256, NO_CELL, READABLE, str(error))
        if min(pixels.shape[:2]) < standards.least_side:
            return Verdict(sha256, NO_CELL, LARGE, values={"shorter_side": float(min(pixels.shape[:2]))})
        plain = thumbnail(pixels, standards.aspect, _SIDE)
        if self._real.near(hashes(as_tensor(plain[None]))[0]):
            return Verdict(sha256, NO_CELL, NOT_REAL)
        seed = np.random.SeedSequence(self._seed, spawn_key=(row, _SEED_KEY))
        image, parameters, quality = standards.harmonized(pixels, seed_number(seed))
        kept, seen = stored_image(image, self._codec, quality)
        small = thumbnail(seen, standards.aspect, _SIDE)
        return _Stored(row, sha256, seed, kept, seen, small, parameters, quality)

    def _measure(self, pictures: list[_Stored]) -> list[_Face]:
        faces: list[_Face] = []
        for tile in _tiles(pictures):
            found, _ = measured(self._judge.estimator, [one.pixels for one in tile], aligned=self._judge.aligned)
            faces += [_Face(refusal, *factor_values(found, k)) for k, refusal in enumerate(found.refusals)]
        return faces[: len(pictures)]

    def _read(self, pictures: list[_Stored]) -> list[tuple[LabelReading, Floats]]:
        """Return what both classifiers say of candidates, and the log-odds [1] of an intact face."""
        judge, readings = self._judge, list[tuple[LabelReading, Floats]]()
        for tile in _tiles(pictures):
            small = np.stack([one.small for one in tile])
            labels = LabelReading.of_each(judge.labelled, judge.classifiers, small)
            intact = np.split(intact_log_odds(judge.standards.face_quality, small), len(tile))
            readings += zip(labels, intact, strict=True)
        return readings[: len(pictures)]

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

    def _decide(
        self, stored: _Stored, face: _Face, reading: LabelReading, intact: Floats
    ) -> tuple[Verdict, Candidate | None]:
        judge, sha256 = self._judge, stored.sha256
        claims = {name: int(codes[stored.row]) for name, codes in self._candidates.claims.items()}
        values = {**face.semantic, **reading.probabilities()}
        unknown = [name for name, code in claims.items() if code == UNKNOWN_CLAIM]
        if unknown:
            detail = f"{', '.join(unknown)} is claimed to be what the plan does not count"
            return Verdict(sha256, NO_CELL, CONFIRMED, detail, values), None
        cell = self._cell(reading, claims, face)
        if cell == NO_CELL:
            return Verdict(sha256, NO_CELL, PLACED, values=values), None
        batch = self._batch(reading, cell_levels(judge.axes, cell), stored, intact)
        values |= {name: float(getattr(batch, name)[0]) for name in _GATE_READINGS}
        reason = CONFIRMED if reading.contradicts(claims) else refuse(batch, judge.gates)[0] or ""
        if not reason and judge.people is not None:
            reference, least = judge.people
            _, distances = reference.nearest(reference.embedder.embed([stored.pixels]))
            values[NEAREST_PERSON] = float(distances[0])
            reason = "" if distances[0] >= least else NEW_PERSON  # NaN, where no face is found, is refused
        number = hashes(as_tensor(stored.small[None]))[0]
        if not reason and self._real.near(number):
            reason = DUPLICATE
        verdict = Verdict(sha256, cell, reason, "", values, number)
        if reason:
            return verdict, None
        sample = self._sample(verdict, stored, face, (reading, batch))
        self._passed[stored.row] = verdict, replace(sample, image=b"")
        return verdict, sample

    def _cell(self, reading: LabelReading, claims: Mapping[str, int], face: _Face) -> int:
        """Return the cell: view and light as measured, labels as claimed, or else as both classifiers read them."""
        codes = []
        for axis in self._judge.axes:
            if is_rendered(axis):
                codes.append(axis.assign(pd.Series([face.semantic[axis.name]])))
            else:
                claim = claims.get(axis.name, NO_CLAIM)
                codes.append(np.array([reading.likeliest(axis.name) if claim == NO_CLAIM else claim]))
        return int(cell_codes(codes, self._judge.axes)[0])

    def _batch(self, reading: LabelReading, levels: dict[str, str], stored: _Stored, intact: Floats) -> CandidateBatch:
        """Return the candidate as gates see it; what only edits have passes."""
        standards, view, nothing = self._judge.standards, as_tensor(stored.small[None]), np.zeros(1)
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
            face_quality=intact - standards.least_quality,
            misexposure=standards.real.misexposure(view, share),
            discolouring=standards.real.discolouring(view, share),
            thresholds=self._thresholds,
        )

    def _sample(
        self, verdict: Verdict, stored: _Stored, face: _Face, read: tuple[LabelReading, CandidateBatch]
    ) -> Candidate:
        assert verdict.hash is not None  # it passed
        reading, batch = read
        semantic, certain = face.semantic, face.certain
        bins = [axis.name for axis in self._judge.axes if is_rendered(axis)]
        labelled = [axis.name for axis in self._judge.labelled]
        people = {NEAREST_PERSON: verdict.values[NEAREST_PERSON]} if self._judge.people is not None else {}
        return Candidate(
            attempt=0,
            seed=seed_number(stored.seed),
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


def _tiles(pictures: list[_Stored]) -> Iterator[list[_Stored]]:
    """Yield pictures `_TILE` at a time, the last ones filled up with the last of them.

    The number of pictures that are read together changes the last bits of a result; here it never varies.
    """
    for start in range(0, len(pictures), _TILE):
        tile = pictures[start : start + _TILE]
        yield tile + tile[-1:] * (_TILE - len(tile))
