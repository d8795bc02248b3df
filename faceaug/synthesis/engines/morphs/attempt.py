"""One attempt at a morph: what is mixed, why it may be refused, and what is measured on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceaug.measurement.estimator import Measurements
from faceaug.morphing.blend import MorphPlan
from faceaug.morphing.face import CanonicalFace
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.synthesis.engines.photographs import Photograph
from faceaug.utils.images import Rgb

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
class AcceptableMorph:
    """A morph that passed the gates, with what is measured on it.

    Attributes
    ----------
    rendered : RenderedMorph
    semantic : dict of str to float
        Columns of the sample that its engine adds.
    face : CanonicalFace
    confidence : dict of str to float
    measurements : Measurements
    identity_distance : float or None
    """

    rendered: RenderedMorph
    semantic: dict[str, float]
    face: CanonicalFace
    confidence: dict[str, float]
    measurements: Measurements
    identity_distance: float | None


def morph_fault(plan: MorphPlan, thresholds: AcceptanceThresholds) -> str:
    """Return why host and donors do not fit, or an empty text."""
    faults = plan.faults
    reasons = (
        (COVERED, faults.holes > thresholds.uncovered),
        (FOLDED, faults.folds > thresholds.distorted),
        (REGISTERED, faults.unregistered > thresholds.unregistered),
        (ALIKE, faults.residual > thresholds.residual),
        (MIXED, faults.mixed < thresholds.mixed),
    )
    return next((reason for reason, refused in reasons if refused), "")
