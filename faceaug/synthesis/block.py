"""A block of attempts at one cell: draw near the cell, edit, measure, and ask the gates. It depends on seeds alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.generators.base import Generator
from faceaug.semantics import scene
from faceaug.semantics.calibration import as_tensor
from faceaug.semantics.probes import fit
from faceaug.semantics.reading import kind_of
from faceaug.synthesis.asks import Wanted, aims, ask_for, confidences, labels, wanted, within
from faceaug.synthesis.duplicates import hashes
from faceaug.synthesis.extrapolate import Ask, Edited, distance, extrapolate, inverse_of
from faceaug.synthesis.gates import Batch, Gate, Limits, refuse
from faceaug.synthesis.guide import Guide, to_uint8
from faceaug.synthesis.survey import BLOCK, draw

Floats = NDArray[np.float64]
LOST = "judge agrees once finished"
"""The reason of samples in which the judge no longer finds what is asked after the target's blur, noise and codec."""

PARENT = 0.75  # share of a parent in the mixture that an attempt begins with; the rest, in quadrature, is fresh
PARENTS, PARENT_SHARE = 64, 0.02  # how many of the surveyed draws are a cell's parents: at least, and a share of them
NEAR_SHARE = 0.1  # of the surveyed draws are near a cell: what they are like is what a sample of it should be like
STEERED_EXPOSURE = 0.1  # of the cell's real faces are darker than edits may make a face, and as many brighter
REACH = 0.999  # of the plausible distance is where edits are held, clear of rounding


@dataclass(frozen=True)
class Standard:
    """Where attempts at a cell begin, and what is asked of their realism.

    Attributes
    ----------
    parents : int64 [M]
        Rows of the survey.
    remote, sound : float
        Most distance to real faces, least log-odds of a sound face.
    bright : (float, float)
        Luminances of the face between which edits are steered.
    """

    parents: NDArray[np.int64]
    remote: float
    sound: float
    bright: tuple[float, float]


@dataclass(frozen=True)
class Candidate:
    """A sample that passed every gate but the one on near-copies."""

    attempt: int
    seed: int
    image: NDArray[np.uint8]  # [H, W, 3], finished
    quality: int | None  # of the codec
    finish: dict[str, float]
    w: NDArray[np.float32]
    origin_w: NDArray[np.float32]
    attr: dict[str, Any]
    confidence: dict[str, float]
    semantic: dict[str, float]
    plausibility: float
    realism: float
    hash: np.uint64


@dataclass(frozen=True)
class Final:
    """A finished picture, how it was finished, and what the judge says of it (probability of each asked attribute)."""

    image: NDArray[np.uint8]
    parameters: dict[str, float]
    quality: int | None
    confidence: dict[str, float]


@dataclass(frozen=True)
class BlockResult:
    """What a block gave: candidates in the order of attempts, refusals by reason, and what came nearest."""

    candidates: tuple[Candidate, ...]
    refused: dict[int, str]  # attempt -> the gate that refused it
    nearest: dict[str, float]  # attribute -> best probability of what is asked, by the judge


def sample_seed(seed: int, cell: int, attempt: int) -> np.random.SeedSequence:
    """Return the seed sequence of one attempt, the same for any block, batch or worker."""
    return np.random.SeedSequence(seed, spawn_key=(cell, attempt))


