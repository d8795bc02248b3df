"""The real faces that can fill a cell of view and light: those of its labels, the nearest bins first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, attribute, describe, numbers
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.typing import Floats

REACH = dict(yaw=25.0, pitch=12.0, roll=15.0, light_x=40.0, light_y=30.0, light=0.25)
"""The most by which a face is turned or its light is moved, in the units of the measurements."""
EASY_REACH = 0.75
"""Share of `REACH` within which most faces are measured in the bin afterwards: a turn is read as less than it is."""
ENOUGH = 5
"""Real faces in a bin from which on values are drawn as theirs are spread."""
MIDDLE = (0.05, 0.95)  # the quantiles between which these values are drawn: the farthest may be errors of reading
MARGIN = (0.1, 0.4)
"""With fewer, how far a value is brought into the bin, in parts of its width; drawn evenly between the two."""
NARROW = 6.0  # degrees, or hundredths of a share: a wider or open bin is entered as far as one of this width


@dataclass(frozen=True)
class SourceGoal:
    """One measured semantic that a cell requests, or that is to be kept.

    Attributes
    ----------
    name : str
    low, high : float64 [N]
        The bin, or how far it may drift, for each row of the data set.
    real : float64 [K]
        Values of the real faces in the bin, ascending; empty where it is to be kept.
    """

    name: str
    low: Floats
    high: Floats
    real: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def column(self) -> int:
        """Its column among the measured semantics."""
        return FACTOR_NAMES.index(self.name)

    def holds(self, values: Floats, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the values [M] of these rows are as requested."""
        return np.asarray((values >= self.low[rows]) & (values < self.high[rows]))

    def entered(self, values: Floats, rows: NDArray[np.int64], u: Floats) -> Floats:
        """Return the values [M] to bring these into the bin, by uniform numbers u [M].

        They are spread as those of the real faces in the bin, as far as `REACH` allows. All near its edge, samples of a
        bin of turned heads would be turned less than nearly all real ones. With fewer than `ENOUGH` real faces they
        lie a little inside the nearer edge, as do values that are to be kept.
        """
        low, high = self.low[rows], self.high[rows]
        width = np.minimum(high - low, NARROW if self.name != "light" else NARROW / 100)
        inside = (MARGIN[0] + (MARGIN[1] - MARGIN[0]) * u) * width
        entered = np.where(values < low, low + inside, high - inside)
        if len(self.real) >= ENOUGH:
            like_real = np.quantile(self.real, MIDDLE[0] + (MIDDLE[1] - MIDDLE[0]) * u)
            reachable = np.clip(like_real, values - REACH[self.name], values + REACH[self.name])
            entered = np.where((reachable >= low) & (reachable < high), reachable, entered)
        return np.asarray(np.where(self.holds(values, rows), values, entered))


def check_axes(axes: Sequence[Axis], engine: str) -> None:
    """Refuse axes of which none can be filled by re-rendering real faces."""
    if any(is_rendered(axis) for axis in axes):
        return
    named = ", ".join(axis.name for axis in axes)
    raise UsageError(
        f"--engine {engine} turns and relights real faces, so it fills bins of {', '.join(FACTOR_NAMES)}; --by {named} "
        "has none of them: add one, such as yaw:5, or use --engine generator"
    )


def is_rendered(axis: Axis) -> bool:
    """Return whether an axis has bins of view or light, which re-rendering can reach."""
    return axis.name in FACTOR_NAMES and axis.edges is not None


