"""The algebra of directions: select, combine, invert, orthogonalise, and edit a latent to values.

Every function returns new directions or new latents and leaves what it was given alone. What follows from a line is
exact; R² of a new semantic is an estimate, as it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from faceaug.errors import UsageError
from faceaug.latents.directions import Directions
from faceaug.utils.typing import Floats

RIDGE = 1e-3
"""Of `rebuild`, beside unit variance: atoms overlap, and a line shall not be made of their small differences."""


def select(directions: Directions, names: Sequence[str]) -> Directions:
    """Return the directions called `names`, in that order.

    Raises
    ------
    UsageError
        When a name is not known or given twice.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"the names {', '.join(names)} hold one twice: give each semantic once")
    rows = directions.index(names)
    return replace(
        directions,
        names=tuple(names),
        kinds=tuple(directions.kinds[k] for k in rows),
        units=tuple(directions.units[k] for k in rows),
        **{part: getattr(directions, part)[rows] for part in ("B", "offset", "spread", "r2")},
    )


def combine(directions: Directions, name: str, weights: Mapping[str, float], *, unit: str = "") -> Directions:
    """Return the directions with one more, `name`, whose value is the weighted sum of others.

    Parameters
    ----------
    weights : mapping
        Name of a semantic to its weight.
    unit : str
        Of the sum; by default that of the parts, if they agree.

    Notes
    -----
    Its kind is that of the parts if they agree, "attribute" otherwise. Its spread and R² take what the lines leave
    unexplained of the parts to be independent.

    Raises
    ------
    UsageError
        When a name is not known, the new one is taken, or the weights are none, zero or not finite.
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
    """Return the directions with the sign of `names` turned round: what was most is least."""
    sign = np.ones(len(directions.names))
    sign[directions.index(names)] = -1
    return replace(directions, B=directions.B * sign[:, None], offset=directions.offset * sign)


def orthogonalise(directions: Directions, name: str, against: Sequence[str]) -> Directions:
    """Return the directions with `name` freed of what is read in `against`: uncorrelated with each of them over draws.

    From its line is taken the part that theirs predict, b - C M^+ B with M = B Sigma B^T and C = b Sigma B^T; its value
    at the mean stays. Spread and R² take what lines leave unexplained to be independent of them.

    Raises
    ------
    UsageError
        When a name is not known, `name` is among the others, or nothing is left of it.
    """
    if name in against:
        raise UsageError(f"{name!r} cannot be freed of itself: take it out of the others")
    (row,), others = directions.index([name]), directions.index(against)
    b, rows, covariance = directions.B[row], directions.B[others], directions.covariance
    length = np.sqrt(np.maximum(np.einsum("kd,de,ke->k", rows, covariance, rows), 1e-300))
    rows = rows / length[:, None]
    rest = (
        b - (b @ covariance @ rows.T) @ np.linalg.pinv(rows @ covariance @ rows.T, rcond=1e-10, hermitian=True) @ rows
    )
    before, after = float(b @ covariance @ b), float(rest @ covariance @ rest)
    if after <= 1e-9 * before or before <= 0:
        raise UsageError(f"nothing of {name!r} is left beside {', '.join(against)}: they say the same along w")
    unexplained = max(float(directions.spread[row] ** 2 * (1 - directions.r2[row])), 0.0)
    slopes, spread, r2 = directions.B.copy(), directions.spread.copy(), directions.r2.copy()
    slopes[row], spread[row] = rest, np.sqrt(after + unexplained)
    r2[row] = after / (after + unexplained)
    return replace(directions, B=slopes, spread=spread, r2=r2)


def joined(directions: Directions, others: Directions) -> Directions:
    """Return directions followed by others of the same generator; where both name a semantic, the first is kept.

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
    """Return the directions with `names` made anew of `over`: what `beside` accounts for is taken off.

    The line of each is regressed on the lines of both over draws, b ~ (b Sigma X^T) (X Sigma X^T + ridge)^-1 X, and of
    that only the part of `over` is kept (method.md, section 6): an attribute's line over the atoms of a face, freed of
    light, view and the scene that come with it. R² becomes the share of the semantic's variance that is left. A run of
    `balance` does not steer by such lines: benchmarks/skin.py tells what they buy.

    Raises
    ------
    UsageError
        When a name is not known or is on both sides, or nothing is left of a semantic.
    """
    if both := sorted({*names, *over} & set(beside) or set(names) & set(over)):
        raise UsageError(f"{both[0]!r} stands on both sides: a direction is made of others than itself")
    made, apart = directions.index(names), directions.index([*over, *beside])
    covariance, x = directions.covariance, directions.B[apart]
    length = np.sqrt(np.maximum(np.einsum("kd,de,ke->k", x, covariance, x), 1e-300))
    x = x / length[:, None]
    inner = x @ covariance @ x.T + RIDGE * np.eye(len(x))
    weights = np.linalg.solve(inner, x @ covariance @ directions.B[made].T).T  # [names, over + beside]
    slopes, r2 = directions.B.copy(), directions.r2.copy()
    slopes[made] = weights[:, : len(over)] @ x[: len(over)]
    explained = np.einsum("kd,de,ke->k", slopes[made], covariance, slopes[made])
    for name, left in zip(names, explained, strict=True):
        if not left > 0:
            raise UsageError(f"nothing of {name!r} is left over {len(over)} others: find other directions")
    r2[made] = explained / np.maximum(directions.spread[made] ** 2, 1e-300)
    return replace(directions, B=slopes, r2=np.minimum(r2, 1.0))


