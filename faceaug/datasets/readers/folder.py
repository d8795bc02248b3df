"""A folder of images and a file of labels: any tree, CSV, TSV or Parquet."""

from __future__ import annotations

from pathlib import Path

from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import Listing
from faceaug.datasets.label_file import find_file_column, is_parquet, join, read_labels, with_numbers
from faceaug.errors import DatasetError

BESIDE = ("labels.csv", "labels.tsv", "labels.parquet")


def detect(path: Path, labels: Path | None) -> bool:
    """A folder whose labels are given, or lie in it under a usual name."""
    return path.is_dir() and (labels is not None or _beside(path) is not None)


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read a tree of images whose attributes are the columns of a file.

    Parameters
    ----------
    path
        The folder; images may lie in folders below it.
    labels
        The file of labels; when None, a labels.csv, .tsv or .parquet in the folder.
    file_column
        Its column of file names; found by its name or by what it holds when None.

    Raises
    ------
    DatasetError
        When there are no images, no labels, or nothing that joins the two.
    """
    listing = Listing.of(path)
    labels = labels or _beside(path)
    if labels is None:
        raise DatasetError(f"{path} has images but no labels: give a CSV, TSV or Parquet file of labels with --labels")
    table = read_labels(labels)
    column = find_file_column(table, listing, labels, file_column)
    return join(table if is_parquet(labels) else with_numbers(table, column), column, listing, labels)


def _beside(path: Path) -> Path | None:
    return next((path / name for name in BESIDE if (path / name).is_file()), None)
