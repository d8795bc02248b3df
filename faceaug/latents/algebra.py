"""The algebra of directions: select, combine, invert, orthogonalize, and edit a latent to values.

Every function returns new directions or new latents and leaves its arguments unchanged. Slopes and offsets are exact;
R² and spread of a new semantic are estimates, as the docstrings say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from faceaug.errors import UsageError
from faceaug.latents.directions import Directions
from faceaug.utils.typing import Floats

_RIDGE = 1e-3  # of `rebuild`, beside unit variance: atoms overlap, and their small differences are mostly noise


def select(directions: Directions, names: Sequence[str]) -> Directions:
    """Return the directions called `names`, in that order.

    Raises
    ------
    UsageError
        When a name is not known or given twice.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"the names {', '.join(names)} contain one twice: give each semantic once")
    rows = directions.index(names)
    return replace(
        directions,
        names=tuple(names),
        kinds=tuple(directions.kinds[k] for k in rows),
        units=tuple(directions.units[k] for k in rows),
        **{name: getattr(directions, name)[rows] for name in ("B", "offset", "spread", "r2")},
    )


def combine(directions: Directions, name: str, weights: Mapping[str, float], *, unit: str = "") -> Directions:
    """Return the directions with one more, `name`, whose value is the weighted sum of others.

    Parameters
    ----------
    weights : mapping
        Name of a semantic to its weight.
    unit : str
        Of the sum; by default that of the terms, if they agree.

    Notes
    -----
    Its kind is that of the terms if they agree, "attribute" otherwise. Its spread and R² assume that the residuals of
    the terms are independent.

    Raises
    ------
    UsageError
        When a name is unknown, the new one is taken, or the weights are empty, zero or not finite.
    """
    rows, factors = directions.index(list(weights)), np.array(list(weights.values()), np.float64)
    if name in directions.names:
        raise UsageError(f"a direction is called {name!r} already: choose another name for the sum")
    if not len(rows) or not np.isfinite(factors).all() or not factors.any():
        raise UsageError(f"the weights {dict(weights)} make no direction: give finite ones, not all of them 0")
    kinds, units = {directions.kinds[k] for k in rows}, {directions.units[k] for k in rows}
    b = factors @ directions.B[rows]
    explained = float(b @ directions.covariance @ b)
    unexplained = float(factors**2 @ (directions.spread[rows] ** 2 * (1 - directions.r2[rows])))
    variance = explained + max(unexplained, 0.0)
    return replace(
        directions,
        names=(*directions.names, name),
        kinds=(*directions.kinds, kinds.pop() if len(kinds) == 1 else "attribute"),
        units=(*directions.units, unit or (units.pop() if len(units) == 1 else "mixed")),
        B=np.concatenate([directions.B, b[None]]),
        offset=np.append(directions.offset, factors @ directions.offset[rows]),
        spread=np.append(directions.spread, np.sqrt(variance)),
        r2=np.append(directions.r2, explained / variance if variance > 0 else 0.0),
    )


def invert(directions: Directions, names: Sequence[str]) -> Directions:
    """Return the directions with the sign of `names` inverted: the largest value becomes the smallest."""
    sign = np.ones(len(directions.names))
    sign[directions.index(names)] = -1
    return replace(directions, B=directions.B * sign[:, None], offset=directions.offset * sign)


def orthogonalize(directions: Directions, name: str, against: Sequence[str]) -> Directions:
    """Return the directions with `name` made uncorrelated, over samples, with each semantic of `against`.

    The part of its slopes that theirs predict is subtracted, b - C M^+ B with M = B Sigma B^T and C = b Sigma B^T; its
    value at the mean stays. Spread and R² assume that its residual is independent of them.

    Raises
    ------
    UsageError
        When a name is unknown, `name` is among the others, or nothing remains of it.
    """
    if name in against:
        raise UsageError(f"{name!r} cannot be orthogonal to itself: remove it from the others")
    (row,), others = directions.index([name]), directions.index(against)
    b, rows, covariance = directions.B[row], directions.B[others], directions.covariance
    length = np.sqrt(np.maximum(np.einsum("kd,de,ke->k", rows, covariance, rows), 1e-300))
    rows = rows / length[:, None]
    rest = (
        b - (b @ covariance @ rows.T) @ np.linalg.pinv(rows @ covariance @ rows.T, rcond=1e-10, hermitian=True) @ rows
    )
    before, after = float(b @ covariance @ b), float(rest @ covariance @ rest)
    if after <= 1e-9 * before or before <= 0:
        raise UsageError(
            f"nothing remains of {name!r} beside {', '.join(against)}, which are the same along w: orthogonalize "
            "against fewer"
        )
    unexplained = max(float(directions.spread[row] ** 2 * (1 - directions.r2[row])), 0.0)
    slopes, spread, r2 = directions.B.copy(), directions.spread.copy(), directions.r2.copy()
    slopes[row], spread[row] = rest, np.sqrt(after + unexplained)
    r2[row] = after / (after + unexplained)
    return replace(directions, B=slopes, spread=spread, r2=r2)


