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

from faceaug.morphing.blend import MorphPlan, plan_morph, registration_faults
from faceaug.morphing.donors import DonorIndex
from faceaug.morphing.face import CanonicalFace
from faceaug.morphing.prediction import predicted_descriptor
from faceaug.morphing.registration import Registration, register
from faceaug.synthesis.acceptance.near_duplicates import differing_bits
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.morphs.attempt import ALONE, DISTINCT, LABELLED, morph_fault, registration_fault
from faceaug.synthesis.engines.morphs.morph_faces import descriptor_hashes, face_hashes

DONOR_SHARE = (0.75, 1.0)
"""Range from which the share of the donors' features is drawn; the rest is the host's."""
NEAREST = 12
"""Faces nearest to a host from which its first donors are drawn; then come as many that are further away."""
CHOICES = 36
"""Choices of donors that an attempt tries to register, until one fits."""
_REACH = 10 * NEAREST  # choices of a host
_DOUBTFUL = 2  # bits by which a predicted hash may be too near where morphs are doubtful
_PREDICTED = (LABELLED, DISTINCT)  # reasons by predictions, which may be wrong
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


@dataclass(frozen=True)
class _Round:
    """One turn of hosts: the number of its first attempt, the hosts, and which of their turns it is."""

    start: int
    hosts: list[int]
    turn: int = 0
    doubtful: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.hosts)


