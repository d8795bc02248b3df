"""A sampler and a loader that continue an interrupted training where it stopped, in one process or in several.

The order of an epoch depends on the seed, the epoch and the weights only. So a state is a few numbers, and serves any
number of workers and any batch size.

>>> from faceaug.training.resumable import ResumableLoader, ResumableSampler  # doctest: +SKIP
>>> sampler = ResumableSampler(both, weights=group_weights(both, by="gender"))  # doctest: +SKIP
>>> loader = ResumableLoader(DataLoader(both, batch_size=64, sampler=sampler, num_workers=4))  # doctest: +SKIP
>>> torch.save(loader.state_dict(), "reading.pt")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.utils.data import DataLoader, Sampler

from faceaug.cache.key import array_sha256
from faceaug.errors import UsageError
from faceaug.utils.text import one_line, shown

_STATE_FORMAT = "faceaug-sampler"
_STATE_VERSION = 1
_BLOCK = 1 << 20  # draws that are made at once, so that little memory is needed besides the order itself
_FIXED = ("seed", "length", "weights", "world_size", "drop_last")  # what the order depends on, besides the epoch


class _State(BaseModel):
    """What `ResumableSampler.state_dict` returns."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: str = _STATE_FORMAT
    version: int = _STATE_VERSION
    seed: int = Field(ge=0)
    length: int = Field(ge=0)
    weights: str | None
    world_size: int = Field(ge=1)
    drop_last: bool
    epoch: int = Field(ge=0)
    consumed: int = Field(ge=0)


