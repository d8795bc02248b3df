"""View and light read from generated images while they are edited, by the network of a directions file.

The network reads its generator's faces in their own framing. Where columns of the data set were measured by the same
network, finished samples are measured again as photographs are, and edits work in the terms of those measurements.
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
from faceaug.measurement.estimator import FaceEstimator
from faceaug.measurement.measure import SHIPPED_DIRECTIONS, estimator_from_bundle
from faceaug.reconstruction.semantics import FACTOR_NAMES, FACTOR_UNITS
from faceaug.utils.typing import Floats

READ_BATCH = 64  # images read at once; fixed, since another number changes the last bits
LEAST_MEASURED = 50  # images that must be measured to put readings in the terms of measurements
STEEPEST = 1.5  # slope between readings and measurements, either way; beyond it they measure different things


@dataclass(frozen=True, eq=False)
class PoseLightReader:
    """Reads view and light from generated images.

    Attributes
    ----------
    read : callable
        From images [N, 3, R, R] in [-1, 1], in the generator's framing, to their values, float64 [N, 6].
    slope, offset : float64 [6]
        Of the line from readings to measurements of finished samples: offset + slope * reading.
    sigma : float64 [6]
        Standard deviation of the residual; 0 where nothing is measured.
    """

    read: Callable[[Tensor], Floats]
    slope: Floats = field(default_factory=lambda: np.ones(len(FACTOR_NAMES)))
    offset: Floats = field(default_factory=lambda: np.zeros(len(FACTOR_NAMES)))
    sigma: Floats = field(default_factory=lambda: np.zeros(len(FACTOR_NAMES)))

    names = FACTOR_NAMES
    units = tuple(FACTOR_UNITS.values())

    def __call__(self, images: Tensor) -> Floats:
        """Read images [N, 3, R, R] in [-1, 1], in the generator's framing: float64 [N, 6]."""
        if not len(images):
            return np.empty((0, len(FACTOR_NAMES)))
        estimates = np.concatenate([self.read(batch) for batch in torch.split(images, READ_BATCH)])
        return np.asarray(self.offset + self.slope * estimates, np.float64)

    def in_terms_of(self, read: Floats, measured: Floats) -> PoseLightReader:
        """Return this reader in the terms of measurements [N, 6] (NaN for none) of images that it reads as [N, 6].

        A line is fitted by the ratio of standard deviations, since both have errors. Measurements that hardly correlate
        with the readings leave the slope at 1, and their difference is the error.

        Raises
        ------
        GeneratorError
            When too few images could be measured.
        """
        slope, offset, sigma = np.ones(len(FACTOR_NAMES)), np.zeros(len(FACTOR_NAMES)), np.zeros(len(FACTOR_NAMES))
        usable = np.asarray(np.isfinite(measured).all(1))
        if usable.sum() < LEAST_MEASURED:
            raise GeneratorError(
                f"{usable.sum()} of {len(usable)} generated faces can be measured in the framing of the data set, and "
                f"at least {LEAST_MEASURED} are needed to guide edits: use --aligned where its images are framed as "
                "the generator's, or label them"
            )
        x, y = read[usable], measured[usable]
        for k in range(len(FACTOR_NAMES)):
            ratio = float(y[:, k].std() / max(x[:, k].std(), 1e-9))
            if np.corrcoef(x[:, k], y[:, k])[0, 1] > 0.5 and 1 / STEEPEST <= ratio <= STEEPEST:
                slope[k] = ratio
            offset[k] = float(np.median(y[:, k] - slope[k] * x[:, k]))
            residual = y[:, k] - offset[k] - slope[k] * x[:, k]
            sigma[k] = float(np.median(np.abs(residual)) * 1.4826)  # robust: the median absolute deviation
        return replace(self, slope=slope, offset=offset, sigma=np.maximum(sigma, 1e-3 * np.maximum(x.std(0), 1e-9)))

    def state(self) -> dict[str, list[float]]:
        """Return the fitted line as JSON values."""
        return {name: getattr(self, name).tolist() for name in ("slope", "offset", "sigma")}

    def with_state(self, state: dict[str, list[float]]) -> PoseLightReader:
        """Return this reader with the line that `state` returned."""
        slope, offset, sigma = (np.array(state[name], np.float64) for name in ("slope", "offset", "sigma"))
        return replace(self, slope=slope, offset=offset, sigma=sigma)


@dataclass(frozen=True, eq=False)
class LearnedDirections:
    """Directions found without labels, with what reads and measures by the same network.

    Attributes
    ----------
    bundle : Bundle
    pose_light : PoseLightReader
    instrument : FaceEstimator
        Measures finished samples as the images of the data set were measured.
    measured : tuple of str
        Columns of the data set that were measured by this network.
    aligned : bool
        How they were measured.
    """

    bundle: Bundle
    pose_light: PoseLightReader
    instrument: FaceEstimator
    measured: tuple[str, ...] = ()
    aligned: bool = False

    def measure(self, pictures: Sequence[NDArray[np.uint8]]) -> Floats:
        """Measure images, uint8 [H, W, 3] each, as photographs are: float64 [N, 6], NaN where it is impossible."""
        values = [np.empty((0, len(FACTOR_NAMES)))]
        for start in range(0, len(pictures), READ_BATCH):
            laid = lay_on_canvases(pictures[start : start + READ_BATCH])
            measurements = self.instrument.read(*laid, aligned=self.aligned)
            values.append(measurements.values[:, : len(FACTOR_NAMES)])
        return np.concatenate(values)


def find_directions(
    generator: Generator, file: str | Path | None, reconstruction: str | Path | None = None
) -> Bundle | None:
    """Return the directions of a generator: from the file, from what measured the data set, or the shipped ones.

    Raises
    ------
    GeneratorError
        When `file` was made for another generator; the other sources are skipped in that case.
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
    """Return directions with what reads and measures by their network; a file of `faceaug discover` holds it."""
    instrument = estimator_from_bundle(bundle)
    return LearnedDirections(bundle, PoseLightReader(instrument.read_framed), instrument, tuple(measured), aligned)
