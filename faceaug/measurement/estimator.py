"""Estimates of semantic factors on photographs: alignment, reconstruction, and confidence from quality signals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.appearance.augmentations import photometric_jitter
from faceaug.measurement.alignment import CANVAS_SIDE, AlignedFaces, Aligner
from faceaug.measurement.alignment_data import (
    Jitter,
    crop_with_surroundings,
    random_backgrounds,
    scramble_phases,
    shuffle_tiles,
)
from faceaug.measurement.confidence import (
    ConfidenceModel,
    QualitySignals,
    concatenate_signals,
    fit_confidence,
    standard_errors,
)
from faceaug.measurement.crops import CROP_SIDE, undo_steps
from faceaug.measurement.reader import FactorReader
from faceaug.measurement.skin_tone import SKIN_TONE, SKIN_TONE_UNIT, SkinTones, skin_tone_confidence
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.semantics import ESTIMATOR_BATCH_SIZE, FACTOR_NAMES, FACTOR_UNITS, semantics_of
from faceaug.utils.tensors import normalize_pixels, resize_tensor
from faceaug.utils.typing import Floats

Reconstruct = Callable[[Tensor], FaceFactors]
"""From images [N, 3, 64, 64] in [-1, 1] to their factors."""
CONFIDENCE_SUFFIX = "_confidence"
"""Suffix of the column with the confidence of a column."""
_ROLL = FACTOR_NAMES.index("roll")
_MAX_STEP = (0.25, 0.25, 0.45, 0.25)  # of augmented samples from their framing, in each direction
_MIN_CONTRAST = 0.05  # least standard deviation of an image in [-1, 1] by which its error is divided


class AtomReader(Protocol):
    """Localized semantics of the canonical maps; `faceaug.latents.bundle.Bundle` is one."""

    @property
    def atoms(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def depth(self) -> NDArray[np.float32]:
        """Mean canonical depth [M, M]; maps of this side are expected."""

    def values(self, depth: NDArray[np.floating], albedo: NDArray[np.floating]) -> Floats:
        """Return the value [N, K] of each atom in canonical depth [N, M, M] and albedo [N, 3, M, M]."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """Estimates for N photographs.

    Attributes
    ----------
    values : float64 [N, S]
        NaN where the estimate is refused.
    confidence : float64 [N, S]
        Probability that a value is within half a standard deviation over samples of the truth; 0 where refused.
    refusals : tuple of str, length N
        Why the estimate is refused, or an empty text.
    faces : AlignedFaces
        Windows of the faces, and their crops.
    factors : FaceFactors
        Of the crops, not averaged with those of their mirror images.
    skin_tone, skin_tone_confidence : float64 [N]
        The individual typology angle in degrees (`measurement.skin_tone`) and its confidence, as of the other values.
    """

    values: Floats
    confidence: Floats
    refusals: tuple[str, ...]
    faces: AlignedFaces
    factors: FaceFactors
    skin_tone: Floats
    skin_tone_confidence: Floats


@dataclass(frozen=True, eq=False)
class FaceEstimator:
    """Estimates semantic factors on photographs.

    Attributes
    ----------
    reconstruct : callable
        From images float32 [N, 3, 64, 64] in [-1, 1] to `FaceFactors`.
    aligner : Aligner
    confidence_model : ConfidenceModel
    atoms : AtomReader, optional
    sha256 : str
        Of all weights; "" where they have not been written yet.
    reader : FactorReader, optional
        Reads view and light; where there is none, they are those of the reconstruction.
    tone_model : ConfidenceModel, optional
        Of the skin tone; where there is none, that of the reconstruction that comes with faceaug.
    """

    reconstruct: Reconstruct
    aligner: Aligner
    confidence_model: ConfidenceModel
    atoms: AtomReader | None = None
    sha256: str = ""
    reader: FactorReader | None = None
    tone_model: ConfidenceModel | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the S semantics, in the order of the columns of `read`."""
        return (*FACTOR_NAMES, *(self.atoms.atoms if self.atoms else ()))

    @property
    def column_names(self) -> tuple[str, ...]:
        """All that is measured, in the order of the columns of `measure`: the semantics and the skin tone."""
        return (*self.names, SKIN_TONE)

    @property
    def device(self) -> str:
        """Where the reconstruction computes: cpu, cuda:0 ..."""
        parameters = getattr(self.reconstruct, "parameters", None)
        return str(next(parameters()).device) if parameters else "cpu"

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each semantic."""
        return (*FACTOR_UNITS.values(), *["standard deviations"] * (len(self.names) - len(FACTOR_UNITS)))

    @property
    def column_units(self) -> tuple[str, ...]:
        """Unit of each of `column_names`."""
        return (*self.units, SKIN_TONE_UNIT)

    def errors(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the standard errors [N] of view, light and skin tone, in their units, from a table of measurements."""
        spreads = dict(zip(self.names, self.confidence_model.spread.tolist(), strict=True))
        spreads[SKIN_TONE] = float(self._tone_model.spread[0])
        confidence = {name: table[name + CONFIDENCE_SUFFIX].to_numpy(np.float64) for name in (*FACTOR_NAMES, SKIN_TONE)}
        return {name: standard_errors(confidence[name], spreads[name]).round(3) for name in confidence}

    def read(
        self, canvases: Tensor, shorter: Tensor, *, aligned: bool = False, near: Tensor | None = None
    ) -> Measurements:
        """Estimate the semantics of photographs.

        Parameters
        ----------
        canvases, shorter : float32 [N, 3, C, C] in [-1, 1], [N]
            From `alignment.lay_on_canvases`.
        aligned : bool
            The photographs have the framing of the generator: their central squares are read without a search. The
            confidence is then too low, since it is calibrated on faces that the search has framed, whose last step is
            smaller.
        near : float32 [N, 4], optional
            Windows near which the faces are known to be, as those of the photographs that the images were made from.
            The search starts there and needs fewer steps; not used where they are aligned.

        Returns
        -------
        Measurements
            Its tensors are on the device of the canvases.
        """
        if aligned:
            faces = self.aligner.crop_centre(canvases, shorter)
        elif near is not None:
            faces = self.aligner.refine(canvases, near)
        else:
            faces = self.aligner.align(canvases, shorter)
        values, signals, factors, mirrored = _estimate(self.reconstruct, self.atoms, faces, self.reader)
        tones = SkinTones.of(factors, mirrored)
        refusals = tuple(self.confidence_model.refusals(signals))
        accepted = np.array([not reason for reason in refusals], bool).reshape(-1, 1)
        device = canvases.device
        return Measurements(
            np.where(accepted, values, np.nan),
            self.confidence_model.confidence(signals),
            refusals,
            AlignedFaces(
                faces.images.to(device), faces.windows.to(device), faces.face.to(device), faces.residual_step.to(device)
            ),
            factors.map(lambda tensor: tensor.to(device)),
            np.where(accepted[:, 0], tones.values, np.nan),
            self._tone_model.probability(tones.signals(signals))[:, 0] * accepted[:, 0],
        )

    @property
    def _tone_model(self) -> ConfidenceModel:
        return self.tone_model or skin_tone_confidence()

    def read_framed(self, images: Tensor) -> Floats:
        """Return view and light, float64 [N, 6], of images [N, 3, R, R] in [-1, 1] in the generator's framing."""
        return self.reader.values(images) if self.reader else estimate_values(self.reconstruct, images)


