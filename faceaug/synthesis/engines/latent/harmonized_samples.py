"""What is written of generated faces that passed the gates: harmonized images, read again as they would be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faceaug.classifiers.classifier import Classifier
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.writer import read_back
from faceaug.synthesis.editing.objectives import AttributeGoal, confidences
from faceaug.synthesis.editing.origin_search import Seeds
from faceaug.synthesis.engines.base import seed_number
from faceaug.synthesis.fitted_models import FittedModels
from faceaug.utils.images import Codec, restore_aspect
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats

LOST = "held-out classifier agrees after harmonization"
"""The reason where the held-out classifier no longer finds what is requested after blur, noise and codec."""
ELSEWHERE = "measured value in its bin"
"""The reason of harmonized samples whose value, measured as on the data set's images, is outside its bin."""


@dataclass(frozen=True)
class HarmonizedSample:
    """A harmonized image, its parameters, and what is measured on it.

    Attributes
    ----------
    image : uint8 [H, W, 3]
    parameters : dict
        Of its harmonization.
    quality : int or None
        Of the codec.
    confidence : dict
        The held-out classifier's probability of each requested attribute.
    measured : dict
        Requested attributes that were measured on the data set's images, measured on it as on those.
    refused : str
        Why it is rejected, or an empty text.
    """

    image: NDArray[np.uint8]
    parameters: dict[str, float]
    quality: int | None
    confidence: dict[str, float]
    measured: dict[str, float]
    refused: str


def harmonized_samples(
    models: FittedModels,
    codec: Codec | None,
    goals: Sequence[AttributeGoal],
    pictures: Mapping[int, NDArray[np.uint8]],
    seeds: Seeds,
    least: Floats,
) -> dict[int, HarmonizedSample]:
    """Harmonize pictures that passed, and read what would be written.

    Parameters
    ----------
    models : FittedModels
    codec : "jpeg", "png", "webp" or None
        In which samples are stored; None where pixels are kept as they are.
    goals : sequence of AttributeGoal, length A
    pictures : mapping of int to uint8 [R, R, 3]
        By number in their block, in the framing of the data set.
    seeds : sequence of SeedSequence, length N
    least : float64 [N, A]
        What the held-out classifier must say of what is requested.
    """
    if not pictures:
        return {}
    harmonized = {i: _harmonized_image(models, picture, seeds[i]) for i, picture in pictures.items()}
    written = {i: read_back(image, codec, quality) for i, (image, _, quality) in harmonized.items()}
    read = confidences(goals, models.held_out, _read_all(models.held_out, list(written.values())))
    samples: dict[int, HarmonizedSample] = {}
    for (i, (image, parameters, quality)), sure in zip(harmonized.items(), read, strict=True):
        confidence = {goal.task.name: float(value) for goal, value in zip(goals, sure, strict=True)}
        refused = LOST if (sure < least[i]).any() else ""
        samples[i] = HarmonizedSample(image, parameters, quality, confidence, {}, refused)
    return _measured_again(models, samples, written, goals)


def _read_all(classifier: Classifier, images: Sequence[NDArray[np.uint8]]) -> Floats:
    """Return what a classifier reads from images of any sizes, float64 [N, S]; those of one size are read together."""
    values = np.empty((len(images), len(classifier.semantics)))
    for shape in dict.fromkeys(image.shape for image in images):
        rows = [row for row, image in enumerate(images) if image.shape == shape]
        values[rows] = classifier.read(as_tensor(np.stack([images[row] for row in rows])))[0]
    return values


def _harmonized_image(
    models: FittedModels, picture: NDArray[np.uint8], seed: np.random.SeedSequence
) -> tuple[NDArray[np.uint8], dict[str, float], int | None]:
    """Return a picture as it is to be written, the parameters of its harmonization, and the codec's quality."""
    if models.harmonizer:
        return models.harmonizer(picture, seed_number(seed))
    return restore_aspect(picture, models.reader.framing.aspect), {}, None


def _measured_again(
    models: FittedModels,
    samples: dict[int, HarmonizedSample],
    written: dict[int, NDArray[np.uint8]],
    goals: Sequence[AttributeGoal],
) -> dict[int, HarmonizedSample]:
    """Return the samples, measured as the data set's images were where that is what their cells count."""
    learned, rows = models.learned, [i for i, sample in samples.items() if not sample.refused]
    measured = [goal for goal in goals if learned and goal.task.name in learned.measured]
    if learned is None or not measured or not rows:
        return samples
    checked = dict(samples)
    for i, values in zip(rows, learned.measure([written[i] for i in rows]), strict=True):
        read = {goal.task.name: float(values[FACTOR_NAMES.index(goal.task.name)]) for goal in measured}
        inside = all(goal.low <= read[goal.task.name] < goal.high for goal in measured)  # NaN is in no bin
        checked[i] = replace(samples[i], measured=read, refused="" if inside else ELSEWHERE)
    return checked