class CellProposals:
    """The morphs of a cell by the number of the attempt; threads may ask at the same time.

    Each host has its turn in an order drawn by the seed, then those have another turn that had a morph in the last one.
    When no host has one any more, all begin again with the doubtful ones.

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
        self._order: list[int] = _generator(config.seed, cell, _ORDER).permutation(len(index)).tolist()
        self._rounds = [_Round(0, self._order)]
        self._lock = threading.RLock()

    def plan(self, number: int) -> MorphPlan | str | None:
        """Return the morph of an attempt, why its host has none, or None where every host had its last turn."""
        with self._lock:
            while number >= self._rounds[-1].end:
                if not self._rounds[-1].hosts and self._rounds[-1].doubtful:
                    return None
                self._rounds.append(self._next_round(self._rounds[-1]))
            current = next(past for past in reversed(self._rounds) if past.start <= number)
            host = self._host(current.hosts[number - current.start])
        return host.plan(current.turn, current.doubtful)

    def _next_round(self, last: _Round) -> _Round:
        """Return the hosts that had a morph in the last round; all hosts, where doubtful morphs begin."""
        if not last.hosts:
            return _Round(last.end, self._order, doubtful=True)
        hosts = [host for host in last.hosts if self._host(host).has(last.turn, last.doubtful)]
        return _Round(last.end, hosts, last.turn + 1, last.doubtful)

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


class _HostProposals:
    """What one host is mixed with in its turns.

    A turn takes the next donors that fit, and whose morph is predicted to be no near-copy of a face in it or of the
    morphs of the turns before. Donors that fit but for a prediction are doubtful and have turns of their own. The first
    turn without donors is the last.
    """

    def __init__(
        self, index: DonorIndex, host: int, config: RunConfig, readings: PairReadings, rng: np.random.Generator
    ) -> None:
        self._index, self._face, self._config = index, index.faces[host], config
        self._readings, self._rng = readings, rng
        count = max(1, min(config.donors, len(index) - 1))
        order = index.in_rings(host, NEAREST, _REACH * count, rng).tolist()
        self._choices = deque(tuple(order[k : k + count]) for k in range(0, len(order), count))
        self._refused: deque[tuple[int, ...]] = deque()  # by predictions
        self._turns: tuple[list[_Morph], list[_Morph]] = ([], [])  # sure and doubtful ones
        self._refusals = ["", ""]  # why there is no further turn
        self._lock = threading.Lock()

    def has(self, turn: int, doubtful: bool) -> bool:
        """Tell whether a turn has a morph."""
        with self._lock:
            self._find(turn, doubtful)
            return len(self._turns[doubtful]) > turn

    def plan(self, turn: int, doubtful: bool) -> MorphPlan | str:
        """Return the morph of a turn, or why there is none."""
        with self._lock:
            plan = self._find(turn, doubtful)
            if len(self._turns[doubtful]) <= turn:
                return self._refusals[doubtful]
            morph = self._turns[doubtful][turn]
        return plan or self._planned(morph.donors, morph.weights)  # `has` may have been asked before

    def _find(self, turn: int, doubtful: bool) -> MorphPlan | None:
        """Find donors up to a turn; return its morph where it was found just now."""
        turns, plan = self._turns[doubtful], None
        while len(turns) <= turn and not self._refusals[doubtful]:
            found = self._next_doubtful() if doubtful else self._next_sure()
            if isinstance(found, str):
                self._refusals[doubtful], plan = found, None
            else:
                plan, morph = found
                turns.append(morph)
        return plan

    def _next_sure(self) -> tuple[MorphPlan, _Morph] | str:
        """Find the donors of the next turn, or return why there are none."""
        faults = Counter[str]()
        for _ in range(min(CHOICES, len(self._choices))):
            found = self._screened(donors := self._choices.popleft(), self._config.thresholds.duplicate_bits)
            if not isinstance(found, str):
                return found
            faults[found] += 1
            if found in _PREDICTED:
                self._refused.append(donors)
        return faults.most_common(1)[0][0] if faults else ALONE

    def _next_doubtful(self) -> tuple[MorphPlan, _Morph] | str:
        faults = Counter[str]()
        while self._refused:
            found = self._screened(self._refused.popleft(), self._config.thresholds.duplicate_bits - _DOUBTFUL, True)
            if not isinstance(found, str):
                return found
            faults[found] += 1
        return faults.most_common(1)[0][0] if faults else ALONE

    def _screened(self, donors: tuple[int, ...], bits: int, doubtful: bool = False) -> tuple[MorphPlan, _Morph] | str:
        """Register donors; return why their morph is not rendered where a reading refuses it.

        The predicted hash has to differ in more than `bits` bits.
        """
        faces = (self._face, *(self._index.faces[donor] for donor in donors))
        weights = self._draw_weights(len(donors))
        fault = "" if doubtful else self._readings.labels(faces)
        if fault:
            return fault
        registrations = self._registered(donors)
        if isinstance(registrations, str):
            return registrations
        plan = plan_morph(self._face, faces[1:], weights, registrations)
        fault = morph_fault(plan, self._config.thresholds)
        if fault:
            return fault
        morph = _Morph(donors, weights, descriptor_hashes(predicted_descriptor(plan)[None])[0])
        if self._fewest_bits(morph) <= bits:
            return DISTINCT
        return self._readings.persons(faces) or (plan, morph)

    def _registered(self, donors: tuple[int, ...]) -> list[Registration] | str:
        """Register donors one by one; return why one does not fit, of which the rest need not be known."""
        registrations: list[Registration] = []
        for donor in donors:
            registrations.append(register(self._face.detail, self._index.faces[donor].detail))
            faults = registration_faults(self._face, registrations[-1:])
            if fault := registration_fault(*faults, self._config.thresholds):
                return fault
        return registrations

    def _fewest_bits(self, morph: _Morph) -> int:
        """Return in how many bits a predicted hash differs at least from the faces in the morph and earlier turns."""
        faces = face_hashes((self._face, *(self._index.faces[donor] for donor in morph.donors)))
        earlier = np.array([other.hash for turns in self._turns for other in turns], np.uint64)
        return int(differing_bits(morph.hash, np.concatenate([faces, earlier])).min())

    def _planned(self, donors: tuple[int, ...], weights: list[float]) -> MorphPlan:
        return plan_morph(self._face, [self._index.faces[donor] for donor in donors], weights)

    def _draw_weights(self, count: int) -> list[float]:
        share = float(self._rng.uniform(*DONOR_SHARE))
        parts: NDArray[np.float64] = self._rng.dirichlet(np.full(count, 4.0)) if count > 1 else np.ones(1)
        return [float(weight) for weight in share * parts]


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
