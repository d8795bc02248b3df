"""Several marginal distributions at once, with the fewest samples: an integer programme (docs/method.md, Planning).

Intersections of many attributes are many cells, most of them rare. Where it suffices that each attribute is even by
itself, far fewer samples do: one sample counts for a level of every attribute.

>>> marginals = Marginals.parse(["gender", "ethnicity,age:5", "glasses=yes:0.3,no:0.7"])
>>> [str(spec) for spec in marginals.by]
['gender', 'ethnicity', 'age:5', 'glasses']
>>> marginals.strategy
'marginals:gender;ethnicity,age;glasses=yes:0.3,no:0.7'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faceaug.analysis.axes import Axis, AxisSpec, cell_count, cell_levels, describe, parse_by
from faceaug.analysis.cell_values import as_shares, read_values
from faceaug.errors import PlanError, UsageError
from faceaug.planning.budget import Budget
from faceaug.planning.integer_programme import SLACK, IntegerProgramme, TargetLevels
from faceaug.planning.reference import TABLE_SUFFIXES, read_reference
from faceaug.utils.documents import DOCUMENTS
from faceaug.utils.text import nearest, shown
from faceaug.utils.text_table import percent

SHARES_SUFFIXES = (*DOCUMENTS, *TABLE_SUFFIXES)
"""Suffixes by which the shares of a marginal are known to be a file."""
_EXAMPLE = "--marginal gender, --marginal gender,age:5 or --marginal gender=female:0.6,male:0.4"


@dataclass(frozen=True)
class MarginalTarget:
    """The distribution that one attribute, or the combinations of several, shall have.

    Attributes
    ----------
    by : tuple of AxisSpec
        The attributes and their bins.
    shares : str
        "" for equal shares; else ``LEVEL:SHARE,LEVEL:SHARE`` (of a single attribute), or a file of shares or counts as
        of the strategy ``match``.
    """

    by: tuple[AxisSpec, ...]
    shares: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes."""
        return tuple(spec.column for spec in self.by)

    @property
    def is_file(self) -> bool:
        """Whether the shares are in a file."""
        return Path(self.shares).suffix.lower() in SHARES_SUFFIXES

    def __str__(self) -> str:
        shares = Path(self.shares).name if self.is_file else self.shares
        return ",".join(self.names) + (f"={shares}" if shares else "")


