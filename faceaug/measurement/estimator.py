"""Measuring photographs: framed by the alignment, read by the reconstruction, trusted as far as the signs allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance.augmentations import photometric_jitter
from faceaug.measurement.alignment import CANVAS_SIDE, AlignedFaces, Aligner
from faceaug.measurement.alignment_data import around, backgrounds, exchanged, scrambled
from faceaug.measurement.confidence import ConfidenceModel, QualitySignals, concatenate_signals, fit_confidence
from faceaug.measurement.crops import CROP_SIDE, before
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES, FACTOR_UNITS, semantics_of
from faceaug.utils.tensors import at_side
from faceaug.utils.typing import Floats

_ROLL = FACTOR_NAMES.index("roll")
_OFF = (0.25, 0.25, 0.45, 0.25)  # how far disturbed pictures are off their framing, each way
_DARK = 0.05  # standard deviation of a picture on [-1, 1] below which its error is not divided by less


class AtomReader(Protocol):
    """Localised semantics of the canonical maps; `semantics.bundle.Bundle` is one."""

    @property
    def atoms(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def depth(self) -> NDArray[np.float32]:
        """Mean canonical depth [M, M]; maps of this side are read."""

    def values(self, depth: NDArray[np.floating], albedo: NDArray[np.floating]) -> Floats:
        """Return the value [N, K] of each in canonical depth [N, M, M] and albedo [N, 3, M, M]."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured on N pictures.

    Attributes
    ----------
    values : float64 [N, S]
        NaN where nothing can be told.
    confidence : float64 [N, S]
        Probability that a value is within half a standard deviation of generated faces of the truth; 0 for NaN.
    refusals : tuple of str, length N
        Why nothing can be told, or an empty text.
    faces : AlignedFaces
        Where the faces are, and their pictures.
    reading : FaceFactors
        Of those pictures, not averaged with their mirrors.
    """

    values: Floats
    confidence: Floats
    refusals: tuple[str, ...]
    faces: AlignedFaces
    reading: FaceFactors


@dataclass(frozen=True, eq=False)
class FaceEstimator:
    """All that measures a photograph.

    Attributes
    ----------
    reconstruct : callable, Tensor [N, 3, 64, 64] in [-1, 1] -> Reading
    aligner : Aligner
    trust : ConfidenceModel
    atoms : AtomReader, optional
    sha256 : str
        Of the weights of all of it; "" where they have not been written yet.
    """

    reconstruct: Callable[[Tensor], FaceFactors]
    aligner: Aligner
    trust: ConfidenceModel
    atoms: AtomReader | None = None
    sha256: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured, in the order of the columns of `read`."""
        return (*FACTOR_NAMES, *(self.atoms.atoms if self.atoms else ()))

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each."""
        return (*FACTOR_UNITS.values(), *["standard deviations"] * (len(self.names) - len(FACTOR_UNITS)))

    def read(self, canvases: Tensor, shorter: Tensor, *, aligned: bool = False) -> Measurements:
        """Measure photographs that were laid on canvases.

        Parameters
        ----------
        canvases, shorter
            From `alignment.canvas_of`; [N, 3, C, C] in [-1, 1] and [N].
        aligned : bool
            The pictures are framed as the generator's: the square of the shorter side is read as it is.

        Returns
        -------
        Measurements
            Its tensors where the canvases are, wherever this computes.
        """
        faces = self.aligner.framed(canvases, shorter) if aligned else self.aligner.align(canvases, shorter)
        values, signs, reading = estimate_with_signals(self.reconstruct, self.atoms, faces)
        refusals = tuple(self.trust.refusals(signs))
        told = np.array([not why for why in refusals], bool).reshape(-1, 1)
        here = canvases.device
        return Measurements(
            np.where(told, values, np.nan), self.trust.confidence(signs), refusals,
            AlignedFaces(faces.images.to(here), faces.windows.to(here), faces.face.to(here), faces.residual_step.to(here)),
            reading.map(lambda part: part.to(here)),
        )  # fmt: skip


def estimate_values(reconstruct: Callable[[Tensor], FaceFactors], images: Tensor) -> Floats:
    """Return the semantics [N, 6] of pictures framed as the generator's: the mean of each and its mirror's."""
    with torch.no_grad():
        one, other = reconstruct(images), reconstruct(images.flip(-1)).mirrored()
    return np.asarray((_values(one, None) + _values(other, None)) / 2, np.float64)


def estimate_with_signals(
    reconstruct: Callable[[Tensor], FaceFactors], atoms: AtomReader | None, faces: AlignedFaces
) -> tuple[Floats, QualitySignals, FaceFactors]:
    """Read framed faces and their mirrors: the mean values [N, S], the signs of how well it went, and the reading."""
    with torch.no_grad():
        reading, other = reconstruct(faces.images), reconstruct(faces.images.flip(-1)).mirrored()
        one, two = (_values(part, atoms) for part in (reading, other))
        error = _error(faces.images, reading).double().cpu().numpy()
    values = (one + two) / 2
    values[:, _ROLL] += np.degrees(faces.windows[:, 3].double().cpu().numpy())
    residual_step, face = (part.double().cpu().numpy() for part in (faces.residual_step, faces.face))
    return values, QualitySignals(error, np.abs(one - two) / 2, residual_step, face), reading


def _values(reading: FaceFactors, atoms: AtomReader | None) -> Floats:
    values: Floats = semantics_of(reading).double().cpu().numpy()
    if atoms is None:
        return values
    side = atoms.depth.shape[-1]
    depth, albedo = (at_side(maps, side).cpu().numpy() for maps in (reading.depth[:, None], reading.albedo))
    return np.concatenate([values, atoms.values(depth[:, 0], albedo)], 1)


def _error(images: Tensor, reading: FaceFactors) -> Tensor:
    """Return how badly readings explain pictures, in the picture's standard deviation where a face is seen: [N]."""
    made = render(reading.albedo, reading.depth, reading.light, reading.view)
    images = at_side(images, made.image.shape[-1])
    seen = made.mask[:, None].to(images.dtype)
    count = 3 * seen.sum((1, 2, 3))
    mean = (images * seen).sum((1, 2, 3)) / count
    spread = ((images - mean[:, None, None, None]).square() * seen).sum((1, 2, 3)).div(count).sqrt().clamp(min=_DARK)
    error = ((made.image.clamp(-1, 1) - images).abs() * seen).sum((1, 2, 3)) / count / spread
    return torch.where(count > 0, error, torch.full_like(error, math.inf))


