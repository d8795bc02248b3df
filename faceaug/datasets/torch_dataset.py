"""Torch data sets: the samples of an output folder, a real data set in the same form, and both together.

An item is (image, labels). The image is a uint8 tensor [3, H, W]; with `transform` it is what the transform makes of a
PIL image, as in torchvision. `labels` is a dictionary: a category is the index of its level (`levels` names them, -1 is
missing), any other number a float32 (NaN is missing).

>>> from faceaug.datasets.torch_dataset import BalancedDataset, ShardDataset, group_weights  # doctest: +SKIP
>>> made = ShardDataset("out/", transform=to_tensor)  # doctest: +SKIP
>>> both = BalancedDataset(load_dataset("faces/", "labels.csv"), made, share=0.5)  # doctest: +SKIP
>>> sampler = WeightedRandomSampler(group_weights(both, by="gender"), len(both))  # doctest: +SKIP
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from faceaug.analysis.analyze import analyze
from faceaug.analysis.axes import label
from faceaug.datasets.dataset import FaceDataset
from faceaug.datasets.real_images import Item, RealImageDataset, Transform, check_rows, finished, named
from faceaug.errors import IntegrityError, UsageError, nearest
from faceaug.shards.columns import Column
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, sha256_file

__all__ = ["BalancedDataset", "RealImageDataset", "ShardDataset", "group_weights"]

MAX_OPEN = 128  # shards that one process holds open


@runtime_checkable
class Labelled(Protocol):
    """A data set that can tell its labels without reading an image."""

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return labels, a row an item; categories by the names of their levels."""
        ...


