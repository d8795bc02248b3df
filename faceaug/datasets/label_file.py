"""Label files (CSV, TSV, Parquet): reading them, and finding the column that names the images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from faceaug.datasets.base import DUPLICATE, MISSING, NO_IMAGE, NO_LABEL, DatasetProblem, RawDataset, one_line
from faceaug.datasets.image_tree import FolderImages, Listing, base_of
from faceaug.errors import DatasetError, nearest
from faceaug.utils.text import shown

FILE_COLUMNS = (
    *("file", "filename", "file_name", "filepath", "file_path", "path", "key"),
    *("image", "image_name", "image_file", "image_path", "image_id", "img", "img_name", "img_path", "name", "id"),
)
# What means "unknown". "None" and "none" are not among them: no glasses is a label.
UNKNOWN = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL")
RESERVED = ("key",)
_SAMPLE = 500  # rows that are looked at to tell whether a column names files


def read_labels(path: Path) -> pd.DataFrame:
    """Read a table of labels: .parquet, .tsv, or text separated by comma, semicolon or tab.

    Returns
    -------
    pandas.DataFrame
        A row per label, text columns as they are written ("007"), what is unknown as NaN; Parquet keeps its types.

    Raises
    ------
    DatasetError
        When the file is missing, is not such a table, or has no rows.
    """
    if not path.is_file():
        raise DatasetError(f"the label file {path} is not there: give a CSV, TSV or Parquet file")
    try:
        table = pd.read_parquet(path) if is_parquet(path) else _read_text(path)
    except DatasetError:
        raise
    except UnicodeDecodeError as error:
        raise DatasetError(f"the label file {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except Exception as error:  # pandas and pyarrow raise many kinds for a damaged file: all of them mean this
        raise DatasetError(f"the label file {path} cannot be read as a table: {one_line(error)}") from error
    if table.empty:
        raise DatasetError(f"the label file {path} has no rows: expected a row per image")
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table.reset_index(drop=True)


def is_parquet(path: Path) -> bool:
    """Tell Parquet files by their suffix: their columns have types of their own."""
    return path.suffix.lower() in (".parquet", ".pq")


def find_file_column(table: pd.DataFrame, listing: Listing, labels: Path, file_column: str | None) -> str:
    """Return the column that names the images: as given, or by its name, or by what it holds.

    Raises
    ------
    DatasetError
        When the given column does not exist, or no column's values are files of the folder.
    """
    columns = [str(column) for column in table.columns]
    if file_column is not None:
        if file_column not in columns:
            raise DatasetError(f"{labels} has no column {shown(file_column)}; {nearest(file_column, columns)}")
        return file_column
    base = base_of(labels, listing.root)
    lowered = {column.lower(): column for column in reversed(columns)}
    named = [lowered[name] for name in FILE_COLUMNS if name in lowered]
    shares = {column: _share_found(table[column].head(_SAMPLE), listing, base) for column in columns}
    by_name = [column for column in named if shares[column] >= 0.5]
    by_content = sorted((c for c in columns if shares[c] >= 0.5), key=lambda column: -shares[column])
    # Most of the files may be elsewhere: then a telling name needs only one that is here.
    by_one = (column for column in named if _share_found(table[column], listing, base) > 0)
    if (found := next(chain(by_name, by_content, by_one), None)) is not None:
        return found
    example = f" ({shown(named[0])} says {shown(str(table[named[0]].iloc[0]))})" if named else ""
    raise DatasetError(
        f"no column of {labels} names files in {listing.root}{example}: name the column of file names, "
        f"or give the folder that holds them; the columns are {', '.join(map(shown, columns[:20]))}"
    )


def with_numbers(table: pd.DataFrame, keep: str) -> pd.DataFrame:
    """Turn text columns into numbers where every known value is one; the column `keep` stays text ("000123")."""
    return pd.DataFrame({c: table[c] if c == keep else _numbers_where_possible(table[c]) for c in table.columns})


def join(table: pd.DataFrame, column: str, listing: Listing, labels: Path) -> RawDataset:
    """Match a label table, read from the file `labels`, with the files that its column names.

    Returns
    -------
    RawDataset
        Rows in the label table's order. A label that names no file, a file that is not there, a second label for one
        file (the first counts) and an image without label are reported.
    """
    refuse_reserved([name for name in table.columns if name != column])
    problems = listing.problems()
    base = base_of(labels, listing.root)
    keys: list[str] = []
    rows: list[int] = []
    first: dict[str, int] = {}
    for row, value in enumerate(table[column].tolist()):
        if is_unknown(value):
            problems.append(DatasetProblem(NO_IMAGE, f"row {row + 1}", f"the column {shown(column)} is empty"))
            continue
        found = listing.find(as_name(value), base)
        if isinstance(found, DatasetProblem):
            problems.append(found)
        elif found in first:
            same = table.iloc[row].drop(column).equals(table.iloc[first[found]].drop(column))
            how = "the same labels" if same else "other labels"
            detail = f"row {row + 1} repeats row {first[found] + 1} with {how}; the first row counts"
            problems.append(DatasetProblem(DUPLICATE, found, detail))
        else:
            first[found] = row
            keys.append(found)
            rows.append(row)
    unlabelled = (name for name in listing.images if name not in first)
    problems += [DatasetProblem(NO_LABEL, name, "no row of the labels names it") for name in unlabelled]
    if not keys:
        reason = next((p.detail for p in problems if p.kind == MISSING), "no row names a file")
        raise DatasetError(
            f"none of the {len(table):,} labels names an image in {listing.root} (the first {reason}): "
            "give the folder that holds the images, or name the right column of file names"
        )
    kept = table.iloc[rows].drop(columns=column).reset_index(drop=True)
    kept.insert(0, "key", keys)
    return RawDataset(kept, FolderImages(listing.root), tuple(problems))


def refuse_reserved(columns: Sequence[str]) -> None:
    """Raise DatasetError when an attribute has the name of a column that faceaug adds."""
    for name in RESERVED:
        if name in columns:
            raise DatasetError(
                f"the labels have a column {shown(name)}, a name that faceaug needs for itself: rename it"
            )


def as_name(value: object) -> str:
    """The text of a file name; a whole number that a table stored as 7.0 reads "7"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_unknown(value: object) -> bool:
    """Tell whether one value of a table is missing."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _read_text(path: Path) -> pd.DataFrame:
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",", ";", "\t", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise DatasetError(
            f"the label file {path} has the column {shown(repeated[0])} more than once: rename one of them"
        )
    table = pd.read_csv(
        path,
        sep=separator,
        dtype=str,
        keep_default_na=False,
        na_values=list(UNKNOWN),
        encoding="utf-8-sig",
        skipinitialspace=True,
    )
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first column for row names
        raise DatasetError(f"the rows of {path} have more fields than its first line has names: name every column")
    return table


def _numbers_where_possible(series: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_numeric(series)
    except (ValueError, TypeError):
        return series


def _share_found(column: pd.Series[Any], listing: Listing, base: str | None) -> float:
    known = [as_name(value) for value in column.tolist() if not is_unknown(value)]
    if not known:
        return 0.0
    return sum(isinstance(listing.find(name, base), str) for name in known) / len(known)
