"""Label files (CSV, TSV, Parquet): reading them, finding the column of file names, and joining them with images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from faceaug.datasets.base import DatasetProblem, RawDataset
from faceaug.datasets.image_tree import Listing, base_of
from faceaug.errors import DatasetError
from faceaug.utils.text import nearest, one_line, shown

FILE_COLUMNS = (
    *("file", "filename", "file_name", "filepath", "file_path", "path", "key"),
    *("image", "image_name", "image_file", "image_path", "image_id", "img", "img_name", "img_path", "name", "id"),
)
# Texts that count as unknown. "None" and "none" are not among them: they can be labels, as of glasses.
UNKNOWN_TEXTS = ("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL")
_RESERVED_NAMES = ("key",)
_SAMPLED_ROWS = 500  # rows that are examined to decide whether a column names files


def read_labels(path: Path) -> pd.DataFrame:
    """Read a table of labels: .parquet, .tsv, or text separated by comma, semicolon or tab.

    Returns
    -------
    pandas.DataFrame
        One row per label. Text stays as it is written ("007"), unknown values are NaN, and Parquet keeps its types.

    Raises
    ------
    DatasetError
        If the file is missing, is not such a table, or has no rows.
    """
    if not path.is_file():
        raise DatasetError(f"the label file {path} does not exist; give a CSV, TSV or Parquet file")
    try:
        table = pd.read_parquet(path) if is_parquet(path) else _read_text(path)
        for name in table.columns:
            table[name].tolist()  # Arrow looks at texts only when they are taken, and damaged ones fail then
    except DatasetError:
        raise
    except UnicodeDecodeError as error:
        raise DatasetError(f"the label file {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except Exception as error:  # pandas and pyarrow raise many kinds of errors for a damaged file
        raise DatasetError(f"the label file {path} cannot be read as a table: {one_line(error)}") from error
    if table.empty:
        raise DatasetError(f"the label file {path} has no rows; one row per image is expected")
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table.reset_index(drop=True)


def is_parquet(path: Path) -> bool:
    """Return whether a label file is Parquet, by its suffix; its columns have types of their own."""
    return path.suffix.lower() in (".parquet", ".pq")


def find_file_column(table: pd.DataFrame, listing: Listing, labels: Path, file_column: str | None) -> str:
    """Return the column with the file names of the images: as given, or by its name, or by its content.

    Raises
    ------
    DatasetError
        If the given column does not exist, or no column has names of files of the folder.
    """
    columns = [str(column) for column in table.columns]
    if file_column is not None:
        if file_column not in columns:
            raise DatasetError(f"{labels} has no column {shown(file_column)}; {nearest(file_column, columns)}")
        return file_column
    base = base_of(labels, listing.root)
    lowered = {column.lower(): column for column in reversed(columns)}
    by_usual_name = [lowered[name] for name in FILE_COLUMNS if name in lowered]
    shares = {column: _share_found(table[column].head(_SAMPLED_ROWS), listing, base) for column in columns}
    by_name = [column for column in by_usual_name if shares[column] >= 0.5]
    by_content = sorted((c for c in columns if shares[c] >= 0.5), key=lambda column: -shares[column])
    # Most files may be elsewhere. A column with a usual name then needs only one file that is in the folder.
    by_one_file = (column for column in by_usual_name if _share_found(table[column], listing, base) > 0)
    if (best := next(chain(by_name, by_content, by_one_file), None)) is not None:
        return best
    example = ""
    if by_usual_name:
        example = f" ({shown(by_usual_name[0])} says {shown(str(table[by_usual_name[0]].iloc[0]))})"
    raise DatasetError(
        f"no column of {labels} names files in {listing.root}{example}; name the column of file names, "
        f"or give the folder that holds them; the columns are {', '.join(map(shown, columns[:20]))}"
    )


def with_numbers(table: pd.DataFrame, keep: str) -> pd.DataFrame:
    """Convert text columns to numbers where every known value is a number; the column `keep` stays text ("000123")."""
    return pd.DataFrame({c: table[c] if c == keep else _numbers_where_possible(table[c]) for c in table.columns})


def join(table: pd.DataFrame, column: str, listing: Listing, labels: Path) -> RawDataset:
    """Match a label table, read from the file `labels`, with the files that one of its columns names.

    Returns
    -------
    RawDataset
        Rows in the order of the label table. A label without file name, a missing file, a second label of a file (the
        first is used) and an image without label are reported as problems.
    """
    refuse_reserved([name for name in table.columns if name != column])
    problems = listing.problems()
    base = base_of(labels, listing.root)
    row_of_key: dict[str, int] = {}
    for row, value in enumerate(table[column].tolist()):
        if is_unknown(value):
            problems.append(
                DatasetProblem("label without image", f"row {row + 1}", f"the column {shown(column)} is empty")
            )
            continue
        key = listing.find(as_name(value), base)
        if isinstance(key, DatasetProblem):
            problems.append(key)
        elif key in row_of_key:
            same = table.iloc[row].drop(column).equals(table.iloc[row_of_key[key]].drop(column))
            which = "the same labels" if same else "other labels"
            detail = f"row {row + 1} repeats row {row_of_key[key] + 1} with {which}; the first row is used"
            problems.append(DatasetProblem("duplicate label", key, detail))
        else:
            row_of_key[key] = row
    unlabelled = (name for name in listing.images if name not in row_of_key)
    problems += [
        DatasetProblem("image without label", name, "no row of the labels names this image") for name in unlabelled
    ]
    if not row_of_key:
        reason = next((p.detail for p in problems if p.kind == "missing file"), "no row names a file")
        raise DatasetError(
            f"none of the {len(table):,} labels names an image in {listing.root} (the first {reason}); "
            "give the folder that holds the images, or name the right column of file names"
        )
    matched = table.iloc[list(row_of_key.values())].drop(columns=column).reset_index(drop=True)
    matched.insert(0, "key", list(row_of_key))
    return RawDataset(matched, listing.source, tuple(problems))


def refuse_reserved(columns: Sequence[str]) -> None:
    """Raise DatasetError if an attribute has the name of a column that faceaug adds."""
    for name in _RESERVED_NAMES:
        if name in columns:
            raise DatasetError(
                f"the labels have a column {shown(name)}, a name that faceaug reserves; rename the column"
            )


def as_name(value: object) -> str:
    """Return a value as a file name; a whole number that a table stores as 7.0 becomes "7"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_unknown(value: object) -> bool:
    """Return whether a value of a table is missing."""
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
            f"the label file {path} has the column {shown(repeated[0])} more than once; rename one of them"
        )
    table = pd.read_csv(
        path,
        sep=separator,
        dtype=str,
        keep_default_na=False,
        na_values=list(UNKNOWN_TEXTS),
        encoding="utf-8-sig",
        skipinitialspace=True,
    )
    if not isinstance(table.index, pd.RangeIndex):  # pandas would use the first column as row names
        raise DatasetError(f"the rows of {path} have more fields than its first line has names; name every column")
    return table


def _numbers_where_possible(series: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_numeric(series)
    except (ValueError, TypeError):
        return series


def _share_found(column: pd.Series[Any], listing: Listing, base: str | None) -> float:
    names = [as_name(value) for value in column.tolist() if not is_unknown(value)]
    if not names:
        return 0.0
    return sum(isinstance(listing.find(name, base), str) for name in names) / len(names)
