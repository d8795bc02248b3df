"""Torch data sets: the samples of an output folder, and real and synthetic images together.

An item is (image, labels). The image is a uint8 tensor [3, H, W], or the result of `transform`, which is called with a
PIL image as in torchvision. `labels` is a dictionary: a category is the index of its level (`levels` has the names; -1
is missing), any other number a float32 (NaN is missing).

>>> from faceaug.datasets.torch_dataset import BalancedDataset, ShardDataset, group_weights  # doctest: +SKIP
>>> synthetic = ShardDataset("out/", transform=to_tensor)  # doctest: +SKIP
>>> both = BalancedDataset(load_dataset("faces/", "labels.csv"), synthetic, share=0.5)  # doctest: +SKIP
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
from faceaug.datasets.dataset import FaceDataset, local_place
from faceaug.datasets.real_images import (
    Item,
    LabelSource,
    RealImageDataset,
    Transform,
    check_rows,
    level_names,
    transformed,
)
from faceaug.datasets.shortcut import warn_of_shortcut
from faceaug.errors import IntegrityError, UsageError
from faceaug.pages.notebook import notebook_html
from faceaug.shards.columns import Column
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, sha256_file
from faceaug.utils.text import nearest


@runtime_checkable
class Labelled(Protocol):
    """A data set whose labels can be read without reading an image."""

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return labels, one row per item; categories by the names of their levels."""
        ...