def covariance_given(directions: Directions, names: Sequence[str], slack: float) -> Floats:
    """Return the covariance [D, D] of w where semantics stay, each to `slack` of its spread along w.

    Sigma - Sigma X^T (X Sigma X^T + slack^2)^-1 X Sigma: the likeliest edit in this covariance is one that leaves them
    nearly alone, and gives way where the asked cannot be had otherwise.
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
    """Return latents moved in a straight line until their linear readings are `values`, the likeliest such latents.

    Exact where a semantic is linear; `faceaug.synthesis.editing.closed_loop` closes the loop where it is not.

    Parameters
    ----------
    w : float [N, D]
    values : mapping
        Name of a semantic to the value to reach: a finite number, or [N] of them.
    keep : sequence of str
        Semantics whose readings stay; what is in neither follows by its covariance.

    Returns
    -------
    float64 [N, D]

    Raises
    ------
    UsageError
        When a name is not known or both asked and kept, or latents or values do not fit or are not finite.
    """
    w = np.array(w, np.float64)
    if w.ndim != 2 or w.shape[1] != len(directions.w_mean):
        raise UsageError(f"latents of the shape {w.shape} cannot be edited: expected (N, {len(directions.w_mean)})")
    if not np.isfinite(w).all():
        raise UsageError("latents that hold NaN or infinite numbers cannot be edited: draw them again")
    if both := sorted(set(values) & set(keep)):
        raise UsageError(f"{both[0]!r} is both to be moved and to be kept: decide for one")
    names = [*values, *keep]
    rows = directions.index(names)
    delta = np.zeros((len(w), len(names)))
    now = directions.predict(np.asarray(w, np.float64))[:, rows]
    for k, (name, aim) in enumerate(values.items()):
        delta[:, k] = _aims(name, aim, len(w)) - now[:, k]
    return np.asarray(w + delta @ directions.steps(names).T, np.float64)


def _aims(name: str, aim: npt.ArrayLike, count: int) -> Floats:
    try:
        found = np.asarray(aim, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"values for {name!r} are no numbers: give one, or one for each of {count} latents") from error
    if found.shape not in ((), (count,)):
        raise UsageError(
            f"values of the shape {found.shape} for {name!r} do not fit {count} latents: give one number, or ({count},)"
        )
    if not np.isfinite(found).all():
        raise UsageError(f"{name!r} cannot become NaN or infinite: give finite values")
    return found
