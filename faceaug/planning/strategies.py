"""What a data set should look like: every way to say it becomes one whole number a cell, the wished total."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faceaug.analysis.axes import Axis, attribute, cell_codes, cell_count, cell_levels, describe, label, numbers
from faceaug.analysis.cell_values import Values, as_shares, cell_index, checked, read_values
from faceaug.errors import PlanError, UsageError, nearest
from faceaug.utils.documents import DOCUMENTS, load_document
from faceaug.utils.text import MOST_SHOWN, one_line, shown

SamplingStrategy = str | Mapping[Any, Any] | Sequence[Mapping[str, Any]]
KINDS = ("uniform", "uniform-within:COL", "match:FILE", "min:N")
_TABLES = (".csv", ".tsv", ".parquet")


def strategy_totals(
    axes: Sequence[Axis], counts: Sequence[int], strategy: SamplingStrategy
) -> tuple[list[int], str, tuple[str, ...]]:
    """Return the wished total of each cell, real and made together.

    Parameters
    ----------
    axes : sequence of Axis
    counts : sequence of int [cells]
        The real rows of each cell.
    strategy : str, mapping or list of records
        See `faceaug.planning.plan.plan.plan`.

    Returns
    -------
    (list of int [cells], str, tuple of str)
        Totals, none below its count; the name of the wish; what the reader should know.

    Raises
    ------
    UsageError
        A wish that cannot be understood.
    PlanError
        A wish that cannot be met by adding, or a file that cannot be read.
    """
    if not isinstance(strategy, str):
        wish = "the explicit plan"
        return _explicit(axes, counts, read_values(strategy, axes, field="count", what=wish), wish), "explicit", ()
    kind, colon, rest = strategy.strip().partition(":")
    rest = rest.strip()
    if (kind, colon) == ("uniform", ""):
        return [max(counts)] * len(counts), "uniform", ()
    if kind == "uniform-within" and rest:
        return _uniform_within(axes, counts, rest), f"uniform-within:{rest}", ()
    if kind == "match" and rest:
        totals, notes = _match(axes, counts, Path(rest))
        return totals, f"match:{rest}", notes
    if kind == "min" and rest:
        if not (rest.isascii() and rest.isdigit() and len(rest) < 16):
            raise UsageError(f"the strategy {shown(strategy)} must name a whole number of faces a cell, as min:500")
        return [max(count, int(rest)) for count in counts], f"min:{int(rest)}", ()
    path = Path(strategy)
    if path.suffix.lower() in DOCUMENTS:
        content = load_document(path, "the explicit plan")
        wish = f"the explicit plan {path}"
        return _explicit(axes, counts, read_values(content, axes, field="count", what=wish), wish), strategy, ()
    if kind in ("uniform-within", "match", "min"):
        whole = next(known for known in KINDS if known.startswith(kind + ":"))
        raise UsageError(f"the strategy {shown(strategy)} is incomplete; write it as {whole}")
    raise UsageError(
        f"the strategy {shown(strategy)} is not known, nor is it a .json or .yaml file; {nearest(strategy, KINDS)}"
    )


def _uniform_within(axes: Sequence[Axis], counts: Sequence[int], name: str) -> list[int]:
    """Raise all combinations of the other axes, within each level of the axis `name`, to the level's largest cell."""
    names = [axis.name for axis in axes]
    if name not in names:
        raise UsageError(
            f"uniform-within:{one_line(name, MOST_SHOWN)} names no attribute of --by; {nearest(name, names)}"
        )
    if len(axes) == 1:
        raise UsageError(
            f"uniform-within:{name} needs a second attribute in --by, to even out within each {shown(name)}"
        )
    place = names.index(name)
    grid = np.array(counts, dtype=np.int64).reshape([len(axis.levels) for axis in axes])
    others = tuple(other for other in range(len(axes)) if other != place)
    return [int(total) for total in np.broadcast_to(grid.max(axis=others, keepdims=True), grid.shape).ravel()]


def _explicit(axes: Sequence[Axis], counts: Sequence[int], wanted: Values, what: str) -> list[int]:
    totals = list(counts)
    for index, total in wanted.items():
        cell = describe(cell_levels(axes, index))
        if not isinstance(total, int):
            raise PlanError(f"{what} asks for {total} faces in {cell}; ask for a whole number")
        if total < counts[index]:
            raise PlanError(
                f"{what} asks for {total:,} faces in {cell}, but {counts[index]:,} real ones are there and faceaug "
                f"only adds; ask for {counts[index]:,} or more, or leave the cell out"
            )
        totals[index] = total
    return totals