class SourceFaces:
    """The faces of a data set as sources of its cells.

    Parameters
    ----------
    dataset : FaceDataset
        With a column for each axis.
    axes : sequence of Axis
    keep : sequence of str
        Measured columns that are to be kept; labels are always kept.
    drift : float
        How far a kept measurement may move, in its standard deviations.
    seed : int
    own : bool
        Whether a cell's own faces are sources of it, too.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        axes: Sequence[Axis],
        keep: Sequence[str],
        drift: float,
        seed: int,
        own: bool = False,
    ) -> None:
        self._axes, self._seed, self._size, self._own = tuple(axes), seed, len(dataset), own
        self._codes = {axis.name: axis.assign(attribute(dataset.table, axis.name)) for axis in axes}
        wanted = [*(axis.name for axis in axes if is_rendered(axis)), *(name for name in keep if name in FACTOR_NAMES)]
        self._values = {name: numbers(attribute(dataset.table, name), name) for name in wanted}
        self._keep = {name: drift * float(np.nanstd(self._values[name])) for name in keep if name in self._values}

    def values(self, name: str) -> Floats:
        """Return the values [N] of a measured column in the table of the data set."""
        return self._values[name]

    def goals(self, levels: Mapping[str, str]) -> tuple[SourceGoal, ...]:
        """Return what a cell requests of its faces: bins first, then what is to be kept."""
        goals = []
        for axis in self._axes:
            if is_rendered(axis):
                assert axis.edges is not None
                k = axis.levels.index(levels[axis.name])
                # The last bin is closed.
                high = axis.edges[k + 1] if k + 2 < len(axis.edges) else np.nextafter(axis.edges[k + 1], np.inf)
                low, high = (np.full(self._size, float(edge)) for edge in (axis.edges[k], high))
                real = np.sort(self._values[axis.name][self._codes[axis.name] == k])
                goals.append(SourceGoal(axis.name, low, high, real))
        for name, tolerance in self._keep.items():
            goals.append(SourceGoal(name, self._values[name] - tolerance, self._values[name] + tolerance))
        return tuple(goals)

    def rows(self, cell: int, levels: Mapping[str, str]) -> NDArray[np.int64]:
        """Return the rows that can fill a cell, each once: the nearest bins first, shuffled within a bin.

        Those near the end of `REACH`, of which many are never measured in the bin, come after all others.
        """
        eligible, bins_away = np.ones(self._size, bool), np.zeros(self._size, np.int64)
        far = np.zeros(self._size, bool)
        for axis in self._axes:
            code = axis.levels.index(levels[axis.name])
            if not is_rendered(axis):
                eligible &= self._codes[axis.name] == code
        for goal in self.goals(levels):
            values = self._values[goal.name]
            eligible &= np.isfinite(values)
            with np.errstate(invalid="ignore"):
                gap = np.maximum(np.maximum(goal.low - values, values - goal.high), 0.0)
                eligible &= gap < REACH[goal.name]
                far |= gap > EASY_REACH * REACH[goal.name]
        for axis in self._axes:
            if is_rendered(axis):
                bins_away += np.abs(self._bins(axis) - axis.levels.index(levels[axis.name]))
        rows = np.flatnonzero(eligible & ((bins_away > 0) | self._own))
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._seed, spawn_key=(cell, _ORDER))))
        shuffled = order.permutation(rows)
        return np.asarray(shuffled[np.lexsort((bins_away[shuffled], far[shuffled]))], np.int64)

    def _bins(self, axis: Axis) -> NDArray[np.int64]:
        """Return the bin of every face; faces outside of all bins count as beside the first or the last."""
        assert axis.edges is not None
        codes, above = self._codes[axis.name], self._values[axis.name] >= axis.edges[-1]
        return np.where((codes < 0) & above, len(axis.levels), codes)

    def none_for(self, levels: Mapping[str, str]) -> str:
        """Return the sentence for a cell that has no rows."""
        labels = {axis.name: levels[axis.name] for axis in self._axes if not is_rendered(axis)}
        whose = f" of ({describe(labels)})" if labels else ""
        reach = ", ".join(f"{goal.name} {REACH[goal.name]:g}" for goal in self.goals(levels))
        if not reach:
            return f"there is no real face{whose} to begin with"
        return f"no real face{whose} is near enough to be turned or relit into it (at most {reach})"


_ORDER = 2**32 - 2  # spawn key of the order of sources; attempts use their numbers
