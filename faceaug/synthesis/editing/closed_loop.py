"""Guided extrapolation: edit latents until their images measure what is requested (docs/method.md, section 5).

A straight step along the directions is exact where semantics are linear. Where they are not, the loop is closed:
synthesize, measure, and correct by the remaining error, a few times. The nearest try is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceaug.generators.base import Generator
from faceaug.generators.sampling import synthesize
from faceaug.latents.directions import Directions
from faceaug.utils.typing import Floats

Measure = Callable[[Tensor], Floats]
"""Images [N, 3, R, R] in [-1, 1] -> semantics [N, S] in the order of the directions' names."""

LONGEST_STEP = 6.0  # Mahalanobis length; latents of 100 coordinates lie at about 10 from the mean
_FLAT = 1e-9  # of the length of a slope; what is left of it is rounding, where images no longer change along a step
GAIN = 0.8  # of the remaining error after the first, straight step; full steps overshoot where semantics are curved


@dataclass(frozen=True)
class EditObjective:
    """The objective of editing N latents: K semantics to reach, and others to keep.

    Attributes
    ----------
    names : tuple of str, length K
        Semantics to move.
    values : float64 [N, K]
        Values to reach.
    at_least : bool [K]
        Whether values above the goal also meet it (the log-odds of a class) or are corrected (an angle).
    tolerance : float64 [K]
        How near to its value a semantic must come.
    keep : tuple of str, length L
        Semantics that stay at what the unedited image measures.
    keep_tolerance : float64 [L]
        How far they may drift.
    within : tuple of str, length M
        Semantics that are free between bounds and are brought back from outside of them.
    bounds : float64 [M, 2]
        Least and most of each; a fiftieth of the difference between them is the tolerance.
    """

    names: tuple[str, ...]
    values: Floats
    at_least: NDArray[np.bool_]
    tolerance: Floats
    keep: tuple[str, ...]
    keep_tolerance: Floats
    within: tuple[str, ...] = ()
    bounds: Floats = field(default_factory=lambda: np.empty((0, 2)))

    @property
    def axes(self) -> tuple[str, ...]:
        """All semantics that take part, in the order of the columns of `missing`."""
        return (*self.names, *self.keep, *self.within)

    @property
    def tolerances(self) -> Floats:
        """Tolerance of each axis."""
        within = np.maximum((self.bounds[:, 1] - self.bounds[:, 0]) / 50, 1e-9)
        return np.concatenate([self.tolerance, self.keep_tolerance, within])

    def missing(self, measured: Floats, kept_at: Floats, rows: NDArray[np.int64]) -> Floats:
        """Return what is missing [n, K + L + M] where latents `rows` measure [n, K + L + M]; `kept_at` is [N, L]."""
        k, m = len(self.names), len(self.within)
        goals = self.values[rows] - measured[:, :k]
        goals = np.where(self.at_least, np.maximum(goals, 0), goals)
        free = measured[:, measured.shape[1] - m :]
        back = np.clip(free, self.bounds[:, 0], self.bounds[:, 1]) - free
        return np.concatenate([goals, kept_at[rows] - measured[:, k : measured.shape[1] - m], back], 1)


@dataclass(frozen=True)
class EditResult:
    """Latents after an edit, and their images.

    Attributes
    ----------
    w, origin_w : float32 [N, D]
    images : Tensor [N, 3, R, R]
    origin_images : Tensor [N, 3, R, R] or None
        None where origins were read before and not synthesized again.
    measured, origin_measured : float64 [N, S]
        In the order of the directions' names.
    error : float64 [N]
        Largest remaining error in units of its tolerance; at most 1 where the objective is met.
    steps : int64 [N]
        Edits until the kept try.
    """

    w: NDArray[np.float32]
    origin_w: NDArray[np.float32]
    images: Tensor
    origin_images: Tensor | None
    measured: Floats
    origin_measured: Floats
    error: Floats
    steps: NDArray[np.int64]


@dataclass(frozen=True)
class EditOptions:
    """How latents are edited.

    Attributes
    ----------
    covariance : float64 [D, D], optional
        Of w, in whose metric the edit is the smallest; that of the directions when None.
        `algebra.covariance_given` gives one that spares atoms.
    corrections : int
        Corrections after the first, straight step.
    reach : float
        Largest Mahalanobis distance of w from the mean. Beyond it, what no axis reads is pulled towards the mean.
    truncation_psi : float
        Origins that were read before are pulled towards the mean by it, on the way of the first step.
    batch_size : int
        Images synthesized at once.
    """

    covariance: Floats | None = None
    corrections: int = 5
    reach: float = np.inf
    truncation_psi: float = 1.0
    batch_size: int = 64


