"""Gates: each looks at edited samples and says which may pass. The first that rejects a sample gives the reason.

A gate is a function from a `CandidateBatch` to a boolean array. Others plug in through the entry point group
``faceaug.gates`` and decide after the built-in ones. The gate on near-copies compares samples with each other; it is
in `near_duplicates.py`. Thresholds are settings of a run (`faceaug.synthesis.config.AcceptanceThresholds`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import FaceaugError, UsageError
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.utils.plugins import guarded
from faceaug.utils.typing import Floats

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class CandidateBatch:
    """Edited samples of one cell as gates see them; N samples, A requested attributes.

    Attributes
    ----------
    images : Tensor [N, 3, R, R] in [-1, 1]
        After the edit, in the generator's framing.
    origins : callable () -> Tensor [N, 3, R, R] in [-1, 1]
        Gives `origin_images`, the images before the edit, which are synthesized only for a gate that looks at them.
    confidence, held_out : float64 [N, A]
        Probability of what is requested, by the guidance classifier and by the held-out classifier.
    drift : float64 [N]
        Largest change of a kept semantic, in its standard deviations.
    spill : float64 [N]
        Change outside the face relative to that inside it (`scene.measure_spill`); 0 for edits that are exempt.
    plausibility : float64 [N]
        Mahalanobis distance of w over that which the share `plausible` of generated latents reaches; at most 1 passes.
    realism : float64 [N]
        Distance to real faces over that which the share `realistic` of generated faces reaches; at most 1 passes.
    face_quality : float64 [N]
        Log-odds of a face of good quality above what the threshold requires; at least 0 passes.
    misexposure : float64 [N]
        How dark, bright or clipped the face is against real ones; at most 1 is as the threshold `exposure` allows.
    discolouring : float64 [N]
        How blue or green the face is against real ones; at most 1 is as the threshold `exposure` allows.
    thresholds : AcceptanceThresholds
    least_confidence, least_held_out : float64 [N, A], optional
        What `confidence` and `held_out` must be instead of the thresholds: for the label of a real face no more than
        its photograph is given.
    """

    images: Tensor
    origins: Callable[[], Tensor]
    confidence: Floats
    held_out: Floats
    drift: Floats
    spill: Floats
    plausibility: Floats
    realism: Floats
    face_quality: Floats
    misexposure: Floats
    discolouring: Floats
    thresholds: AcceptanceThresholds
    least_confidence: Floats | None = None
    least_held_out: Floats | None = None

    @cached_property
    def origin_images(self) -> Tensor:
        """Images before the edit, [N, 3, R, R] in [-1, 1]."""
        return self.origins()


Gate = Callable[[CandidateBatch], Bools]


def attribute_reached(batch: CandidateBatch) -> Bools:
    """The guidance classifier is confident of every requested attribute."""
    least = batch.thresholds.confidence if batch.least_confidence is None else batch.least_confidence
    return np.asarray((batch.confidence >= least).all(1))


def held_out_agrees(batch: CandidateBatch) -> Bools:
    """The held-out classifier, trained apart, finds every requested attribute, too."""
    least = batch.thresholds.held_out if batch.least_held_out is None else batch.least_held_out
    return np.asarray((batch.held_out >= least).all(1))


def scene_kept(batch: CandidateBatch) -> Bools:
    """Light and colour outside the face, and what else was to be kept, did not change."""
    return np.asarray(batch.drift <= batch.thresholds.drift)


def change_inside_face(batch: CandidateBatch) -> Bools:
    """The edit changed the face and not mostly the scene."""
    return np.asarray(batch.spill <= batch.thresholds.spill)


def plausible(batch: CandidateBatch) -> Bools:
    """The latent is as likely as a generated one."""
    return np.asarray(batch.plausibility <= 1)


def well_exposed(batch: CandidateBatch) -> Bools:
    """The face has no more clipped highlights or shadows than real faces."""
    return np.asarray(batch.misexposure <= 1)


def natural_colour(batch: CandidateBatch) -> Bools:
    """The face is no bluer or greener than real faces."""
    return np.asarray(batch.discolouring <= 1)


def face_quality_reached(batch: CandidateBatch) -> Bools:
    """It is one whole face without distortions."""
    return np.asarray(batch.face_quality >= 0)


def realistic(batch: CandidateBatch) -> Bools:
    """The picture is as near to real faces as most generated faces."""
    return np.asarray(batch.realism <= 1)


BUILT_IN: dict[str, Gate] = {
    "plausible": plausible,
    "well exposed": well_exposed,
    "natural colour": natural_colour,
    "face quality": face_quality_reached,
    "realistic": realistic,
    "attribute reached": attribute_reached,
    "held-out classifier agrees": held_out_agrees,
    "scene kept": scene_kept,
    "change inside the face": change_inside_face,
}
DUPLICATE = "no near-copy"
"""The reason that `near_duplicates.py` gives; it is decided last, in the order of attempts."""
REAL_COPY = "no copy of a real image"
"""The reason that `real_copies.py` gives, of what passes all other gates."""
GATE_ENTRY_POINTS = "faceaug.gates"


def all_gates() -> dict[str, Gate]:
    """Return the built-in gates and those of the entry point group `faceaug.gates`, in their order."""
    others: dict[str, Gate] = {}
    for point in _plugged_in():
        if point.name in (*BUILT_IN, DUPLICATE, REAL_COPY):
            raise UsageError(f"a plug-in brings a gate called {point.name!r}, which faceaug has; it must be renamed")
        try:
            others[point.name] = point.load()
        except Exception as error:
            raise FaceaugError(f"the gate {point.name!r} of a plug-in failed to load: {error}") from error
    return {**BUILT_IN, **others}


def gate_identities() -> list[str]:
    """Return what tells these gates from others: their names, and of a plug-in's where it is and of what version."""
    return sorted([*all_gates(), *(f"{point.name}: {point.value} {_version(point)}" for point in _plugged_in())])


def _plugged_in() -> list[EntryPoint]:
    return sorted(entry_points(group=GATE_ENTRY_POINTS), key=lambda point: point.name)


def _version(point: EntryPoint) -> str:
    """Return the version of the distribution that registered a gate, or else of the package that holds it."""
    if point.dist is not None:
        return f"{point.dist.name} {point.dist.version}"
    package = sys.modules.get(point.module.partition(".")[0])
    return str(getattr(package, "__version__", ""))


def refuse(batch: CandidateBatch, gates: dict[str, Gate]) -> list[str | None]:
    """Return for each sample the name of the first gate that rejects it, or None where it passes all.

    Raises
    ------
    FaceaugError
        When a gate does not decide on each sample.
    """
    reasons: list[str | None] = [None] * len(batch.drift)
    for name, gate in gates.items():
        answer = guarded(f"the gate {name!r}", lambda gate=gate: np.asarray(gate(batch)))  # type: ignore[misc]
        # Whatever truth values somebody else's gate gives; NaN, which is true in Python, lets nothing pass.
        passes = answer.astype(bool) & (answer == answer)
        if passes.shape != (len(reasons),):
            raise FaceaugError(
                f"the gate {name!r} answered with an array of shape {list(passes.shape)} for {len(reasons)} samples; "
                "it must say of each whether it may pass"
            )
        for i in np.flatnonzero(~passes):
            reasons[i] = reasons[i] or name
    return reasons
