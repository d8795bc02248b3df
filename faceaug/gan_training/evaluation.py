"""Evaluation of a generator against real images: distances, precision and recall, near-copies, and a curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from faceaug.errors import GeneratorError
from faceaug.gan_training.features import FeatureExtractor
from faceaug.gan_training.metrics import frechet_distance, kernel_distance, nearest_distances, precision_recall
from faceaug.generators.base import Generator
from faceaug.generators.sampling import iterate_images, sample_w
from faceaug.generators.stylegan import StyleGAN2
from faceaug.generators.stylegan2_networks import StyleGAN2Network
from faceaug.generators.weights_file import program_version
from faceaug.utils.images import Rgb, contact_sheet
from faceaug.utils.tensors import to_uint8
from faceaug.utils.threads import Progress, StageProgress

EVALUATION_FORMAT, EVALUATION_VERSION = "faceaug-evaluation", 2
MIN_EVALUATION_IMAGES = 32
"""Images of each kind below which no distance is computed."""
MAX_EVALUATION_IMAGES = 5000
"""Images of each kind that are compared by default, at most."""
NEIGHBOURS = 3
NEAR_COPY_QUANTILE = 0.01
"""Quantile of the distances between real images below which a generated image is a near-copy."""
IMAGES_PER_CURVE_FACE = 2.5
"""Training images that take as long as one face of a point of the curve, measured with the preset tiny
(benchmarks/curve_cost.py). Larger presets train more slowly and are evaluated as fast."""
MAX_CURVE_POINTS, MAX_EVALUATION_SHARE = 20, 0.2
_CURVE_BATCH_SIZE = 32
Pixels = npt.NDArray[np.uint8]
"""Images, uint8 [N, R, R, 3]."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How a generator is evaluated.

    Parameters
    ----------
    n
        Images of each kind; by default as many as there are real ones, at most `MAX_EVALUATION_IMAGES`.
    seed
        Seed of the samples and of the choice of real images.
    truncation_psi
        Truncation of the samples; by default the generator's own.
    """

    n: int | None = None
    seed: int = 0
    truncation_psi: float | None = None


def sample_images(
    generator: Generator,
    n: int,
    seed: int = 0,
    truncation_psi: float | None = None,
    progress: Progress | None = None,
) -> Pixels:
    """Generate `n` images uint8 [n, R, R, 3]; image k depends on (seed, k) alone."""
    images = np.empty((n, generator.resolution, generator.resolution, 3), np.uint8)
    for row, image in enumerate(iterate_images(generator, sample_w(generator, n, seed, truncation_psi))):
        images[row] = image
        if progress:
            progress(1)
    return images


def image_grid(images: Pixels, columns: int = 16) -> Rgb:
    """Return a contact sheet of the first images, at most 128."""
    return contact_sheet(list(images[:128]), columns=columns)


def evaluate_generator(
    generator: Generator,
    real: Pixels,
    features: FeatureExtractor,
    config: EvaluationConfig | None = None,
    *,
    fid: FeatureExtractor | None = None,
    progress: StageProgress | None = None,
) -> tuple[dict[str, Any], Pixels]:
    """Compare samples of a generator with real images.

    Parameters
    ----------
    generator
        The generator.
    real : uint8 [N, R, R, 3]
        Real images of the generator's resolution.
    features
        Features by which images are compared.
    config
        Number of images, seed and truncation.
    fid
        Inception's features, to compute FID too.
    progress : callable, optional
        Called with stage, images done, and images in all.

    Returns
    -------
    dict
        JSON-able: counts, seed, versions, and metrics. The distance between two halves of the real images is the
        smallest that can be expected of any generator for that number of images.
    uint8 [n, R, R, 3]
        The generated images.

    Raises
    ------
    GeneratorError
        When there are too few images.
    """
    config = config or EvaluationConfig()
    count = _image_count(len(real), config.n)
    real = real[np.random.default_rng((config.seed, 1)).permutation(len(real))[:count]]  # also the order of the halves
    stages = _Stages(progress, count)
    generated = sample_images(generator, count, config.seed, config.truncation_psi, stages.start("synthesis"))
    real_features = features.extract(real, stages.start("features of real images"))
    generated_features = features.extract(generated, stages.start("features of generated images"))
    own_psi = generator.config.truncation_psi if isinstance(generator, StyleGAN2) else 1.0
    versions = {"faceaug": program_version().removeprefix("faceaug "), "torch": torch.__version__}
    result: dict[str, Any] = {
        "format": EVALUATION_FORMAT,
        "version": EVALUATION_VERSION,
        "generator": {key: getattr(generator, key) for key in ("name", "resolution", "sha256", "origin")},
        "n": count,
        "seed": config.seed,
        "truncation_psi": own_psi if config.truncation_psi is None else config.truncation_psi,
        "frechet": {"name": features.distance, "value": _rounded(frechet_distance(real_features, generated_features))},
        **_compare(real_features, generated_features),
        "versions": {**versions, **features.versions},
    }
    if fid is not None:
        real_features = fid.extract(real, stages.start("Inception, real images"))
        generated_features = fid.extract(generated, stages.start("Inception, generated images"))
        half = count // 2
        result["fid"] = {
            "name": fid.distance,
            "value": _rounded(frechet_distance(real_features, generated_features)),
            "split_half": _rounded(frechet_distance(real_features[:half], real_features[half : 2 * half])),
        }
        result["versions"] |= fid.versions
    return result, generated


def _image_count(real_count: int, requested: int | None) -> int:
    count = min(real_count, MAX_EVALUATION_IMAGES) if requested is None else requested
    if count > real_count:
        raise GeneratorError(
            f"{count:,} images of each kind were requested, and there are {real_count:,} real ones: request fewer"
        )
    _check_count(count)
    return count


def _check_count(count: int) -> None:
    if count < MIN_EVALUATION_IMAGES:
        raise GeneratorError(
            f"{count} images of each kind are too few to compare: at least {MIN_EVALUATION_IMAGES} are needed"
        )


def _compare(real: npt.NDArray[np.float32], generated: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return kernel distance, precision, recall, near-copies, and the same distances for halves."""
    half = len(real) // 2
    first, second = real[:half], real[half : 2 * half]
    precision, recall = precision_recall(real, generated, NEIGHBOURS)
    return {
        "kernel_distance": _rounded(kernel_distance(real, generated)),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "neighbours": NEIGHBOURS,
        "near_copies": _near_copies(real, generated),
        "split_half": {
            "n": half,
            "frechet": _rounded(frechet_distance(first, second)),
            "frechet_generated": _rounded(frechet_distance(first, generated[:half])),
            "kernel_distance": _rounded(kernel_distance(first, second)),
        },
    }


