"""Localization: find the atoms of `atoms.py` in the regression of canonical maps on w (docs/method.md, section 4).

In whitened latents J is reduced to its K leading singular components U diag(s) V^T, and the loadings U diag(s)^a are
rotated so that the energy of each column gathers in few pixels. The rotation maximizes the quartimax criterion of
factor analysis over groups of channels by polar steps, which never decrease it. The small exponent a matters. With 1,
readings are uncorrelated, and the few components with most variance (the brightness of the image, for example) are part
of every map. With 0, maps are the most local, and moving one atom alone needs extreme latents.

The maps become sparse and compact by a lasso over the same groups, whose penalty grows with the distance from the
centre of the atom (following Neumann et al., "Sparse Localized Deformation Components", SIGGRAPH Asia 2013). Hair,
clothes and background change more than faces do and would take half of the atoms, so pixels can have less weight there.
Nothing is random: another seed means other samples for the regression.

The canonical face is symmetric. Atoms are found in the mirror-even part of J, so that both eyes are one atom; the share
of the rest is reported (`SparseAtoms.odd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceaug.errors import UsageError
from faceaug.latents.atoms import SparseAtoms
from faceaug.latents.face_regions import face_grid
from faceaug.utils.typing import Floats, Indices

Groups = Sequence[Sequence[int]]

_MIN_SINGULAR_VALUE = 1e-7  # share of the largest; smaller ones are rounding errors


@dataclass(frozen=True)
class AtomConfig:
    """What atoms are looked for.

    Attributes
    ----------
    count : int
        K, at most the number of independent mirror-even changes.
    groups : sequence of sequences of int
        Which channels belong together in a pixel; every channel is in one group. By default depth by itself and the
        three of albedo, so that an atom tends to be one or the other.
    evenness : float in [0, 1]
        The exponent a: 0 for the most local maps, 1 for uncorrelated readings.
    sparsity : float
        Penalty of the lasso at `radius`, as a share of an atom's peak.
    radius : float
        Distance from an atom's centre, in sides of the map, at which the penalty is `sparsity`; it ranges from a fifth
        of that at the centre to three times as much.
    rotation_steps, lasso_steps : int
        Most steps of the rotation, and steps of the lasso.
    """

    count: int = 48
    groups: Groups = ((0,), (1, 2, 3))
    evenness: float = 0.2
    sparsity: float = 0.1
    radius: float = 0.1
    rotation_steps: int = 300
    lasso_steps: int = 60


@dataclass(frozen=True, eq=False)
class _Problem:
    """J in whitened latents, the right half of the maps only: the left one is its mirror image.

    Attributes
    ----------
    white : float64 [C * S * S, D]
        Mirror-even part of J, weighted and scaled.
    rows : float64 [R, D]
        Those of the right half, times the square root of how often each occurs in both halves.
    half : int64 [R]
        Their indices among those of `white`.
    multiplicity : float64 [R]
        The square roots.
    weight : float64 [S, S]
        Of the pixels.
    scale : float64 [C]
        Factors that make channels comparable.
    root, inverse_root : float64 [D, D]
        Sigma^1/2 and its pseudo-inverse.
    odd : float
        Share of the energy of J that is mirror-odd.
    """

    white: Floats
    rows: Floats
    half: Indices
    multiplicity: Floats
    weight: Floats
    scale: Floats
    root: Floats
    inverse_root: Floats
    odd: float


def localize(
    slopes: Floats, covariance: Floats, *, weight: Floats | None = None, config: AtomConfig | None = None
) -> SparseAtoms:
    """Find localized atoms.

    Parameters
    ----------
    slopes : float [C, S, S, D]
        J: change of the canonical maps per unit of w, from a regression.
    covariance : float [D, D]
        Sigma, of w over samples.
    weight : float [S, S] above 0, optional
        How much the change of a pixel counts; its mirror-even part is used. 1 everywhere by default.
    config : AtomConfig, optional

    Raises
    ------
    UsageError
        When the shapes do not fit, a number is not finite, or there are fewer than `count` independent changes.
    """
    config = config or AtomConfig()
    slopes, covariance, weight = _checked(slopes, covariance, weight, config)
    problem = _pose(slopes, covariance, weight, config.groups)
    reading = _find_readings(problem.rows, len(slopes), config)
    steps = np.asarray(np.linalg.pinv(reading).T, np.float64)  # A (A^T A)^-1
    effects = problem.rows @ steps
    penalty = _penalty(effects, problem.half, slopes.shape[:2], config)
    sparse = _lasso(problem.rows, reading, effects, penalty, len(slopes), config)
    sparse = sparse * _amplitudes(problem.rows, reading, sparse)
    return _in_units_of_w(problem, reading, steps, effects, sparse)


def _pose(slopes: Floats, covariance: Floats, weight: Floats, groups: Groups) -> _Problem:
    channels, side, _, width = slopes.shape
    root, inverse_root = _roots(covariance)
    even = (slopes + slopes[:, :, ::-1]) / 2
    odd = 1 - float((even**2).sum() / max((slopes**2).sum(), 1e-300))
    white = (even * weight[..., None]).reshape(-1, width) @ root
    scale = _comparable(white.reshape(channels, -1, width), groups)
    white = (white.reshape(channels, -1) * scale[:, None]).reshape(-1, width)
    half, multiplicity = _right_half(channels, side)
    rows = white[half] * multiplicity[:, None]
    return _Problem(white, rows, half, multiplicity, weight, scale, root, inverse_root, odd)


def _find_readings(rows: Floats, channels: int, config: AtomConfig) -> Floats:
    """Return the readings [D, K] in whitened latents, each of length 1."""
    count = config.count
    squared, v = np.linalg.eigh(rows.T @ rows)
    s = np.sqrt(np.maximum(squared[::-1], 0))
    rank = int((s > _MIN_SINGULAR_VALUE * s[0]).sum()) if s[0] else 0
    if rank < count:
        raise UsageError(f"{count} atoms were asked for, but the maps change in only {rank} ways: ask for fewer")
    s, v = s[:count], v[:, ::-1][:, :count]
    rotation = _rotation((rows @ v) * s ** (config.evenness - 1), channels, config)
    reading = (v * s ** (1 - config.evenness)) @ rotation
    reading /= np.linalg.norm(reading, axis=0)
    return np.asarray(reading, np.float64)


def _in_units_of_w(problem: _Problem, reading: Floats, steps: Floats, effects: Floats, sparse: Floats) -> SparseAtoms:
    """Return the atoms of sparse maps [R, K] of the right half: whole maps in their units, signs, and the order."""
    channels, side, count = len(problem.scale), len(problem.weight), reading.shape[1]
    rows, unit = problem.rows, problem.scale[:, None, None]
    total = float((rows**2).sum())
    energy = (sparse**2).sum(0)
    order = np.argsort(-energy, kind="stable")
    whole = np.zeros((channels * side * side, count))
    whole[problem.half] = sparse / problem.multiplicity[:, None]
    maps = _mirrored(whole, channels, side) / problem.weight
    dense = (problem.white @ steps).T.reshape(count, channels, side, side) / problem.weight
    peak = np.abs(maps).reshape(count, -1).argmax(1)
    sign = np.where(maps.reshape(count, -1)[np.arange(count), peak] < 0, -1.0, 1.0)
    return SparseAtoms(
        reading=(problem.inverse_root @ reading * sign)[:, order],
        steps=(problem.root @ steps * sign)[:, order],
        maps=(maps * sign[:, None, None, None] / unit)[order],
        effects=(dense * sign[:, None, None, None] / unit)[order],
        explained=(energy / total)[order],
        scale=problem.scale,
        reconstruction=1 - float(((rows - sparse @ reading.T) ** 2).sum()) / total,
        dense_reconstruction=1 - float(((rows - effects @ reading.T) ** 2).sum()) / total,
        odd=problem.odd,
    )


def _rotation(loadings: Floats, channels: int, config: AtomConfig) -> Floats:
    """Return the rotation [K, K] that maximizes the sum over pixels of (energy of a group of channels)^2."""
    count = loadings.shape[1]
    single = loadings.astype(np.float32)
    rotation = np.eye(count)
    for _ in range(config.rotation_steps):
        x = single @ rotation.astype(np.float32)
        energy = _group_energy(x, channels, config.groups)
        slope = single.T @ (x.reshape(channels, -1, count) * energy).reshape(x.shape)
        left, _, right = np.linalg.svd(slope.astype(np.float64))
        change = np.abs(left @ right - rotation).max()
        rotation = left @ right
        if change < 1e-4:
            break
    return np.asarray(rotation, np.float64)


def _lasso(rows: Floats, reading: Floats, start: Floats, penalty: Floats, channels: int, config: AtomConfig) -> Floats:
    """Return the S that minimizes |rows - S A^T|^2 / 2 + sum of penalty times the length of each pixel's group.

    Accelerated proximal steps (Beck, Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009).
    """
    gram, correlation = reading.T @ reading, rows @ reading
    step = 1 / float(np.linalg.eigvalsh(gram)[-1])
    now, ahead, pace = start, start, 1.0
    for _ in range(config.lasso_steps):
        moved = ahead - step * (ahead @ gram - correlation)
        length = np.sqrt(_group_energy(moved, channels, config.groups))  # [C, N, K]
        shrink = np.maximum(1 - step * penalty / np.maximum(length, 1e-300), 0)
        new = (moved.reshape(shrink.shape) * shrink).reshape(moved.shape)
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        ahead = new + (pace - 1) / faster * (new - now)
        now, pace = new, faster
    return now


def _amplitudes(rows: Floats, reading: Floats, sparse: Floats) -> Floats:
    """Return factors [K] that compensate, by least squares, what the penalty removed from each map as a whole."""
    gram = (sparse.T @ sparse) * (reading.T @ reading)
    return np.asarray(np.linalg.pinv(gram, hermitian=True) @ ((rows @ reading) * sparse).sum(0), np.float64)


def _penalty(effects: Floats, half: Indices, shape: tuple[int, ...], config: AtomConfig) -> Floats:
    """Return the penalty [1, N, K] of each atom at each pixel of the half: a share of its peak that grows outwards."""
    channels, side = shape
    x, y = (axis.ravel()[half[: len(half) // channels]] for axis in face_grid(side))
    energy = (effects.reshape(channels, -1, effects.shape[1]) ** 2).sum(0)  # [N, K]
    weight = energy**2 / (energy**2).sum(0)
    distance = np.hypot(x[:, None] - x @ weight, y[:, None] - y @ weight) / config.radius
    peak = np.sqrt(_group_energy(effects, channels, config.groups).max((0, 1)))
    return np.asarray(config.sparsity * peak * np.clip(distance, 0.2, 3)[None], np.float64)


def _group_energy(x: NDArray[np.floating], channels: int, groups: Groups) -> NDArray[np.floating]:
    """Return the energy [C, N, K] of each channel's group, of maps [C * N, K]."""
    squares = x.reshape(channels, -1, x.shape[1]) ** 2
    energy = np.empty_like(squares)
    for group in groups:
        energy[list(group)] = squares[list(group)].sum(0)
    return energy