def estimate_values(reconstruct: Reconstruct, images: Tensor) -> Floats:
    """Return the semantics, float64 [N, 6], of images in the generator's framing: the mean with the mirror image."""
    with torch.no_grad():
        factors, mirrored = reconstruct(images), reconstruct(images.flip(-1)).mirrored()
    return np.asarray((_values(factors, None) + _values(mirrored, None)) / 2, np.float64)


def estimate_with_signals(
    reconstruct: Reconstruct, atoms: AtomReader | None, faces: AlignedFaces, reader: FactorReader | None = None
) -> tuple[Floats, QualitySignals, FaceFactors]:
    """Estimate the semantics of aligned faces; parameters are as in `FaceEstimator`.

    Returns
    -------
    values : float64 [N, S]
        Means of the values of each face and of its mirror image, with the rotation of the window added to roll.
    signals : QualitySignals
    factors : FaceFactors
        Of the faces, without their mirror images.
    """
    return _estimate(reconstruct, atoms, faces, reader)[:3]


def _estimate(
    reconstruct: Reconstruct, atoms: AtomReader | None, faces: AlignedFaces, reader: FactorReader | None
) -> tuple[Floats, QualitySignals, FaceFactors, FaceFactors]:
    """Return what `estimate_with_signals` does, and the factors of the mirror images, with the mirror undone."""
    with torch.no_grad():
        factors, mirrored = reconstruct(faces.images), reconstruct(faces.images.flip(-1)).mirrored()
        one, other = _values(factors, atoms), _values(mirrored, atoms)
        if reader:
            one[:, : len(FACTOR_NAMES)], other[:, : len(FACTOR_NAMES)] = reader.both(faces.images)
        error = _rendering_error(faces.images, factors).double().cpu().numpy()
    values = (one + other) / 2
    values[:, _ROLL] += np.degrees(faces.windows[:, 3].double().cpu().numpy())
    residual_step, face = faces.residual_step.double().cpu().numpy(), faces.face.double().cpu().numpy()
    return values, QualitySignals(error, np.abs(one - other) / 2, residual_step, face), factors, mirrored


