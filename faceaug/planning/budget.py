"""The budget of a plan: upper bounds of what is synthesized, and how a bound is divided among the cells."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from faceaug.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """Upper bounds of the number of samples; None is no bound.

    Attributes
    ----------
    max_synthetic_ratio : float or None
        Most samples per real face, over the whole data set.
    max_per_cell : int or None
        Most samples in a cell.
    max_total : int or None
        Most samples in total.

    Raises
    ------
    UsageError
        If a bound is negative or not a number of its kind.
    """

    max_synthetic_ratio: float | None = None
    max_per_cell: int | None = None
    max_total: int | None = None

    def __post_init__(self) -> None:
        ratio = self.max_synthetic_ratio
        if ratio is not None:
            is_real = isinstance(ratio, numbers.Real) and not isinstance(ratio, bool)
            if not is_real or not math.isfinite(ratio) or ratio < 0:
                raise UsageError(f"max_synthetic_ratio must be a number of at least 0, but is {ratio!r}")
            object.__setattr__(self, "max_synthetic_ratio", float(ratio))
        for name in ("max_per_cell", "max_total"):
            bound = getattr(self, name)
            if bound is not None:
                if not isinstance(bound, numbers.Integral) or isinstance(bound, bool) or bound < 0:
                    raise UsageError(f"{name} must be a whole number of at least 0, but is {bound!r}")
                object.__setattr__(self, name, int(bound))

    def total_bound(self, real: int) -> int | None:
        """Return the most samples that may be synthesized for `real` real faces, or None for no bound.

        The ratio is taken as the decimal number that it prints: 0.29 of 100 faces are 29, although 0.29 * 100 is below
        29 in binary.
        """
        bounds = [] if self.max_total is None else [self.max_total]
        if self.max_synthetic_ratio is not None:
            bounds.append(math.floor(Fraction(repr(self.max_synthetic_ratio)) * real))
        return min(bounds, default=None)


def apportion(needs: Sequence[int], total: int) -> list[int]:
    """Divide `total` in proportion to whole-number needs by the method of largest remainders.

    No entry gets more than it needs, so the result sums to min(total, sum of needs). Ties go to the larger need, then
    to the earlier position.
    """
    needed = sum(needs)
    if needed <= total:
        return list(needs)
    shares = [need * total // needed for need in needs]
    # total < needed, so a need above 0 gets less than itself here, and one more never exceeds it.
    order = sorted(range(len(needs)), key=lambda index: (-(needs[index] * total % needed), -needs[index], index))
    for index in order[: total - sum(shares)]:
        shares[index] += 1
    return shares
