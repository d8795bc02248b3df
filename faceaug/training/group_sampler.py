"""Draws of every group equally often, with a given share of synthetic faces in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from faceaug.analysis.analyze import analyze
from faceaug.datasets.torch_dataset import BalancedDataset
from faceaug.errors import UsageError
from faceaug.utils.typing import Bools, Floats, Indices

_BLOCK = 4096  # draws that are made at a time


class GroupSampler(Sampler[int]):
    """A sampler for torch's DataLoader that draws each group equally often.

    Within a group, a draw is synthetic with the probability `share`. All real faces of a group are drawn once before
    any is drawn again, and so are its synthetic ones.

    Parameters
    ----------
    groups : int64 [N]
        Group of each item; items with -1 are never drawn.
    synthetic : bool [N], optional
        Whether each item is synthetic; none is by default.
    share : float or mapping of int to float
        Share of synthetic faces in the draws of every group, 0 to 1, or of each group; a group that is not named has
        none. A group without synthetic faces draws real ones, and one without real faces draws synthetic ones.
    samples : int, optional
        Draws of one pass; the number of items by default.
    seed : int
        The draws depend on it alone. Each pass continues the draws of the one before.

    Raises
    ------
    UsageError
        When the arrays do not fit each other, a share is outside of 0 to 1, or there is nothing to draw.
    """

    def __init__(
        self,
        groups: ArrayLike,
        synthetic: ArrayLike | None = None,
        share: float | Mapping[int, float] = 0.0,
        *,
        samples: int | None = None,
        seed: int = 0,
    ) -> None:
        codes = np.asarray(groups, np.int64)
        flags = np.zeros(codes.shape, bool) if synthetic is None else np.asarray(synthetic, bool)
        if codes.ndim != 1 or codes.shape != flags.shape:
            raise UsageError(
                f"groups and synthetic need one value for each item, but have the shapes {list(codes.shape)} and "
                f"{list(flags.shape)}"
            )
        present = np.unique(codes[codes >= 0])
        if not len(present):
            raise UsageError("no item is in a group, so nothing can be drawn; label the items by which groups are made")
        self._samples = len(codes) if samples is None else samples
        self._rng = np.random.default_rng([seed, 0x6501])
        self._shares = _shares(codes, flags, present, share)
        self._pools = {
            (place, flag): _Pool(np.flatnonzero((codes == group) & (flags == flag)), self._rng)
            for place, group in enumerate(present.tolist())
            for flag in (False, True)
        }

    @classmethod
    def over(
        cls,
        both: BalancedDataset,
        by: str | Sequence[str],
        share: float | Mapping[int, float] = 0.0,
        *,
        samples: int | None = None,
        seed: int = 0,
    ) -> GroupSampler:
        """Return the sampler of a data set of real and synthetic faces.

        Parameters
        ----------
        both : BalancedDataset
        by : str or sequence of str
            Columns that define a group, as on the command line: `"gender,age:5"`.
        share, samples, seed
            See the class. Groups are numbered row-major over the columns, as by `faceaug.analyze`.
        """
        codes = analyze(both.table(), by).codes
        return cls(codes, both.is_synthetic, share, samples=samples, seed=seed)

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[int]:
        left = self._samples
        block = -(-_BLOCK // len(self._shares)) * len(self._shares)  # whole turns
        while left > 0:
            count = min(left, block)
            yield from self._draw(count).tolist()
            left -= count

    def _draw(self, count: int) -> Indices:
        """Return the items of some draws: groups in turn, each turn in another order."""
        size = len(self._shares)
        turns = np.concatenate([self._rng.permutation(size) for _ in range(-(-count // size))])[:count]
        made = self._rng.random(count) < self._shares[turns]
        items = np.empty(count, np.int64)
        for (place, flag), pool in self._pools.items():
            chosen = (turns == place) & (made == flag)
            items[chosen] = pool.take(int(chosen.sum()))
        return items


def _shares(codes: Indices, synthetic: Bools, present: Indices, share: float | Mapping[int, float]) -> Floats:
    """Return the probability of a synthetic draw [G] of each group that is there."""
    given = share if isinstance(share, Mapping) else dict.fromkeys(present.tolist(), share)
    shares = np.array([float(given.get(group, 0.0)) for group in present.tolist()])
    if not ((shares >= 0) & (shares <= 1)).all():
        raise UsageError(f"share is {share}; give shares of synthetic faces from 0 to 1")
    for place, group in enumerate(present):
        of_group = synthetic[codes == group]
        if of_group.all() or not of_group.any():
            shares[place] = float(of_group.all())
    return shares


class _Pool:
    """Items that are drawn in random order, all of them before any again."""

    def __init__(self, items: Indices, rng: np.random.Generator) -> None:
        self._items, self._rng = items, rng
        self._left = np.empty(0, np.int64)

    def take(self, count: int) -> Indices:
        """Return the next items."""
        parts = [self._left]
        while sum(map(len, parts)) < count:
            parts.append(self._rng.permutation(self._items))
        drawn = np.concatenate(parts)
        self._left = drawn[count:]
        return drawn[:count]
