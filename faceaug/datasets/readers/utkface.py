"""UTKFace: a folder whose file names say age_gender_race_date."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path, PurePosixPath

import pandas as pd

from faceaug.datasets.base import MALFORMED, DatasetProblem, RawDataset
from faceaug.datasets.image_tree import FolderImages, Listing, is_image_name
from faceaug.errors import DatasetError

GENDERS = ("male", "female")
ETHNICITIES = ("white", "black", "asian", "indian", "other")
_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<ethnicity>[0-4])_(?P<date>\d{8,20})(?!\d)")
_OLDEST = 116
_SAMPLE = 200


def detect(path: Path, labels: Path | None) -> bool:
    """A folder without labels in which most of the first image names are of this form."""
    if labels is not None or not path.is_dir():
        return False
    names = list(islice((p.name for p in path.iterdir() if is_image_name(p.name)), _SAMPLE))
    return bool(names) and sum(_NAME.match(name) is not None for name in names) > len(names) / 2


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read UTKFace: age in years, gender and ethnicity from the file names; malformed names are reported.

    Raises
    ------
    DatasetError
        When no file name can be understood, or labels are given besides.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("UTKFace's labels are in its file names: leave the labels out, or use the reader 'folder'")
    listing = Listing.of(path)
    problems = listing.problems()
    rows = []
    for key in listing.images:
        match = _NAME.match(PurePosixPath(key).name)
        if match is None or int(match["age"]) > _OLDEST:
            problems.append(
                DatasetProblem(MALFORMED, key, "age_gender_race_date was expected, such as 31_1_2_20170116.jpg")
            )
            continue
        gender, ethnicity = GENDERS[int(match["gender"])], ETHNICITIES[int(match["ethnicity"])]
        rows.append((key, int(match["age"]), gender, ethnicity))
    if not rows:
        raise DatasetError(
            f"no file name in {path} is of UTKFace's form age_gender_race_date: give labels with --labels"
        )
    table = pd.DataFrame(rows, columns=["key", "age", "gender", "ethnicity"])
    return RawDataset(table, FolderImages(listing.root), tuple(problems))