def _values(factors: FaceFactors, atoms: AtomReader | None) -> Floats:
    values: Floats = semantics_of(factors).double().cpu().numpy()
    if atoms is None:
        return values
    side = atoms.depth.shape[-1]
    depth, albedo = (resize_tensor(maps, side).cpu().numpy() for maps in (factors.depth[:, None], factors.albedo))
    return np.concatenate([values, atoms.values(depth[:, 0], albedo)], 1)


def _rendering_error(images: Tensor, factors: FaceFactors) -> Tensor:
    """Return the mean error [N] of rendered images where a face is visible, in standard deviations of the image."""
    rendering = render(factors.albedo, factors.depth, factors.light, factors.view)
    images = resize_tensor(images, rendering.image.shape[-1])
    visible = rendering.mask[:, None].to(images.dtype)
    count = 3 * visible.sum((1, 2, 3))
    mean = (images * visible).sum((1, 2, 3)) / count
    variance = ((images - mean[:, None, None, None]).square() * visible).sum((1, 2, 3)).div(count)
    contrast = variance.sqrt().clamp(min=_MIN_CONTRAST)
    error = ((rendering.image.clamp(-1, 1) - images).abs() * visible).sum((1, 2, 3)) / count / contrast
    return torch.where(count > 0, error, torch.full_like(error, math.inf))


@dataclass(frozen=True)
class CalibrationConfig:
    """Configuration of `calibrate_estimator`.

    Attributes
    ----------
    seed : int
        Seed of the augmentations.
    canvas_side : int
        Side of the canvases in pixels.
    jitter : callable
        Photometric change of the samples.
    """

    seed: int = 0
    canvas_side: int = CANVAS_SIDE
    jitter: Jitter = photometric_jitter


