"""A real data set as a torch data set, with items like those of `faceaug.datasets.torch_dataset.ShardDataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from faceaug.analysis.axes import label
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.shards.columns import MISSING_CODE
from faceaug.utils.images import decode_to_pil, decode_to_planes
from faceaug.utils.text import nearest

Item = tuple[Any, dict[str, Any]]
Transform = Callable[[Image.Image], Any]


@dataclass(frozen=True)
class LabelSource:
    """Where a label is found in a data set that names or spells it differently.

    Attributes
    ----------
    column : str or None
        Column of the data set; None for the column with the name of the label.
    values : mapping
        Value in the data set to level of the label; values that are not in it are levels themselves.
    """

    column: str | None = None
    values: Mapping[Any, str] = field(default_factory=dict)


class RealImageDataset(Dataset[Item]):
    """A real data set with items like those of `ShardDataset`.

    Parameters
    ----------
    dataset : FaceDataset
    columns : sequence of str, optional
        Names of the labels; by default all attributes of the data set.
    transform : callable, optional
        Called with a PIL image; without it, images are uint8 tensors [3, H, W].
    levels : mapping of str to sequence of str, optional
        Levels of each category in the order of their indices; by default the values of the column, sorted. A column of
        numbers that is not named here is a number.
    label_sources : mapping of str to LabelSource, optional
        Labels that the data set names or spells differently.

    Attributes
    ----------
    columns : tuple of str
    levels : dict of str to tuple of str

    Raises
    ------
    UsageError
        If a column does not exist, or has a value that is not one of its levels.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        columns: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        levels: Mapping[str, Sequence[str]] | None = None,
        label_sources: Mapping[str, LabelSource] | None = None,
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self._sources = dict(label_sources or {})
        self.columns = tuple(dict.fromkeys(dataset.attributes if columns is None else columns))
        for name in self._sources:
            if name not in self.columns:
                raise UsageError(f"label_sources names {name!r}, which is not a label; {nearest(name, self.columns)}")
        self.levels: dict[str, tuple[str, ...]] = {k: tuple(v) for k, v in (levels or {}).items() if k in self.columns}
        self._values = {name: self._encode(name) for name in self.columns}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Item:
        row = int(check_rows([index], len(self))[0])
        labels = {name: values[row] for name, values in self._values.items()}
        decode = decode_to_planes if self.transform is None else decode_to_pil
        key, dataset = self.dataset.keys[row], self.dataset
        image = decode(dataset.encoded(row), name=key, max_pixels=dataset.max_pixels)
        return transformed(image, self.transform), labels

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items."""
        return [self[index] for index in indices]

    def table(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return labels of all rows as a table, categories by name; by default all labels of the items."""
        names = self.columns if columns is None else columns
        for name in names:
            if name not in self._values:
                raise UsageError(f"there is no label {name!r}; {nearest(name, self._values)}")
        return pd.DataFrame({name: level_names(self._values[name], self.levels.get(name, ())) for name in names})

    def _encode(self, name: str) -> NDArray[Any]:
        """Return the values of a label [N], and add its levels to `self.levels` if they were not given."""
        source = self._sources.get(name, LabelSource())
        column = name if source.column is None else source.column
        if column not in self.dataset.attributes:
            hint = nearest(column, self.dataset.attributes)
            raise UsageError(f"{self.dataset.name} has no column {column!r}; {hint}")
        series = self.dataset.table[column]
        if name not in self.levels and not source.values and pd.api.types.is_numeric_dtype(series):
            return series.to_numpy(np.float32, na_value=np.nan)
        codes, uniques = pd.factorize(series)
        level_of_text = {label(value): level for value, level in source.values.items()}
        unique_levels = [level_of_text.get(text, text) for text in map(label, uniques)]
        levels = self.levels.setdefault(name, tuple(sorted(set(unique_levels) - {""})))
        for level in unique_levels:
            if level and level not in levels:
                raise UsageError(
                    f"{self.dataset.name} has {column} {level!r}, which is not a level of {name!r} "
                    f"({', '.join(levels)}); map it with LabelSource(values={{...}})"
                )
        level_codes = [levels.index(level) if level else MISSING_CODE for level in unique_levels]
        return np.array([*level_codes, MISSING_CODE], np.int64)[codes]


def check_rows(indices: Sequence[int], count: int) -> NDArray[np.int64]:
    """Return indices as row numbers, int64 [K]; negative ones count from the end. IndexError if one is out of range."""
    rows = np.asarray(indices, np.int64).reshape(-1)
    if len(rows) and (rows.min() < -count or rows.max() >= count):
        raise IndexError(f"an index is out of range: there are {count} items")
    return np.where(rows < 0, rows + count, rows)


def transformed(image: NDArray[np.uint8] | Image.Image, transform: Transform | None) -> Any:
    """Return the result of the transform for an image, uint8 [H, W, 3] or of PIL.

    Without a transform, the image is uint8 [3, H, W], and is returned as a tensor.
    """
    if transform is not None:
        return transform(image if isinstance(image, Image.Image) else Image.fromarray(image))
    return torch.from_numpy(image)


def level_names(values: NDArray[Any], levels: Sequence[str]) -> Any:
    """Return the names of the levels of codes, None for -1; without levels, return the values as they are."""
    return pd.Series(np.array([*levels, None], object)[values]) if levels else values
