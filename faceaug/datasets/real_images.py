"""A real data set as a torch data set, in the form that `faceaug.datasets.torch_dataset` gives to made samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from faceaug.analysis.axes import label
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError, nearest
from faceaug.shards.columns import MISSING

Item = tuple[Any, dict[str, Any]]
Transform = Callable[[Image.Image], Any]


class RealImageDataset(Dataset[Item]):
    """A real data set in the form of `ShardDataset`.

    Parameters
    ----------
    dataset : what `load_dataset` returned
    columns : names of the labels; by default all attributes of the dataset
    transform : called with a PIL image; without one the image is a uint8 tensor [3, H, W]
    levels : the levels of categories, in the order of their indices; by default those found, sorted. A column that is
        not named here and holds numbers is a number.
    rename : label -> column of the dataset, where the two differ
    values : label -> {value in the dataset: level}, where the two differ

    Raises
    ------
    UsageError
        When a column does not exist, or holds a value that is not one of its levels.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        columns: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        levels: Mapping[str, Sequence[str]] | None = None,
        rename: Mapping[str, str] | None = None,
        values: Mapping[str, Mapping[Any, str]] | None = None,
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self._rename = dict(rename or {})
        self._given = {key: {label(old): new for old, new in pairs.items()} for key, pairs in (values or {}).items()}
        self.columns = tuple(dict.fromkeys(dataset.attributes if columns is None else columns))
        for name in [*self._rename, *self._given]:
            if name not in self.columns:
                raise UsageError(f"{name!r} is to be mapped, but is no label: {nearest(name, self.columns)}")
        self.levels: dict[str, tuple[str, ...]] = {k: tuple(v) for k, v in (levels or {}).items() if k in self.columns}
        self._values = {name: self._encode(name) for name in self.columns}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        row = int(check_rows([index], len(self))[0])
        labels = {name: values[row] for name, values in self._values.items()}
        return finished(self.dataset.image(row), self.transform), labels

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items."""
        return [self[index] for index in indices]

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return labels of all rows as a table, categories by name; by default those of the items."""
        chosen = self.columns if columns is None else columns
        for name in chosen:
            if name not in self._values:
                raise UsageError(f"there is no label {name!r}: {nearest(name, self._values)}")
        return pd.DataFrame({name: named(self._values[name], self.levels.get(name, ())) for name in chosen})

    def _encode(self, name: str) -> NDArray[Any]:
        """Return the values of one label, and note its levels if they were not given."""
        column = self._rename.get(name, name)
        if column not in self.dataset.attributes:
            raise UsageError(f"{self.dataset.name} has no column {column!r}: {nearest(column, self.dataset.attributes)}")
        series = self.dataset.table[column]
        if name not in self.levels and name not in self._given and pd.api.types.is_numeric_dtype(series):
            return series.to_numpy(np.float32, na_value=np.nan)
        codes, uniques = pd.factorize(series)
        found = [self._given.get(name, {}).get(text, text) for text in map(label, uniques)]
        levels = self.levels.setdefault(name, tuple(sorted(set(found) - {""})))
        for level in found:
            if level and level not in levels:
                raise UsageError(
                    f"{self.dataset.name} has {column} {level!r}, which is no level of {name!r} ({', '.join(levels)}); "
                    "map it with values={...}"
                )
        places = np.array([levels.index(level) if level else MISSING for level in found] + [MISSING], np.int64)
        return places[codes]


def check_rows(indices: Sequence[int], count: int) -> NDArray[np.int64]:
    """Check indices, counting negative ones from the end."""
    chosen = np.asarray(indices, np.int64).reshape(-1)
    if len(chosen) and (chosen.min() < -count or chosen.max() >= count):
        raise IndexError(f"an index is out of range: there are {count} items")
    return np.where(chosen < 0, chosen + count, chosen)


def finished(image: NDArray[np.uint8], transform: Transform | None) -> Any:
    """Return what an item gives for an image uint8 [H, W, 3]: the transform's result, or a uint8 tensor [3, H, W]."""
    if transform is not None:
        return transform(Image.fromarray(image))
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def named(values: NDArray[Any], levels: Sequence[str]) -> Any:
    """Return codes as the names of their levels, None for -1; what has no levels as it is."""
    return pd.Series(np.array([*levels, None], object)[values]) if levels else values
