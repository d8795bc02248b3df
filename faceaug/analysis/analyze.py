"""Table of attributes -> cells, their counts, and how uneven they are. Linear in the rows.

>>> import pandas as pd
>>> table = pd.DataFrame({"gender": ["female", "male", "male", "male"], "age": [31, 25, 47, 62]})
>>> analysis = analyze(table, "gender,age:20/40/70")
>>> [(cell.levels["gender"], cell.levels["age"], cell.count) for cell in analysis.cells]
[('female', '20 to 40', 1), ('female', '40 to 70', 0), ('male', '20 to 40', 1), ('male', '40 to 70', 2)]
>>> analysis.figures.imbalance_ratio
2.0
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from faceaug.analysis import text as analysis_text
from faceaug.analysis.axes import Axis, AxisSpec, Codes, build_axis, cell_codes, cell_count, cell_levels, parse_by
from faceaug.analysis.axes import attribute as attribute_column
from faceaug.analysis.cell_values import as_shares, read_values
from faceaug.analysis.imbalance import Counts, ImbalanceMetrics, cramers_v, imbalance_metrics, mutual_information
from faceaug.errors import DatasetError, UsageError

MAX_CELLS = 10_000
FORMAT, VERSION = "faceaug-analysis", 1


@dataclass(frozen=True)
class Cell:
    """One combination of levels: `levels` maps each axis to its level, `count` is the number of rows."""

    index: int
    levels: dict[str, str]
    count: int


@dataclass(frozen=True, eq=False)
class Marginal:
    """Counts over some of the axes: a single attribute or a pair. All rows that have these attributes count.

    Attributes
    ----------
    axes : tuple of Axis
    counts : int64, as many dimensions as axes
    missing : int
        Rows without a level on one of these axes.
    figures : ImbalanceMetrics
    """

    axes: tuple[Axis, ...]
    counts: Counts
    missing: int
    figures: ImbalanceMetrics

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes."""
        return tuple(axis.name for axis in self.axes)


@dataclass(frozen=True)
class Association:
    """How closely two attributes go together.

    Attributes
    ----------
    first, second : str
    rows : int
        Rows that have both.
    cramers_v : float or None
        Corrected for bias, 0 to 1; None when an attribute does not vary.
    mutual_information : float
        In nats.
    normalized_mutual_information : float or None
        Over the mean entropy of the two, 0 to 1; None when neither varies.
    """

    first: str
    second: str
    rows: int
    cramers_v: float | None
    mutual_information: float
    normalized_mutual_information: float | None


@dataclass(frozen=True, eq=False)
class Analysis:
    """What `analyze` found.

    Attributes
    ----------
    axes : tuple of Axis
    counts : int64 [cells]
        Rows in each combination of levels, row-major over the axes (the last runs fastest), empty cells included.
    codes : int64 [rows]
        The cell of each row; -1 for a row that is in none.
    missing : int
        Rows that are in no cell.
    rows : int
        All rows, so that ``counts.sum() + missing == rows``.
    unlabelled, outside : dict of str to int
        For each axis the rows without a value, and those with a number outside of the edges.
    minimum : int
        Rows that a cell should have.
    wished : float64 [cells]
        Wished shares, uniform unless given.
    figures : ImbalanceMetrics
        Of the cells.
    attributes, pairs : tuple of Marginal
        The same for each attribute alone and for each two of them.
    associations : tuple of Association
        In the order of `pairs`.
    """

    axes: tuple[Axis, ...]
    counts: Counts
    codes: Codes
    missing: int
    rows: int
    unlabelled: dict[str, int]
    outside: dict[str, int]
    minimum: int
    wished: npt.NDArray[np.float64]
    figures: ImbalanceMetrics
    attributes: tuple[Marginal, ...]
    pairs: tuple[Marginal, ...]
    associations: tuple[Association, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in order."""
        return tuple(
            Cell(index, cell_levels(self.axes, index), int(count)) for index, count in enumerate(self.counts.tolist())
        )

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """The share of each cell in the counted rows, float64 [cells]."""
        return np.asarray(self.counts / self.counts.sum(), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the cell of each row as plain JSON values."""
        shares, wished = self.shares.tolist(), self.wished.tolist()
        return {
            "format": FORMAT,
            "version": VERSION,
            "rows": self.rows,
            "missing": self.missing,
            "unlabelled": dict(self.unlabelled),
            "outside": dict(self.outside),
            "minimum": self.minimum,
            "axes": [axis.to_dict() for axis in self.axes],
            "figures": self.figures.to_dict(),
            "cells": [
                {"levels": cell.levels, "count": cell.count, "share": shares[cell.index], "wished": wished[cell.index]}
                for cell in self.cells
            ],
            "attributes": [_marginal_dict(marginal) for marginal in self.attributes],
            "pairs": [_marginal_dict(marginal) for marginal in self.pairs],
            "associations": [dict(vars(association)) for association in self.associations],
        }

    def to_text(self) -> str:
        """Return tables that a person can read, at most 100 columns wide."""
        return analysis_text.render(self)


def analyze(
    dataset: Any, by: str | Sequence[str | AxisSpec], *, minimum: int = 30, wished: Mapping[Any, Any] | None = None
) -> Analysis:
    """Count the rows of a dataset in the cells that some attributes span, and measure how uneven they are.

    Parameters
    ----------
    dataset : FaceDataset or pandas.DataFrame
        A dataset, or a table with a row per image; the columns "key" and "split" are not attributes.
    by : str or sequence
        As on the command line: "gender,age:5"; several strings add up. See `faceaug.analysis.axes.parse_by`.
    minimum : int
        Cells with fewer rows are pointed out.
    wished : mapping, optional
        The distribution to compare with, nested in the order of the axes: ``{"female": {"asian": 0.1, ...}, ...}``,
        shares that sum to 1 or counts; cells that are left out are wished empty. Uniform by default.

    Returns
    -------
    Analysis
        A row that misses one of the attributes is in no cell; it is counted in `missing`.

    Raises
    ------
    UsageError
        A column that does not exist, bins that do not fit it, or more than 10,000 cells.
    DatasetError
        No rows, a column without a value, or no row that has them all.
    PlanError
        `wished` cannot be read.
    """
    table = dataset if isinstance(dataset, pd.DataFrame) else getattr(dataset, "table", None)
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"a dataset or a pandas DataFrame is needed to analyze, but this is {type(dataset).__name__}")
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 0:
        raise UsageError(f"the minimum of rows a cell must be a whole number of at least 0, but is {minimum!r}")
    specs = parse_by(by)
    if not len(table):
        raise DatasetError("the table has no rows; nothing can be counted")
    axes = tuple(build_axis(table, spec) for spec in specs)
    check_cells(axes)
    levels = [axis.assign(attribute_column(table, axis.name)) for axis in axes]
    codes = cell_codes(levels, axes)
    counts = np.bincount(codes[codes >= 0], minlength=cell_count(axes)).astype(np.int64)
    if not counts.sum():
        raise DatasetError(
            f"no row has a value for each of {', '.join(axis.name for axis in axes)}; leave one of them out of --by"
        )
    unlabelled, outside = _left_out(table, axes, levels)
    shares = _wished_shares(wished, axes)
    grid = shares.reshape([len(axis.levels) for axis in axes])
    pairs = tuple(
        _marginal(axes, levels, chosen, grid, minimum) for chosen in itertools.combinations(range(len(axes)), 2)
    )
    return Analysis(
        axes=axes,
        counts=counts,
        codes=codes,
        missing=len(table) - int(counts.sum()),
        rows=len(table),
        unlabelled=unlabelled,
        outside=outside,
        minimum=minimum,
        wished=shares,
        figures=imbalance_metrics(counts, shares, minimum),
        attributes=tuple(_marginal(axes, levels, (place,), grid, minimum) for place in range(len(axes))),
        pairs=pairs,
        associations=tuple(_association(pair) for pair in pairs),
    )


