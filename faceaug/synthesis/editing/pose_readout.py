"""What was found without labels, put to use: view and light are read off the generator's own pictures while it edits.

The network of a directions file reads its generator's faces as they are. Where a dataset's columns were measured by
the same network, finished samples are measured again as photographs are, and edits aim in the terms of those
measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.base import Generator
from faceaug.latents.bundle import Bundle, read_bundle
from faceaug.measurement.alignment import lay_on_canvases
from faceaug.measurement.estimator import FaceEstimator, estimate_values
from faceaug.measurement.measure import SHIPPED_DIRECTIONS, estimator_from_bundle
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.semantics import FACTOR_NAMES, FACTOR_UNITS
from faceaug.utils.typing import Floats

TOGETHER = 64  # pictures read at once; fixed, for another number changes the last bits
LEAST_TOLD = 50  # pictures that must be measured to put readings in the terms of measurements
WIDEST = 1.5  # of slopes between readings and measurements, either way; beyond it the two do not speak of the same


@dataclass(frozen=True, eq=False)
class PoseLightReader:
    """Reads view and light off a generator's pictures.

    Attributes
    ----------
    network : callable, Tensor [N, 3, R, R] in [-1, 1] -> Reading
    slope, offset : float64 [6]
        What is measured on the finished picture, by what is read here: offset + slope * reading.
    sigma : float64 [6]
        Standard deviation of the rest; 0 where nothing is measured.
    """

    network: Callable[[Tensor], FaceFactors]
    slope: Floats = field(default_factory=lambda: np.ones(len(FACTOR_NAMES)))
    offset: Floats = field(default_factory=lambda: np.zeros(len(FACTOR_NAMES)))
    sigma: Floats = field(default_factory=lambda: np.zeros(len(FACTOR_NAMES)))

    names = FACTOR_NAMES
    units = tuple(FACTOR_UNITS.values())

    def __call__(self, images: Tensor) -> Floats:
        """Read pictures [N, 3, R, R] in [-1, 1], in the generator's framing: float64 [N, 6]."""
        if not len(images):
            return np.empty((0, len(FACTOR_NAMES)))
        found = np.concatenate([estimate_values(self.network, goal) for goal in torch.split(images, TOGETHER)])
        return np.asarray(self.offset + self.slope * found, np.float64)

    def in_terms_of(self, read: Floats, measured: Floats) -> PoseLightReader:
        """Return the same in the terms of what was measured [N, 6] (NaN for nothing) where this reads [N, 6].

        A line is fitted through both by its standard deviations (neither is without error); measurements that have
        little to do with the readings leave their slope as it is, and their difference is the error.

        Raises
        ------
        GeneratorError
            When too few pictures could be measured.
        """
        slope, offset, sigma = np.ones(len(FACTOR_NAMES)), np.zeros(len(FACTOR_NAMES)), np.zeros(len(FACTOR_NAMES))
        told = np.asarray(np.isfinite(measured).all(1))
        if told.sum() < LEAST_TOLD:
            raise GeneratorError(
                f"{told.sum()} of {len(told)} drawn faces can be measured in the framing of the data set, and at least "
                f"{LEAST_TOLD} are needed to steer by what is measured: use --aligned where its images are framed as "
                "the generator's, or label them"
            )
        x, y = read[told], measured[told]
        for k in range(len(FACTOR_NAMES)):
            ratio = float(y[:, k].std() / max(x[:, k].std(), 1e-9))
            if np.corrcoef(x[:, k], y[:, k])[0, 1] > 0.5 and 1 / WIDEST <= ratio <= WIDEST:
                slope[k] = ratio
            offset[k] = float(np.median(y[:, k] - slope[k] * x[:, k]))
            rest = y[:, k] - offset[k] - slope[k] * x[:, k]
            sigma[k] = float(np.median(np.abs(rest)) * 1.4826)  # of a normal error; a few misses do not count
        return replace(self, slope=slope, offset=offset, sigma=np.maximum(sigma, 1e-3 * np.maximum(x.std(0), 1e-9)))

    def state(self) -> dict[str, list[float]]:
        """Return the numbers as JSON values."""
        return {name: getattr(self, name).tolist() for name in ("slope", "offset", "sigma")}

    def with_state(self, state: dict[str, list[float]]) -> PoseLightReader:
        """Return the same with the numbers that `state` returned."""
        slope, offset, sigma = (np.array(state[name], np.float64) for name in ("slope", "offset", "sigma"))
        return replace(self, slope=slope, offset=offset, sigma=sigma)


@dataclass(frozen=True, eq=False)
class LearnedDirections:
    """A directions file at work in a run.

    Attributes
    ----------
    bundle : Bundle
    pose_light : PoseLightReader
    instrument : FaceEstimator
        Measures finished samples as the dataset's photographs were measured.
    measured : tuple of str
        Columns of the dataset that were measured, by this very network.
    aligned : bool
        How they were measured.
    """

    bundle: Bundle
    pose_light: PoseLightReader
    instrument: FaceEstimator
    measured: tuple[str, ...] = ()
    aligned: bool = False

    def measure(self, pictures: Sequence[NDArray[np.uint8]]) -> Floats:
        """Measure pictures, uint8 [H, W, 3] each, as photographs are: float64 [N, 6], NaN where nothing can be told."""
        values = [np.empty((0, len(FACTOR_NAMES)))]
        for start in range(0, len(pictures), TOGETHER):
            laid = lay_on_canvases(pictures[start : start + TOGETHER])
            found = self.instrument.read(*laid, aligned=self.aligned)
            values.append(found.values[:, : len(FACTOR_NAMES)])
        return np.concatenate(values)


def find_directions(
    generator: Generator, file: str | Path | None, reconstruction: str | Path | None = None
) -> Bundle | None:
    """Return the directions that fit a generator: of the file, of what measured the dataset, or those that come along.

    Raises
    ------
    GeneratorError
        When `file` was made for another generator; the others are passed over then.
    IntegrityError
        When a file cannot be read.
    """
    if file is not None:
        bundle = read_bundle(Path(file))
        bundle.directions.check_generator(generator.sha256)
        return bundle
    for other in (reconstruction, SHIPPED_DIRECTIONS if SHIPPED_DIRECTIONS.is_file() else None):
        if other is not None:
            bundle = read_bundle(Path(other))
            if bundle.directions.generator == generator.sha256:
                return bundle
    return None


def learned_directions(bundle: Bundle, measured: Sequence[str] = (), aligned: bool = False) -> LearnedDirections:
    """Return directions put to work; they must hold what `faceaug discover` writes."""
    instrument = estimator_from_bundle(bundle)
    return LearnedDirections(bundle, PoseLightReader(instrument.reconstruct), instrument, tuple(measured), aligned)
