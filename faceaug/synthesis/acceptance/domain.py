"""The domain check: whether a generator's faces are of the world of a data set's photographs.

A fresh classifier learns to tell real faces from generated ones, after the generated ones were given the framing and
colours of the real ones. Its AUC on faces that it has not seen is near 0.5 where nobody can tell them apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from faceaug.appearance.framing import apply_framing, measure_framing
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.thumbnails import common_aspect, thumbnail
from faceaug.generators.base import Generator
from faceaug.generators.sampling import latent_seeds, sample_latents, synthesize
from faceaug.utils.images import Rgb, resize
from faceaug.utils.tensors import thumbnails
from faceaug.utils.typing import Floats

COMPARED_FACES = 400
"""Real and generated faces of each kind that are compared."""
LEAST_FACES = 40
_SIDE = 64
_COMPONENTS, _FOLDS = 48, 5
_TOGETHER = 64  # faces that are synthesized at once
_SEEDS = 2**27  # first number of the latents; the survey and other stages use others


@dataclass(frozen=True)
class DomainCheck:
    """The result of a domain check.

    Attributes
    ----------
    generator : str
    auc : float
        Area under the receiver operating characteristic: 0.5 where the classifier cannot tell real from generated.
    limit : float
        Threshold `domain`.
    faces : int
        Of each kind.
    """

    generator: str
    auc: float
    limit: float
    faces: int

    @property
    def is_same(self) -> bool:
        """Whether the generator may be used."""
        return self.auc <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def check_domain(dataset: FaceDataset, generator: Generator, *, limit: float, seed: int) -> DomainCheck | None:
    """Compare the faces of a generator with those of a data set; None where there are too few to tell.

    Raises
    ------
    ImageError
        When an image cannot be read.
    """
    count = min(len(dataset), COMPARED_FACES)
    if count < LEAST_FACES:
        return None
    real = _real_thumbnails(dataset, count)
    w = sample_latents(generator, latent_seeds(seed, _SEEDS, count))
    parts = [w[start : start + _TOGETHER] for start in range(0, count, _TOGETHER)]
    small = [thumbnails(synthesize(generator, part, _TOGETHER)) for part in parts]  # large ones would fill the memory
    framing = measure_framing(real, np.concatenate(small), common_aspect(dataset))
    framed = [thumbnails(apply_framing(synthesize(generator, part, _TOGETHER), framing)) for part in parts]
    generated = _with_colours_of(np.concatenate(framed), real, seed)
    auc = held_out_auc(_features(np.concatenate([real, generated])), np.repeat([0, 1], count), seed)
    return DomainCheck(generator.name, round(auc, 3), limit, count)


def held_out_auc(features: Floats, is_generated: NDArray[np.int64], seed: int = 0) -> float:
    """Return the AUC of a linear classifier on faces that it was not fitted on, by cross-validation."""
    score = np.zeros(len(features))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed % 2**32)
    with threadpool_limits(1, "blas"):  # the same number on any number of threads: it decides which engines a run has
        for fitted, held_out in folds.split(features, is_generated):
            components = min(_COMPONENTS, len(fitted) - 1, features.shape[1])
            model = make_pipeline(
                StandardScaler(), PCA(components, random_state=0), LogisticRegression(C=0.1, max_iter=1000)
            )
            model.fit(features[fitted], is_generated[fitted])
            score[held_out] = model.decision_function(features[held_out])
    return float(roc_auc_score(is_generated, score))


def _real_thumbnails(dataset: FaceDataset, count: int) -> Rgb:
    aspect = common_aspect(dataset)
    rows = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int)).tolist()
    return np.stack([thumbnail(dataset.image(row), aspect, _SIDE) for row in rows])


def _with_colours_of(images: Rgb, real: Rgb, seed: int) -> Rgb:
    """Return images with the mean and the spread of the colours of real ones, one drawn for each."""
    rows = np.random.default_rng(seed).permutation(len(real))[: len(images)]
    own, others = images.astype(np.float64), real[rows].astype(np.float64)
    mean, spread = (getattr(own, name)(axis=(1, 2), keepdims=True) for name in ("mean", "std"))
    new_mean, new_spread = (getattr(others, name)(axis=(1, 2), keepdims=True) for name in ("mean", "std"))
    return np.asarray(np.clip((own - mean) / (spread + 1) * new_spread + new_mean, 0, 255).round(), np.uint8)


def _features(images: Rgb) -> Floats:
    """Return what the classifier sees of images [N, S, S, 3]: colours at 16 pixels, and contrast at three scales.

    Features of a pretrained network tell codecs and sharpness apart, which harmonization mends; these do not.
    """
    small = np.stack([resize(image, (16, 16)) for image in images]).astype(np.float64)
    grey = images.astype(np.float64).mean(3)
    contrast = [np.abs(grey - np.roll(grey, step, axis)).mean(axis=(1, 2)) for step in (1, 2, 4) for axis in (1, 2)]
    return np.concatenate([small.reshape(len(images), -1), np.log(np.stack(contrast, 1) + 1)], 1)