def calibrate_estimator(
    reconstruct: Reconstruct,
    aligner: Aligner,
    samples: Tensor,
    *,
    atoms: AtomReader | None = None,
    reader: FactorReader | None = None,
    config: CalibrationConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaceEstimator:
    """Fit the confidence model of an estimator on samples of the generator.

    Each sample is read as it is, and again with another exposure, colour, sharpness, framing and surroundings; the
    first estimate is the truth for the second. A quarter as many images have no face.

    Parameters
    ----------
    reconstruct, aligner, atoms, reader
        As in `FaceEstimator`; computed on their own device.
    samples : uint8 [N, 3, S, S]
        Of the generator on which they were trained, but not from their training data; a few hundred suffice.
    config : CalibrationConfig, optional
    progress : callable (samples done, samples), optional

    Raises
    ------
    FaceaugError
        When no sample is explained by the reconstruction.
    """
    config = config or CalibrationConfig()
    rng = torch.Generator().manual_seed(config.seed)
    semantics, tones = _CalibrationReadings(), _CalibrationReadings()

    def read(faces: AlignedFaces) -> tuple[_Reading, _Reading]:
        values, signals, factors, mirrored = _estimate(reconstruct, atoms, faces, reader)
        found = SkinTones.of(factors, mirrored)
        return (values, signals), (found.values[:, None], found.signals(signals))

    for start in range(0, len(samples), ESTIMATOR_BATCH_SIZE):
        clean = resize_tensor(normalize_pixels(samples[start : start + ESTIMATOR_BATCH_SIZE]), CROP_SIDE)
        whole = torch.ones(len(clean))
        truths = read(aligner.crop_centre(clean, whole))
        steps = (torch.rand(len(clean), 4, generator=rng) * 2 - 1) * torch.tensor(_MAX_STEP)
        windows = undo_steps(torch.zeros(len(clean), 4), steps)
        canvases = config.jitter(crop_with_surroundings(clean, windows, rng, config.canvas_side), rng)
        estimates = read(aligner.align(canvases, whole))
        estimates[0][0][:, _ROLL] -= np.degrees(steps[:, 3].double().numpy())  # that of the augmentation is no error
        empty = _remove_faces(canvases[: -(-len(clean) // 4)], start // ESTIMATOR_BATCH_SIZE, rng)
        without = read(aligner.align(empty, whole[: len(empty)]))
        for readings, *of_batch in zip((semantics, tones), truths, estimates, without, strict=True):
            readings.add(*of_batch)
        if progress:
            progress(min(start + ESTIMATOR_BATCH_SIZE, len(samples)), len(samples))
    return FaceEstimator(reconstruct, aligner, semantics.fit(), atoms, reader=reader, tone_model=tones.fit())


_Reading: TypeAlias = "tuple[Floats, QualitySignals]"


@dataclass(frozen=True, eq=False)
class _CalibrationReadings:
    """What a confidence model is fitted to, gathered batch by batch."""

    truths: list[Floats] = field(default_factory=list)
    errors: list[Floats] = field(default_factory=list)
    signals: list[QualitySignals] = field(default_factory=list)
    without_face: list[QualitySignals] = field(default_factory=list)

    def add(self, truth: _Reading, estimate: _Reading, without_face: _Reading) -> None:
        """Add readings of samples as they are, of augmented ones, and of images without a face."""
        self.truths.append(truth[0])
        self.errors.append(estimate[0] - truth[0])
        self.signals.append(estimate[1])
        self.without_face.append(without_face[1])

    def fit(self) -> ConfidenceModel:
        spread = np.maximum(np.concatenate(self.truths).std(0), 1e-6)
        errors = np.concatenate(self.errors)
        return fit_confidence(concatenate_signals(self.signals), errors, spread, concatenate_signals(self.without_face))


def _remove_faces(canvases: Tensor, batch: int, rng: torch.Generator) -> Tensor:
    """Return canvases without a face, by one of three methods in turn."""
    if batch % 3 == 0:
        return shuffle_tiles(canvases, rng)
    if batch % 3 == 1:
        return scramble_phases(canvases, rng)
    return random_backgrounds(len(canvases), canvases.shape[-1], rng)
