"""Distances between two sets of images by their features: pure functions on float arrays [N, F]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from faceaug.utils.typing import Floats

_ROWS = 1024  # rows of a matrix of distances that are in memory at once


def frechet_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the Fréchet distance of the normal distributions with the sets' means and covariances.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al., arXiv 1706.08500). It is biased upward for few samples:
    compare only values for the same numbers of samples.

    Parameters
    ----------
    first, second
        Features [N, F] and [M, F], at least 2 of each.
    """
    a, b = (np.asarray(x, np.float64) for x in (first, second))
    a, shift = a - a.mean(0), a.mean(0) - b.mean(0)
    b = b - b.mean(0)
    a, b = a / np.sqrt(len(a) - 1), b / np.sqrt(len(b) - 1)
    # tr (S1 S2)^(1/2) is the sum of the singular values of A B^T, where S1 = A^T A and S2 = B^T B; for more samples
    # than features the factors are replaced by the square roots of S1 and S2, which are smaller.
    root = _factor(a) @ _factor(b).T
    cross = np.linalg.svd(root, compute_uv=False).sum()
    return float(max(shift @ shift + np.square(a).sum() + np.square(b).sum() - 2 * cross, 0.0))


def _factor(a: Floats) -> Floats:
    """Return a matrix X with X^T X = A^T A and at most as many rows as columns."""
    if len(a) <= a.shape[1]:
        return a
    return np.asarray(np.linalg.qr(a, mode="r"))


def kernel_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the squared maximum mean discrepancy under k(x, y) = (x.y / F + 1)^3, unbiased: it can be below 0.

    Binkowski et al., "Demystifying MMD GANs" (arXiv 1801.01401); over all pairs instead of random blocks.
    """
    a, b = (np.asarray(x, np.float64) for x in (first, second))
    n, m = len(a), len(b)
    within = (_kernel_sum(a, a) - _diagonal(a)) / (n * (n - 1)) + (_kernel_sum(b, b) - _diagonal(b)) / (m * (m - 1))
    return float(within - 2 * _kernel_sum(a, b) / (n * m))


def _kernel_sum(a: Floats, b: Floats) -> float:
    blocks = (a[start : start + _ROWS] @ b.T / a.shape[1] + 1 for start in range(0, len(a), _ROWS))
    return float(sum((block**3).sum() for block in blocks))


def _diagonal(a: Floats) -> float:
    return float(((np.square(a).sum(1) / a.shape[1] + 1) ** 3).sum())


def precision_recall(real: npt.ArrayLike, generated: npt.ArrayLike, neighbours: int = 3) -> tuple[float, float]:
    """Return precision and recall of Kynkäänniemi et al., "Improved Precision and Recall" (arXiv 1904.06991).

    Precision is the share of generated images that lie in a ball around some real one, whose radius is that image's
    distance to its `neighbours`-th nearest real one; recall is the same with the roles exchanged.
    """
    a, b = (np.asarray(x, np.float64) for x in (real, generated))
    return _covered(b, a, nearest_distances(a, a, neighbours + 1)), _covered(
        a, b, nearest_distances(b, b, neighbours + 1)
    )


def density_coverage(real: npt.ArrayLike, generated: npt.ArrayLike, neighbours: int = 5) -> tuple[float, float]:
    """Return density and coverage of Naeem et al., "Reliable Fidelity and Diversity Metrics" (arXiv 2002.09797).

    Around each real image lies a ball whose radius is the distance to its `neighbours`-th nearest real one. Density is
    the mean number of balls that a generated image lies in over `neighbours`: about 1 where both have one distribution.
    Coverage is the share of balls that hold a generated image.
    """
    a, b = (np.asarray(x, np.float64) for x in (real, generated))
    neighbours = min(neighbours, len(a) - 1)
    radii = np.square(nearest_distances(a, a, neighbours + 1))
    inside = covered = 0.0
    for start in range(0, len(a), _ROWS):
        held = _squared(a[start : start + _ROWS], b) <= radii[start : start + _ROWS, None]
        inside, covered = inside + float(held.sum()), covered + float(held.any(1).sum())
    return inside / (neighbours * len(b)), covered / len(a)


def nearest_distances(points: npt.ArrayLike, others: npt.ArrayLike, rank: int = 1) -> Floats:
    """Return each point's distance [N] to its `rank`-th nearest of `others` (itself included, if it is among them)."""
    a, b = (np.asarray(x, np.float64) for x in (points, others))
    blocks = [
        np.partition(_squared(a[start : start + _ROWS], b), rank - 1, 1)[:, rank - 1]
        for start in range(0, len(a), _ROWS)
    ]
    return np.asarray(np.sqrt(np.concatenate(blocks)))


def _covered(points: Floats, centres: Floats, radii: Floats) -> float:
    inside = [
        (_squared(points[start : start + _ROWS], centres) <= np.square(radii)[None]).any(1)
        for start in range(0, len(points), _ROWS)
    ]
    return float(np.concatenate(inside).mean())


def _squared(a: Floats, b: Floats) -> Floats:
    squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    return np.asarray(squared.clip(0))
