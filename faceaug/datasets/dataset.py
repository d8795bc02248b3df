"""A data set: one table whatever the source, and its images, each opened only when it is asked for."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from faceaug.datasets.base import DatasetProblem, ImageSource, RawDataset, Reader, summarize
from faceaug.datasets.image_checks import Check, check_images
from faceaug.datasets.registry import AUTO, detect_reader, find_reader
from faceaug.datasets.splits import COLUMN, choose, normalize
from faceaug.errors import DatasetError
from faceaug.utils.images import MAX_PIXELS, Rgb, decode
from faceaug.utils.threads import Progress

__all__ = ["DatasetProblem", "FaceDataset", "ImageSource", "RawDataset", "Reader", "load_dataset"]

_log = logging.getLogger(__name__)
_PART = 100_000  # values that are turned into text at once for the fingerprint


@dataclass(frozen=True)
class MeasuredColumns:
    """Which columns of a dataset were measured on its pictures, by what (SHA-256 of its weights), and how framed."""

    names: tuple[str, ...]
    by: str
    aligned: bool


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """A data set whose images were found sound, or the part of it that is used.

    Attributes
    ----------
    name, location
        What to call it, and where it is.
    reader
        Name of the reader that read it.
    table
        A row per image: "key", attribute columns, and "split" where the data set has splits. Unknown labels are NaN.
    images
        Reads the encoded image of a key.
    problems
        What was left out, and why.
    split
        The split that the table was narrowed to; None when it is the whole.
    max_pixels
        Most pixels of an image that is decoded.
    measured
        Columns that were measured and not labelled; None where there are none.
    """

    name: str
    reader: str
    location: str
    table: pd.DataFrame
    images: ImageSource
    problems: tuple[DatasetProblem, ...] = ()
    split: str | None = None
    max_pixels: int = MAX_PIXELS
    measured: MeasuredColumns | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns."""
        return tuple(str(name) for name in self.table.columns if name not in ("key", COLUMN))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The images' keys, a row each."""
        return tuple(self.table["key"])

    def encoded(self, index: int) -> bytes:
        """Return the file of an image as it is, raising ImageError when it cannot be read."""
        return self.images.read(self.keys[index])

    def image(self, index: int) -> Rgb:
        """Return an image as uint8 [H, W, 3], raising ImageError when it cannot be read."""
        return decode(self.encoded(index), name=self.keys[index], max_pixels=self.max_pixels)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the table (keys, labels, split used) as 64 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps(["faceaug-target", 1, self.split, len(self)]).encode())
        for name in self.table.columns:
            digest.update(json.dumps(str(name)).encode())
            for start in range(0, len(self), _PART):
                digest.update(_canonical(self.table[name].iloc[start : start + _PART]))
        return digest.hexdigest()

    def select(self, rows: npt.ArrayLike) -> FaceDataset:
        """Return the dataset with some of its rows: a truth value per row, or row numbers in the order wanted."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise DatasetError(
                    f"a mask of shape {list(chosen.shape)} does not fit the {len(self):,} rows of {self.name}"
                )
            chosen = np.flatnonzero(chosen)
        elif chosen.size == 0:
            chosen = chosen.astype(np.int64)
        elif chosen.ndim != 1 or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= len(self):
            raise DatasetError(f"rows of {self.name} are chosen by a mask or by numbers from 0 to {len(self) - 1}")
        return replace(self, table=self.table.iloc[chosen].reset_index(drop=True))


def load_dataset(
    path: str | Path,
    labels: str | Path | None = None,
    *,
    reader: str = AUTO,
    file_column: str | None = None,
    split: str | None = None,
    strict: bool = False,
    check: Check = "decode",
    max_pixels: int = MAX_PIXELS,
    workers: int | None = None,
    needs_labels: bool = True,
    progress: Progress | None = None,
) -> FaceDataset:
    """Read a data set of face images with attributes.

    Parameters
    ----------
    path
        A folder of images, an output folder of faceaug's, or an HDF5 file.
    labels
        A CSV, TSV or Parquet file with a row per image, where the labels are not in the data set itself.
    reader
        "shards", "hdf5", "celeba", "fairface", "folder", "utkface", "classes", "unlabelled" (pictures alone), one that
        another package registers as entry point "faceaug.datasets", or "auto" to tell by what is there.
    file_column
        The labels' column of file names; found by its name or by what it holds when None.
    split
        The split to use; "all" for everything; None for the training part where the data has splits, else everything.
    strict
        Raise an error when anything has to be left out, instead of a warning.
    check
        "decode" every image once, read each "header", or "none".
    max_pixels
        Most pixels of an image.
    workers
        Threads that check images; as many as there are processors when None.
    needs_labels
        When False, images without any labels are taken as they are, for what is measured on them; also a single one.
    progress
        Called with the number of images that were just checked.

    Returns
    -------
    FaceDataset
        With every sound image that has labels, in the source's order; what was left out is in its `problems`.

    Raises
    ------
    DatasetError
        When nothing can be read there, nothing is left, or with `strict` something would be left out.

    Examples
    --------
    >>> faces = load_dataset("faces/", "labels.csv")  # doctest: +SKIP
    >>> len(faces), faces.attributes  # doctest: +SKIP
    (6500, ('age', 'gender', 'ethnicity'))
    """
    if max_pixels < 1:
        raise DatasetError(f"at most {max_pixels} pixels an image were asked for: give at least 1")
    path, labels = Path(path), None if labels is None else Path(labels)
    if reader == AUTO:
        reader = detect_reader(path, labels, needs_labels=needs_labels)
    elif not path.exists():
        raise DatasetError(f"{path} does not exist: give the folder or file of the data set")
    raw = _checked(find_reader(reader)(path, labels, file_column=file_column), reader)
    name = path.resolve().name
    table, used = choose(normalize(raw.table), split, name)
    keys = [str(key) for key in table["key"]]
    found = check_images(raw.images, keys, check=check, max_pixels=max_pixels, workers=workers, progress=progress)
    if callable(close := getattr(raw.images, "close", None)):
        close()
    problems = (*raw.problems, *(problem for problem in found if problem is not None))
    table = table[[problem is None for problem in found]].reset_index(drop=True)
    if table.empty and not (strict and problems):
        raise DatasetError(f"nothing of {name} can be used: {_example(problems)}; give images that can be read")
    _report(problems, name, strict)
    return FaceDataset(name, reader, str(path), table, raw.images, problems, used, max_pixels)


def _checked(raw: RawDataset, reader: str) -> RawDataset:
    """Hold readers, also other people's, to their promise: unique keys and labels, each under one name."""
    columns = list(raw.table.columns) if isinstance(raw, RawDataset) else []
    if "key" not in columns or len(set(columns)) != len(columns) or not raw.table["key"].is_unique:
        raise DatasetError(
            f"the reader {reader!r} gave no table with a column of unique keys: its package needs repair"
        )
    return raw


def _report(problems: Sequence[DatasetProblem], name: str, strict: bool) -> None:
    if not problems:
        return
    if strict:
        raise DatasetError(
            f"{name} is not clean: {_example(problems)}; mend it, or leave --strict out to go on without"
        )
    _log.warning("%s: left out %s", name, _example(problems))


def _example(problems: Sequence[DatasetProblem]) -> str:
    if not problems:
        return "no rows are left"
    return f"{summarize(problems)} (first: {problems[0].name}: {problems[0].detail})"


def _canonical(values: pd.Series[Any]) -> bytes:
    """Bytes that are the same for the same labels on every machine and version of pandas."""
    if values.dtype.kind in "iub" and isinstance(values.dtype, np.dtype):
        return b"i" + json.dumps(values.astype(object).map(int).tolist()).encode()
    if values.dtype.kind == "f" and isinstance(values.dtype, np.dtype):
        return b"f" + json.dumps([None if v != v else v for v in values.tolist()]).encode()
    return (
        b"t"
        + json.dumps([None if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)]).encode()
    )
