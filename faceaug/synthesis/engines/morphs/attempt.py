"""One attempt at a morph: what is mixed, why it may be refused, and what is measured on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.morphing.blend import MorphPlan
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.synthesis.engines.photographs import Photograph
from faceaug.utils.images import Rgb
from faceaug.utils.typing import Floats, Floats32

CHANGED, ALONE = "photograph unchanged since it was read", "donor near enough"
COVERED, FOLDED = "nothing left uncovered", "not distorted"
REGISTERED, ALIKE, MIXED, LIT = "registered", "host and donor alike", "features mixed", "light alike"
NEW_PERSON = "new person"
FACE, REACHED, LABELLED, DISTINCT = "face found again", "value reached", "held-out classifier agrees", "no near-copy"


@dataclass(frozen=True, eq=False)
class MorphAttempt:
    """One attempt that can be rendered.

    Attributes
    ----------
    photographs : tuple of Photograph
        Of the host and of the donors.
    pictures : tuple of uint8 [H, W, 3]
        What is mixed: their pixels, or what became of them.
    attr : dict
        Labels of the sample.
    semantic : dict of str to float
        Columns of the sample that are known before it is rendered.
    reached : frozenset of str
        Labels that the photographs do not have, for which the held-out classifier must be as sure as is required.
    """

    number: int
    seed: np.random.SeedSequence
    plan: MorphPlan
    photographs: tuple[Photograph, ...]
    pictures: tuple[Rgb, ...]
    attr: dict[str, Any]
    semantic: dict[str, float] = field(default_factory=dict)
    reached: frozenset[str] = frozenset()

    @property
    def host(self) -> Photograph:
        return self.photographs[0]


@dataclass(frozen=True, eq=False)
class RenderedMorph:
    """A morph as it would be stored.

    Attributes
    ----------
    attempt : MorphAttempt
    image : uint8 [H, W, 3] or bytes
        What is kept.
    stored : uint8 [H, W, 3]
        What a reader will see.
    """

    attempt: MorphAttempt
    image: NDArray[np.uint8] | bytes
    stored: Rgb


@dataclass(frozen=True, eq=False)
class MeasuredMorph:
    """What is read off a morph.

    Attributes
    ----------
    descriptor : float32 [D] or None
        Of its face (`morphing.face`); None where none is found.
    values, confidence : float64 [6]
        View and light, and the confidence of each (`FACTOR_NAMES`).
    """

    descriptor: Floats32 | None
    values: Floats
    confidence: Floats


@dataclass(frozen=True, eq=False)
class JudgedMorph:
    """A morph that has the labels of its cell and shows a new person, and is still to be measured.

    Attributes
    ----------
    rendered : RenderedMorph
    confidence : dict of str to float
    identity_distance : float or None
    """

    rendered: RenderedMorph
    confidence: dict[str, float]
    identity_distance: float | None


@dataclass(frozen=True, eq=False)
class AcceptableMorph:
    """A morph that passed the gates.

    Attributes
    ----------
    judged : JudgedMorph
    semantic : dict of str to float
        Columns of the sample that its engine adds.
    measured : MeasuredMorph
        With a face.
    """

    judged: JudgedMorph
    semantic: dict[str, float]
    measured: MeasuredMorph


def registration_fault(unregistered: float, residual: float, thresholds: AcceptanceThresholds) -> str:
    """Return why a donor that was registered with a host does not fit it, or an empty text."""
    if unregistered > thresholds.unregistered:
        return REGISTERED
    return ALIKE if residual > thresholds.residual else ""


def morph_fault(plan: MorphPlan, thresholds: AcceptanceThresholds) -> str:
    """Return why host and donors do not fit, or an empty text."""
    faults = plan.faults
    if fault := registration_fault(faults.unregistered, faults.residual, thresholds):
        return fault
    reasons = (
        (COVERED, faults.holes > thresholds.uncovered),
        (FOLDED, faults.folds > thresholds.distorted),
        (MIXED, faults.mixed < thresholds.mixed),
    )
    return next((reason for reason, refused in reasons if refused), "")
