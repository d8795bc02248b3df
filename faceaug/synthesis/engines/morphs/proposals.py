"""Which morphs are tried in a cell, one after another: pairs that a cheap reading refuses are never rendered.

Everything here follows from the seed, the faces and the thresholds, and from nothing that was accepted before. So any
block of attempts can be computed anywhere, and an interrupted run goes on without a record of what was proposed.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceaug.morphing.blend import MorphPlan, plan_morph
from faceaug.morphing.donors import DonorIndex
from faceaug.morphing.face import CanonicalFace
from faceaug.morphing.prediction import predicted_descriptor
from faceaug.synthesis.acceptance.near_duplicates import differing_bits
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.morphs.attempt import ALONE, DISTINCT, morph_fault
from faceaug.synthesis.engines.morphs.morph_faces import descriptor_hashes, face_hashes

DONOR_SHARE = (0.75, 1.0)
"""Range from which the share of the donors' features is drawn; the rest is the host's."""
NEAREST = 12
"""Faces nearest to a host from which its first donors are drawn; then come as many that are further away."""
CHOICES = 36
"""Choices of donors that an attempt tries to register, until one fits."""
_MARGIN = 2
"""Bits by which a predicted hash should be further away than the gate asks: of these morphs 5 in 100 are near-copies
after all, of those that are nearer 30 in 100."""
_ORDER, _DONORS = 2**32 - 6, 2**32 - 7  # spawn keys of the order of hosts and of the donors of a host


@dataclass(frozen=True)
class PairReadings:
    """What is known of the photographs of host and donors; each returns why they are refused, or an empty text.

    Attributes
    ----------
    labels : callable
        Asked first, since it costs nothing.
    persons : callable
        Asked last.
    """

    labels: Callable[[Sequence[CanonicalFace]], str]
    persons: Callable[[Sequence[CanonicalFace]], str]


class CellProposals:
    """The morphs of a cell by the number of the attempt; threads may ask at the same time.

    Each host has its turn in an order drawn by the seed, then those have another turn that had a morph in the last one.

    Parameters
    ----------
    index : DonorIndex
        The faces of the cell.
    cell : int
    config : RunConfig
    readings : PairReadings
    """

    def __init__(self, index: DonorIndex, cell: int, config: RunConfig, readings: PairReadings) -> None:
        self._index, self._cell, self._config, self._readings = index, cell, config, readings
        self._hosts: dict[int, _HostProposals] = {}
        self._turns = [_generator(config.seed, cell, _ORDER).permutation(len(index)).tolist()]
        self._starts = [0]  # first attempt of each turn
        self._lock = threading.RLock()

    def plan(self, number: int) -> MorphPlan | str | None:
        """Return the morph of an attempt, why its host has none, or None where every host had its last turn."""
        with self._lock:
            while number >= self._starts[-1] + len(self._turns[-1]):
                if not self._turns[-1]:
                    return None
                turn, hosts = len(self._turns) - 1, self._turns[-1]
                self._starts.append(self._starts[-1] + len(hosts))
                self._turns.append([host for host in hosts if self._host(host).has(turn)])
            turn = int(np.searchsorted(self._starts, number, "right")) - 1
            host = self._host(self._turns[turn][number - self._starts[turn]])
        return host.plan(turn)

    def _host(self, host: int) -> _HostProposals:
        with self._lock:
            if host not in self._hosts:
                rng = _generator(self._config.seed, self._cell, host, _DONORS)
                self._hosts[host] = _HostProposals(self._index, host, self._config, self._readings, rng)
            return self._hosts[host]


@dataclass(frozen=True)
class _Morph:
    """What a host is mixed with: numbers of donors, their weights, and the predicted hash of the result."""

    donors: tuple[int, ...]
    weights: list[float]
    hash: np.uint64


@dataclass(frozen=True, eq=False)
class _Screened:
    """A morph that no reading refuses. Plans are large, and are not kept."""

    plan: MorphPlan
    hash: np.uint64


class _HostProposals:
    """What one host is mixed with in its turns.

    A turn takes the next donors that fit, and whose morph is predicted to be no near-copy of a face in it or of the
    morphs of the turns before. The first turn without such donors is the last.
    """

    def __init__(
        self, index: DonorIndex, host: int, config: RunConfig, readings: PairReadings, rng: np.random.Generator
    ) -> None:
        self._index, self._face, self._config = index, index.faces[host], config
        self._readings, self._rng = readings, rng
        count = max(1, min(config.donors, len(index) - 1))
        order = index.in_rings(host, NEAREST, len(index), rng).tolist()
        self._choices = [tuple(order[k : k + count]) for k in range(0, len(order), count)]
        self._next = 0  # the first choice that was not tried
        self._fitting: list[_Morph] = []  # of each turn
        self._waiting: deque[_Morph] = deque()  # only just predicted to be no near-copies
        self._refusal = ""  # why there is no further turn
        self._lock = threading.Lock()

    def has(self, turn: int) -> bool:
        """Tell whether a turn has a morph."""
        with self._lock:
            while len(self._fitting) <= turn and not self._refusal:
                self._advance()
            return len(self._fitting) > turn

    def plan(self, turn: int) -> MorphPlan | str:
        """Return the morph of a turn, or why there is none."""
        with self._lock:
            plan = None
            while len(self._fitting) <= turn and not self._refusal:
                plan = self._advance()
            if len(self._fitting) <= turn:
                return self._refusal
            morph = self._fitting[turn]
        return plan or self._planned(morph.donors, morph.weights)  # another thread may have asked before

    def _advance(self) -> MorphPlan | None:
        """Find the donors of the next turn, or note why there are none.

        Donors whose morph is only just predicted to pass wait until no others are found.
        """
        faults = Counter[str]()
        for donors in self._choices[self._next : self._next + CHOICES]:
            self._next += 1
            weights = self._draw_weights(len(donors))
            screened = self._screened(donors, weights)
            if isinstance(screened, str):
                faults[screened] += 1
                continue
            morph = _Morph(donors, weights, screened.hash)
            if self._fewest_bits(morph) > self._config.thresholds.duplicate_bits + _MARGIN:
                self._fitting.append(morph)
                return screened.plan
            self._waiting.append(morph)
        while self._waiting:
            morph = self._waiting.popleft()
            if self._fewest_bits(morph) > self._config.thresholds.duplicate_bits:  # turns since may be near to it
                self._fitting.append(morph)
                return self._planned(morph.donors, morph.weights)
            faults[DISTINCT] += 1
        self._refusal = faults.most_common(1)[0][0] if faults else ALONE
        return None

    def _screened(self, donors: tuple[int, ...], weights: list[float]) -> _Screened | str:
        """Register donors, and return why their morph is not rendered where a reading refuses it."""
        faces = (self._face, *(self._index.faces[donor] for donor in donors))
        doubt = self._readings.labels(faces)
        if doubt:
            return doubt
        plan = self._planned(donors, weights)
        fault = morph_fault(plan, self._config.thresholds)
        if fault:
            return fault
        value: np.uint64 = descriptor_hashes(predicted_descriptor(plan)[None])[0]
        if self._fewest_bits(_Morph(donors, weights, value)) <= self._config.thresholds.duplicate_bits:
            return DISTINCT
        return self._readings.persons(faces) or _Screened(plan, value)

    def _fewest_bits(self, morph: _Morph) -> int:
        """Return in how many bits a predicted hash differs at least from the faces in the morph and earlier turns."""
        faces = face_hashes((self._face, *(self._index.faces[donor] for donor in morph.donors)))
        earlier = np.array([other.hash for other in self._fitting], np.uint64)
        return int(differing_bits(morph.hash, np.concatenate([faces, earlier])).min())

    def _planned(self, donors: tuple[int, ...], weights: list[float]) -> MorphPlan:
        return plan_morph(self._face, [self._index.faces[donor] for donor in donors], weights)

    def _draw_weights(self, count: int) -> list[float]:
        share = float(self._rng.uniform(*DONOR_SHARE))
        parts: NDArray[np.float64] = self._rng.dirichlet(np.full(count, 4.0)) if count > 1 else np.ones(1)
        return [float(weight) for weight in share * parts]


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