def extrapolate(
    generator: Generator,
    directions: Directions,
    measure: Measure,
    w: NDArray[np.float32],
    objective: EditObjective,
    options: EditOptions | None = None,
    read: Floats | None = None,
) -> EditResult:
    """Edit latents so that their images measure what is requested.

    Parameters
    ----------
    generator, directions, measure
        Directions must be the generator's; `measure` reads images in the order of `directions.names`.
    w : float32 [N, D]
        Latents to begin with.
    objective : EditObjective
        What to reach and what to keep.
    options : EditOptions, optional
    read : float64 [N, S], optional
        What the images of `w` measure, where that is known; they are not synthesized then, and each latent makes the
        first step.

    Returns
    -------
    EditResult

    Raises
    ------
    GeneratorError
        When the directions were made for another generator.
    """
    directions.check_generator(generator.sha256)
    loop = _Loop(generator, directions, measure, objective, options or EditOptions())
    origin, columns, tolerance = np.asarray(w, np.float64), loop.columns, objective.tolerances
    slopes = np.repeat(directions.B[columns][None], len(w), 0)  # [N, K + L + M, D]; each latent learns its own
    images, first = loop.look(origin) if read is None else (None, read)
    kept_at = first[:, directions.index(objective.keep)]
    active, current, measured, origin_images, step = np.arange(len(w)), origin, first, images, 0
    if images is None:
        centred = (loop.options.truncation_psi - 1) * (origin - directions.w_mean)
        missing = objective.missing(first[:, columns] + centred @ directions.B[columns].T, kept_at, active)
        current = loop.moved(origin + centred, slopes, missing, 1.0)
        (images, measured), step = loop.look(current), 1
        slopes = loop.learnt(slopes, current - origin, (measured - first)[:, columns])

    best_w, best_images, best_measured, current = current.copy(), images.clone(), measured.copy(), current.copy()
    error, steps = np.full(len(w), np.inf), np.full(len(w), step, np.int64)
    for number in range(step, loop.options.corrections + 2):
        missing = objective.missing(measured[:, columns], kept_at, active)
        now = np.abs(missing / tolerance).max(1, initial=0)
        better = now < error[active]
        index = active[better]
        error[index], steps[index], best_w[index] = now[better], number, current[index]
        best_measured[index], best_images[torch.from_numpy(index)] = measured[better], images[torch.from_numpy(better)]
        going = now > 1
        active, missing = active[going], missing[going]
        if not len(active) or number == loop.options.corrections + 1:
            break
        moved = loop.moved(current[active], slopes[active], missing, GAIN if number else 1.0)
        before = measured[going][:, columns]
        images, measured = loop.look(moved)
        slopes[active] = loop.learnt(slopes[active], moved - current[active], measured[:, columns] - before)
        current[active] = moved
    return EditResult(best_w.astype(np.float32), w, best_images, origin_images, best_measured, first, error, steps)


class _Loop:
    """One pass of the loop: look at the images of latents, move these, and learn from what that changed."""

    def __init__(
        self,
        generator: Generator,
        directions: Directions,
        measure: Measure,
        objective: EditObjective,
        options: EditOptions,
    ) -> None:
        self._generator, self._directions, self._measure, self.options = generator, directions, measure, options
        self.columns = directions.index(objective.axes)
        self._likely = directions.covariance if options.covariance is None else options.covariance
        # The semantics after these move freely while they are within their bounds.
        self._bound = np.arange(len(self.columns)) < len(objective.names) + len(objective.keep)

    def look(self, w: Floats) -> tuple[Tensor, Floats]:
        """Return the images of latents and what they measure."""
        images = synthesize(self._generator, w, self.options.batch_size)
        return images, self._measure(images)

    def moved(self, w: Floats, slopes: Floats, missing: Floats, gain: float) -> Floats:
        """Return latents after a step that makes up for what is missing."""
        rows, whiten = slopes * (self._bound | (missing != 0))[:, :, None], self._directions.precision
        moved = w + _shortened(gain * _least_edit(rows, missing, self._likely), whiten)
        return _within_reach(moved, rows, self._directions, whiten, self.options.reach)

    def learnt(self, slopes: Floats, step: Floats, change: Floats) -> Floats:
        """Return slopes corrected by what steps changed; one of which nothing is left is zero."""
        updated = _updated(slopes, step, change, self._directions.precision)
        length = np.linalg.norm(updated, axis=2)
        least = _FLAT * np.linalg.norm(self._directions.B[self.columns], axis=1)
        return np.where((length > least)[:, :, None], updated, 0.0)