def _near_copies(real: npt.NDArray[np.float32], generated: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the share of generated images nearer to a real image than all but 1% of real images are to another."""
    threshold = float(np.quantile(nearest_distances(real, real, 2), NEAR_COPY_QUANTILE))
    share = float((nearest_distances(generated, real) < threshold).mean())
    return {"share": round(share, 4), "quantile": NEAR_COPY_QUANTILE}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


class _Stages:
    """Turns increments into (stage, done, total)."""

    def __init__(self, progress: StageProgress | None, total: int) -> None:
        self._progress, self._total = progress, total

    def start(self, stage: str) -> Progress | None:
        """Return a function that adds to the images done in a stage; None where no progress is reported."""
        progress, done = self._progress, 0
        if progress is None:
            return None

        def add(count: int) -> None:
            nonlocal done
            done += count
            progress(stage, done, self._total)

        return add


def affordable_points(images: int, faces: int) -> int:
    """Return how many points a curve has by default, so that a run spends most of its time on training.

    Parameters
    ----------
    images
        Training images of the run in all.
    faces
        Faces of each kind for a point; 0 where there is no curve.

    Returns
    -------
    int
        1 to `MAX_CURVE_POINTS`. Above 1, all points and the features of the real faces, which take as long as one
        point, take at most the share `MAX_EVALUATION_SHARE` of the time.
    """
    if not faces:
        return MAX_CURVE_POINTS
    share = MAX_EVALUATION_SHARE
    affordable = int(images * share / (1 - share) / (IMAGES_PER_CURVE_FACE * faces)) - 1
    return min(max(affordable, 1), MAX_CURVE_POINTS)


class FrechetCurve:
    """The Fréchet distance of a network in training to images of its training set, at each snapshot.

    Parameters
    ----------
    real : uint8 [N, R, R, 3]
        Training images; as many are generated each time.
    features
        Features by which images are compared.
    device
        Where the network is.

    Raises
    ------
    GeneratorError
        When there are too few images.
    """

    def __init__(self, real: Pixels, features: FeatureExtractor, device: torch.device | str = "cpu") -> None:
        _check_count(len(real))
        self._features, self._device, self._n = features, device, len(real)
        self._real_features = features.extract(real)

    @torch.no_grad()
    def __call__(self, network: StyleGAN2Network) -> Mapping[str, float]:
        """Return the distance as "frechet", and the number of images of each kind as "frechet_n"."""
        config = network.config
        rng = torch.Generator().manual_seed(2)  # the same latents each time: only the network changes
        batches = []
        for start in range(0, self._n, _CURVE_BATCH_SIZE):
            z = torch.randn(min(_CURVE_BATCH_SIZE, self._n - start), config.z_dim, generator=rng).to(self._device)
            ws = network.mapping(z)[:, None].expand(-1, config.num_ws, -1)
            batches.append(to_uint8(network.synthesis(ws)))
        distance = frechet_distance(self._real_features, self._features.extract(np.concatenate(batches)))
        return {"frechet": _rounded(distance), "frechet_n": self._n}
