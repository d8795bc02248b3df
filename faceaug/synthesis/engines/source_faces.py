"""Which real faces a cell of pose and light is filled from: those of its labels, the nearest bins first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceaug.analysis.axes import Axis, attribute, describe, numbers
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.reconstruction.semantics import NAMES
from faceaug.utils.typing import Floats

REACH = dict(yaw=25.0, pitch=12.0, roll=15.0, light_x=40.0, light_y=30.0, light=0.25)
"""How far a face is turned or its light moved at most, in the units of the measurements."""
MARGIN = (0.1, 0.4)
"""A value is brought so far into its bin, in parts of its width: as little as is safe, and not all alike."""
NARROW = 6.0  # degrees (or hundredths): a bin that is wider, or open, is entered as far as one so wide


@dataclass(frozen=True)
class SourceGoal:
    """One measured semantic that a cell asks for, or that is to be kept.

    Attributes
    ----------
    name : str
    low, high : float64 [N]
        The bin, or how far it may drift, for each row of the dataset.
    """

    name: str
    low: Floats
    high: Floats

    @property
    def column(self) -> int:
        """Where it stands among what is measured."""
        return NAMES.index(self.name)

    def holds(self, values: Floats, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether values [M] of these rows are as asked."""
        return np.asarray((values >= self.low[rows]) & (values < self.high[rows]))

    def goal_values_for(self, values: Floats, rows: NDArray[np.int64], u: Floats) -> Floats:
        """Return the values to bring these to: the nearer edge and a little inside, by uniform numbers u [M]."""
        low, high = self.low[rows], self.high[rows]
        width = np.minimum(high - low, NARROW if self.name != "light" else NARROW / 100)
        inside = (MARGIN[0] + (MARGIN[1] - MARGIN[0]) * u) * width
        entered = np.where(values < low, low + inside, high - inside)
        return np.asarray(np.where(self.holds(values, rows), values, entered))


def check_axes(axes: Sequence[Axis], engine: str) -> None:
    """Refuse axes of which none can be filled by rendering real faces anew."""
    if any(is_rendered(axis) for axis in axes):
        return
    named = ", ".join(axis.name for axis in axes)
    raise UsageError(
        f"--engine {engine} turns and relights real faces, so it fills bins of {', '.join(NAMES)}, and --by {named} "
        "has none of them: add one, such as yaw:5, or use --engine generator"
    )


def is_rendered(axis: Axis) -> bool:
    return axis.name in NAMES and axis.edges is not None


class SourceFaces:
    """The dataset's faces as sources of its cells.

    Parameters
    ----------
    dataset : FaceDataset
        With a column for each axis.
    axes : sequence of Axis
    keep : sequence of str
        Columns that are to be kept; labels are kept anyhow.
    drift : float
        How far a kept measurement may move, in its standard deviations.
    seed : int
    own : bool
        A cell's own faces are sources of it, too.
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
        wanted = [*(axis.name for axis in axes if is_rendered(axis)), *(name for name in keep if name in NAMES)]
        self._values = {name: numbers(attribute(dataset.table, name), name) for name in wanted}
        self._keep = {name: drift * float(np.nanstd(self._values[name])) for name in keep if name in self._values}

    def values(self, name: str) -> Floats:
        """Return what the dataset's table says of a measured column, [N]."""
        return self._values[name]

    def goals(self, levels: Mapping[str, str]) -> tuple[SourceGoal, ...]:
        """Return what is asked of a cell's faces, bins first, then what is to be kept."""
        found = []
        for axis in self._axes:
            if is_rendered(axis):
                assert axis.edges is not None
                k = axis.levels.index(levels[axis.name])
                # The last bin is closed.
                high = axis.edges[k + 1] if k + 2 < len(axis.edges) else np.nextafter(axis.edges[k + 1], np.inf)
                found.append(
                    SourceGoal(axis.name, np.full(self._size, float(axis.edges[k])), np.full(self._size, float(high)))
                )
        for name, context in self._keep.items():
            found.append(SourceGoal(name, self._values[name] - context, self._values[name] + context))
        return tuple(found)

    def rows(self, cell: int, levels: Mapping[str, str]) -> NDArray[np.int64]:
        """Return the rows that a cell is filled from, the nearest bins first, each once; by chance within a bin."""
        right, far = np.ones(self._size, bool), np.zeros(self._size, np.int64)
        for axis in self._axes:
            code = axis.levels.index(levels[axis.name])
            if not is_rendered(axis):
                right &= self._codes[axis.name] == code
        for goal in self.goals(levels):
            values = self._values[goal.name]
            right &= np.isfinite(values)
            with np.errstate(invalid="ignore"):
                gap = np.maximum(np.maximum(goal.low - values, values - goal.high), 0.0)
                right &= gap < REACH[goal.name]
        for axis in self._axes:
            if is_rendered(axis):
                far += np.abs(self._bins(axis) - axis.levels.index(levels[axis.name]))
        found = np.flatnonzero(right & ((far > 0) | self._own))
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._seed, spawn_key=(cell, _ORDER))))
        shuffled = order.permutation(found)
        return np.asarray(shuffled[np.argsort(far[shuffled], kind="stable")], np.int64)

    def _bins(self, axis: Axis) -> NDArray[np.int64]:
        """Return the bin of every face, those outside of all bins beside the first or the last."""
        assert axis.edges is not None
        codes, above = self._codes[axis.name], self._values[axis.name] >= axis.edges[-1]
        return np.where((codes < 0) & above, len(axis.levels), codes)

    def none_for(self, levels: Mapping[str, str]) -> str:
        """Say why a cell has no rows."""
        labels = {axis.name: levels[axis.name] for axis in self._axes if not is_rendered(axis)}
        whose = f" of ({describe(labels)})" if labels else ""
        reach = ", ".join(f"{goal.name} {REACH[goal.name]:g}" for goal in self.goals(levels))
        if not reach:
            return f"there is no real face{whose} to begin with"
        return f"no real face{whose} is near enough to be turned or relit into it (at most {reach})"


_ORDER = 2**32 - 2  # spawn key of the order of sources; attempts use their numbers
