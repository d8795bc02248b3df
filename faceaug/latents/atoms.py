"""Localized atoms: a few dozen compact maps that reproduce the dense regression of canonical maps on w.

J (P x D), the change of every value of the canonical maps (depth, albedo) per unit of w, is written as J ~ S A^T with
S (P x K) sparse and compact (docs/method.md, section 4): at the latent w atom k has the value A_k . (w - w_mean), which
has the standard deviation 1 over samples, and changes the maps by its value times S_k. `localization.localize` finds
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from faceaug.errors import UsageError
from faceaug.utils.typing import Floats


@dataclass(frozen=True, eq=False)
class SparseAtoms:
    """K localized atoms in the order of the variance that their maps carry; D is the width of w.

    Attributes
    ----------
    reading : float64 [D, K]
        A: the value of an atom is reading[:, k] . (w - w_mean), with standard deviation 1 over samples. The sign is
        such that the entry of the map with the largest magnitude is positive.
    steps : float64 [D, K]
        Sigma A (A^T Sigma A)^-1: the likeliest change of w that moves one atom by one and no other.
    maps : float64 [K, C, S, S]
        Change of the canonical maps by one standard deviation of an atom, sparse and mirror-even, in their units.
    effects : float64 [K, C, S, S]
        The change of the canonical maps by `steps` according to the regression: dense, and less compact than the maps.
    explained : float64 [K]
        Energy of an atom's map over that of J, both with `scale` and weights. Values of atoms are correlated, so these
        do not add up to 1.
    scale : float64 [C]
        Factors that make channels comparable: each group's part of J, so scaled and weighted, has the energy 1.
    reconstruction, dense_reconstruction : float
        Share of the energy of the mirror-even part of J, weighted, that maps (effects) and readings reproduce.
    odd : float
        Share of the energy of J that is mirror-odd and therefore left out.
    """

    reading: Floats
    steps: Floats
    maps: Floats
    effects: Floats
    explained: Floats
    scale: Floats
    reconstruction: float
    dense_reconstruction: float
    odd: float

    def values(self, maps: Floats, mean: Floats) -> Floats:
        """Return the values [N, K] of the atoms on canonical maps [N, C, S, S], given the mean maps [C, S, S]."""
        return read_atoms(self.reader, self.scale, maps - mean)

    @cached_property
    def reader(self) -> Floats:
        """The reader [C * S * S, K] of `read_atoms`, computed once."""
        return reader_of(self.maps, self.scale)

    def energy(self) -> Floats:
        """Return the energy [K, S, S] of the atoms' maps at every pixel, channels made comparable."""
        return np.asarray(((self.maps * self.scale[:, None, None]) ** 2).sum(1), np.float64)


def reader_of(maps: npt.NDArray[np.floating], scale: Floats) -> Floats:
    """Return the pseudo-inverse of the maps of atoms, for `read_atoms`.

    Parameters
    ----------
    maps : float [K, C, S, S]
    scale : float64 [C]
        Factors that make channels comparable.

    Returns
    -------
    float64 [C * S * S, K]
    """
    scaled = (maps * scale[:, None, None]).reshape(len(maps), -1).astype(np.float64)
    return np.asarray(np.linalg.pinv(scaled, rcond=1e-6), np.float64)


def read_atoms(reader: Floats, scale: Floats, change: npt.NDArray[np.floating]) -> Floats:
    """Return the values of atoms on canonical maps, by least squares on the sparse maps of the atoms.

    Parameters
    ----------
    reader : float64 [C * S * S, K]
        From `reader_of`. An atom reads only where its map is not 0.
    scale : float64 [C]
        Factors that make channels comparable.
    change : float [N, C, S, S]
        Canonical maps of faces minus the mean ones.

    Returns
    -------
    float64 [N, K]
        In standard deviations over samples.
    """
    scaled = (change * scale[:, None, None]).reshape(len(change), -1).astype(np.float64)
    return np.asarray(scaled @ reader, np.float64)


def agreement(first: Floats, second: Floats) -> Floats:
    """Match two sets of vectors one to one and return the absolute cosine of each pair.

    Parameters
    ----------
    first, second : float [K, ...]
        Maps, or readings in whitened latents; signs do not matter. The best matching over all pairs is taken
        (Kuhn, "The Hungarian Method for the Assignment Problem", 1955).

    Returns
    -------
    float64 [K]
        In [0, 1], in the order of `first`.

    Raises
    ------
    UsageError
        When the shapes differ.
    """
    a, b = (_normalized(vectors.reshape(len(vectors), -1)) for vectors in (first, second))
    if a.shape != b.shape:
        raise UsageError(
            f"atoms of the shapes {first.shape} and {second.shape} cannot be matched: they must be the same"
        )
    cosine = np.abs(a @ b.T)
    rows, columns = linear_sum_assignment(-cosine)
    return np.asarray(cosine[rows, columns], np.float64)


def _normalized(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)[:, None], np.float64)