class ShardDataset(Dataset[Item]):
    """The samples of an output folder.

    It is map-style and can be pickled; each process opens the shards itself, at the first read.

    Parameters
    ----------
    out : path or URL
        Output folder. What is behind a URL is copied at once, to be there until the process ends.
    columns : sequence of str, optional
        Entries of `labels`, by the names in samples.parquet (`gender`, `semantic/yaw`, `cell`, `w` ...); by default the
        attributes. A latent is a float32 tensor [D]; `seed` and hashes are text.
    transform : callable, optional
        Called with a PIL image; without it, images are uint8 tensors [3, H, W].
    check : bool
        Compare every shard with its SHA-256 (about a second per gigabyte); False only after `faceaug verify`.
    unfinished : bool
        Read the samples of a run that did not finish; by default such a run is refused.
    max_open : int
        Most shards that one process keeps open.

    Attributes
    ----------
    levels : dict of str to tuple of str
        Names of the levels of each category among the columns; the value in `labels` is the index of the level.
    manifest : Manifest

    Raises
    ------
    IntegrityError
        If the manifest or a shard is missing, damaged, of another version, or refers to a path outside of the folder.
    UsageError
        If a column does not exist, or the run is unfinished.
    """

    def __init__(
        self,
        out: Path | str,
        columns: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        check: bool = True,
        unfinished: bool = False,
        max_open: int = 128,
    ) -> None:
        self.folder = local_place(out)
        self.transform = transform
        self.manifest: Manifest = read_manifest(self.folder)
        if not self.manifest.complete and not unfinished:
            raise UsageError(
                f"the run in {self.folder} is unfinished; continue it with --resume, or give unfinished=True"
            )
        self._known = {c.key: c for c in self.manifest.columns}
        self._columns = self._find(columns)
        self.levels = {c.key: c.levels for c in self._columns if c.levels}
        self._readers = _ShardReaders([self._path(k, check) for k in range(len(self.manifest.shards))], max_open)
        self._starts = np.cumsum([0, *(shard.rows for shard in self.manifest.shards)])
        self._values = {c.key: self._load(c) for c in self._columns if c.type != "latent"}
        self._latents = [c for c in self._columns if c.type == "latent"]

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of `labels`."""
        return tuple(c.key for c in self._columns)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _repr_html_(self) -> str:
        return notebook_html(self.folder.name, [f"{len(self):,} synthetic faces; {', '.join(self.columns)}"])

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items; a DataLoader calls it for a batch. Each shard is read once, in order."""
        chosen = check_rows(indices, len(self))
        shards = np.searchsorted(self._starts, chosen, side="right") - 1
        items: list[Item] = [(None, {})] * len(chosen)
        for shard in np.unique(shards):
            positions = np.flatnonzero(shards == shard)
            rows = (chosen[positions] - self._starts[shard]).tolist()
            reader = self._readers.get(int(shard))
            latents = {c.key: torch.from_numpy(reader.column(c.path, rows)) for c in self._latents}
            images = reader.planes(rows) if self.transform is None else reader.decoded(rows)
            for k, (position, image) in enumerate(zip(positions, images, strict=True)):
                labels = {
                    key: latents[key][k].clone() if key in latents else self._values[key][chosen[position]]
                    for key in self.columns
                }
                items[position] = (transformed(image, self.transform), labels)
        return items

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return columns as a table without latents, categories by name; by default the columns of `labels`."""
        selected = self._columns if columns is None else self._find(columns)
        return pd.DataFrame({c.key: level_names(self._load(c), c.levels) for c in selected if c.type != "latent"})

    def _find(self, names: Sequence[str] | None) -> tuple[Column, ...]:
        if names is None:
            return tuple(c for c in self.manifest.columns if c.group == "attr")
        for name in names:
            if name not in self._known:
                raise UsageError(f"{self.folder} has no column {name!r}; {nearest(name, self._known)}")
        return tuple(self._known[name] for name in dict.fromkeys(names))

    def _path(self, shard: int, check: bool) -> Path:
        entry = self.manifest.shards[shard]
        path = inside(self.folder, entry.name)
        try:
            intact = path.stat().st_size == entry.bytes and (not check or sha256_file(path) == entry.sha256)
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read ({error.strerror or error}); run faceaug verify") from error
        if not intact:
            raise IntegrityError(
                f"{path} is not the file that the manifest lists; run faceaug verify to find the damage"
            )
        return path

    def _load(self, column: Column) -> NDArray[Any]:
        """Return the column of all samples in the type that `labels` has."""
        parts: list[NDArray[Any]] = []
        for shard, entry in enumerate(self.manifest.shards):
            reader = self._readers.get(shard)
            present = column.path in reader.keys
            values = reader.values(column) if present else np.zeros((entry.rows, 32), np.uint8)
            parts.append(_label_values(column, values))
        empty = np.empty((0, 32) if column.type == "sha256" else 0, column.dtype)
        return np.concatenate([_label_values(column, empty), *parts])


class BalancedDataset(Dataset[Item]):
    """Real and synthetic images in one data set, real ones first.

    Both have the same labels, and the label `synthetic` (0 or 1). If the images have several sizes, a transform has to
    resize them, since batches need one size.

    A warning names groups that a model could tell by the traces of synthesis (`warn_of_shortcut`).

    Parameters
    ----------
    real : FaceDataset
        The data set that was balanced.
    synthetic : path or ShardDataset
        Output folder, or its `ShardDataset`.
    share : float, optional
        Share of synthetic images in the whole, 0 to 1; by default all images are used. All real images are kept (none
        for share 1); synthetic ones are drawn evenly from all cells, without replacement.
    seed : int
        Seed of the draw.
    columns : sequence of str, optional
        Labels; by default the attributes that both have.
    transform : callable, optional
        Called with a PIL image; by default the transform of `synthetic`.
    label_sources : mapping of str to LabelSource, optional
        Labels that the real data set names or spells differently.

    Raises
    ------
    UsageError
        If the share is out of range or needs more synthetic images than there are, or the labels do not match.
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
        label_sources: Mapping[str, LabelSource] | None = None,
    ) -> None:
        shards = synthetic if isinstance(synthetic, ShardDataset) else ShardDataset(synthetic)
        names = _shared_columns(real, shards, label_sources or {}) if columns is None else tuple(columns)
        self.synthetic = ShardDataset(
            shards.folder, names, transform or shards.transform, check=False, unfinished=not shards.manifest.complete
        )
        self.real = RealImageDataset(
            real, names, self.synthetic.transform, levels=self.synthetic.levels, label_sources=label_sources
        )
        for name in self.real.columns:
            if name in self.real.levels and name not in self.synthetic.levels:
                raise UsageError(f"{name!r} is a number in {shards.folder} but text in {real.name}; leave it out")
        self.columns = (*self.synthetic.columns, "synthetic")
        self.levels = self.synthetic.levels
        cells = self.synthetic.table(["cell"])["cell"].to_numpy(np.int64)
        real_count, synthetic_count = _counts_of_share(len(self.real), len(self.synthetic), share)
        self._real_rows = np.arange(real_count)
        self._synthetic_rows = np.sort(_even_order(cells, seed)[:synthetic_count])
        planned = self.synthetic.manifest.cells[0].attributes if self.synthetic.manifest.cells else ()
        groups = [name for name in planned if name in self.levels]
        if real_count and synthetic_count:
            warn_of_shortcut(self.table([*groups, "synthetic"]), groups, str(shards.folder))

    def __len__(self) -> int:
        return len(self._real_rows) + len(self._synthetic_rows)

    @property
    def is_synthetic(self) -> NDArray[np.bool_]:
        """Whether each item is synthetic, bool [N]."""
        return np.arange(len(self)) >= len(self._real_rows)

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items; a DataLoader calls it for a batch."""
        chosen = check_rows(indices, len(self))
        synthetic = chosen >= len(self._real_rows)
        all_items: list[Item] = [(None, {})] * len(chosen)
        for flag, source, rows in (
            (0, self.real, self._real_rows[chosen[~synthetic]]),
            (1, self.synthetic, self._synthetic_rows[chosen[synthetic] - len(self._real_rows)]),
        ):
            items = source.__getitems__(rows.tolist())
            for position, (image, labels) in zip(np.flatnonzero(synthetic == bool(flag)), items, strict=True):
                all_items[position] = (image, {**labels, "synthetic": np.int64(flag)})
        return all_items

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return labels of all items as a table, categories by name; by default all labels."""
        names = [name for name in (self.columns if columns is None else columns) if name != "synthetic"]
        table = pd.DataFrame(index=pd.RangeIndex(len(self)))
        if names:
            rows = ((self.real, self._real_rows), (self.synthetic, self._synthetic_rows))
            table = pd.concat([source.table(names).iloc[own] for source, own in rows], ignore_index=True)
        if columns is None or "synthetic" in columns:
            table["synthetic"] = self.is_synthetic.astype(np.int64)
        return table