def calibrate_estimator(
    reconstruct: Callable[[Tensor], FaceFactors],
    aligner: Aligner,
    faces: Tensor,
    *,
    atoms: AtomReader | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FaceEstimator:
    """Find out on generated pictures what a measurement is worth.

    Each draw is read as it is, and again after its exposure, colour, sharpness, framing and surroundings were changed;
    what the first reads is the truth of the second. A quarter as many pictures have no face.

    Parameters
    ----------
    reconstruct, aligner, atoms
        As in `FaceEstimator`; computed where they are.
    faces : uint8 [N, 3, S, S]
        Draws of the generator that they were trained on, but which they have not seen; a few hundred are enough.
    seed
        Of the disturbances.
    progress : callable (draws done, draws), optional
    """
    rng = torch.Generator().manual_seed(seed)
    truths, gaps, kinds, others = [], [], [], []
    for start in range(0, len(faces), ESTIMATOR_BATCH_SIZE):
        clean = at_side(faces[start : start + ESTIMATOR_BATCH_SIZE].float() / 127.5 - 1, CROP_SIDE)
        whole = torch.ones(len(clean))
        truth, _, _ = estimate_with_signals(reconstruct, atoms, aligner.framed(clean, whole))
        off = (torch.rand(len(clean), 4, generator=rng) * 2 - 1) * torch.tensor(_OFF)
        canvases = photometric_jitter(around(clean, before(torch.zeros(len(clean), 4), off), rng, CANVAS_SIDE), rng)
        values, signs, _ = estimate_with_signals(reconstruct, atoms, aligner.align(canvases, whole))
        gap = values - truth
        gap[:, _ROLL] -= np.degrees(off[:, 3].double().numpy())  # turned on purpose; no part of how faces differ
        truths.append(truth)
        gaps.append(gap)
        kinds.append(signs)
        empty = canvases[: -(-len(clean) // 4)]
        change = (exchanged, scrambled, lambda x, rng: backgrounds(len(x), CANVAS_SIDE, rng))[
            start // ESTIMATOR_BATCH_SIZE % 3
        ]
        others.append(
            estimate_with_signals(reconstruct, atoms, aligner.align(change(empty, rng), whole[: len(empty)]))[1]
        )
        if progress:
            progress(min(start + ESTIMATOR_BATCH_SIZE, len(faces)), len(faces))
    spread = np.maximum(np.concatenate(truths).std(0), 1e-6)
    trust = fit_confidence(concatenate_signals(kinds), np.concatenate(gaps), spread, concatenate_signals(others))
    return FaceEstimator(reconstruct, aligner, trust, atoms)
