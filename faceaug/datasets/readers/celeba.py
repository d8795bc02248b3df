"""CelebA: img_align_celeba/, list_attr_celeba.txt (-1 and 1), list_eval_partition.txt (0, 1, 2).

The reader accepts the official layout (Img/, Anno/, Eval/), everything in one folder (as torchvision unpacks it), and
the image folder with the lists beside it. CelebA-HQ (CelebAMask-HQ) has such a list of CelebA-HQ-img/,
CelebAMask-HQ-attribute-anno.txt; its images have other numbers, to which the partition does not apply.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceaug.datasets.base import RawDataset
from faceaug.datasets.image_tree import Listing
from faceaug.datasets.label_file import join
from faceaug.errors import DatasetError
from faceaug.utils.files import require_regular
from faceaug.utils.text import one_line, shown

_IMAGES = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba.txt"
_HQ_IMAGES = "CelebA-HQ-img"
_HQ_ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
_PARTITION = "list_eval_partition.txt"
_SPLITS = {"0": "train", "1": "val", "2": "test"}
_ANSWERS = {"1": "yes", "-1": "no"}


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a folder has a list of attributes in or beside it, or the labels are one."""
    if not path.is_dir():
        return False
    return labels.name in (_ATTRIBUTES, _HQ_ATTRIBUTES) if labels else _attributes_of(path) is not None


def read(path: Path, labels: Path | None, *, file_column: str | None = None, follow_links: bool = False) -> RawDataset:
    """Read CelebA: each attribute as "yes" or "no", and "split" if the partition list exists.

    Raises
    ------
    DatasetError
        If the list of attributes is missing or has another format.
    """
    if file_column is not None:
        raise DatasetError("the lists of CelebA have no named column of files; leave --file-column out")
    attributes = labels or _attributes_of(path)
    if attributes is None:
        raise DatasetError(f"{_ATTRIBUTES} is not in {path}; put it beside {_IMAGES}/, or give it with --labels")
    table = _read_attributes(attributes)
    hq = attributes.name == _HQ_ATTRIBUTES
    partition = None if hq else _find(path, _PARTITION)
    if partition is not None:
        splits = _read_list(partition, ["file", "split"], skip=0)
        table["split"] = table["file"].map(dict(zip(splits["file"], splits["split"].map(_SPLITS), strict=True)))
    folders = (path / _HQ_IMAGES,) if hq else (path / _IMAGES / _IMAGES, path / _IMAGES, path / "Img" / _IMAGES)
    return join(
        table, "file", Listing.of(next((f for f in folders if f.is_dir()), path), follow_links=follow_links), attributes
    )


def _attributes_of(path: Path) -> Path | None:
    return _find(path, _ATTRIBUTES) or _find(path, _HQ_ATTRIBUTES)


def _find(path: Path, name: str) -> Path | None:
    folders = (path, path / "Anno", path / "Eval", path.parent)
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _read_attributes(path: Path) -> pd.DataFrame:
    """Read the list: the number of rows, the names of the attributes, then rows of a file name and -1 or 1."""
    try:
        require_regular(path)
        with open(path, encoding="utf-8") as file:
            file.readline()
            names = file.readline().split()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read ({one_line(error)}); download the list of attributes of CelebA again"
        ) from error
    table = _read_list(path, ["file", *names], skip=2)
    for name in names:
        answers = table[name].map(_ANSWERS)
        if answers.isna().any():
            wrong = table[name][answers.isna()].iloc[0]
            raise DatasetError(
                f"{path} has {shown(wrong)} for {name}, but only -1 and 1 are expected; download the list again"
            )
        table[name] = answers
    return table


def _read_list(path: Path, names: list[str], skip: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=r"\s+", names=names, skiprows=skip, dtype=str, index_col=False)
    except Exception as error:  # pandas raises many kinds of errors for a damaged list
        raise DatasetError(f"{path} is not a list of CelebA ({one_line(error)}); download the list again") from error
    if table.empty or table.isna().any(axis=None):
        raise DatasetError(f"{path} is cut off: rows of {len(names)} entries were expected; download the list again")
    return table
