"""Localised atoms: the dense regression of canonical maps on w as a few dozen compact maps, each with its reading.

J (P x D), the change of every value of the canonical maps (depth, albedo) per unit of w, is written as J ~ S A^T with
S (P x K) sparse and compact (method.md, section 4): at the latent w atom k has the value A_k . (w - w_mean), which has
the standard deviation 1 over draws, and shows that many times its map S_k.

How: in whitened latents J is cut to its K leading singular components U diag(s) V^T, and the loadings U diag(s)^a are
turned by the rotation that gathers each column's energy in the fewest pixels (the quartimax criterion of factor
analysis, over groups of channels, climbed by polar steps, which never descend). The small exponent a matters: with 1,
readings are uncorrelated and the few components that carry most variance (how bright is the picture?) take part in
every map; with 0 maps are the most local, and moving one alone asks for extreme latents. The result is made sparse and
compact by a lasso over the same groups, whose penalty grows with the distance from the atom's centre (after the idea
of Neumann et al., "Sparse Localized Deformation Components", SIGGRAPH Asia 2013). Hair, clothes and background change
more than faces do and would take half of the atoms, so pixels can weigh less there. Nothing is drawn at random: another
seed means other draws for the regression.

The canonical face has a mirror: atoms are sought in the mirror-even part of J, so that both eyes are one atom, and what
is left over is told (`odd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from faceaug.errors import UsageError
from faceaug.latents.face_regions import grid
from faceaug.utils.typing import Floats

Groups = Sequence[Sequence[int]]

GROUPS = ((0,), (1, 2, 3))
"""Channels that belong together in a pixel: depth by itself, the three of albedo. An atom tends to one or the other."""
ATOMS = 48
EVENNESS = 0.2  # the exponent a
SPARSITY = 0.1  # of an atom's peak: what is fainter, at the atom's radius, is taken off its map
RADIUS = 0.1  # of the side: where the penalty is SPARSITY; it goes from a fifth of that to three times as much
TURNS, LASSO_STEPS = 300, 60
_RANK = 1e-7  # singular values below this share of the largest are rounding


@dataclass(frozen=True, eq=False)
class SparseAtoms:
    """K localised atoms, ranked by the variance that their maps carry. D is the width of w; maps are [C, S, S].

    Attributes
    ----------
    reading : float64 [D, K]
        A: an atom's value is reading[:, k] . (w - w_mean), with standard deviation 1 over draws. Its sign is such that
        the entry of the map that is largest in size is positive.
    steps : float64 [D, K]
        Sigma A (A^T Sigma A)^-1: the likeliest change of w that moves one atom by one and no other.
    maps : float64 [K, C, S, S]
        What one standard deviation of an atom shows, sparse and mirror-even, in the units of the maps.
    effects : float64 [K, C, S, S]
        What `steps` really change, by the regression: dense, and not as compact as the maps.
    explained : float64 [K]
        Energy of an atom's map over that of J, both with `scale` and weights. Readings are correlated, so these do not
        add up to 1.
    scale : float64 [C]
        Factors by which channels are comparable: each group's part of J, so scaled and weighted, has the energy 1.
    reconstruction, dense_reconstruction : float
        Share of the energy of the even part of J, weighted, that maps (effects) and readings give back.
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
        """Read the atoms' values [N, K] off canonical maps [N, C, S, S], given the mean maps [C, S, S]."""
        return read_atoms(self.reader, self.scale, maps - mean)

    @cached_property
    def reader(self) -> Floats:
        """What `read_atoms` reads with: found once, as it takes longer than reading."""
        return reader_of(self.maps, self.scale)

    def energy(self) -> Floats:
        """Return the energy of the atoms' maps at every pixel, channels made comparable: [K, S, S]."""
        return np.asarray(((self.maps * self.scale[:, None, None]) ** 2).sum(1), np.float64)