class ShardDataset(Dataset[Item]):
    """The samples of an output folder.

    Map-style and picklable; shards are opened by each process for itself, when first read.

    Parameters
    ----------
    out : output folder
    columns : what `labels` holds, by the names in samples.parquet (`gender`, `semantic/yaw`, `cell`, `w` ...); by
        default the attributes. A latent comes as float32 tensor [D]; `seed` and hashes come as text.
    transform : called with a PIL image; without one the image is a uint8 tensor [3, H, W]
    check : compare every shard with its SHA-256 now (about a second a gigabyte); False only after `faceaug verify`
    unfinished : read what is there of a run that did not finish, which is refused otherwise

    Attributes
    ----------
    levels : dict of str to tuple of str
        Names of the levels of each category among the columns; the value in `labels` is the index.
    manifest : Manifest

    Raises
    ------
    IntegrityError
        When the manifest or a shard is missing, damaged, of another version, or leads out of the folder.
    UsageError
        When a column does not exist, or the run is unfinished.
    """

    def __init__(
        self,
        out: Path | str,
        columns: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        check: bool = True,
        unfinished: bool = False,
    ) -> None:
        self.folder = Path(out)
        self.transform = transform
        self.manifest: Manifest = read_manifest(self.folder)
        if not self.manifest.complete and not unfinished:
            raise UsageError(
                f"the run in {self.folder} is unfinished: continue it with --resume, or give unfinished=True"
            )
        self._known = {c.key: c for c in self.manifest.columns}
        self._columns = self._find(columns)
        self.levels = {c.key: c.levels for c in self._columns if c.levels}
        self._readers = _Readers([self._path(k, check) for k in range(len(self.manifest.shards))])
        self._starts = np.cumsum([0, *(shard.rows for shard in self.manifest.shards)])
        self._values = {c.key: self._load(c) for c in self._columns if c.type != "latent"}
        self._latents = [c for c in self._columns if c.type == "latent"]

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of `labels`."""
        return tuple(c.key for c in self._columns)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items; what a DataLoader calls for a batch. Each shard is read once, in order."""
        chosen = check_rows(indices, len(self))
        shards = np.searchsorted(self._starts, chosen, side="right") - 1
        found: list[Item] = [(None, {})] * len(chosen)
        for shard in np.unique(shards):
            places = np.flatnonzero(shards == shard)
            rows = (chosen[places] - self._starts[shard]).tolist()
            reader = self._readers.get(int(shard))
            images = reader.image_many(rows)
            latents = {c.key: reader.column(c.dataset, rows) for c in self._latents}
            for k, place in enumerate(places):
                labels = {
                    key: torch.from_numpy(np.array(latents[key][k]))
                    if key in latents
                    else self._values[key][chosen[place]]
                    for key in self.columns
                }
                found[place] = (finished(images[k], self.transform), labels)
        return found

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns of all samples (latents left out) as a table, categories by name; by default `labels`."""
        chosen = self._columns if columns is None else self._find(columns)
        return pd.DataFrame({c.key: named(self._load(c), c.levels) for c in chosen if c.type != "latent"})

    def _find(self, names: Sequence[str] | None) -> tuple[Column, ...]:
        if names is None:
            return tuple(c for c in self.manifest.columns if c.group == "attr")
        for name in names:
            if name not in self._known:
                raise UsageError(f"{self.folder} has no column {name!r}: {nearest(name, self._known)}")
        return tuple(self._known[name] for name in dict.fromkeys(names))

    def _path(self, shard: int, check: bool) -> Path:
        entry = self.manifest.shards[shard]
        path = inside(self.folder, entry.name)
        try:
            sound = path.stat().st_size == entry.bytes and (not check or sha256_file(path) == entry.sha256)
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read ({error.strerror or error}); run faceaug verify") from error
        if not sound:
            raise IntegrityError(
                f"{path} is not the file that the manifest lists; run faceaug verify to see what is wrong"
            )
        return path

    def _load(self, column: Column) -> NDArray[Any]:
        """Return the column of all samples in the type that `labels` has."""
        parts: list[NDArray[Any]] = []
        for shard, entry in enumerate(self.manifest.shards):
            reader = self._readers.get(shard)
            there = column.dataset in reader.keys
            values = reader.column(column.dataset) if there else np.zeros((entry.rows, 32), np.uint8)
            parts.append(_label_values(column, values))
        none = np.empty((0, 32) if column.type == "sha256" else 0, column.dtype)
        return np.concatenate([_label_values(column, none), *parts])


class BalancedDataset(Dataset[Item]):
    """Real and synthetic images in one data set, real ones first.

    Both give the same labels, and `synthetic` besides (0 or 1). Give a transform that resizes when the images have
    several sizes: batches need one.

    Parameters
    ----------
    real : what `load_dataset` returned: the data set that was balanced
    synthetic : output folder, or a `ShardDataset` of it
    share : share of synthetic samples in the whole, 0 to 1; None takes everything. Real images are all kept (but for
        share 1, which has none); synthetic ones are drawn evenly from every cell, without repeating any.
    seed : decides which are drawn
    columns : labels; by default the attributes that both have
    transform : for both, called with a PIL image; by default that of `synthetic`
    rename, values : see `RealImageDataset`

    Raises
    ------
    UsageError
        When the share is out of range or asks for more synthetic samples than there are, or labels do not go together.
    """

    def __init__(
        self,
        real: FaceDataset,
        synthetic: ShardDataset | Path | str,
        *,
        share: float | None = None,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        transform: Transform | None = None,
        rename: Mapping[str, str] | None = None,
        values: Mapping[str, Mapping[Any, str]] | None = None,
    ) -> None:
        made = synthetic if isinstance(synthetic, ShardDataset) else ShardDataset(synthetic)
        wanted = _shared_columns(real, made, rename or {}) if columns is None else tuple(columns)
        self.synthetic = ShardDataset(
            made.folder, wanted, transform or made.transform, check=False, unfinished=not made.manifest.complete
        )
        self.real = RealImageDataset(
            real, wanted, self.synthetic.transform, levels=self.synthetic.levels, rename=rename, values=values
        )
        for name in self.real.columns:
            if name in self.real.levels and name not in self.synthetic.levels:
                raise UsageError(f"{name!r} is a number in {made.folder}, but {real.name} has text there; leave it out")
        self.columns = (*self.synthetic.columns, "synthetic")
        self.levels = self.synthetic.levels
        cells = self.synthetic.table(["cell"])["cell"].to_numpy(np.int64)
        keep, draw = _shares(len(self.real), len(self.synthetic), share)
        self._real = np.arange(keep)
        self._made = np.sort(_evenly(cells, seed)[:draw])

    def __len__(self) -> int:
        return len(self._real) + len(self._made)

    @property
    def is_synthetic(self) -> NDArray[np.bool_]:
        """Whether each item is synthetic, bool [N]."""
        return np.arange(len(self)) >= len(self._real)

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items; what a DataLoader calls for a batch."""
        chosen = check_rows(indices, len(self))
        made = chosen >= len(self._real)
        found: list[Item] = [(None, {})] * len(chosen)
        for flag, source, rows in (
            (0, self.real, self._real[chosen[~made]]),
            (1, self.synthetic, self._made[chosen[made] - len(self._real)]),
        ):
            items = source.__getitems__(rows.tolist())
            for place, (image, labels) in zip(np.flatnonzero(made == bool(flag)), items, strict=True):
                found[place] = (image, {**labels, "synthetic": np.int64(flag)})
        return found

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return labels of all items as a table, categories by name; by default all."""
        chosen = [name for name in (self.columns if columns is None else columns) if name != "synthetic"]
        parts = [self.real.table(chosen).iloc[self._real], self.synthetic.table(chosen).iloc[self._made]]
        table = pd.concat(parts, ignore_index=True)
        if columns is None or "synthetic" in columns:
            table["synthetic"] = self.is_synthetic.astype(np.int64)
        return table


def group_weights(labels: Any, by: str | Sequence[str] | None = None) -> torch.Tensor:
    """Return weights under which every group is drawn equally often, for torch's WeightedRandomSampler.

    Parameters
    ----------
    labels : one of the data sets above, a Subset of one, a table or mapping of columns, or one label an item
    by : the columns that make a group, as on the command line (`"gender,age:5"`); not for bare labels

    Returns
    -------
    float64 [N]
        1 / size of the item's group, scaled to mean 1; 0 for an item without a label.

    Raises
    ------
    UsageError
        When a column does not exist or `by` is missing.
    """
    if isinstance(labels, Subset):
        weights = _frame(labels.dataset, by).iloc[np.asarray(labels.indices)]
    else:
        weights = _frame(labels, by)
    codes = analyze(weights.reset_index(drop=True), by or list(weights.columns)).codes
    counts = np.bincount(codes[codes >= 0])
    found = np.where(codes >= 0, 1.0 / np.maximum(counts, 1)[codes], 0.0)
    return torch.from_numpy(found * (len(found) / found.sum()))


def _frame(labels: Any, by: str | Sequence[str] | None) -> pd.DataFrame:
    if isinstance(labels, (Labelled, pd.DataFrame, Mapping)):
        if not by:
            raise UsageError("say what makes a group: by='gender', or by='gender,age:5'")
        return labels.table() if isinstance(labels, Labelled) else pd.DataFrame(labels)
    values = labels.tolist() if isinstance(labels, (torch.Tensor, np.ndarray)) else list(labels)
    if by:
        raise UsageError(f"by={by!r} needs a table or a data set; bare labels are the groups themselves")
    return pd.DataFrame({"group": [label(value) or None for value in values]})


class _Readers:
    """Readers of the shards, few of them open at a time; each process has its own."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._open: OrderedDict[int, ShardReader] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_open": OrderedDict()}

    def get(self, shard: int) -> ShardReader:
        """Return the reader of a shard; the one unused for longest is closed when too many are open."""
        reader = self._open.pop(shard, None) or ShardReader(self._paths[shard])
        self._open[shard] = reader
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return reader


