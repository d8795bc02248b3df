"""Further label files, joined with the table of a data set by the names of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from faceaug.analysis.axes import label
from faceaug.datasets.base import DatasetProblem, RawDataset
from faceaug.datasets.image_tree import Listing
from faceaug.datasets.label_file import find_file_column, is_parquet, join, read_labels, with_numbers

_UNLABELLED = "image without label"


def add_labels(raw: RawDataset, path: Path, files: Sequence[Path], file_column: str | None) -> RawDataset:
    """Return a data set with the columns of further label files, and the images that only they label.

    An image that none of the files labels is reported, one that some do not label is not. Where several files have a
    column, the first that knows a value gives it; a later one that says otherwise is reported as "conflicting labels".

    Parameters
    ----------
    raw : RawDataset
    path : Path
        The data set.
    files : sequence of Path
        CSV, TSV or Parquet, a row an image.
    file_column : str or None
        Their column of file names; found by its name or its content when None, or where a file lacks it.

    Raises
    ------
    DatasetError
        If a file cannot be read, or names no image of the data set.
    """
    table, problems = raw.table.set_index("key"), list(raw.problems)
    unlabelled = [problem.name for problem in problems if problem.kind == _UNLABELLED]
    root = path if path.is_dir() else path.parent
    listing = Listing(root.resolve(), tuple(sorted({*map(str, table.index), *unlabelled})), ())
    for file in files:
        labels = read_labels(file)
        column = find_file_column(labels, listing, file, file_column if file_column in labels.columns else None)
        joined = join(labels if is_parquet(file) else with_numbers(labels, column), column, listing, file)
        problems += [problem for problem in joined.problems if problem.kind != _UNLABELLED]
        table, conflicts = _merged(table, joined.table.set_index("key"), file)
        problems += conflicts
    problems = [problem for problem in problems if problem.kind != _UNLABELLED or problem.name not in table.index]
    return replace(raw, table=table.reset_index(), problems=tuple(problems))


def _merged(table: pd.DataFrame, new: pd.DataFrame, file: Path) -> tuple[pd.DataFrame, list[DatasetProblem]]:
    """Return the table with the rows and columns of another, and where the two contradict each other."""
    problems = []
    rows = table.index.append(new.index.difference(table.index, sort=False))
    table, new = table.reindex(rows), new.reindex(rows)
    for name in new.columns:
        if name not in table.columns:
            table[name] = new[name]
            continue
        # a file may hold as text, or as one of a few categories, what another holds as a number
        old, other = table[name].astype(object), new[name].astype(object)
        known = old.notna() & other.notna()
        for key in rows[known & (old.map(label) != other.map(label))]:
            detail = f"{file.name} says {name} is {new[name][key]}, an earlier file {table[name][key]}, which is used"
            problems.append(DatasetProblem("conflicting labels", str(key), detail))
        if (old.isna() & other.notna()).any():
            table[name] = old.where(old.notna(), other).infer_objects()
    return table, problems
