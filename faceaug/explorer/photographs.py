"""Photographs of the user's own, turned and relit by their own pixels, and mixed in the canonical frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from faceaug.errors import ImageError, UsageError
from faceaug.explorer.meters import MeterReading
from faceaug.measurement.alignment import lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator, Measurements
from faceaug.measurement.image_batches import MIN_SIDE
from faceaug.morphing.blend import MorphPlan, plan_morph, render_morph
from faceaug.morphing.face import CanonicalFace, canonical_faces
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.reconstruction.warp import Warp, apply_warp, compute_changed_warp
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.synthesis.engines.morphs.attempt import ALIKE, COVERED, FOLDED, MIXED, REGISTERED
from faceaug.synthesis.engines.photographs import measured
from faceaug.synthesis.engines.rerendering.rerender import CLIPPED, EXPOSED, FACE, MORE_CLIPPED
from faceaug.synthesis.engines.rerendering.source_faces import REACH
from faceaug.utils.images import Rgb, decode, resize
from faceaug.utils.tensors import as_tensor, to_uint8
from faceaug.utils.text import printable

MOST_BYTES, MOST_PIXELS = 24 << 20, 40_000_000
"""Of a file that is decoded."""
LONGEST_SIDE = 640
"""Pixels to which the longer side of a photograph is reduced, so that a slider answers at once."""
_MORPHS_KEPT = 8


@dataclass(frozen=True, eq=False)
class LoadedPhotograph:
    """A photograph in memory, and what is measured on it.

    Attributes
    ----------
    name : str
        As the user's file is called; hostile text.
    pixels : uint8 [H, W, 3]
    extent : float32 [1, 4]
        Where it lies on its canvas.
    read : Measurements
        Of this one photograph.
    face : CanonicalFace
    """

    name: str
    pixels: Rgb
    extent: Tensor
    read: Measurements
    face: CanonicalFace

    @property
    def values(self) -> dict[str, float]:
        """View and light by name, as they are measured."""
        return factor_dict(self.read)


@dataclass(frozen=True, eq=False)
class PhotographEdit:
    """What is asked of a photograph.

    Attributes
    ----------
    change : mapping of str to float
        By how much each semantic of view and light is moved, in its unit; the others stay.
    donor : LoadedPhotograph, optional
        Whose features are mixed in.
    share : float
        In [0, 1], of the donor.
    measure : bool
        Whether the result is measured.
    """

    change: Mapping[str, float]
    donor: LoadedPhotograph | None = None
    share: float = 0.0
    measure: bool = False


@dataclass(frozen=True, eq=False)
class EditedPhotograph:
    """A photograph after an edit.

    Attributes
    ----------
    image : uint8 [H, W, 3]
    measured : dict of str to float
        View and light on the image; empty where it is not measured, or no face is found.
    meters : tuple of MeterReading
    engine : str
        The engine that makes such pictures in a run; "" where nothing was changed.
    """

    image: Rgb
    measured: dict[str, float]
    meters: tuple[MeterReading, ...]
    engine: str


class PhotographEditor:
    """Turns, relights and mixes photographs; keeps a few mixtures, so that they can be turned quickly.

    Parameters
    ----------
    estimator : FaceEstimator
    thresholds : AcceptanceThresholds, optional
        Of the gates that the meters show.
    """

    def __init__(self, estimator: FaceEstimator, thresholds: AcceptanceThresholds | None = None) -> None:
        self._estimator = estimator
        self._thresholds = thresholds or AcceptanceThresholds()
        self._mixed = lru_cache(_MORPHS_KEPT)(_mix)

    def load(self, data: bytes, name: str) -> LoadedPhotograph:
        """Decode and measure the file of a photograph.

        Raises
        ------
        ImageError
            When it is no JPEG, PNG or WebP, is damaged, too large or too small, or shows no face that can be measured.
        """
        shown = printable(name) or "the photograph"
        if len(data) > MOST_BYTES:
            raise ImageError(f"{shown} has more than {MOST_BYTES >> 20} MiB: make the file smaller")
        pixels = _reduced(decode(data, name=shown, max_pixels=MOST_PIXELS))
        if min(pixels.shape[:2]) < MIN_SIDE:
            raise ImageError(f"{shown} has a side of less than {MIN_SIDE} pixels: give a larger photograph")
        read, extents = measured(self._estimator, [pixels], aligned=False)
        face = canonical_faces([0], [hashlib.sha256(data).digest()], [pixels], extents, read)[0]
        if face is None:
            raise ImageError(
                f"no face can be measured in {shown} ({read.refusals[0]}): give a photograph that shows one whole face"
            )
        return LoadedPhotograph(shown, pixels, torch.from_numpy(extents), read, face)

    def edit(self, photograph: LoadedPhotograph, edit: PhotographEdit) -> EditedPhotograph:
        """Return a photograph after an edit: mixed first, then turned and relit.

        Raises
        ------
        UsageError
            When a semantic is unknown, or is moved further than photographs are turned and relit, or the share is not
            in [0, 1].
        """
        change = {name: value for name, value in edit.change.items() if value != 0}
        _check(change, edit.share)
        pixels, meters, engine = photograph.pixels, [], ""
        if edit.donor is not None and edit.share > 0:
            plan, pixels = self._mixed(photograph, edit.donor, edit.share)
            meters, engine = self._morph_meters(plan), "morph"
        windows = photograph.read.faces.windows
        if change:
            warp = compute_changed_warp(photograph.read.factors, list(change), np.array([list(change.values())]))
            before = as_tensor(pixels[None])
            turned = apply_warp(before, warp, photograph.extent, windows, in_place=True)
            pixels, engine = to_uint8(turned)[0], engine or "rerender"
            meters += self._warp_meters(warp, before, turned)
        found: dict[str, float] = {}
        if edit.measure:
            read = self._estimator.read(*lay_on_canvases([pixels]), near=windows)
            meters.append(_found_again(read))
            found = {} if read.refusals[0] else factor_dict(read)
        return EditedPhotograph(pixels, found, tuple(meters), engine)

    def _warp_meters(self, warp: Warp, before: Tensor, after: Tensor) -> list[MeterReading]:
        clipped = [float(((part + 1) / 2 > CLIPPED).float().mean()) for part in (before, after)]
        limits = self._thresholds
        return [
            MeterReading(
                COVERED, float(warp.holes[0]), limits.uncovered, "Share of the face that the photograph does not show."
            ),
            MeterReading(
                FOLDED, float(warp.folds[0]), limits.distorted, "Share of the face that is folded or stretched."
            ),
            MeterReading(
                EXPOSED, max(clipped[1] - clipped[0], 0), MORE_CLIPPED, "Share of the picture that became pure white."
            ),
        ]

    def _morph_meters(self, plan: MorphPlan) -> list[MeterReading]:
        faults, limits = plan.faults, self._thresholds
        return [
            MeterReading(
                f"{COVERED} (mixture)", faults.holes, limits.uncovered, "Share of the face that the other one hides."
            ),
            MeterReading(f"{FOLDED} (mixture)", faults.folds, limits.distorted, "Share of the face that is folded."),
            MeterReading(
                REGISTERED,
                faults.unregistered,
                limits.unregistered,
                "Share of the face where the two could not be laid on each other.",
            ),
            MeterReading(
                ALIKE,
                faults.residual,
                limits.residual,
                "Difference of the two faces once they lie on each other: hands, glasses, another expression.",
            ),
            MeterReading(
                MIXED,
                1 - faults.mixed,
                1 - limits.mixed,
                "Share of the features that is still the first person's.",
            ),
        ]


def factor_dict(read: Measurements) -> dict[str, float]:
    """Return view and light of the first of measured pictures by name."""
    return dict(zip(FACTOR_NAMES, read.values[0, : len(FACTOR_NAMES)].tolist(), strict=True))


def _check(change: Mapping[str, float], share: float) -> None:
    for name, value in change.items():
        if name not in REACH:
            raise UsageError(f"a photograph cannot be changed by {name!r}; there are: {', '.join(REACH)}")
        if not abs(value) <= REACH[name]:  # NaN is not
            raise UsageError(f"{name} of a photograph is moved by {value:g}; it can be by {REACH[name]:g} at most")
    if not 0 <= share <= 1:
        raise UsageError(f"the share of the other face is {share:g}; it must be between 0 and 1")


def _mix(host: LoadedPhotograph, donor: LoadedPhotograph, share: float) -> tuple[MorphPlan, Rgb]:
    plan = plan_morph(host.face, [donor.face], [share])
    return plan, render_morph(plan, [host.pixels, donor.pixels])[0]


def _found_again(read: Measurements) -> MeterReading:
    meaning = read.refusals[0] or "The face is found and measured again."
    return MeterReading(FACE, float(bool(read.refusals[0])), 0.0, meaning)


def _reduced(pixels: Rgb) -> Rgb:
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
