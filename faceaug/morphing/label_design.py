"""Labels as numbers for a regression: classes one by one, numbers in hats between quantiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faceaug.utils.typing import Floats

LabelValue = str | float | None
_KNOTS = 9  # of the hats, at quantiles of a number
_MOST_CLASSES = 32  # of a label; one with more, such as a name, is left out


@dataclass(frozen=True, eq=False)
class LabelDesign:
    """How labels become regressors.

    Attributes
    ----------
    knots : dict of str to float64 [K]
        By numeric label, where its hats have their tops, increasing.
    classes : dict of str to tuple of str
        By label of classes, its levels.
    """

    knots: dict[str, Floats]
    classes: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, values: Mapping[str, Sequence[LabelValue]], numeric: Collection[str]) -> LabelDesign:
        """Return the design of the labels of a data set.

        Parameters
        ----------
        values : mapping of str to sequence, length N
            By label, an entry for each face; None for none.
        numeric : collection of str
            Labels that are numbers.
        """
        knots, classes = {}, {}
        for name, column in values.items():
            known = [value for value in column if value is not None]
            tops: Floats
            if name in numeric:
                tops = np.unique(np.quantile(np.array(known or [0.0], np.float64), np.linspace(0, 1, _KNOTS)))
                if len(tops) > 1:
                    knots[name] = tops
            else:
                levels = tuple(sorted({str(value) for value in known}))
                if 1 < len(levels) <= _MOST_CLASSES:
                    classes[name] = levels
        return cls(knots, classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels that take part."""
        return (*self.knots, *self.classes)

    @property
    def parts(self) -> dict[str, slice]:
        """By label, its columns of a row."""
        parts, start = {}, 0
        for name in self.names:
            length = len(self.knots[name]) if name in self.knots else len(self.classes[name])
            parts[name] = slice(start, start + length)
            start += length
        return parts

    def row(self, labels: Mapping[str, LabelValue]) -> Floats:
        """Return the regressors float64 [D] of the labels of one face; a label that it lacks is an even mixture."""
        return np.concatenate([np.empty(0), *(self._part(name, labels.get(name)) for name in self.names)])

    def _part(self, name: str, value: LabelValue) -> Floats:
        if name in self.knots:
            tops = self.knots[name]
            if value is None:
                return np.full(len(tops), 1 / len(tops))
            hats = [np.interp(float(value), tops, top) for top in np.eye(len(tops))]
            return np.array(hats)
        levels = self.classes[name]
        if value is None or str(value) not in levels:
            return np.full(len(levels), 1 / len(levels))
        return np.array([float(level == str(value)) for level in levels])