def distance(w: Floats, w_mean: Floats, inverse: Floats) -> Floats:
    """Return the Mahalanobis distance [N] of latents [N, D]; `inverse` is the (pseudo-)inverse of the covariance."""
    centred = w - w_mean
    return np.asarray(np.sqrt(np.maximum(np.einsum("nd,de,ne->n", centred, inverse, centred), 0)), np.float64)


def _spanned(slopes: Floats, covariance: Floats) -> tuple[Floats, Floats, Floats]:
    """Return B Sigma [N, K, D], (B Sigma B^T)^-1 [N, K, K] and the scale [N, K] of the rows of slopes B [N, K, D].

    Rows are scaled to unit spread before the inverse, so that units do not matter. A row of zeros stays one, and has no
    part in the inverse: what does not change along w can be neither moved nor kept.
    """
    spread = np.sqrt(np.maximum(np.einsum("nkd,de,nke->nk", slopes, covariance, slopes), 0))
    scale = np.asarray(np.where(spread > 0, spread, 1.0), np.float64)
    rows = np.where((spread > 0)[:, :, None], slopes / scale[:, :, None], 0.0)
    spanned = rows @ covariance
    inverse = np.linalg.pinv(spanned @ rows.transpose(0, 2, 1), rcond=1e-10, hermitian=True)
    return spanned, np.asarray(inverse, np.float64), scale


def _least_edit(slopes: Floats, missing: Floats, covariance: Floats) -> Floats:
    """Return Sigma B^T (B Sigma B^T)^-1 delta [N, D] for each latent's slopes [N, K, D] and missing [N, K]."""
    spanned, inverse, scale = _spanned(slopes, covariance)
    return np.asarray(np.einsum("nkd,nkl,nl->nd", spanned, inverse, missing / scale), np.float64)


def _updated(slopes: Floats, step: Floats, change: Floats, inverse: Floats) -> Floats:
    """Return slopes corrected by what a step really changed (Broyden's update, in the metric of the latents).

    Only the slope along the step is known better, so only that changes: a slope fitted over all latents is not the
    slope at this one where semantics are curved.
    """
    along = step @ inverse  # [N, D]
    length = np.einsum("nd,nd->n", along, step)
    residual = change - np.einsum("nkd,nd->nk", slopes, step)
    update = np.einsum("nk,nd->nkd", residual, along / np.maximum(length, 1e-12)[:, None])
    return np.asarray(slopes + np.where(length > 1e-12, 1.0, 0.0)[:, None, None] * update, np.float64)


def _shortened(edit: Floats, inverse: Floats) -> Floats:
    """Return edits cut to the longest step, since a slope that is too flat would give a step that is far too long."""
    length = distance(edit, np.zeros(edit.shape[1]), inverse)
    return np.asarray(edit * np.minimum(1, LONGEST_STEP / np.maximum(length, 1e-12))[:, None], np.float64)


def _within_reach(moved: Floats, slopes: Floats, directions: Directions, inverse: Floats, reach: float) -> Floats:
    """Bring latents beyond the reach back to it; what no axis of the edit reads is given up first.

    The part that the axes read is Sigma B^T (B Sigma B^T)^-1 B (w - mean); the rest is orthogonal to it in the metric
    of the latents, and is pulled towards the mean. Where the first part alone is too long, it is cut as well.
    """
    if not np.isfinite(reach):
        return moved
    centred = moved - directions.w_mean
    far = np.flatnonzero(distance(moved, directions.w_mean, inverse) > reach)
    if not len(far):
        return moved
    read = _least_edit(slopes[far], np.einsum("nkd,nd->nk", slopes[far], centred[far]), directions.covariance)
    zero = np.zeros(moved.shape[1])
    length, rest = distance(read, zero, inverse), distance(centred[far] - read, zero, inverse)
    left = np.sqrt(np.maximum(reach**2 - length**2, 0)) / np.maximum(rest, 1e-12)
    shorter = np.minimum(1, reach / np.maximum(length, 1e-12))[:, None]
    result = moved.copy()
    result[far] = directions.w_mean + shorter * read + left[:, None] * (centred[far] - read)
    return result
