"""Cells as a map: of a data set with its plan, and of an output folder with its real and synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.analysis.analyze import Analysis, analyze
from faceaug.analysis.axes import Axis, AxisSpec, attribute, build_axis, cell_codes
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import DatasetError, UsageError
from faceaug.planning.budget import Budget
from faceaug.planning.plan import Plan, plan
from faceaug.planning.strategies import STRATEGIES
from faceaug.shards.columns import Column
from faceaug.shards.manifest import PLAN_NAME, Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside
from faceaug.utils.images import Rgb, encode, resize
from faceaug.utils.text import shown

MOST_CELLS = 2_000
"""Cells that a map shows; more cannot be told apart."""
PAGE = 60
"""Faces of a cell that are shown at a time."""
THUMBNAIL_SIDE = 160
"""Pixels to which the longer side of a face on the map is reduced."""
_ANALYSES_KEPT = 8


@dataclass(frozen=True)
class PlanWish:
    """What a plan is drawn for.

    Attributes
    ----------
    by : str
        Attributes that define cells, as `--by` takes them.
    strategy : str
        `uniform`, `uniform-within:COL` or `min:N`.
    max_synthetic_ratio, max_per_cell, max_total
        The budget.
    """

    by: str
    strategy: str = "uniform"
    max_synthetic_ratio: float | None = None
    max_per_cell: int | None = None
    max_total: int | None = None


@dataclass(frozen=True)
class FacePage:
    """Some faces of a cell.

    Attributes
    ----------
    rows : tuple of int
        Of the data set, or of the samples.
    total : int
        Faces of the cell.
    """

    rows: tuple[int, ...]
    total: int


class DatasetCells:
    """The cells of a data set.

    Parameters
    ----------
    dataset : FaceDataset
    by : str
        What to count by at first.
    place : mapping
        Keys of the section `dataset` of a recipe.
    """

    def __init__(self, dataset: FaceDataset, by: str, place: Mapping[str, Any]) -> None:
        self.dataset, self.by, self.place = dataset, by, dict(place)
        self._analyzed = lru_cache(_ANALYSES_KEPT)(self._analyze)

    def analysis(self, by: str) -> Analysis:
        """Count by some attributes.

        Raises
        ------
        UsageError, DatasetError
            As `faceaug.analyze`; or when the map would have more than `MOST_CELLS` cells.
        """
        return self._analyzed(by)

    def plan(self, wish: PlanWish) -> Plan:
        """Return the plan that `faceaug plan` gives with these options.

        Raises
        ------
        UsageError
            When the strategy is none of those without a file.
        PlanError
            As `faceaug.plan`.
        """
        name = wish.strategy.partition(":")[0]
        if name not in STRATEGIES or STRATEGIES[name].argument == "FILE":
            raise UsageError(f"the strategy {shown(wish.strategy)} is none of uniform, uniform-within:COL and min:N")
        budget = Budget(wish.max_synthetic_ratio, wish.max_per_cell, wish.max_total)
        return plan(self.analysis(wish.by), wish.strategy, budget)

    def faces(self, by: str, cell: int, page: int) -> FacePage:
        """Return the rows of a page of a cell, in the order of the data set."""
        return face_page(np.flatnonzero(self.analysis(by).codes == cell), page)

    def thumbnail(self, row: int) -> bytes:
        """Return a face as a small JPEG, encoded anew: what its file says beside the pixels is not shown."""
        if not 0 <= row < len(self.dataset):
            raise UsageError(f"there is no face {row}; the data set has {len(self.dataset):,}")
        return small_jpeg(self.dataset.image(row))

    def facts(self, row: int) -> dict[str, str]:
        """Return the labels of a face, and the name of its file."""
        values = self.dataset.table.iloc[row]
        return {str(name): _text(value) for name, value in values.items() if _text(value)}

    def _analyze(self, by: str) -> Analysis:
        analysis = analyze(self.dataset, by)
        check_map(len(analysis.counts))
        return analysis


@dataclass(frozen=True, eq=False)
class OutputCells:
    """The cells of an output folder.

    Attributes
    ----------
    manifest : Manifest
    axes : tuple of Axis
        Of its plan.
    readers : tuple of ShardReader
    cells : int64 [N]
        Cell of each sample.
    values : dict of str to array [N]
        Columns of the samples, but for latents and hashes.
    columns : tuple of Column
        Of `values`.
    real : DatasetCells, optional
        The data set that was balanced.
    real_codes : int64 [M]
        Cell of each of its faces.
    """

    manifest: Manifest
    axes: tuple[Axis, ...]
    readers: tuple[ShardReader, ...]
    cells: NDArray[np.int64]
    values: dict[str, NDArray[Any]]
    columns: tuple[Column, ...]
    real: DatasetCells | None = None
    real_codes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def read(cls, out: Path, real: DatasetCells | None = None) -> OutputCells:
        """Read an output folder; its run may be unfinished.

        Raises
        ------
        IntegrityError
            When the manifest, the plan or a shard is damaged.
        UsageError
            When the map would have more than `MOST_CELLS` cells.
        """
        manifest = read_manifest(out)
        check_map(len(manifest.cells))
        axes = Plan.read(out / PLAN_NAME).axes
        readers = tuple(ShardReader(inside(out, entry.name)) for entry in manifest.shards)
        columns = tuple(c for c in manifest.columns if c.type not in ("latent", "sha256") and c.key != "cell")
        values = {c.key: np.concatenate([_stored(reader, c) for reader in readers]) for c in columns} if readers else {}
        cells = np.concatenate([np.zeros(0, np.int64), *(reader.column("cell") for reader in readers)])
        codes = np.zeros(0, np.int64)
        if real is not None:
            table = real.dataset.table
            codes = cell_codes([axis.assign(attribute(table, axis.name)) for axis in axes], axes)
        return cls(manifest, axes, readers, cells, values, columns, real, codes)

    def faces(self, cell: int, page: int) -> FacePage:
        """Return the samples of a page of a cell."""
        return face_page(np.flatnonzero(self.cells == cell), page)

    def real_faces(self, cell: int, page: int) -> FacePage:
        """Return the rows of the data set on a page of a cell."""
        return face_page(np.flatnonzero(self.real_codes == cell), page)

    def thumbnail(self, row: int) -> bytes:
        """Return a sample as a small JPEG."""
        self._check(row)
        for reader in self.readers:
            if row < len(reader):
                return small_jpeg(reader.image(row))
            row -= len(reader)
        raise AssertionError("rows are those of the shards")

    def facts(self, row: int) -> dict[str, str]:
        """Return what is stored of a sample, by the names of the columns."""
        self._check(row)
        facts = {}
        for column in self.columns:
            value = self.values[column.key][row]
            if column.type == "category":
                value = column.levels[int(value)] if value >= 0 else None
            if text := _text(value):
                facts[column.key] = f"{text} {column.unit}".strip()
        return facts

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self.cells):
            raise UsageError(f"there is no sample {row}; the folder has {len(self.cells):,}")


def face_page(rows: NDArray[np.int64], page: int) -> FacePage:
    """Return one page of rows; pages count from 0."""
    return FacePage(tuple(rows[page * PAGE : (page + 1) * PAGE].tolist()), len(rows))


def axes_of_map(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return the names and levels of axes as JSON values."""
    return [{"name": axis.name, "levels": list(axis.levels)} for axis in axes]


