"""Count the rows of a table in the cells that its attributes span, and measure how uneven the counts are.

The time is linear in the number of rows.

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
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.axes import (
    Axis,
    AxisSpec,
    Codes,
    attribute,
    build_axis,
    cell_codes,
    cell_count,
    cell_levels,
    numbers,
    parse_by,
)
from faceaug.analysis.cell_values import as_shares, read_values
from faceaug.analysis.imbalance import Counts, ImbalanceMetrics, cramers_v, imbalance_metrics, mutual_information
from faceaug.analysis.intervals import known_errors, share_intervals
from faceaug.analysis.text import analysis_text
from faceaug.errors import DatasetError, UsageError
from faceaug.pages.notebook import notebook_html
from faceaug.utils.typing import Floats

MAX_CELLS = 10_000
_MOST_COMBINATIONS = 1 << 20  # of levels and missing ones, up to which all axes are counted at once
_FORMAT, _VERSION = "faceaug-analysis", 2


@dataclass(frozen=True)
class Cell:
    """One combination of levels.

    Attributes
    ----------
    index : int
        Position of the cell, row-major over the axes.
    levels : dict of str to str
        Level of each axis.
    count : int
        Rows in the cell.
    """

    index: int
    levels: dict[str, str]
    count: int


@dataclass(frozen=True, eq=False)
class Marginal:
    """Counts over some of the axes: a single attribute or a pair. Every row that has these attributes is counted.

    Attributes
    ----------
    axes : tuple of Axis
    counts : int64, one dimension per axis
    missing : int
        Rows without a level on one of these axes.
    figures : ImbalanceMetrics
    intervals : float64 [cells, 2] or None
        As of `Analysis`; not computed for pairs.
    """

    axes: tuple[Axis, ...]
    counts: Counts
    missing: int
    figures: ImbalanceMetrics
    intervals: Floats | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes."""
        return tuple(axis.name for axis in self.axes)


@dataclass(frozen=True)
class Association:
    """Association between two attributes.

    Attributes
    ----------
    first, second : str
    rows : int
        Rows that have both attributes.
    cramers_v : float or None
        Cramér's V with correction for bias, 0 to 1; None when an attribute does not vary.
    mutual_information : float
        In nats.
    normalized_mutual_information : float or None
        Mutual information divided by the mean entropy of the two, 0 to 1; None when neither varies.
    """

    first: str
    second: str
    rows: int
    cramers_v: float | None
    mutual_information: float
    normalized_mutual_information: float | None


@dataclass(frozen=True, eq=False)
class Analysis:
    """Result of `analyze`.

    Attributes
    ----------
    axes : tuple of Axis
    counts : int64 [cells]
        Rows in each combination of levels, row-major over the axes (the last runs fastest), empty cells included.
    codes : int64 [rows]
        The cell of each row; -1 for a row that is in no cell.
    missing : int
        Rows that are in no cell.
    rows : int
        All rows, so that ``counts.sum() + missing == rows``.
    unlabelled, outside : dict of str to int
        For each axis the number of rows without a value, and of rows with a number outside of the edges.
    minimum : int
        Rows that a cell should have.
    reference : float64 [cells]
        Shares of the reference distribution; uniform by default.
    figures : ImbalanceMetrics
        Figures of the cells.
    attributes, pairs : tuple of Marginal
        Counts and figures of each single attribute and of each pair of attributes.
    associations : tuple of Association
        One for each pair, in the order of `pairs`.
    intervals : float64 [cells, 2] or None
        95% interval of each share, from sampling and the error of the measurement (`analysis.intervals`); None where no
        attribute is measured with known errors.
    """

    axes: tuple[Axis, ...]
    counts: Counts
    codes: Codes
    missing: int
    rows: int
    unlabelled: dict[str, int]
    outside: dict[str, int]
    minimum: int
    reference: Floats
    figures: ImbalanceMetrics
    attributes: tuple[Marginal, ...]
    pairs: tuple[Marginal, ...]
    associations: tuple[Association, ...]
    intervals: Floats | None = None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in order."""
        return tuple(
            Cell(index, cell_levels(self.axes, index), int(count)) for index, count in enumerate(self.counts.tolist())
        )

    @property
    def shares(self) -> Floats:
        """The share of each cell in the counted rows, float64 [cells]."""
        return np.asarray(self.counts / self.counts.sum(), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return everything except `codes` as plain JSON values (format "faceaug-analysis")."""
        shares, reference = self.shares.tolist(), self.reference.tolist()
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "rows": self.rows,
            "missing": self.missing,
            "unlabelled": dict(self.unlabelled),
            "outside": dict(self.outside),
            "minimum": self.minimum,
            "axes": [axis.to_dict() for axis in self.axes],
            "figures": self.figures.to_dict(),
            "cells": [
                {
                    "levels": cell.levels,
                    "count": cell.count,
                    "share": shares[cell.index],
                    "reference": reference[cell.index],
                    "interval": None if self.intervals is None else self.intervals[cell.index].tolist(),
                }
                for cell in self.cells
            ],
            "attributes": [_marginal_dict(marginal) for marginal in self.attributes],
            "pairs": [_marginal_dict(marginal) for marginal in self.pairs],
            "associations": [dict(vars(association)) for association in self.associations],
        }

    def to_text(self) -> str:
        """Return the analysis as text tables, at most 100 characters wide."""
        return analysis_text(self)

    def _repr_html_(self) -> str:
        figures = self.figures
        lines = [
            f"{self.rows - self.missing:,} of {self.rows:,} rows counted in {len(self.counts):,} cells",
            f"Imbalance, largest over smallest that is not empty: {figures.imbalance_ratio:,.1f}; evenness, 1 is even: "
            f"{figures.evenness:.3f}; empty cells: {figures.empty:,}",
        ]
        cells = [(cell.levels, {"count": cell.count}, {"real": cell.count}) for cell in self.cells]
        return notebook_html(" x ".join(axis.name for axis in self.axes), lines, cells)