class ResumableSampler(Sampler[int]):
    """Random order of a map-style data set that can be continued within an epoch, and divided among processes.

    Every epoch has an order of its own, by seed and epoch: a permutation or, with weights, as many draws with
    replacement as there are items. The next epoch begins with the next pass; `set_epoch` is needed only to choose
    another one. An order of 10 million items takes 80 MB (int64), and weights take another 80 MB.

    Of several processes, number `rank` gets items `rank`, `rank + world_size` and so on of the order. No item comes to
    two of them and none is left out if the number of items is a multiple of `world_size`. Otherwise the first items of
    the order fill the last places, at most `world_size` - 1 of them, or with `drop_last` the last items are left out of
    this epoch, as in torch's DistributedSampler; so all processes have equally many. Drawn items are drawn as often as
    places have to be filled.

    Parameters
    ----------
    dataset : sized
        A data set with a length: `ShardDataset`, `BalancedDataset`, or any other.
    seed : int
        At least 0; the same in all processes.
    weights : array-like of float [N], optional
        At least 0; an item is drawn with a probability in proportion to its weight. See `group_weights`.
    rank, world_size : int, optional
        Number of this process, and of all; by default those of torch.distributed if it is initialized, else 0 and 1.
    drop_last : bool
        Leave items out instead of repeating some.

    Raises
    ------
    UsageError
        If an argument is out of range, or the weights do not fit the data set.
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        seed: int = 0,
        weights: ArrayLike | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self._items = len(dataset)
        self.seed = _whole("seed", seed)
        self.rank, self.world_size = _place(rank, world_size)
        self.drop_last = bool(drop_last)
        # Running sums of the weights: a number below the last of them falls to the item whose sum is the first above.
        self._sums = None if weights is None else np.cumsum(_checked_weights(weights, self._items))
        self._weights_hash = None if self._sums is None else array_sha256(self._sums)
        self._share = (self._items + (0 if drop_last else self.world_size - 1)) // self.world_size
        if self._items and not self._share:
            raise UsageError(
                f"{self._items} items cannot be divided among {self.world_size} processes with drop_last; leave it out"
            )
        self._next = (0, 0)  # epoch at which the next pass begins, and items of it that are skipped
        self._untouched = True  # no pass was created since `_next` was given
        self._epoch, self._start, self._taken = 0, 0, 0

    @property
    def epoch(self) -> int:
        """Epoch of the present pass; before the first one and after a state was loaded, that of the next."""
        return self._epoch

    @property
    def start(self) -> int:
        """Items of the epoch that the present pass skips, since the loaded state has them behind it."""
        return self._start

    def set_epoch(self, epoch: int) -> None:
        """Begin the next pass with this epoch; a loaded state of the same epoch keeps its place."""
        if _whole("epoch", epoch) != self._next[0]:
            self._begin_next(epoch, 0)
        self._epoch, self._start = self._next
        self._taken = self._start

    def __len__(self) -> int:
        """Return the number of items of a whole epoch in this process."""
        return self._share

    def __iter__(self) -> Iterator[int]:
        first, self._untouched = self._untouched, False
        return self._pass(first)

    def state_dict(self, *, consumed: int | None = None) -> dict[str, Any]:
        """Return where the epoch stands: numbers and text, the same in all processes.

        Parameters
        ----------
        consumed : int, optional
            Items of this epoch that this process has trained on, 0 to the length; by default those that were taken from
            the sampler. A DataLoader with workers takes items ahead of the training, so that whoever uses one without
            `ResumableLoader` or torchdata's StatefulDataLoader has to count.

        Raises
        ------
        UsageError
            If `consumed` is out of range.
        """
        consumed = self._taken if consumed is None else _whole("consumed", consumed)
        if consumed > len(self):
            raise UsageError(f"consumed is {consumed}; give the items of this epoch, at most {len(self)}")
        return self._state(self._epoch, consumed).model_dump()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Let the next pass continue at a state: with the next item, or with nothing if the epoch was at its end.

        Raises
        ------
        UsageError
            If it is no state of a sampler, is damaged, or is that of another order: of another seed, number of items,
            weights, number of processes, or `drop_last`.
        """
        state, own = _parse(state_dict), self._state(0, 0)
        for name in _FIXED:
            if getattr(state, name) != getattr(own, name):
                raise UsageError(
                    f"the state was saved with {name} {_short(getattr(state, name))}, but here it is "
                    f"{_short(getattr(own, name))}; continue with the same, or begin anew"
                )
        if state.consumed > len(self):
            raise UsageError(
                f"the state of the sampler is damaged (consumed is {state.consumed}, but an epoch has {len(self)} "
                "items); load another, or begin anew"
            )
        self._begin_next(state.epoch, state.consumed)
        self._epoch, self._start, self._taken = state.epoch, state.consumed, state.consumed

    def _state(self, epoch: int, consumed: int) -> _State:
        return _State(
            seed=self.seed,
            length=self._items,
            weights=self._weights_hash,
            world_size=self.world_size,
            drop_last=self.drop_last,
            epoch=epoch,
            consumed=consumed,
        )

    def _begin_next(self, epoch: int, start: int) -> None:
        self._next, self._untouched = (epoch, start), True

    def _pass(self, first: bool) -> Iterator[int]:
        """Yield the items of one pass; nothing of the sampler changes before the first of them is taken.

        Loaders create passes that they do not use, so an epoch begins when a pass is used. A state at the end of its
        epoch is used up by the first pass that is created, since torchdata discards that pass if its epoch was over.
        """
        epoch, start = self._next
        if start and start == len(self) and not first:
            epoch, start = epoch + 1, 0
        self._next, self._untouched = (epoch + 1, 0), False
        self._epoch, self._start, self._taken = epoch, start, start
        order = self._order(epoch)
        for block in range(start, len(order), 1024):
            for index in order[block : block + 1024].tolist():
                self._taken += 1
                yield index

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return the items of this process in an epoch, int64 [length]."""
        rng = np.random.default_rng([self.seed, epoch])
        if self._sums is not None:
            return self._drawn(rng, self._sums)
        order = rng.permutation(self._items)
        if self.world_size == 1 or not self._items:
            return order
        return order[np.arange(self.rank, self._share * self.world_size, self.world_size) % self._items]

    def _drawn(self, rng: np.random.Generator, sums: NDArray[np.float64]) -> NDArray[np.int64]:
        last = int(np.searchsorted(sums, sums[-1])) if len(sums) else 0  # rounding must not lead behind it
        order = np.empty(self._share, np.int64)
        filled = 0
        for start in range(0, self._share * self.world_size, _BLOCK):
            numbers = rng.random(min(_BLOCK, self._share * self.world_size - start))
            own = numbers[(self.rank - start) % self.world_size :: self.world_size] * sums[-1]
            ascending = np.argsort(own)  # sums beside each other are found ten times as fast
            found = np.searchsorted(sums, own[ascending], side="right")
            order[filled + ascending] = np.minimum(found, last)
            filled += len(own)
        return order


class ResumableLoader:
    """A DataLoader whose state counts the batches that the training loop has received.

    A pass over it gives the batches of the loader. A batch counts once the loop has received it, however far workers
    have read ahead. When the loop has ended, the state is the beginning of the next epoch.

    Parameters
    ----------
    loader : DataLoader
        With `sampler=` a `ResumableSampler`, a batch size, and any other options. The batch size and the number of
        workers may differ from those with which a state was saved.

    Raises
    ------
    UsageError
        If the loader has another sampler, a batch sampler of its own, or gives batches out of order.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        if not isinstance(loader.sampler, ResumableSampler):
            raise UsageError(
                f"the loader's sampler is a {type(loader.sampler).__name__}; build it as "
                "DataLoader(dataset, batch_size=..., sampler=ResumableSampler(dataset))"
            )
        if not getattr(loader, "in_order", True):
            raise UsageError("the loader gives batches out of order, so that a count says nothing; use in_order=True")
        self.loader = loader
        self.sampler: ResumableSampler = loader.sampler
        self._received = 0  # items in this pass

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        self._received = 0
        for batch in self.loader:
            self._received += self.loader.batch_size or 1
            yield batch
        self._received = 0
        self.sampler.set_epoch(self.sampler.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state after the batches that the loop has received; the same in all processes."""
        consumed = self.sampler.start + self._received
        return self.sampler.state_dict(consumed=min(consumed, len(self.sampler)))  # the last batch can be smaller

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Let the next pass continue after the last batch that was received; see `ResumableSampler.load_state_dict`."""
        self.sampler.load_state_dict(state_dict)
        self._received = 0


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and number of processes, from torch.distributed if none is given."""
    if (rank is None) != (world_size is None):
        raise UsageError(f"rank is {shown(rank)} and world_size {shown(world_size)}; give both or neither")
    if rank is None or world_size is None:
        ready = dist.is_available() and dist.is_initialized()
        return (dist.get_rank(), dist.get_world_size()) if ready else (0, 1)
    place = _whole("rank", rank), _whole("world_size", world_size)
    if place[0] >= place[1]:
        raise UsageError(f"rank is {rank} and world_size {world_size}; give a rank from 0 to world_size - 1")
    return place


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise UsageError(f"{name} is {shown(value)}; give a whole number of at least 0")
    return int(value)


def _checked_weights(weights: ArrayLike, count: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the weights are not numbers: {one_line(error)}") from error
    if values.shape != (count,):
        raise UsageError(f"the weights have the shape {list(values.shape)}; give one for each of the {count} items")
    if count and not (np.isfinite(values).all() and values.min() >= 0 and values.sum() > 0):
        raise UsageError("the weights have a negative or infinite number, or none above 0; see group_weights")
    return values


def _parse(state: Any) -> _State:
    if not isinstance(state, Mapping) or state.get("format") != _STATE_FORMAT:
        raise UsageError(f"{shown(state)} is no state of a ResumableSampler; give what its state_dict returned")
    version = state.get("version")
    if version != _STATE_VERSION or isinstance(version, bool):
        raise UsageError(
            f"the state of the sampler has version {shown(version)}, and this faceaug reads version {_STATE_VERSION}; "
            "load it with the version that saved it"
        )
    try:
        return _State(**state)
    except (ValidationError, TypeError) as error:
        reason = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, reason['loc']))}: {reason['msg']}" if reason else one_line(error)
        raise UsageError(
            f"the state of the sampler is damaged ({one_line(what)}); load another, or begin anew"
        ) from error


def _short(value: object) -> str:
    """Return a value as the message on two states shows it; of a hash, its beginning."""
    return value[:12] if isinstance(value, str) else str(value)