def check_map(cells: int) -> None:
    """Raise UsageError where there are too many cells for a map."""
    if cells > MOST_CELLS:
        raise UsageError(
            f"{cells:,} cells cannot be shown as a map of at most {MOST_CELLS:,}: count by fewer attributes or bins"
        )


def small_jpeg(image: Rgb) -> bytes:
    """Return an image reduced to `THUMBNAIL_SIDE` as a JPEG."""
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    return encode(resize(image, (max(1, round(height * scale)), max(1, round(width * scale)))), "jpeg")


def _stored(reader: ShardReader, column: Column) -> NDArray[Any]:
    """Return the values of a column; a shard without it has none."""
    if column.path in reader.keys:
        return reader.values(column)
    return np.full(len(reader), -1 if column.type == "category" else np.nan, np.float64)


def _text(value: Any) -> str:
    """Return a value of a table as people read it, "" where there is none."""
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def first_attribute(dataset: FaceDataset) -> str:
    """Return the first attribute of a data set that can be counted as it is, or "" where there is none."""
    for name in dataset.attributes:
        try:
            return str(build_axis(dataset.table, AxisSpec(name)).name)
        except (UsageError, DatasetError):
            continue
    return ""


def by_of_plan(path: Path) -> str:
    """Return what a plan counts by, as `--by` takes it."""
    axes = Plan.read(path).axes
    return ",".join(str(AxisSpec(axis.name, ("edges", axis.edges) if axis.edges else None)) for axis in axes)
