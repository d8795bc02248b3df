"""A folder of images, also in folders below it, and a label file (CSV, TSV or Parquet)."""

from __future__ import annotations

from pathlib import Path

from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import Listing
from faceaug.datasets.label_file import find_file_column, is_parquet, join, read_labels, with_numbers
from faceaug.errors import DatasetError

_USUAL_NAMES = ("labels.csv", "labels.tsv", "labels.parquet", "metadata.csv", "metadata.parquet")


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether labels are given, or are in the folder under a usual name."""
    return path.is_dir() and (labels is not None or _labels_in(path) is not None)


def read(path: Path, labels: Path | None, *, file_column: str | None = None, follow_links: bool = False) -> RawDataset:
    """Read a tree of images whose attributes are the columns of a label file.

    Parameters
    ----------
    path
        The folder; images may be in folders below it.
    labels
        The label file; when None, labels.csv, .tsv or .parquet in the folder.
    file_column
        Its column of file names; when None it is found by its name or its content.

    Raises
    ------
    DatasetError
        If there are no images or no labels, or no label names an image.
    """
    listing = Listing.of(path, follow_links=follow_links)
    labels = labels or _labels_in(path)
    if labels is None:
        raise DatasetError(f"{path} has images but no labels; give a label file (CSV, TSV or Parquet) with --labels")
    table = read_labels(labels)
    column = find_file_column(table, listing, labels, file_column)
    return join(table if is_parquet(labels) else with_numbers(table, column), column, listing, labels)


def _labels_in(path: Path) -> Path | None:
    return next((path / name for name in _USUAL_NAMES if (path / name).is_file()), None)
