"""Gates: each looks at edited samples and says which may pass. The first that refuses a sample gives the reason.

A gate is a function from a `CandidateBatch` to a boolean array; others plug in through the entry point group `faceaug.gates`
and are asked after the built-in ones. Gates that compare samples with each other are in `duplicates.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import FaceaugError, UsageError
from faceaug.utils.typing import Floats

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class AcceptanceThresholds:
    """What gates refuse. Defaults are what a run uses unless its recipe says otherwise.

    Attributes
    ----------
    confidence : float
        Least calibrated probability of the asked class, or of the value lying in its bin, by the steering probe.
    judge : float
        The same by the judge, which did not steer.
    drift : float
        Most change of a kept semantic, in standard deviations over the generator's draws.
    spill : float
        Most change outside the face relative to that inside (attribute edits only).
    plausible : float
        Quantile of real draws that the Mahalanobis distance of w may reach.
    realistic : float
        Quantile of the draws near a cell that a sample's distance in feature space to real faces may reach.
    sound : float
        Share of the draws near a cell that must be less of one whole face than a sample (`soundness.py`).
    exposure : float
        Share of real faces that may be darker, brighter, more burnt out, bluer or greener than a sample.
    duplicate_bits : int
        Perceptual hashes (64 bits) that differ in at most this many are near-copies.
    uncovered, melted : float
        Of a real face rendered anew: largest share that no half of its photograph shows, and that is folded or
        stretched out of recognition.
    inversion : float
        Of a real face that an edit begins with: largest distance of its photograph to what the generator draws of it;
        0 is the same picture, 1 as far apart as the photographs of two people are on average.
    """

    confidence: float = 0.75
    judge: float = 0.6
    drift: float = 0.5
    spill: float = 0.6
    plausible: float = 0.999
    realistic: float = 0.9
    sound: float = 0.25
    exposure: float = 0.02
    duplicate_bits: int = 8
    uncovered: float = 0.03
    melted: float = 0.02
    inversion: float = 0.5

    def __post_init__(self) -> None:
        for name in ("confidence", "judge", "plausible", "realistic", "sound", "uncovered", "melted"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"the limit {name} is {getattr(self, name)}; it must be a share between 0 and 1")
        if not 0 <= self.exposure < 0.5:
            raise UsageError(f"the limit exposure is {self.exposure}; it must be a share of faces below 0.5")
        if not self.inversion >= 0:
            raise UsageError(f"the limit inversion is {self.inversion}; it must not be negative")
        if not (self.drift >= 0 and self.spill >= 0 and 0 <= self.duplicate_bits <= 64):
            raise UsageError(
                f"the limits drift {self.drift} and spill {self.spill} must not be negative, and duplicate_bits "
                f"{self.duplicate_bits} must be one of 0 to 64"
            )


@dataclass(frozen=True)
class CandidateBatch:
    """Edited samples of one cell as gates see them; N samples.

    Attributes
    ----------
    images, origin_images : Tensor [N, 3, R, R] in [-1, 1]
        After and before the edit, in the generator's framing.
    confidence, judged : float64 [N, A]
        Probability of what is asked for each of A attributes, by the steering probe and by the judge.
    drift : float64 [N]
        Largest change of a kept semantic, in its standard deviations.
    spill : float64 [N]
        See `scene.spill`; 0 for edits that are exempt.
    plausibility : float64 [N]
        Mahalanobis distance of w over what `AcceptanceThresholds.plausible` of draws reach; at most 1 is as likely as a draw.
    realism : float64 [N]
        Distance to real faces over what `AcceptanceThresholds.realistic` of draws reach; at most 1 is as near as a draw.
    soundness : float64 [N]
        Log-odds of a sound face above what `AcceptanceThresholds.sound` asks for; at least 0 passes.
    misexposure : float64 [N]
        How dark, bright or burnt out the face is against real ones; at most 1 is as `AcceptanceThresholds.exposure` allows.
    discolouring : float64 [N]
        How blue or green the face is against real ones; at most 1 is as `AcceptanceThresholds.exposure` allows.
    limits : AcceptanceThresholds
    least_confidence, least_judged : float64 [N, A], optional
        What is asked of `confidence` and `judged` instead of the limits: of a real face's label no more than its
        photograph is given.
    """

    images: Tensor
    origin_images: Tensor
    confidence: Floats
    judged: Floats
    drift: Floats
    spill: Floats
    plausibility: Floats
    realism: Floats
    soundness: Floats
    misexposure: Floats
    discolouring: Floats
    limits: AcceptanceThresholds
    least_confidence: Floats | None = None
    least_judged: Floats | None = None


Gate = Callable[[CandidateBatch], Bools]


def attribute_reached(batch: CandidateBatch) -> Bools:
    """The steering probe is confident of every asked attribute."""
    least = batch.limits.confidence if batch.least_confidence is None else batch.least_confidence
    return np.asarray((batch.confidence >= least).all(1))


def held_out_agrees(batch: CandidateBatch) -> Bools:
    """The judge, trained apart, finds every asked attribute too."""
    least = batch.limits.judge if batch.least_judged is None else batch.least_judged
    return np.asarray((batch.judged >= least).all(1))


def scene_kept(batch: CandidateBatch) -> Bools:
    """Light and colour outside the face, and what else was to be kept, stayed."""
    return np.asarray(batch.drift <= batch.limits.drift)


def face_only(batch: CandidateBatch) -> Bools:
    """The edit changed the face and not mostly the scene."""
    return np.asarray(batch.spill <= batch.limits.spill)


def plausible(batch: CandidateBatch) -> Bools:
    """The latent is as likely as a draw."""
    return np.asarray(batch.plausibility <= 1)


def well_exposed(batch: CandidateBatch) -> Bools:
    """The face is neither burnt out nor drowned, by the measure of real faces."""
    return np.asarray(batch.misexposure <= 1)


def natural_colour(batch: CandidateBatch) -> Bools:
    """The face is not blue or green, by the measure of real faces."""
    return np.asarray(batch.discolouring <= 1)


def face_quality_reached(batch: CandidateBatch) -> Bools:
    """It is one whole face, not a melted one."""
    return np.asarray(batch.soundness >= 0)


def realistic(batch: CandidateBatch) -> Bools:
    """The picture is as near to real faces as most of the generator's draws."""
    return np.asarray(batch.realism <= 1)