def localize(
    slopes: Floats,
    covariance: Floats,
    *,
    weight: Floats | None = None,
    count: int = ATOMS,
    groups: Groups = GROUPS,
    evenness: float = EVENNESS,
    sparsity: float = SPARSITY,
    radius: float = RADIUS,
) -> SparseAtoms:
    """Find localised atoms.

    Parameters
    ----------
    slopes : float [C, S, S, D]
        J: change of the canonical maps per unit of w, from a regression.
    covariance : float [D, D]
        Sigma, of w over draws.
    weight : float [S, S] above 0, optional
        How much a pixel's change counts; its mirror-even part is used. 1 everywhere when None.
    count : int
        K. At most the number of independent mirror-even changes.
    groups : sequences of channels
        Which channels belong together; every channel is in one group.
    evenness : float in [0, 1]
        0 for the most local maps, 1 for uncorrelated readings.
    sparsity, radius : float
        Penalty of the lasso as a share of an atom's peak, and the distance (in sides) at which it holds.

    Raises
    ------
    UsageError
        When the shapes do not fit, a number is not finite, or fewer than `count` independent changes are there.
    """
    slopes, covariance, weight = _checked(slopes, covariance, weight, groups, count)
    channels, side, _, width = slopes.shape
    root, back = _roots(covariance)  # Sigma^1/2 and its pseudo-inverse
    even = (slopes + slopes[:, :, ::-1]) / 2
    odd = 1 - float((even**2).sum() / max((slopes**2).sum(), 1e-300))
    white = (even * weight[..., None]).reshape(-1, width) @ root
    scale = _comparable(white.reshape(channels, -1, width), groups)
    white = (white.reshape(channels, -1) * scale[:, None]).reshape(-1, width)
    half, mirrored = _half(channels, side)
    rows = white[half] * mirrored[:, None]  # the left half is the right one's mirror: counted, not computed

    squared, v = np.linalg.eigh(rows.T @ rows)
    s = np.sqrt(np.maximum(squared[::-1], 0))
    if (rank := int((s > _RANK * s[0]).sum())) < count or s[0] == 0:
        raise UsageError(
            f"{count} atoms were asked for, but the maps change in only {rank if s[0] else 0} ways: ask for fewer"
        )
    s, v = s[:count], v[:, ::-1][:, :count]
    turn = _rotation((rows @ v) * s ** (evenness - 1), channels, groups)
    reading = (v * s ** (1 - evenness)) @ turn  # [D, K] in whitened latents
    reading /= np.linalg.norm(reading, axis=0)
    steps = np.linalg.pinv(reading).T  # A (A^T A)^-1

    effects = rows @ steps
    sparse = _lasso(
        rows, reading, effects, _penalty(effects, half, channels, side, groups, sparsity, radius), channels, groups
    )
    sparse = sparse * _sizes(rows, reading, sparse)
    total = float((rows**2).sum())
    energy = (sparse**2).sum(0)
    order = np.argsort(-energy, kind="stable")
    full = np.zeros((channels * side * side, count))
    full[half] = sparse / mirrored[:, None]
    maps = _unfolded(full, channels, side)
    dense = (white @ steps).T.reshape(count, channels, side, side)
    maps, dense = maps / weight, dense / weight
    peak = np.abs(maps).reshape(count, -1).argmax(1)
    sign = np.where(maps.reshape(count, -1)[np.arange(count), peak] < 0, -1.0, 1.0)
    return SparseAtoms(
        reading=(back @ reading * sign)[:, order],
        steps=(root @ steps * sign)[:, order],
        maps=(maps * sign[:, None, None, None] / scale[:, None, None])[order],
        effects=(dense * sign[:, None, None, None] / scale[:, None, None])[order],
        explained=(energy / total)[order],
        scale=scale,
        reconstruction=1 - float(((rows - sparse @ reading.T) ** 2).sum()) / total,
        dense_reconstruction=1 - float(((rows - effects @ reading.T) ** 2).sum()) / total,
        odd=odd,
    )  # fmt: skip


def reader_of(maps: npt.NDArray[np.floating], scale: Floats) -> Floats:
    """Return the pseudo-inverse [C * S * S, K] of the atoms' maps [K, C, S, S], channels made comparable."""
    shown = (maps * scale[:, None, None]).reshape(len(maps), -1).astype(np.float64)
    return np.asarray(np.linalg.pinv(shown, rcond=1e-6), np.float64)


