"""Measures of imbalance of counts and of association between two attributes, as pure functions of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faceaug.utils.typing import Floats

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImbalanceMetrics:
    """Imbalance of K groups; logarithms are natural.

    Attributes
    ----------
    groups : int
        K, with the empty groups.
    total : int
        Rows in all groups.
    largest, smallest : int
        Largest count, and smallest count of a group that is not empty.
    imbalance_ratio : float
        largest / smallest.
    empty : int
        Number of groups without a row.
    under_minimum : int
        Number of groups with fewer rows than the minimum, with the empty groups.
    evenness : float
        Shannon entropy / ln K: 1 when all groups are equal, 0 when all rows are in one group; 1 for a single group.
    effective_groups : float
        exp(entropy): the number of equal groups with the same entropy.
    kl_from_reference : float
        Kullback-Leibler divergence sum p ln(p / q), in nats, of the shares p from the reference shares q; infinite
        when a group has rows and the reference share 0.
    """

    groups: int
    total: int
    largest: int
    smallest: int
    imbalance_ratio: float
    empty: int
    under_minimum: int
    evenness: float
    effective_groups: float
    kl_from_reference: float

    def to_dict(self) -> dict[str, float | None]:
        """Return the figures as plain JSON values; an infinite divergence becomes null."""
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


def imbalance_metrics(counts: Counts, reference: Floats, minimum: int) -> ImbalanceMetrics:
    """Measure how uneven `counts` are.

    Parameters
    ----------
    counts : int64, any shape
        At least one count is not 0.
    reference : float64, same shape
        Reference shares that sum to 1.
    minimum : int
        Rows that a group should have.
    """
    filled = counts > 0
    shares = counts[filled] / counts.sum()
    entropy = max(0.0, -float(np.sum(shares * np.log(shares))))
    with np.errstate(divide="ignore"):
        divergence = float(np.sum(shares * (np.log(shares) - np.log(reference[filled]))))
    largest, smallest = int(counts.max()), int(counts[filled].min())
    return ImbalanceMetrics(
        groups=counts.size,
        total=int(counts.sum()),
        largest=largest,
        smallest=smallest,
        imbalance_ratio=largest / smallest,
        empty=int(counts.size - filled.sum()),
        under_minimum=int(np.sum(counts < minimum)),
        evenness=min(1.0, entropy / math.log(counts.size)) if counts.size > 1 else 1.0,
        effective_groups=math.exp(entropy),
        kl_from_reference=max(0.0, divergence),
    )


def cramers_v(table: Counts) -> float | None:
    """Return Cramér's V with Bergsma's correction for bias (J. Korean Stat. Soc. 42, 2013), from 0 to 1.

    Parameters
    ----------
    table : int64 [A, B]
        Counts of each pair of levels. Levels without a row are left out.

    Returns
    -------
    float or None
        None when an attribute has a single level.
    """
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    total = int(table.sum())
    if min(table.shape) < 2 or total < 2:
        return None
    expected = table.sum(axis=1, keepdims=True) * (table.sum(axis=0, keepdims=True) / total)
    phi2 = float(np.sum((table - expected) ** 2 / expected)) / total
    rows, columns = (size - (size - 1) ** 2 / (total - 1) for size in table.shape)
    expected_phi2 = (table.shape[0] - 1) * (table.shape[1] - 1) / (total - 1)
    largest_phi2 = min(rows, columns) - 1
    return math.sqrt(min(1.0, max(0.0, phi2 - expected_phi2) / largest_phi2)) if largest_phi2 > 0 else None


def mutual_information(table: Counts) -> tuple[float, float | None]:
    """Return the mutual information of two attributes in nats, and its ratio to the mean of their entropies.

    Parameters
    ----------
    table : int64 [A, B]
        Counts of each pair of levels, not all 0.

    Returns
    -------
    (float, float or None)
        The ratio is from 0 to 1, and None when neither attribute varies.
    """
    joint = _entropy(table)
    first, second = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    information = max(0.0, first + second - joint)
    mean = (first + second) / 2
    return information, min(1.0, information / mean) if mean > 0 else None


def _entropy(counts: Counts) -> float:
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, -float(np.sum(shares * np.log(shares))))
