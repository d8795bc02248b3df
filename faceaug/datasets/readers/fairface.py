"""FairFace: train/ and val/ with fairface_label_train.csv and fairface_label_val.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import Listing
from faceaug.datasets.label_file import join, read_labels, with_numbers
from faceaug.errors import DatasetError
from faceaug.utils.text import nearest

_PATTERN = "fairface_label_*.csv"


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a folder has fairface_label_*.csv in it."""
    return path.is_dir() and labels is None and any(path.glob(_PATTERN))


def read(path: Path, labels: Path | None, *, file_column: str | None = None, follow_links: bool = False) -> RawDataset:
    """Read FairFace: age (a range, as text), gender, race, service_test, and "split" from the name of the label file.

    Raises
    ------
    DatasetError
        If there is no label file, or one has no column "file".
    """
    files = [labels] if labels else sorted(path.glob(_PATTERN))
    if not files:
        raise DatasetError(f"no {_PATTERN} is in {path}; put the label files of FairFace beside train/ and val/")
    column = file_column or "file"
    tables = []
    for file in files:
        table_of_file = read_labels(file)
        if column not in table_of_file.columns:
            raise DatasetError(f"{file} has no column {column!r}; {nearest(column, table_of_file.columns)}")
        tables.append(table_of_file.assign(split=file.stem.rsplit("_", 1)[-1]))
    table = with_numbers(pd.concat(tables, ignore_index=True), column)
    return join(table, column, Listing.of(path, follow_links=follow_links), files[0])