def analyze(
    dataset: Any, by: str | Sequence[str | AxisSpec], *, minimum: int = 30, reference: Mapping[Any, Any] | None = None
) -> Analysis:
    """Count the rows of a data set in the cells that some attributes span, and measure how uneven they are.

    Parameters
    ----------
    dataset : FaceDataset or pandas.DataFrame
        A data set, or a table with one row per image. The columns "key" and "split" are not attributes.
    by : str or sequence
        Attributes and their bins as on the command line: "gender,age:5"; several strings are joined. See
        `faceaug.analysis.axes.parse_by`.
    minimum : int
        Cells with fewer rows are counted in `figures.under_minimum`.
    reference : mapping, optional
        The distribution to compare with, nested in the order of the axes: ``{"female": {"asian": 0.1, ...}, ...}``.
        The values are shares that sum to 1, or counts; the share of a cell that is left out is 0. Uniform by default.

    Returns
    -------
    Analysis
        A row without one of the attributes is in no cell and is counted in `missing`.

    Raises
    ------
    UsageError
        If a column does not exist, bins do not fit it, or there are more than 10,000 cells.
    DatasetError
        If there are no rows, a column has no value, or no row has all attributes.
    PlanError
        If `reference` cannot be read.
    """
    table = dataset if isinstance(dataset, pd.DataFrame) else getattr(dataset, "table", None)
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"analyze takes a FaceDataset or a pandas DataFrame, but got {type(dataset).__name__}")
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 0:
        raise UsageError(f"the minimum of rows per cell must be a whole number of at least 0, but is {minimum!r}")
    specs = parse_by(by)
    if not len(table):
        raise DatasetError("the table has no rows, so nothing can be counted")
    axes = tuple(build_axis(table, spec) for spec in specs)
    check_cells(axes)
    levels = [axis.assign(attribute(table, axis.name)) for axis in axes]
    rows = _RowCounter(levels, axes)
    counts = rows.counts(range(len(axes))).ravel()
    if not counts.sum():
        raise DatasetError(
            f"no row has a value for each of {', '.join(axis.name for axis in axes)}; leave one of them out of --by"
        )
    unlabelled, outside = _left_out(table, axes, levels)
    reference_shares = _reference_shares(reference, axes)
    grid = reference_shares.reshape([len(axis.levels) for axis in axes])
    pairs = tuple(
        _marginal(axes, rows, chosen, grid, minimum) for chosen in itertools.combinations(range(len(axes)), 2)
    )
    errors = known_errors(table, axes, getattr(dataset, "standard_errors", {}))
    singles = []
    for position, axis in enumerate(axes):
        single = _marginal(axes, rows, (position,), grid, minimum)
        spans = share_intervals(table, [axis], [levels[position]], single.counts, errors)
        singles.append(replace(single, intervals=spans))
    return Analysis(
        axes=axes,
        counts=counts,
        codes=rows.cells(),
        missing=len(table) - int(counts.sum()),
        rows=len(table),
        unlabelled=unlabelled,
        outside=outside,
        minimum=minimum,
        reference=reference_shares,
        figures=imbalance_metrics(counts, reference_shares, minimum),
        attributes=tuple(singles),
        pairs=pairs,
        associations=tuple(_association(pair) for pair in pairs),
        intervals=share_intervals(table, axes, levels, counts, errors),
    )


