"""Class folders: the folder of an image is its label; nested folders are several labels.

Where folders are people, as in LFW (Person_Name/Person_Name_0001.jpg) and VGGFace2 (n000001/0001_01.jpg), the label is
called "identity".
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from faceaug.datasets.base import DatasetProblem, RawDataset
from faceaug.datasets.image_tree import Listing, is_image_name
from faceaug.datasets.splits import canonical_splits
from faceaug.errors import DatasetError

_LFW = re.compile(r"(?:.*/)?(?P<name>[^/]+)/(?P=name)_\d{4}\.\w+")
_VGGFACE2 = re.compile(r"(?:.*/)?n\d{6}/\d{4}_\d{2}\.\w+")


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a folder has folders but no images, and no labels are given."""
    if labels is not None or not path.is_dir():
        return False
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return any(e.is_dir() for e in entries) and not any(e.is_file() and is_image_name(e.name) for e in entries)


def read(path: Path, labels: Path | None, *, file_column: str | None = None, follow_links: bool = False) -> RawDataset:
    """Read class folders.

    One level of folders gives the column "class", or "identity" if they are people; more levels give "class_1",
    "class_2" and so on, from the outside in. Outermost folders that are all named like splits (train, val, test), with
    others below, give the column "split".

    Raises
    ------
    DatasetError
        If no image lies in a folder, or labels are given.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("the labels are the class folders; leave the label file out, or use the reader 'folder'")
    listing = Listing.of(path, follow_links=follow_links)
    problems = listing.problems()
    levels = {key: key.split("/")[:-1] for key in listing.images}
    depths = Counter(len(names) for names in levels.values() if names)
    if not depths:
        raise DatasetError(f"no image in {path} lies in a class folder; sort the images into folders, or give labels")
    depth = max(depths, key=lambda d: (depths[d], d))
    for key, names in levels.items():
        if not names:
            problems.append(DatasetProblem("image without label", key, "is not in a class folder"))
        elif len(names) != depth:
            detail = f"is {len(names)} folders deep, but most images are {depth} deep"
            problems.append(DatasetProblem("malformed name", key, detail))
    rows = [(key, *names) for key, names in levels.items() if len(names) == depth]
    table = pd.DataFrame(rows, columns=["key", *(f"class_{i + 1}" for i in range(depth))])
    if depth > 1 and (splits := canonical_splits(table["class_1"])) is not None:
        table = table.drop(columns="class_1").assign(split=splits)
    classes = [name for name in table.columns if name.startswith("class_")]
    single = "identity" if _are_people(table["key"]) else "class"
    names = [single] if len(classes) == 1 else [f"class_{i + 1}" for i in range(len(classes))]
    table = table.rename(columns=dict(zip(classes, names, strict=True)))
    return RawDataset(table, listing.source, tuple(problems))


def _are_people(keys: pd.Series[str]) -> bool:
    """Return whether files and folders are named as in LFW or VGGFace2, all of them."""
    return bool(len(keys)) and all(_LFW.fullmatch(key) or _VGGFACE2.fullmatch(key) for key in keys)