def _match(axes: Sequence[Axis], counts: Sequence[int], path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Return the smallest totals that have the shares of a reference without removing a face.

    The whole is T = max(count / share), where the most over-represented cell needs nothing. Every other cell gets
    share * T, rounded down: so each ends less than one face under its share, and planning again adds nothing (rounding
    up could tip the balance and call for more everywhere).
    """
    what = f"the reference {path}"
    notes: tuple[str, ...] = ()
    if path.suffix.lower() in DOCUMENTS:
        content = load_document(path, "the reference")
        records = content if isinstance(content, list) else []
        field = "count" if any(isinstance(record, dict) and "count" in record for record in records) else "share"
        values = read_values(content, axes, field=field, what=what)
    elif path.suffix.lower() in _TABLES:
        values, notes = _reference_table(path, axes, what)
    else:
        raise PlanError(f"{what} must be a table (.csv, .tsv, .parquet) or a file of shares (.json, .yaml)")
    shares = as_shares(values, what)
    whole = max((counts[index] / share for index, share in shares.items() if share), default=Fraction(0))
    if not whole:
        raise PlanError(
            f"no cell to which {what} gives a share holds a real face, so the shares fix no total; "
            "use min:N or explicit counts"
        )
    totals = [max(count, math.floor(shares.get(index, 0) * whole)) for index, count in enumerate(counts)]
    without = sum(count for index, count in enumerate(counts) if not shares.get(index))
    if without:
        notes += (f"{without:,} real faces are in cells to which {what} gives no share: nothing is added there",)
    return totals, notes


def _reference_table(path: Path, axes: Sequence[Axis], what: str) -> tuple[Values, tuple[str, ...]]:
    """Read a table with a row per face, or with a column "share" or "count" and a row per cell (equal rows add up)."""
    table = _read_table(path, what)
    levels = []
    for axis in axes:
        try:
            values = attribute(table, axis.name)
        except UsageError as error:
            raise PlanError(f"{what} does not fit --by: {error}") from error
        levels.append(_reference_levels(axis, values, what))
    codes = cell_codes(levels, axes)
    names = {axis.name for axis in axes}
    field = next((name for name in ("share", "count") if name in table.columns and name not in names), None)
    inside = codes >= 0
    notes: tuple[str, ...] = ()
    if left_out := int(np.sum(~inside)):
        notes = (
            f"{left_out:,} of the {len(table):,} rows of {what} are left out, as they miss an attribute or lie outside",
        )
    if field is None:
        found, rows = np.unique(codes[inside], return_counts=True)
        values_of: Values = dict(zip(found.tolist(), rows.tolist(), strict=True))
    else:
        if left_out:
            raise PlanError(f"{what} has {left_out:,} rows that lack an attribute or lie outside; mend or remove them")
        values_of = {}
        for index, number in zip(codes.tolist(), table[field].tolist(), strict=True):
            cell = describe(cell_levels(axes, index))
            values_of[index] = values_of.get(index, 0) + checked(number, f"the {field} of {cell} in {what}")
    if not values_of:
        raise PlanError(f"{what} has no row in any of the {cell_count(axes):,} cells; give a table with these levels")
    return values_of, notes


def _reference_levels(axis: Axis, values: pd.Series[Any], what: str) -> Any:
    """Return level codes [N] of a reference's column (for bins numbers or labels); an unknown label is refused."""
    binned = axis.edges is not None
    try:
        if binned:
            numbers(values, axis.name)  # raises for text
        codes = axis.assign(values)
    except UsageError:
        binned = False
        codes = Axis(axis.name, "categorical", axis.levels).assign(values)
    if not binned:
        for value in values[(codes < 0) & values.notna().to_numpy()].unique():
            if label(value):  # "" counts as missing
                cell_index([axis], [value], what)  # raises, and names the nearest level
    return codes


def _read_table(path: Path, what: str) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise PlanError(f"{what} does not exist; check the path") from error
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file
        raise PlanError(f"{what} cannot be read as a table: {one_line(error)}") from error