@dataclass(frozen=True)
class Marginals:
    """A sampling strategy: every marginal distribution meets its target, with the fewest samples.

    A target is met when each of its levels has its share of all faces, rounded up or down to a whole face.

    Attributes
    ----------
    targets : tuple of MarginalTarget
    """

    targets: tuple[MarginalTarget, ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Marginals:
        """Return the targets that texts name: "gender", "gender,age:5", "gender=female:0.6,male:0.4", "age:5=FILE".

        Raises
        ------
        UsageError
            If there is none, one cannot be parsed or occurs twice, or a column has different bins in two of them.
        """
        targets = []
        for text in texts:
            named, equals, shares = text.partition("=")
            if not named.strip() or bool(equals) != bool(shares.strip()):
                raise UsageError(f"the marginal {shown(text)} cannot be parsed; write {_EXAMPLE}")
            targets.append(MarginalTarget(parse_by(named), shares.strip()))
        if not targets:
            raise UsageError(f"no marginal is named; write {_EXAMPLE}")
        names = [frozenset(target.names) for target in targets]
        if twice := next((target for target, own in zip(targets, names, strict=True) if names.count(own) > 1), None):
            raise UsageError(f"the marginal {shown(','.join(twice.names))} is named twice; name it once")
        marginals = cls(tuple(targets))
        columns = [spec.column for spec in marginals.by]
        if different := next((name for name in columns if columns.count(name) > 1), None):
            raise UsageError(
                f"the column {shown(different)} has different bins in two marginals; give it the same ones"
            )
        return marginals

    @property
    def by(self) -> tuple[AxisSpec, ...]:
        """The attributes of all targets, for `faceaug.analyze`; their combinations are the cells of the plan."""
        return tuple(dict.fromkeys(spec for target in self.targets for spec in target.by))

    @property
    def strategy(self) -> str:
        """The strategy as a plan names it."""
        return "marginals:" + ";".join(map(str, self.targets))


def marginal_totals(axes: Sequence[Axis], counts: Sequence[int], marginals: Marginals, budget: Budget) -> list[int]:
    """Return the total of each cell, real and synthetic faces, with which all targets are met by the fewest samples.

    Parameters
    ----------
    axes : sequence of Axis
    counts : sequence of int
        Real faces of each cell, row-major over the axes.
    marginals : Marginals
    budget : Budget
        Its limits are those of the programme; nothing is cut off afterwards.

    Raises
    ------
    UsageError
        If a target names no axis of the plan.
    PlanError
        If shares do not fit, or the targets cannot be met together within the budget; the nearest shares are named.
    """
    real = np.array(counts, np.int64)
    programme = IntegerProgramme(tuple(_levels(target, axes, real) for target in marginals.targets), real)
    most = np.full(len(real), math.inf if budget.max_per_cell is None else budget.max_per_cell)
    bound = budget.total_bound(int(real.sum()))
    samples = programme.fewest(most, bound)
    if samples is None:
        raise PlanError(_not_together(programme, marginals, budget, bound))
    return [int(total) for total in real + samples]


def _levels(target: MarginalTarget, axes: Sequence[Axis], counts: npt.NDArray[np.int64]) -> TargetLevels:
    names = [axis.name for axis in axes]
    for name in target.names:
        if name not in names:
            raise UsageError(f"the marginal {shown(name)} is no attribute of the analysis; {nearest(name, names)}")
    positions = [names.index(name) for name in target.names]
    own = tuple(axes[position] for position in positions)
    grid = np.indices([len(axis.levels) for axis in axes]).reshape(len(axes), -1)
    codes = np.ravel_multi_index([grid[position] for position in positions], [len(axis.levels) for axis in own])
    members = np.arange(cell_count(own))[:, None] == codes
    levels = TargetLevels(own, members, members @ counts, _shares(target, own))
    for level, (real, share) in enumerate(zip(levels.real.tolist(), levels.shares, strict=True)):
        if real and not share:
            raise PlanError(
                f"the marginal {target} gives no share to {describe(cell_levels(own, level))}, which has {real:,} real "
                "faces, and faceaug only adds faces; give it a share, or leave these faces out of the data set"
            )
    return levels


def _shares(target: MarginalTarget, axes: tuple[Axis, ...]) -> tuple[Fraction, ...]:
    """Return the share of each level of a target."""
    groups = cell_count(axes)
    if not target.shares:
        return (Fraction(1, groups),) * groups
    source = f"the marginal {target}"
    if target.is_file:
        values, _ = read_reference(Path(target.shares), axes, source)
    else:
        values = read_values(_written_shares(target), axes, field="share", source=source)
    shares = as_shares(values, source)
    return tuple(shares.get(level, Fraction(0)) for level in range(groups))


def _written_shares(target: MarginalTarget) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in target.shares.split(","):
        level, _, number = (part.strip() for part in text.rpartition(":"))
        try:
            if len(target.names) > 1 or not level or level in shares:
                raise ValueError
            shares[level] = float(number) if not number.isdigit() else int(number)
        except ValueError as error:
            raise UsageError(
                f"the shares of the marginal {shown(str(target))} cannot be parsed; write each level of one attribute "
                "once, as gender=female:0.6,male:0.4, or name a file of shares (.json, .yaml, .csv)"
            ) from error
    return shares


def _not_together(programme: IntegerProgramme, marginals: Marginals, budget: Budget, bound: int | None) -> str:
    """Return the sentence that says which targets cannot be met together, and what comes nearest."""
    free = np.full(len(programme.counts), math.inf)
    unlimited = programme.fewest(free, None)
    capped = free if budget.max_per_cell is None or unlimited is None else np.full(len(free), budget.max_per_cell)
    reached = programme.nearest(capped, math.inf if bound is None or unlimited is None else bound)
    missed = []
    for one, found in zip(programme.levels, reached, strict=True):
        differences = found - np.array(list(map(float, one.shares)))
        worst = int(np.abs(differences).argmax())
        if abs(differences[worst]) > SLACK:
            wanted, nearby = percent(float(one.shares[worst])), percent(float(found[worst]))
            missed.append(f"{describe(cell_levels(one.axes, worst))} at {nearby} instead of {wanted}")
    *others, last = (",".join(target.names) for target in marginals.targets)
    names = f"{', '.join(others)} and {last}" if others else last
    plural = "marginals" if len(marginals.targets) > 1 else "marginal"
    coming = f"the nearest that can be reached has {', '.join(missed)}" if missed else "they are missed by a few faces"
    if unlimited is None:
        return f"the {plural} {names} cannot be met together by adding faces: {coming}; change their shares"
    limits = [f"{bound:,} samples"] if bound is not None else []
    limits += [f"{budget.max_per_cell:,} in a cell"] if budget.max_per_cell is not None else []
    needed = f"{int(unlimited.sum()):,} samples, of which at most {int(unlimited.max()):,} in a cell"
    together = " together" if plural == "marginals" else ""
    return (
        f"the {plural} {names} cannot be met{together} with at most {' and '.join(limits)}: {coming}; "
        f"allow {needed}, or give shares that can be reached"
    )