def group_weights(labels: Any, by: str | Sequence[str] | None = None) -> torch.Tensor:
    """Return weights for torch's WeightedRandomSampler under which every group is drawn equally often.

    Parameters
    ----------
    labels : data set, table, mapping or sequence
        A data set of this module, a Subset of one, a table or mapping of columns, or one label per item.
    by : str or sequence of str, optional
        Columns that define a group, as on the command line (`"gender,age:5"`); not for a sequence of labels.

    Returns
    -------
    float64 [N]
        1 / size of the group of the item, scaled to mean 1; 0 for an item without a label.

    Raises
    ------
    UsageError
        If a column does not exist or `by` is missing.
    """
    if isinstance(labels, Subset):
        table = _label_table(labels.dataset, by).iloc[np.asarray(labels.indices)]
    else:
        table = _label_table(labels, by)
    codes = analyze(table.reset_index(drop=True), by or list(table.columns)).codes
    counts = np.bincount(codes[codes >= 0])
    weights = np.where(codes >= 0, 1.0 / np.maximum(counts, 1)[codes], 0.0)
    return torch.from_numpy(weights * (len(weights) / weights.sum()))


def _label_table(labels: Any, by: str | Sequence[str] | None) -> pd.DataFrame:
    if isinstance(labels, (Labelled, pd.DataFrame, Mapping)):
        if not by:
            raise UsageError("name the columns that define a group: by='gender', or by='gender,age:5'")
        return labels.table() if isinstance(labels, Labelled) else pd.DataFrame(labels)
    values = labels.tolist() if isinstance(labels, (torch.Tensor, np.ndarray)) else list(labels)
    if by:
        raise UsageError(f"by={by!r} needs a table or a data set; a sequence of labels defines the groups itself")
    return pd.DataFrame({"group": [label(value) or None for value in values]})


class _ShardReaders:
    """Readers of the shards, at most `max_open` of them open; each process has its own."""

    def __init__(self, paths: Sequence[Path], max_open: int) -> None:
        self._paths = list(paths)
        self._max_open = max_open
        self._open: OrderedDict[int, ShardReader] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_max_open": self._max_open, "_open": OrderedDict()}

    def get(self, shard: int) -> ShardReader:
        """Return the reader of a shard; the least recently used one is closed when too many are open."""
        reader = self._open.pop(shard, None) or ShardReader(self._paths[shard])
        self._open[shard] = reader
        if len(self._open) > self._max_open:
            self._open.popitem(last=False)[1].close()
        return reader


def _label_values(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    """Return stored values in the types of `labels`: int64 codes and integers, float32 numbers, text."""
    if column.type == "sha256":
        return np.array([v.tobytes().hex() if v.any() else "" for v in values], object)
    if column.type == "uint64":
        return np.array([str(v) for v in values], object)  # not every version of torch has uint64
    return values.astype(np.float32 if column.type.startswith("float") else np.int64)


def _shared_columns(
    real: FaceDataset, shards: ShardDataset, label_sources: Mapping[str, LabelSource]
) -> tuple[str, ...]:
    column_of = {name: label_sources.get(name, LabelSource()).column or name for name in shards.columns}
    shared = tuple(name for name in shards.columns if column_of[name] in real.attributes)
    if not shared:
        raise UsageError(
            f"{real.name} has none of the labels {', '.join(shards.columns) or '(none)'} of {shards.folder}; "
            f"it has {', '.join(real.attributes) or 'none'}: map them with label_sources={{label: LabelSource(column)}}"
        )
    return shared


def _counts_of_share(real: int, synthetic: int, share: float | None) -> tuple[int, int]:
    """Return the number of real and of synthetic images that give the share."""
    if share is None:
        return real, synthetic
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share}; give a number from 0 (no synthetic images) to 1 (only synthetic images)")
    if share == 1:
        return 0, synthetic
    need = round(share / (1 - share) * real)
    if need > synthetic:
        raise UsageError(
            f"share={share} with {real} real images needs {need} synthetic ones, but there are {synthetic}; "
            f"give at most {synthetic / max(1, synthetic + real):.4f}, or synthesize more"
        )
    return real, need


def _even_order(cells: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return an order of the samples of which every prefix has about the same share of every cell."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(cells))
    _, group, counts = np.unique(cells[shuffled], return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    first = np.cumsum(counts) - counts
    rank = np.empty(len(cells))
    rank[by_group] = np.arange(len(cells)) - np.repeat(first, counts)
    return shuffled[np.argsort((rank + rng.random(len(cells))) / counts[group], kind="stable")].astype(np.int64)