def read_atoms(reader: Floats, scale: Floats, change: npt.NDArray[np.floating]) -> Floats:
    """Read atoms off canonical maps, by least squares on the atoms' sparse maps: each looks at its own place only.

    Parameters
    ----------
    reader : float [C * S * S, K]
        Of the atoms' maps, from `reader_of`.
    scale : float [C]
        By which channels are comparable.
    change : float [N, C, S, S]
        Canonical maps of faces, less the mean ones.

    Returns
    -------
    float64 [N, K]
        In standard deviations over draws.
    """
    given = (change * scale[:, None, None]).reshape(len(change), -1).astype(np.float64)
    return np.asarray(given @ reader, np.float64)


def agreement(first: Floats, second: Floats) -> Floats:
    """Match two sets of vectors one to one and return the size of each pair's cosine, in the order of the first.

    Parameters
    ----------
    first, second : float [K, ...]
        Maps, or readings in whitened latents; signs do not matter. The best matching over all pairs is taken
        (Kuhn, "The Hungarian Method for the Assignment Problem", 1955).

    Returns
    -------
    float64 [K]
    """
    a, b = (x.reshape(len(x), -1) / np.maximum(np.linalg.norm(x.reshape(len(x), -1), axis=1), 1e-300)[:, None]
            for x in (first, second))  # fmt: skip
    if a.shape != b.shape:
        raise UsageError(
            f"atoms of the shapes {first.shape} and {second.shape} cannot be matched: they must be the same"
        )
    cosine = np.abs(a @ b.T)
    rows, columns = linear_sum_assignment(-cosine)
    return np.asarray(cosine[rows, columns], np.float64)


def _rotation(loadings: Floats, channels: int, groups: Groups) -> Floats:
    """Return the rotation [K, K] that maximises the sum over pixels of (energy of a group of channels)^2."""
    count = loadings.shape[1]
    single = loadings.astype(np.float32)
    turn = np.eye(count)
    for _ in range(TURNS):
        x = single @ turn.astype(np.float32)
        slope = single.T @ (x.reshape(channels, -1, count) * _grouped(x, channels, groups)).reshape(x.shape)
        left, _, right = np.linalg.svd(slope.astype(np.float64))
        change = np.abs(left @ right - turn).max()
        turn = left @ right
        if change < 1e-4:
            break
    return np.asarray(turn, np.float64)


def _lasso(rows: Floats, reading: Floats, start: Floats, penalty: Floats, channels: int, groups: Groups) -> Floats:
    """Return S of least |rows - S A^T|^2 / 2 + sum of penalty times the length of each pixel's group of channels.

    Accelerated proximal steps (Beck, Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009).
    """
    gram, wanted = reading.T @ reading, rows @ reading
    step = 1 / float(np.linalg.eigvalsh(gram)[-1])
    now, ahead, pace = start, start, 1.0
    for _ in range(LASSO_STEPS):
        moved = ahead - step * (ahead @ gram - wanted)
        length = np.sqrt(_grouped(moved, channels, groups))  # [C, N, K]
        shrink = np.maximum(1 - step * penalty / np.maximum(length, 1e-300), 0)
        new = (moved.reshape(shrink.shape) * shrink).reshape(moved.shape)
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        ahead = new + (pace - 1) / faster * (new - now)
        now, pace = new, faster
    return now


def _sizes(rows: Floats, reading: Floats, sparse: Floats) -> Floats:
    """Return factors [K] that make up, by least squares, for what the penalty took off each map as a whole."""
    gram = (sparse.T @ sparse) * (reading.T @ reading)
    return np.asarray(np.linalg.pinv(gram, hermitian=True) @ ((rows @ reading) * sparse).sum(0), np.float64)


