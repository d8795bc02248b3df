"""What both classifiers say of the labels of a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceaug.analysis.axes import Axis
from faceaug.classifiers.classifier import Classifier
from faceaug.synthesis.editing.objectives import AttributeGoal, attribute_goals, confidences, labels
from faceaug.synthesis.label_classifiers import LabelClassifiers
from faceaug.utils.images import Rgb
from faceaug.utils.tensors import as_tensor
from faceaug.utils.typing import Floats, Floats32


@dataclass(frozen=True, eq=False)
class LabelReading:
    """Readings of one picture.

    Attributes
    ----------
    axes : tuple of Axis
        Those that are labels; A of them.
    classifiers : LabelClassifiers
    guidance, held_out : float64 [1, S]
        What each of the classifiers reads; of the guidance classifier nothing where no axis is a label.
    features : float32 [1, F]
        Of the held-out classifier.
    """

    axes: tuple[Axis, ...]
    classifiers: LabelClassifiers
    guidance: Floats
    held_out: Floats
    features: Floats32

    @classmethod
    def of_each(cls, axes: tuple[Axis, ...], classifiers: LabelClassifiers, pictures: Rgb) -> list[LabelReading]:
        """Read each of some pictures, uint8 [N, 64, 64, 3]."""
        view = as_tensor(pictures)
        held_out, features = classifiers.held_out.read(view)
        guidance = classifiers.guidance.read(view)[0] if classifiers.guidance else np.empty((len(pictures), 0))
        parts = (np.split(read, len(pictures)) for read in (guidance, held_out, features))
        return [cls(axes, classifiers, *one) for one in zip(*parts, strict=True)]

    def requested(self, levels: Mapping[str, str]) -> tuple[Floats, Floats]:
        """Return the probability [1, A] of the levels of a cell by the guidance and by the held-out classifier."""
        goals = self._goals(self.axes, levels)
        if not goals:
            return np.empty((1, 0)), np.empty((1, 0))
        return confidences(goals, self._guide, self.guidance), confidences(goals, self._held_out, self.held_out)

    def likeliest(self, name: str) -> int:
        """Return the level of an axis that both classifiers together find most probable."""
        return int(np.prod(self._probabilities(name), axis=0).argmax())

    def contradicts(self, claims: Mapping[str, int]) -> bool:
        """Return whether both classifiers find another level more probable than one that is claimed."""
        claimed = [(axis.name, claims[axis.name]) for axis in self.axes if claims.get(axis.name, -1) >= 0]
        return any(bool((self._probabilities(name).argmax(1) != level).all()) for name, level in claimed)

    def probabilities(self) -> dict[str, float]:
        """Return the probability of every level of every axis by both classifiers, by name."""
        values: dict[str, float] = {}
        for axis in self.axes:
            for source, row in zip(("guidance", "held_out"), self._probabilities(axis.name), strict=True):
                values |= {f"{source}/{axis.name}={n}": float(p) for n, p in zip(axis.levels, row, strict=True)}
        return values

    def given(self, levels: Mapping[str, str]) -> dict[str, Any]:
        """Return the labels of a sample of a cell: its classes, and numbers as both classifiers read them."""
        goals = self._goals(self.axes, levels)
        if not goals:
            return {}
        return labels(goals, self._guide, self._held_out, self.guidance, self.held_out)[0]

    @property
    def _guide(self) -> Classifier:
        assert self.classifiers.guidance is not None  # there are labels to read
        return self.classifiers.guidance

    @property
    def _held_out(self) -> Classifier:
        return self.classifiers.held_out

    def _goals(self, axes: Sequence[Axis], levels: Mapping[str, str]) -> tuple[AttributeGoal, ...]:
        tasks = {task.name: task for task in self.classifiers.tasks}
        return attribute_goals(axes, dict(levels), [tasks[axis.name] for axis in axes])

    def _probabilities(self, name: str) -> Floats:
        """Return the probability [2, L] of each level of an axis, by the guidance and by the held-out classifier."""
        axis = next(axis for axis in self.axes if axis.name == name)
        goals = [self._goals([axis], {name: level})[0] for level in axis.levels]
        return np.concatenate(
            [confidences(goals, self._guide, self.guidance), confidences(goals, self._held_out, self.held_out)]
        )