def append_directions(directions: Directions, others: Directions) -> Directions:
    """Return directions followed by others of the same generator; a semantic of both is taken from the first.

    Raises
    ------
    GeneratorError
        When they are of different generators.
    """
    others.check_generator(directions.generator)
    new = select(others, [name for name in others.names if name not in directions.names])
    return replace(
        directions,
        names=(*directions.names, *new.names),
        kinds=(*directions.kinds, *new.kinds),
        units=(*directions.units, *new.units),
        B=np.concatenate([directions.B, new.B]),
        offset=np.concatenate([directions.offset, new.offset]),
        spread=np.concatenate([directions.spread, new.spread]),
        r2=np.concatenate([directions.r2, new.r2]),
    )


def rebuild(directions: Directions, names: Sequence[str], over: Sequence[str], beside: Sequence[str]) -> Directions:
    """Return the directions with `names` expressed in `over`, without the part that `beside` explains.

    The slopes of each are regressed on those of both over samples, b ~ (b Sigma X^T) (X Sigma X^T + ridge)^-1 X, and
    only the part of `over` is kept (docs/method.md, section 6): for example an attribute in the atoms of a face,
    without the light, view and scene that come with it. R² becomes the share of the semantic's variance that remains.
    `balance` does not use such directions; benchmarks/skin.py measures their effect.

    Raises
    ------
    UsageError
        When a name is unknown or on both sides, or nothing remains of a semantic.
    """
    if both := sorted({*names, *over} & set(beside) or set(names) & set(over)):
        raise UsageError(f"{both[0]!r} is on both sides: express a direction in others than itself")
    rebuilt, others = directions.index(names), directions.index([*over, *beside])
    covariance, x = directions.covariance, directions.B[others]
    length = np.sqrt(np.maximum(np.einsum("kd,de,ke->k", x, covariance, x), 1e-300))
    x = x / length[:, None]
    inner = x @ covariance @ x.T + _RIDGE * np.eye(len(x))
    weights = np.linalg.solve(inner, x @ covariance @ directions.B[rebuilt].T).T  # [names, over + beside]
    slopes, r2 = directions.B.copy(), directions.r2.copy()
    slopes[rebuilt] = weights[:, : len(over)] @ x[: len(over)]
    explained = np.einsum("kd,de,ke->k", slopes[rebuilt], covariance, slopes[rebuilt])
    for name, left in zip(names, explained, strict=True):
        if not left > 0:
            raise UsageError(f"nothing remains of {name!r} in {len(over)} others: give other directions")
    r2[rebuilt] = explained / np.maximum(directions.spread[rebuilt] ** 2, 1e-300)
    return replace(directions, B=slopes, r2=np.minimum(r2, 1.0))


def covariance_given(directions: Directions, names: Sequence[str], slack: float) -> Floats:
    """Return the covariance [D, D] of w given that semantics stay, each within `slack` of its spread along w.

    Sigma - Sigma X^T (X Sigma X^T + slack^2)^-1 X Sigma, with X scaled to unit variance: the likeliest edits in this
    covariance change them little, and more only where the goal cannot be reached otherwise.
    """
    x, covariance = directions.B[directions.index(names)], directions.covariance
    length = np.sqrt(np.maximum(np.einsum("kd,de,ke->k", x, covariance, x), 1e-300))
    x = x / length[:, None]
    spanned = covariance @ x.T
    rest = covariance - spanned @ np.linalg.solve(x @ spanned + slack**2 * np.eye(len(x)), spanned.T)
    return np.asarray((rest + rest.T) / 2, np.float64)


def edit(
    directions: Directions,
    w: Floats | npt.NDArray[np.float32],
    values: Mapping[str, npt.ArrayLike],
    keep: Sequence[str] = (),
) -> Floats:
    """Return the likeliest latents whose linear estimates are `values`, reached in a straight line.

    Exact where a semantic is linear; `faceaug.synthesis.editing.closed_loop` measures and corrects where it is not.

    Parameters
    ----------
    w : float [N, D]
    values : mapping
        Name of a semantic to the value to reach: a finite number, or [N] of them.
    keep : sequence of str
        Semantics whose estimates stay; all others follow by their covariance.

    Returns
    -------
    float64 [N, D]

    Raises
    ------
    UsageError
        When a name is unknown or both moved and kept, or latents or values do not fit or are not finite.
    """
    w = np.array(w, np.float64)
    if w.ndim != 2 or w.shape[1] != len(directions.w_mean):
        raise UsageError(f"latents of the shape {w.shape} cannot be edited: expected (N, {len(directions.w_mean)})")
    if not np.isfinite(w).all():
        raise UsageError("latents that hold NaN or infinite numbers cannot be edited: sample them again")
    if both := sorted(set(values) & set(keep)):
        raise UsageError(f"{both[0]!r} is both to be moved and to be kept: decide for one")
    names = [*values, *keep]
    rows = directions.index(names)
    delta = np.zeros((len(w), len(names)))
    now = directions.predict(np.asarray(w, np.float64))[:, rows]
    for k, (name, goal) in enumerate(values.items()):
        delta[:, k] = _goals(name, goal, len(w)) - now[:, k]
    return np.asarray(w + delta @ directions.steps(names).T, np.float64)


def _goals(name: str, values: npt.ArrayLike, count: int) -> Floats:
    try:
        goals = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"values for {name!r} are no numbers: give one, or one for each of {count} latents") from error
    if goals.shape not in ((), (count,)):
        raise UsageError(
            f"values of the shape {goals.shape} for {name!r} do not fit {count} latents: give one number, or ({count},)"
        )
    if not np.isfinite(goals).all():
        raise UsageError(f"{name!r} cannot become NaN or infinite: give finite values")
    return goals