BUILT_IN: dict[str, Gate] = {
    "plausible": plausible,
    "well exposed": well_exposed,
    "natural colour": natural_colour,
    "sound face": face_quality_reached,
    "realistic": realistic,
    "attribute reached": attribute_reached,
    "judge agrees": held_out_agrees,
    "scene kept": scene_kept,
    "face only": face_only,
}
DUPLICATE = "no near-copy"
"""The reason that `duplicates.py` gives; it is decided last, in the order of attempts."""


def all_gates() -> dict[str, Gate]:
    """Return the built-in gates and those of the entry point group `faceaug.gates`, in the order they are asked."""
    others: dict[str, Gate] = {}
    for point in _plugged_in():
        if point.name in (*BUILT_IN, DUPLICATE):
            raise UsageError(f"a plug-in brings a gate called {point.name!r}, which faceaug has; it must be renamed")
        try:
            others[point.name] = point.load()
        except Exception as error:
            raise FaceaugError(f"the gate {point.name!r} of a plug-in failed to load: {error}") from error
    return {**BUILT_IN, **others}


def gate_marks() -> list[str]:
    """Return what tells these gates from others: their names, and of a plug-in's where it is and of what version."""
    return sorted([*all_gates(), *(f"{point.name}: {point.value} {_version(point)}" for point in _plugged_in())])


def _plugged_in() -> list[EntryPoint]:
    return sorted(entry_points(group="faceaug.gates"), key=lambda point: point.name)


def _version(point: EntryPoint) -> str:
    """Return the version of the distribution that registered a gate, or else of the package that holds it."""
    if point.dist is not None:
        return f"{point.dist.name} {point.dist.version}"
    package = sys.modules.get(point.module.partition(".")[0])
    return str(getattr(package, "__version__", ""))


def refuse(batch: CandidateBatch, gates: dict[str, Gate]) -> list[str | None]:
    """Return for each sample the name of the first gate that refuses it, or None where all let it pass.

    Raises
    ------
    FaceaugError
        When a gate does not answer for each sample.
    """
    reasons: list[str | None] = [None] * len(batch.drift)
    for name, gate in gates.items():
        passes = np.asarray(gate(batch), bool)  # whatever truth values somebody else's gate gives
        if passes.shape != (len(reasons),):
            raise FaceaugError(
                f"the gate {name!r} answered with an array of shape {list(passes.shape)} for {len(reasons)} samples; "
                "it must say of each whether it may pass"
            )
        for i in np.flatnonzero(~passes):
            reasons[i] = reasons[i] or name
    return reasons
