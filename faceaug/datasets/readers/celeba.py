"""CelebA: img_align_celeba/, list_attr_celeba.txt (-1 and 1), list_eval_partition.txt (0, 1, 2).

Understood are the official layout (Img/, Anno/, Eval/), everything in one folder (as torchvision unpacks it), and the
image folder itself with the lists beside it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faceaug.datasets.base import RawDataset, one_line
from faceaug.datasets.image_tree import Listing
from faceaug.datasets.label_file import join
from faceaug.errors import DatasetError
from faceaug.utils.text import shown

IMAGES = "img_align_celeba"
ATTRIBUTES = "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
SPLITS = {"0": "train", "1": "val", "2": "test"}
ANSWERS = {"1": "yes", "-1": "no"}


def detect(path: Path, labels: Path | None) -> bool:
    """A folder with (or beside) list_attr_celeba.txt, or that very file given as labels."""
    return path.is_dir() and (labels.name == ATTRIBUTES if labels else _find(path, ATTRIBUTES) is not None)


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read CelebA: each attribute "yes" or "no", and "split" where the partition list is there.

    Raises
    ------
    DatasetError
        When the list of attributes is missing or is not as CelebA writes it.
    """
    if file_column is not None:
        raise DatasetError("CelebA's lists have no named column of files: leave --file-column out")
    attributes = labels or _find(path, ATTRIBUTES)
    if attributes is None:
        raise DatasetError(f"{ATTRIBUTES} is not in {path}: put it beside {IMAGES}/, or give it with --labels")
    table = _read_attributes(attributes)
    partition = _find(path, PARTITION)
    if partition is not None:
        splits = _read_list(partition, ["file", "split"], skip=0)
        table["split"] = table["file"].map(dict(zip(splits["file"], splits["split"].map(SPLITS), strict=True)))
    folders = (path / IMAGES / IMAGES, path / IMAGES, path / "Img" / IMAGES)
    return join(table, "file", Listing.of(next((f for f in folders if f.is_dir()), path)), attributes)


def _find(path: Path, name: str) -> Path | None:
    folders = (path, path / "Anno", path / "Eval", path.parent)
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _read_attributes(path: Path) -> pd.DataFrame:
    """The first line counts the rows, the second names the attributes, then: file name, -1 or 1 for each."""
    try:
        with open(path, encoding="utf-8") as file:
            file.readline()
            names = file.readline().split()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read ({one_line(error)}); get CelebA's list of attributes anew"
        ) from error
    table = _read_list(path, ["file", *names], skip=2)
    for name in names:
        answers = table[name].map(ANSWERS)
        if answers.isna().any():
            found = table[name][answers.isna()].iloc[0]
            raise DatasetError(
                f"{path} says {shown(found)} for {name}: CelebA's lists hold -1 and 1; get the list anew"
            )
        table[name] = answers
    return table


def _read_list(path: Path, names: list[str], skip: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=r"\s+", names=names, skiprows=skip, dtype=str, index_col=False)
    except Exception as error:  # whatever pandas says of a damaged list
        raise DatasetError(f"{path} is not as CelebA writes it ({one_line(error)}); get the list anew") from error
    if table.empty or table.isna().any(axis=None):
        raise DatasetError(
            f"{path} is cut off: a row of {len(names)} entries per image was expected; get the list anew"
        )
    return table
