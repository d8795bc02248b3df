"""The held-out classifier's verdict on the labels of a morph, beside what it says of the photographs in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from faceaug.analysis.axes import Axis
from faceaug.datasets.thumbnails import thumbnail
from faceaug.synthesis.editing.objectives import attribute_goals, confidences
from faceaug.synthesis.engines.photographs import OncePerPhotograph, Photograph
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.label_classifiers import LabelClassifiers
from faceaug.synthesis.stages import THUMBNAIL_SIDE
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats


class LabelJudge:
    """Reads the labels of morphs.

    Parameters
    ----------
    classifiers : LabelClassifiers
    axes : sequence of Axis
        Of the plan; bins of view and light are measured and not judged here.
    aspect : float
        Proportions to which the classifiers' images are cropped.
    """

    def __init__(self, classifiers: LabelClassifiers, axes: Sequence[Axis], aspect: float) -> None:
        self._classifier, self._tasks = classifiers.held_out, classifiers.tasks
        self._axes, self._aspect = tuple(axes), aspect
        self._sources = OncePerPhotograph(self._read)

    def read(
        self,
        morph: Rgb,
        sources: Sequence[Photograph],
        levels: Mapping[str, str],
        threshold: float,
        reached: Collection[str] = (),
    ) -> tuple[dict[str, float], bool]:
        """Return the probability of each requested label, and whether all are as high as is required.

        That is the threshold, or the mean over the photographs that the morph was made of where it is lower: their
        labels are given, and a face that is hard to read stays so. For the axes `reached`, whose labels the photographs
        do not have, it is the threshold.
        """
        goals = attribute_goals(self._axes, dict(levels), self._tasks)
        read = np.stack([self._read(morph), *map(self._sources.of, sources)])
        probability = confidences(goals, self._classifier, read)  # [1 + K, A]
        labelled = [k for k, axis in enumerate(self._axes) if not is_rendered(axis)]
        least = np.minimum(threshold, probability[1:].mean(0))
        least[[k for k, axis in enumerate(self._axes) if axis.name in reached]] = threshold
        agrees = bool((probability[0, labelled] >= least[labelled]).all())
        return {self._axes[k].name: float(probability[0, k]) for k in labelled}, agrees

    def _read(self, picture: Rgb) -> Floats:
        """Read one picture, by itself, so that nothing depends on what else is read."""
        values, _ = self._classifier.read(as_tensor(thumbnail(picture, self._aspect, THUMBNAIL_SIDE)[None]))
        return np.asarray(values[0])