def check_cells(axes: Sequence[Axis]) -> None:
    """Raise UsageError when the axes span more than 10,000 cells."""
    if cell_count(axes) > MAX_CELLS:
        sizes = " x ".join(f"{axis.name} ({len(axis.levels):,} levels)" for axis in axes)
        raise UsageError(
            f"{sizes} span {cell_count(axes):,} cells, more than the limit of {MAX_CELLS:,}; "
            "name fewer attributes or use fewer bins"
        )


def _left_out(
    table: pd.DataFrame, axes: Sequence[Axis], levels: Sequence[Codes]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return for each axis the number of rows without a value, and of rows with a value outside of its edges."""
    unlabelled, outside = {}, {}
    for axis, codes in zip(axes, levels, strict=True):
        without_level = int(np.count_nonzero(codes < 0))
        outside_edges = 0
        if without_level and axis.edges is not None:
            known = np.count_nonzero(~np.isnan(numbers(attribute(table, axis.name), axis.name)))
            outside_edges = int(known) - (len(codes) - without_level)
        unlabelled[axis.name], outside[axis.name] = without_level - outside_edges, outside_edges
    return unlabelled, outside


def _reference_shares(reference: Mapping[Any, Any] | None, axes: Sequence[Axis]) -> Floats:
    cells = cell_count(axes)
    if reference is None:
        return np.full(cells, 1 / cells)
    shares = np.zeros(cells)
    source = "the reference distribution"
    for index, share in as_shares(read_values(reference, axes, field="share", source=source), source).items():
        shares[index] = float(share)
    return shares


class _RowCounter:
    """Counts rows over any of the axes, from one pass over all rows where the axes span few combinations."""

    def __init__(self, levels: Sequence[Codes], axes: Sequence[Axis]) -> None:
        self._levels, self._axes, self.total = levels, axes, len(levels[0])
        self._shape = tuple(len(axis.levels) + 1 for axis in axes)  # one more for rows without a level
        self._joint: Counts | None = None
        if math.prod(self._shape) <= _MOST_COMBINATIONS:
            self._places = np.ravel_multi_index(tuple(levels), self._shape, mode="wrap")  # -1 becomes the last
            self._joint = np.bincount(self._places, minlength=math.prod(self._shape)).reshape(self._shape)

    def counts(self, chosen: Sequence[int]) -> Counts:
        """Return the rows in each combination of the levels of some axes, int64 with a dimension for each."""
        axes = [self._axes[position] for position in chosen]
        if self._joint is not None:
            others = tuple(position for position in range(len(self._axes)) if position not in chosen)
            return np.asarray(self._joint.sum(axis=others)[(slice(-1),) * len(axes)], np.int64)
        codes = cell_codes([self._levels[position] for position in chosen], axes)
        counts = np.bincount(codes[codes >= 0], minlength=cell_count(axes))
        return counts.reshape([len(axis.levels) for axis in axes]).astype(np.int64)

    def cells(self) -> Codes:
        """Return the cell of each row, int64 [rows]; -1 for a row that is in none."""
        if self._joint is None:
            return cell_codes(self._levels, self._axes)
        cell_of_place = np.full(self._shape, -1, np.int64)
        inner = cell_of_place[(slice(-1),) * len(self._axes)]
        inner[...] = np.arange(inner.size).reshape(inner.shape)
        return np.asarray(cell_of_place.ravel()[self._places])


def _marginal(
    axes: Sequence[Axis], rows: _RowCounter, chosen: tuple[int, ...], reference: Floats, minimum: int
) -> Marginal:
    counts = rows.counts(chosen)
    others = tuple(position for position in range(len(axes)) if position not in chosen)
    figures = imbalance_metrics(counts, reference.sum(axis=others), minimum)
    chosen_axes = tuple(axes[position] for position in chosen)
    return Marginal(chosen_axes, counts, rows.total - int(counts.sum()), figures)


def _association(pair: Marginal) -> Association:
    information, normalized = mutual_information(pair.counts)
    first, second = pair.names
    return Association(first, second, int(pair.counts.sum()), cramers_v(pair.counts), information, normalized)


def _marginal_dict(marginal: Marginal) -> dict[str, Any]:
    cells, spans = [cell_levels(marginal.axes, index) for index in range(marginal.counts.size)], marginal.intervals
    return {
        "names": list(marginal.names),
        "missing": marginal.missing,
        "figures": marginal.figures.to_dict(),
        "cells": [
            {"levels": levels, "count": count} | ({} if spans is None else {"interval": spans[index].tolist()})
            for index, (levels, count) in enumerate(zip(cells, marginal.counts.ravel().tolist(), strict=True))
        ],
    }
