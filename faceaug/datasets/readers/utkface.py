"""UTKFace: a folder of images with names of the form age_gender_race_date."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path, PurePosixPath

import pandas as pd

from faceaug.datasets.base import DatasetProblem, RawDataset
from faceaug.datasets.image_tree import Listing, is_image_name
from faceaug.errors import DatasetError

_GENDERS = ("male", "female")
_ETHNICITIES = ("white", "black", "asian", "indian", "other")
_NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<ethnicity>[0-4])_(?P<date>\d{8,20})(?!\d)")
_MAX_AGE = 116
_SAMPLED_NAMES = 200


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether most of the first image names of a folder have this form, and no labels are given."""
    if labels is not None or not path.is_dir():
        return False
    names = list(islice((p.name for p in path.iterdir() if is_image_name(p.name)), _SAMPLED_NAMES))
    return bool(names) and sum(_NAME.match(name) is not None for name in names) > len(names) / 2


def read(path: Path, labels: Path | None, *, file_column: str | None = None, follow_links: bool = False) -> RawDataset:
    """Read UTKFace: age in years, gender and ethnicity from the file names; malformed names are reported.

    Raises
    ------
    DatasetError
        If no file name has this form, or labels are given.
    """
    if labels is not None or file_column is not None:
        raise DatasetError(
            "the labels of UTKFace are in its file names; leave the label file out, or use the reader 'folder'"
        )
    listing = Listing.of(path, follow_links=follow_links)
    problems = listing.problems()
    rows = []
    for key in listing.images:
        match = _NAME.match(PurePosixPath(key).name)
        if match is None or int(match["age"]) > _MAX_AGE:
            problems.append(
                DatasetProblem("malformed name", key, "is not of the form age_gender_race_date, as 31_1_2_20170116.jpg")
            )
            continue
        gender, ethnicity = _GENDERS[int(match["gender"])], _ETHNICITIES[int(match["ethnicity"])]
        rows.append((key, int(match["age"]), gender, ethnicity))
    if not rows:
        raise DatasetError(
            f"no file name in {path} has the form age_gender_race_date of UTKFace; give labels with --labels"
        )
    table = pd.DataFrame(rows, columns=["key", "age", "gender", "ethnicity"])
    return RawDataset(table, listing.source, tuple(problems))
