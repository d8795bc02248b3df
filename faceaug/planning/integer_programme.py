"""The integer programme of several marginal distributions: the fewest samples that meet all targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from faceaug.analysis.axes import Axis
from faceaug.utils.typing import Floats

SLACK = 1e-5
"""Fractions of a face, and of all faces, that the tolerance of the solver may be the reason of."""
_MOST_TOTALS = 100  # faces in all that are tried above the least; rounding hardly ever asks for more than one more


@dataclass(frozen=True, eq=False)
class TargetLevels:
    """One target on the cells of a plan: its levels are the G combinations of levels of its axes.

    Attributes
    ----------
    axes : tuple of Axis
    members : bool [G, cells]
    real : int64 [G]
    shares : tuple of Fraction, length G
    """

    axes: tuple[Axis, ...]
    members: npt.NDArray[np.bool_]
    real: npt.NDArray[np.int64]
    shares: tuple[Fraction, ...]


@dataclass(frozen=True, eq=False)
class IntegerProgramme:
    """The search for the samples x of each cell that meet all targets.

    A level with the share s of T faces in all is met when the number of its faces is s * T, rounded up or down.

    Attributes
    ----------
    levels : tuple of TargetLevels
    counts : int64 [cells]
        Real faces of each cell.
    """

    levels: tuple[TargetLevels, ...]
    counts: npt.NDArray[np.int64]

    @cached_property
    def _members(self) -> Any:
        return sparse.csr_array(np.concatenate([one.members for one in self.levels]).astype(np.float64))

    @cached_property
    def _real(self) -> npt.NDArray[np.int64]:
        return np.concatenate([one.real for one in self.levels])

    @cached_property
    def _shares(self) -> tuple[Fraction, ...]:
        return tuple(share for one in self.levels for share in one.shares)

    def fewest(self, most: Floats, bound: int | None) -> npt.NDArray[np.int64] | None:
        """Return the samples of each cell that meet all targets and are the fewest in all.

        Among these, the largest number of samples for each real face of a cell is kept small (cells with real faces
        are filled more easily); what is still open goes to earlier cells.

        Parameters
        ----------
        most : float64 [cells]
            Most samples of each cell; infinite where there is no limit.
        bound : int or None
            Most samples in all.

        Returns
        -------
        int64 [cells] or None
            None where the limits admit none.
        """
        real = int(self.counts.sum())
        least = self._least_total(most)
        if least is None:
            return None
        last = least + _MOST_TOTALS if bound is None else min(least + _MOST_TOTALS, real + bound)
        found = (self._with_total(total, most) for total in range(least, last + 1))
        return next((samples for samples in found if samples is not None), None)

    def _least_total(self, most: Floats) -> int | None:
        """Return a number of faces in all below which not even fractions of faces meet the targets."""
        shares = np.array(list(map(float, self._shares)))
        within = LinearConstraint(
            sparse.csr_array(self._members - sparse.csr_array(np.outer(shares, np.ones(len(most))))),
            shares * self.counts.sum() - self._real - 1,
            shares * self.counts.sum() - self._real + 1,
        )
        result = milp(np.ones(len(most)), constraints=[within], bounds=Bounds(0, most))
        return None if result.x is None else int(self.counts.sum()) + math.ceil(result.fun - SLACK)

    def _with_total(self, total: int, most: Floats) -> npt.NDArray[np.int64] | None:
        """Return the samples with so many faces in all, or None where there are none."""
        low = np.array([math.floor(share * total) for share in self._shares]) - self._real
        high = np.array([math.ceil(share * total) for share in self._shares]) - self._real
        added = total - int(self.counts.sum())
        rows = [
            LinearConstraint(self._members, low, high),
            LinearConstraint(np.ones((1, len(most))), added, added),
        ]
        earlier = np.sqrt(np.arange(len(most)) + 1.1)  # no two small exchanges of samples weigh the same
        even = self._even_caps(rows, most)
        if even is None:
            return None
        for caps in (even, most):
            result = milp(earlier, integrality=1, bounds=Bounds(0, caps), constraints=rows)
            if result.x is not None:
                return np.asarray(np.rint(result.x), np.int64)
        return None

    def _even_caps(self, rows: list[LinearConstraint], most: Floats) -> Floats | None:
        """Return caps [cells] in proportion to the real faces, as small as the rows admit; None if they admit none."""
        weights = self.counts + 1.0
        cells = len(weights)
        wide = [LinearConstraint(_beside(row.A, np.zeros((row.A.shape[0], 1))), row.lb, row.ub) for row in rows]
        capped = _beside(sparse.identity(cells), -weights[:, None])
        wide.append(LinearConstraint(capped, -np.inf, 0))
        bounds = Bounds(0, np.append(most, np.inf))
        result = milp(np.append(np.zeros(cells), 1.0), constraints=wide, bounds=bounds)
        return None if result.x is None else np.minimum(most, np.ceil(result.x[-1] * weights - SLACK))

    def nearest(self, most: Floats, total: float) -> list[Floats]:
        """Return the shares [G] of each target where the largest difference from its shares is the least.

        A linear-fractional programme, solved in the shares y = x / T of all faces and t = 1 / T (Charnes and Cooper,
        Naval Research Logistics Quarterly 9, 1962), with the largest difference as the last variable.
        """
        shares = np.array(list(map(float, self._shares)))
        cells, all_samples, one = len(self.counts), np.ones(len(self.counts)), np.ones((len(shares), 1))
        reached = _beside(self._members, self._real[:, None])
        rows = [
            LinearConstraint(_beside(reached, -one), -np.inf, shares),
            LinearConstraint(_beside(reached, one), shares, np.inf),
            LinearConstraint(np.concatenate([all_samples, [self.counts.sum(), 0.0]])[None], 1, 1),
        ]
        if math.isfinite(total):
            rows.append(LinearConstraint(np.concatenate([all_samples, [-total, 0.0]])[None], -np.inf, 0))
        if np.isfinite(most).all():
            capped = _beside(sparse.identity(cells), -most[:, None], np.zeros((cells, 1)))
            rows.append(LinearConstraint(capped, -np.inf, 0))
        result = milp(np.append(np.zeros(cells + 1), 1.0), constraints=rows, bounds=Bounds(0, np.inf))
        assert result.x is not None  # shares of any kind are within a difference of 1
        found = reached @ result.x[:-1]
        return np.split(found, np.cumsum([len(one.real) for one in self.levels])[:-1])


def _beside(*blocks: Any) -> Any:
    """Return matrices side by side."""
    return sparse.hstack([sparse.csr_array(block) for block in blocks])