class Workshop:
    """Makes blocks for a run: holds what they share, and nothing that changes."""

    def __init__(
        self, generator: Generator, guide: Guide, limits: Limits, gates: dict[str, Gate], *,
        seed: int, candidates: int, truncation: float, corrections: int, batch_size: int,
    ) -> None:  # fmt: skip
        self.generator, self.guide, self.limits, self.gates = generator, guide, limits, gates
        self.seed, self.candidates, self.truncation = seed, candidates, truncation
        self.corrections, self.batch_size = corrections, batch_size
        self._inverse = inverse_of(guide.directions.covariance)

    def make(self, cell: int, levels: dict[str, str], block: int) -> BlockResult:
        """Return block number `block` of attempts at the cell with these levels."""
        torch.set_num_threads(1)
        guide, attempts = self.guide, range(block * BLOCK, (block + 1) * BLOCK)
        seeds = [sample_seed(self.seed, cell, a) for a in attempts]
        parts = wanted(guide.axes, levels, guide.tasks)
        uniform = np.stack([np.random.Generator(np.random.PCG64(s)).random(len(parts)) for s in seeds])
        ask = ask_for(parts, aims(parts, guide.survey, uniform), guide.directions, guide.kept())
        standard = self._standard(cell, ask)
        ask = within(ask, standard.bright, standard.sound)
        origins = self._origins(seeds, ask, standard.parents)
        edited = extrapolate(
            self.generator, guide.directions, guide.reader, origins.astype(np.float32), ask,
            corrections=self.corrections, reach=REACH * guide.reach, batch_size=self.batch_size,
        )  # fmt: skip
        return self._judge(parts, ask, standard, edited, attempts, seeds)

    def _origins(self, seeds: Sequence[np.random.SeedSequence], ask: Ask, near: NDArray[np.int64]) -> Floats:
        """Return a latent [N, D] for each seed to begin with, near the cell.

        Each is mixed from a parent, one of the surveyed draws that read nearest to the cell, and a fresh draw; of
        several such mixtures the one is taken that is expected to need the least edit.
        """
        found, directions, n, m = self.guide.survey, self.guide.directions, len(seeds), self.candidates
        children = [c for s in seeds for c in np.random.SeedSequence(s.entropy, spawn_key=s.spawn_key).spawn(m)]
        picks = near[[int(np.random.Generator(np.random.PCG64(c)).integers(len(near))) for c in children]]
        parents = self.truncation * (found.w[picks] - directions.w_mean)
        fresh = draw(self.generator, children, self.truncation) - directions.w_mean
        w = directions.w_mean + PARENT * parents + math.sqrt(1 - PARENT**2) * fresh
        expected = found.read[picks] + (w - found.w[picks]) @ directions.B.T
        missing = np.repeat(ask.aim, m, 0) - expected[:, directions.index(ask.names)]
        cost = self._length(ask, missing).reshape(n, m)
        return np.asarray(w.reshape(n, m, -1)[np.arange(n), cost.argmin(1)], np.float64)

    def _standard(self, cell: int, ask: Ask) -> Standard:
        """Return what is asked of a sample of this cell, by the draws that read nearest to it.

        Judged by all draws, a turned head or dark skin would be held against a face where few draws have either.
        """
        found, limits = self.guide.survey, self.limits
        read = np.stack([found.column(name) for name in ask.names], 1)
        length = self._length(ask, ask.aim.mean(0) - read)
        near = np.argsort(length, kind="stable")[: max(4 * PARENTS, int(NEAR_SHARE * len(length)))]
        soundness, light = found.column(scene.SOUNDNESS)[near], found.column(scene.EXPOSURE)[near]
        remote = float(np.quantile(found.remoteness[near], limits.realistic))
        sound = float(np.quantile(soundness, limits.sound))
        dark, bright = self.guide.real.bright(STEERED_EXPOSURE, cell)
        fit = (found.remoteness[near] <= remote) & (soundness >= sound) & (light >= dark) & (light <= bright)
        parents = near[fit] if fit.sum() >= PARENTS else near
        return Standard(parents[: max(PARENTS, int(PARENT_SHARE * len(length)))], remote, sound, (dark, bright))

    def _length(self, ask: Ask, missing: Floats) -> Floats:
        """Return the Mahalanobis length [N] of the edits that would make up for what is missing [N, K]."""
        directions = self.guide.directions
        missing = np.where(ask.at_least, np.maximum(missing, 0), missing)
        steps = directions.steps([*ask.names, *ask.keep])[:, : len(ask.names)]
        return distance(missing @ steps.T, np.zeros(len(directions.w_mean)), self._inverse)

    def _judge(
        self,
        parts: Sequence[Wanted],
        ask: Ask,
        standard: Standard,
        edited: Edited,
        attempts: range,
        seeds: Sequence[np.random.SeedSequence],
    ) -> BlockResult:
        guide, directions = self.guide, self.guide.directions
        viewed = guide.reader.view(edited.images)
        judged, features = guide.judge.read(viewed)
        steered = edited.measured[:, : len(guide.reader.probe.semantics)]
        held = directions.index(ask.keep)
        drift = np.abs(edited.measured - edited.origin_measured)[:, held] / np.maximum(directions.spread[held], 1e-9)
        exempt = any(kind_of(p.task) != "attribute" for p in parts)
        spill = scene.spill(edited.origin_images, edited.images, guide.reader.ellipse).double().numpy()
        batch = Batch(
            images=edited.images, origin_images=edited.origin_images,
            confidence=confidences(parts, guide.reader.probe, steered), judged=confidences(parts, guide.judge, judged),
            drift=np.zeros(len(drift)) if exempt else drift.max(1, initial=0.0),
            spill=np.zeros_like(spill) if exempt else spill,
            plausibility=distance(edited.w.astype(np.float64), directions.w_mean, self._inverse) / guide.reach,
            realism=guide.real.remoteness(features) / standard.remote,
            soundness=edited.measured[:, directions.index([scene.SOUNDNESS])[0]] - standard.sound,
            misexposure=guide.real.misexposure(viewed, self.limits.exposure), limits=self.limits,
        )  # fmt: skip
        reasons = refuse(batch, self.gates)
        nearest = {p.task.name: float(batch.judged[:, k].max()) for k, p in enumerate(parts)}
        finals = self._finished(viewed, reasons, parts, seeds)
        given = labels(parts, guide.reader.probe, guide.judge, steered, judged)
        marks = hashes(viewed)
        candidates = tuple(
            Candidate(
                attempt=attempts[i], seed=_number(seeds[i]),
                image=final.image, quality=final.quality, finish=final.parameters,
                w=edited.w[i], origin_w=edited.origin_w[i], attr=given[i], confidence=final.confidence,
                semantic=dict(zip(directions.names, edited.measured[i].tolist(), strict=True)),
                plausibility=float(batch.plausibility[i]), realism=float(batch.realism[i]), hash=marks[i],
            ) for i, final in sorted(finals.items()) if reasons[i] is None
        )  # fmt: skip
        refused = {attempts[i]: reason for i, reason in enumerate(reasons) if reason is not None}
        return BlockResult(candidates, refused, nearest)

    def _finished(
        self,
        viewed: Tensor,
        reasons: list[str | None],
        parts: Sequence[Wanted],
        seeds: Sequence[np.random.SeedSequence],
    ) -> dict[int, Final]:
        """Finish the samples that passed, and let the judge look at what would be written; `reasons` is completed."""
        passed = [i for i, reason in enumerate(reasons) if reason is None]
        pictures = to_uint8(viewed[passed]) if passed else ()
        finisher = self.guide.finisher
        finals: dict[int, Final] = {}
        for i, picture in zip(passed, pictures, strict=True):
            image, parameters, quality = (
                finisher(picture, _number(seeds[i])) if finisher else (picture.copy(), {}, None)
            )
            small = fit(as_tensor(image[None]))
            judged = confidences(parts, self.guide.judge, self.guide.judge.read(small)[0])[0]
            if (judged < self.limits.judge).any():
                reasons[i] = LOST
            finals[i] = Final(
                image, parameters, quality, {p.task.name: float(c) for p, c in zip(parts, judged, strict=True)}
            )
        return finals


def _number(seed: np.random.SeedSequence) -> int:
    return int(seed.generate_state(1, np.uint64)[0])


def tally(result: BlockResult, until: int | None = None) -> Counter[str]:
    """Return refusals by reason, of attempts before `until`."""
    return Counter(reason for attempt, reason in result.refused.items() if until is None or attempt < until)


def attempts_for(planned: int, tries: int) -> int:
    """Return how many blocks a cell may take: `tries` attempts for each planned sample, at least two blocks."""
    return max(2, math.ceil(planned * tries / BLOCK))
