"""The held-out classifier's verdict on the labels of a morph, beside what it says of the photographs in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from faceaug.analysis.axes import Axis
from faceaug.classifiers.classifier import READ_BATCH
from faceaug.datasets.thumbnails import thumbnail
from faceaug.synthesis.editing.objectives import attribute_goals, confidences
from faceaug.synthesis.engines.rerendering.source_faces import is_rendered
from faceaug.synthesis.label_classifiers import LabelClassifiers
from faceaug.synthesis.stages import THUMBNAIL_SIDE
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.threads import map_in_order
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
    threshold : float
        `held_out` of the run.
    """

    def __init__(self, classifiers: LabelClassifiers, axes: Sequence[Axis], aspect: float, threshold: float) -> None:
        self._classifier, self._tasks = classifiers.held_out, classifiers.tasks
        self._axes, self._aspect, self._threshold = tuple(axes), aspect, threshold
        self._labelled = [k for k, axis in enumerate(axes) if not is_rendered(axis)]
        self._photographs: dict[int, Floats] = {}

    def read_photographs(
        self, thumbnails: Rgb, rows: Sequence[int], workers: int, progress: Callable[[int, int], None]
    ) -> None:
        """Read the photographs that morphs are made of, once.

        Parameters
        ----------
        thumbnails : uint8 [N, 64, 64, 3]
            Of all images of the data set.
        rows : sequence of int
            Of these photographs; what is read together depends on them alone.
        workers : int
        progress : callable (photographs read, photographs)
        """

        def read(batch: Sequence[int]) -> Floats:
            torch.set_num_threads(1)
            return self._read(thumbnails[list(batch)])

        batches = [rows[start : start + READ_BATCH] for start in range(0, len(rows), READ_BATCH)]
        with ThreadPoolExecutor(workers, thread_name_prefix="faceaug-labels") as pool:
            for batch, values in zip(batches, map_in_order(pool, read, iter(batches), 2 * workers), strict=True):
                self._photographs.update(zip(batch, values, strict=True))
                progress(len(self._photographs), len(rows))

    def read(self, morphs: Sequence[Rgb]) -> Floats:
        """Return what the classifier reads off morphs uint8 [H, W, 3], in one pass: [N, S]."""
        if not morphs:
            return np.empty((0, len(self._classifier.semantics)))
        return self._read(np.stack([thumbnail(morph, self._aspect, THUMBNAIL_SIDE) for morph in morphs]))

    def verdict(
        self, read: Floats, rows: Sequence[int], levels: Mapping[str, str], reached: Collection[str] = ()
    ) -> tuple[dict[str, float], bool]:
        """Return the probability of each requested label, and whether all are as high as is required.

        That is the threshold, or the mean over the photographs that the morph was made of where it is lower: their
        labels are given, and a face that is hard to read stays so. For the axes `reached`, whose labels the photographs
        do not have, it is the threshold.

        Parameters
        ----------
        read : float64 [S]
            From `read`.
        rows : sequence of int
            Of the photographs.
        levels : mapping
            The labels of the cell.
        reached : collection of str
        """
        probability = self._probabilities(np.stack([read, *(self._photographs[row] for row in rows)]), levels)
        least = np.minimum(self._threshold, probability[1:].mean(0))
        least[[k for k, axis in enumerate(self._axes) if axis.name in reached]] = self._threshold
        agrees = bool((probability[0, self._labelled] >= least[self._labelled]).all())
        return {self._axes[k].name: float(probability[0, k]) for k in self._labelled}, agrees

    def doubts(self, rows: Sequence[int], levels: Mapping[str, str]) -> bool:
        """Tell whether the host itself, the first of the photographs, would be refused as a morph of them all.

        Surroundings, outline and complexion of a morph are the host's, and most morphs are read as it is: of those of a
        host that is read less surely than is required, most are refused.
        """
        return not self.verdict(self._photographs[rows[0]], rows, levels)[1]

    def _probabilities(self, values: Floats, levels: Mapping[str, str]) -> Floats:
        goals = attribute_goals(self._axes, dict(levels), self._tasks)
        return confidences(goals, self._classifier, values)

    def _read(self, thumbnails: Rgb) -> Floats:
        values, _ = self._classifier.read(as_tensor(thumbnails))
        return np.asarray(values)
