"""Images without labels, on which columns can be measured: a tree of images, or a single one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import FolderImages, Listing, is_image_name
from faceaug.errors import DatasetError


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether the path is a folder or an image file, and no labels are given."""
    return labels is None and (path.is_dir() or (path.is_file() and is_image_name(path.name)))


def read(path: Path, labels: Path | None, *, file_column: str | None = None, follow_links: bool = False) -> RawDataset:
    """Read images without attributes; the table has only the column "key".

    Raises
    ------
    DatasetError
        If there are no images, or labels are given.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("the reader 'unlabelled' takes no labels; leave the reader out to use them")
    if path.is_file():
        return RawDataset(pd.DataFrame({"key": [path.name]}), FolderImages(path.resolve().parent))
    listing = Listing.of(path, follow_links=follow_links)
    return RawDataset(pd.DataFrame({"key": list(listing.images)}), listing.source, tuple(listing.problems()))