def _comparable(white: Floats, groups: Groups) -> Floats:
    """Return factors [C] that give each group's part of J the energy 1, and 1 for a group that never changes."""
    scale = np.ones(len(white))
    for group in groups:
        energy = float((white[list(group)] ** 2).sum())
        scale[list(group)] = 1 / np.sqrt(energy) if energy > 0 else 1.0
    return scale


def _right_half(channels: int, side: int) -> tuple[Indices, Floats]:
    """Return the rows of J of the right half with the middle column, and the square root of how often each occurs."""
    columns = np.arange(side // 2, side)
    pixels = (np.arange(side)[:, None] * side + columns).ravel()
    count = np.where(columns == side - 1 - columns, 1.0, 2.0)
    rows = (np.arange(channels)[:, None] * side * side + pixels).ravel()
    return rows, np.tile(np.sqrt(count), channels * side)


def _mirrored(whole: Floats, channels: int, side: int) -> Floats:
    """Return maps [K, C, S, S] of rows [C * S * S, K] whose left half is still empty."""
    maps = whole.T.reshape(-1, channels, side, side).copy()
    left = side // 2
    maps[..., :left] = maps[..., ::-1][..., :left]
    return maps


def _roots(covariance: Floats) -> tuple[Floats, Floats]:
    """Return the square root [D, D] of a covariance and its pseudo-inverse."""
    scale, basis = np.linalg.eigh((covariance + covariance.T) / 2)
    varies = scale > len(scale) * np.finfo(np.float64).eps * max(float(scale[-1]), 0.0)
    root = np.sqrt(np.where(varies, scale, 0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=varies)
    return (basis * root) @ basis.T, (basis * inverse) @ basis.T


def _checked(
    slopes: Floats, covariance: Floats, weight: Floats | None, config: AtomConfig
) -> tuple[Floats, Floats, Floats]:
    """Return the arguments in float64, the weight mirror-even; see `localize` for what is raised."""
    slopes, covariance = np.asarray(slopes, np.float64), np.asarray(covariance, np.float64)
    groups, count = config.groups, config.count
    channels = sorted(channel for group in groups for channel in group)
    if slopes.ndim != 4 or slopes.shape[1] != slopes.shape[2] or channels != list(range(len(slopes))):
        raise UsageError(
            f"atoms need slopes (C, S, S, D) with every channel in one group; got {slopes.shape} and groups {groups}"
        )
    if covariance.shape != (slopes.shape[3],) * 2:
        raise UsageError(f"slopes on {slopes.shape[3]} latents need a covariance of that size; got {covariance.shape}")
    if not (np.isfinite(slopes).all() and np.isfinite(covariance).all()):
        raise UsageError("the slopes or the covariance hold NaN or infinite numbers: compute them again")
    if not 1 <= count <= slopes.shape[3]:
        raise UsageError(
            f"{count} atoms of {slopes.shape[3]} latents were asked for: ask for at least 1 and at most that many"
        )
    weight = np.ones(slopes.shape[1:3]) if weight is None else np.asarray(weight, np.float64)
    if weight.shape != slopes.shape[1:3] or not (np.isfinite(weight).all() and (weight > 0).all()):
        raise UsageError(f"the weight of {slopes.shape[1:3]} pixels must be that many numbers above 0: {weight.shape}")
    return slopes, covariance, (weight + weight[:, ::-1]) / 2