def _label_values(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    """Turn stored values into what `labels` holds: int64 codes and integers, float32 numbers, text."""
    if column.type == "sha256":
        return np.array([v.tobytes().hex() if v.any() else "" for v in values], object)
    if column.type == "uint64":
        return np.array([str(v) for v in values], object)  # torch has no 64-bit number without a sign in all versions
    return values.astype(np.float32 if column.type.startswith("float") else np.int64)


def _shared_columns(real: FaceDataset, made: ShardDataset, rename: Mapping[str, str]) -> tuple[str, ...]:
    shared = tuple(name for name in made.columns if rename.get(name, name) in real.attributes)
    if not shared:
        raise UsageError(
            f"{real.name} has none of the labels {', '.join(made.columns) or '(none)'} of {made.folder}; "
            f"it has {', '.join(real.attributes) or 'none'}: say which is which with rename={{label: column}}"
        )
    return shared


def _shares(real: int, made: int, share: float | None) -> tuple[int, int]:
    """Return how many real and how many synthetic samples make the share."""
    if share is None:
        return real, made
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share}; give a number from 0 (no synthetic samples) to 1 (nothing else)")
    if share == 1:
        return 0, made
    need = round(share / (1 - share) * real)
    if need > made:
        raise UsageError(
            f"share={share} of {real} real images takes {need} synthetic ones, but there are {made}: "
            f"give at most {made / max(1, made + real):.4f}, or make more"
        )
    return real, need


def _evenly(cells: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Order samples so that any beginning of the order takes about the same share of every cell."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(cells))
    _, group, counts = np.unique(cells[shuffled], return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(cells))
    rank[by_group] = np.arange(len(cells)) - np.repeat(first, counts)
    return shuffled[np.argsort((rank + rng.random(len(cells))) / counts[group], kind="stable")].astype(np.int64)
