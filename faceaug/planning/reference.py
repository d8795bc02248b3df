"""The reference distribution of the strategy `match`, read from a table or from a file of shares or counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.axes import Axis, Codes, attribute, cell_codes, cell_count, cell_levels, describe, label, numbers
from faceaug.analysis.cell_values import CellValues, cell_index, check_value, read_values
from faceaug.errors import PlanError, UsageError
from faceaug.utils.documents import DOCUMENTS, load_document
from faceaug.utils.files import require_regular
from faceaug.utils.text import one_line

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


def read_reference(path: Path, axes: Sequence[Axis], source: str) -> tuple[CellValues, tuple[str, ...]]:
    """Read the shares or counts of a reference.

    Parameters
    ----------
    path : Path
        A table (CSV, TSV, Parquet) with a row per face, or with a row per cell and a column "share" or "count"; or
        JSON or YAML, as in `faceaug.analysis.cell_values.read_values`.
    axes : sequence of Axis
        Axes of the plan. A column of numbers is binned by the edges of its axis.
    source : str
        Name of the reference, for error messages.

    Returns
    -------
    (dict of int to int or float, tuple of str)
        Share or count of each cell that has one, and remarks for the reader.

    Raises
    ------
    PlanError
        If the file cannot be read, or does not fit the axes.
    """
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return _cell_values_of_table(_read_table(path, source), axes, source)
    if suffix not in DOCUMENTS:
        raise PlanError(f"{source} must be a table (.csv, .tsv, .parquet) or a file of shares (.json, .yaml)")
    content = load_document(path, "the reference")
    records = content if isinstance(content, list) else []
    field = "count" if any(isinstance(record, dict) and "count" in record for record in records) else "share"
    return read_values(content, axes, field=field, source=source), ()


def _cell_values_of_table(table: pd.DataFrame, axes: Sequence[Axis], source: str) -> tuple[CellValues, tuple[str, ...]]:
    """Return the values of a table with a row per face, or of one with a row per cell (rows of one cell are added)."""
    codes = _table_codes(table, axes, source)
    names = {axis.name for axis in axes}
    field = next((name for name in ("share", "count") if name in table.columns and name not in names), None)
    inside = codes >= 0
    left_out = int(np.sum(~inside))
    notes: tuple[str, ...] = ()
    values: CellValues
    if field is None:
        if left_out:
            notes = (
                f"{left_out:,} of the {len(table):,} rows of {source} are left out, because they lack an attribute or "
                "lie outside of the edges",
            )
        indices, rows = np.unique(codes[inside], return_counts=True)
        values = dict(zip(indices.tolist(), rows.tolist(), strict=True))
    else:
        if left_out:
            raise PlanError(
                f"{source} has {left_out:,} rows that lack an attribute or lie outside of the edges; correct or remove "
                "them"
            )
        values = {}
        for index, number in zip(codes.tolist(), table[field].tolist(), strict=True):
            cell = describe(cell_levels(axes, index))
            values[index] = values.get(index, 0) + check_value(number, f"the {field} of {cell} in {source}")
    if not values:
        raise PlanError(f"{source} has no row in any of the {cell_count(axes):,} cells; give a table with these levels")
    return values, notes


def _table_codes(table: pd.DataFrame, axes: Sequence[Axis], source: str) -> Codes:
    """Return the cell of each row, int64 [N]; -1 for a row that is in no cell."""
    levels = []
    for axis in axes:
        try:
            values = attribute(table, axis.name)
        except UsageError as error:
            raise PlanError(f"{source} does not fit --by: {error}") from error
        levels.append(_level_codes(axis, values, source))
    return cell_codes(levels, axes)


def _level_codes(axis: Axis, values: pd.Series[Any], source: str) -> Codes:
    """Return the level of each value, int64 [N]; a binned axis takes numbers, or the labels of its bins."""
    binned = axis.edges is not None
    try:
        if binned:
            numbers(values, axis.name)  # raises UsageError for text
        codes = axis.assign(values)
    except UsageError:
        binned = False
        codes = Axis(axis.name, "categorical", axis.levels).assign(values)
    if not binned:
        for value in values[(codes < 0) & values.notna().to_numpy()].unique():
            if label(value):  # an empty text counts as missing
                cell_index([axis], [value], source)  # raises PlanError and names the nearest level
    return codes


def _read_table(path: Path, source: str) -> pd.DataFrame:
    try:
        require_regular(path)
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise PlanError(f"{source} does not exist; check the path") from error
    except Exception as error:  # pandas and pyarrow raise many kinds of errors for a damaged file
        raise PlanError(f"{source} cannot be read as a table: {one_line(error)}") from error