def check_cells(axes: Sequence[Axis]) -> None:
    """Raise UsageError when the axes span more than 10,000 cells."""
    if cell_count(axes) > MAX_CELLS:
        sizes = " x ".join(f"{axis.name} ({len(axis.levels):,} levels)" for axis in axes)
        raise UsageError(
            f"{sizes} span {cell_count(axes):,} cells, more than the {MAX_CELLS:,} that can be looked at; "
            "name fewer attributes or use fewer bins"
        )


def _left_out(
    table: pd.DataFrame, axes: Sequence[Axis], levels: Sequence[Codes]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return for each axis how many rows have no value, and how many have one outside of its edges."""
    unlabelled, outside = {}, {}
    for axis, codes in zip(axes, levels, strict=True):
        without = int(np.sum(codes < 0))
        beyond = 0
        if without and axis.edges is not None:
            whole = Axis(axis.name, axis.kind, ("any",), (-np.finfo(np.float64).max, np.finfo(np.float64).max))
            beyond = without - int(np.sum(whole.assign(attribute_column(table, axis.name)) < 0))
        unlabelled[axis.name], outside[axis.name] = without - beyond, beyond
    return unlabelled, outside


def _wished_shares(wished: Mapping[Any, Any] | None, axes: Sequence[Axis]) -> npt.NDArray[np.float64]:
    cells = cell_count(axes)
    if wished is None:
        return np.full(cells, 1 / cells)
    shares = np.zeros(cells)
    what = "the wished distribution"
    for index, share in as_shares(read_values(wished, axes, field="share", what=what), what).items():
        shares[index] = float(share)
    return shares


def _marginal(
    axes: Sequence[Axis],
    levels: Sequence[Codes],
    chosen: tuple[int, ...],
    wished: npt.NDArray[np.float64],
    minimum: int,
) -> Marginal:
    some = tuple(axes[place] for place in chosen)
    codes = cell_codes([levels[place] for place in chosen], some)
    shape = [len(axis.levels) for axis in some]
    counts = np.bincount(codes[codes >= 0], minlength=cell_count(some)).astype(np.int64).reshape(shape)
    others = tuple(place for place in range(len(axes)) if place not in chosen)
    return Marginal(some, counts, int(np.sum(codes < 0)), imbalance_metrics(counts, wished.sum(axis=others), minimum))


def _association(pair: Marginal) -> Association:
    information, normalized = mutual_information(pair.counts)
    first, second = pair.names
    return Association(first, second, int(pair.counts.sum()), cramers_v(pair.counts), information, normalized)


def _marginal_dict(marginal: Marginal) -> dict[str, Any]:
    cells = [cell_levels(marginal.axes, index) for index in range(marginal.counts.size)]
    return {
        "names": list(marginal.names),
        "missing": marginal.missing,
        "figures": marginal.figures.to_dict(),
        "cells": [
            {"levels": levels, "count": count}
            for levels, count in zip(cells, marginal.counts.ravel().tolist(), strict=True)
        ],
    }