def _penalty(
    effects: Floats, half: NDArray[np.int64], channels: int, side: int, groups: Groups, sparsity: float, radius: float
) -> Floats:  # fmt: skip
    """Return the penalty [1, N, K] of each atom at each pixel of the half: a share of its peak, more when far off."""
    x, y = (part.ravel()[half[: len(half) // channels]] for part in grid(side))
    energy = (effects.reshape(channels, -1, effects.shape[1]) ** 2).sum(0)  # [N, K]
    weight = energy**2 / (energy**2).sum(0)
    far = np.hypot(x[:, None] - x @ weight, y[:, None] - y @ weight) / radius
    peak = np.sqrt(_grouped(effects, channels, groups).max((0, 1)))
    return np.asarray(sparsity * peak * np.clip(far, 0.2, 3)[None], np.float64)


def _grouped(x: NDArray[np.floating], channels: int, groups: Groups) -> NDArray[np.floating]:
    """Return the energy [C, N, K] of each channel's group, of maps [C * N, K]."""
    squares = x.reshape(channels, -1, x.shape[1]) ** 2
    energy = np.empty_like(squares)
    for group in groups:
        energy[list(group)] = squares[list(group)].sum(0)
    return energy


def _comparable(white: Floats, groups: Groups) -> Floats:
    """Return factors [C] that give each group's part of J the energy 1; a group that never changes keeps 0 energy."""
    scale = np.ones(len(white))
    for group in groups:
        energy = float((white[list(group)] ** 2).sum())
        scale[list(group)] = 1 / np.sqrt(energy) if energy > 0 else 1.0
    return scale


def _half(channels: int, side: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the rows of J that show the right half with the middle, and the square root of how often each counts."""
    columns = np.arange(side // 2, side)
    pixels = (np.arange(side)[:, None] * side + columns).ravel()
    count = np.where(columns == side - 1 - columns, 1.0, 2.0)
    rows = (np.arange(channels)[:, None] * side * side + pixels).ravel()
    return rows, np.tile(np.sqrt(count), channels * side)


def _unfolded(full: Floats, channels: int, side: int) -> Floats:
    """Return maps [K, C, S, S] of rows [C * S * S, K] whose left half is still empty."""
    maps = full.T.reshape(-1, channels, side, side)
    left = side // 2
    maps = maps.copy()
    maps[..., :left] = maps[..., ::-1][..., :left]
    return maps


def _roots(covariance: Floats) -> tuple[Floats, Floats]:
    scale, basis = np.linalg.eigh((covariance + covariance.T) / 2)
    known = scale > len(scale) * np.finfo(np.float64).eps * max(float(scale[-1]), 0.0)
    root = np.sqrt(np.where(known, scale, 0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=known)
    return (basis * root) @ basis.T, (basis * inverse) @ basis.T


def _checked(
    slopes: Floats, covariance: Floats, weight: Floats | None, groups: Groups, count: int
) -> tuple[Floats, Floats, Floats]:
    slopes, covariance = np.asarray(slopes, np.float64), np.asarray(covariance, np.float64)
    channels = sorted(channel for group in groups for channel in group)
    if slopes.ndim != 4 or slopes.shape[1] != slopes.shape[2] or channels != list(range(len(slopes))):
        raise UsageError(
            f"atoms need slopes (C, S, S, D) with every channel in one group; got {slopes.shape} and groups {groups}"
        )
    if covariance.shape != (slopes.shape[3],) * 2:
        raise UsageError(f"slopes on {slopes.shape[3]} latents need a covariance of that size; got {covariance.shape}")
    if not (np.isfinite(slopes).all() and np.isfinite(covariance).all()):
        raise UsageError("the slopes or the covariance hold NaN or infinite numbers: find them again")
    if not 1 <= count <= slopes.shape[3]:
        raise UsageError(f"{count} atoms of {slopes.shape[3]} latents were asked for: between 1 and that many can be")
    weight = np.ones(slopes.shape[1:3]) if weight is None else np.asarray(weight, np.float64)
    if weight.shape != slopes.shape[1:3] or not (np.isfinite(weight).all() and (weight > 0).all()):
        raise UsageError(f"the weight of {slopes.shape[1:3]} pixels must be that many numbers above 0: {weight.shape}")
    return slopes, covariance, (weight + weight[:, ::-1]) / 2
