"""A data set: one table for every format, and its images, each opened when it is read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from faceaug.datasets.base import DatasetProblem, ImageSource, RawDataset, summarize
from faceaug.datasets.image_checks import ImageCheck, check_images
from faceaug.datasets.image_tree import FolderImages, is_image_name
from faceaug.datasets.registry import AUTO_READER, LINK_READERS, detect_reader, find_reader
from faceaug.datasets.splits import SPLIT_COLUMN, normalize_splits, select_split
from faceaug.datasets.tables.joined_labels import add_labels
from faceaug.datasets.tables.one_hot import gather_one_hot
from faceaug.datasets.tables.value_map import apply_maps
from faceaug.errors import DatasetError
from faceaug.pages.notebook import notebook_html
from faceaug.places.filesystems import is_url
from faceaug.places.mirrored import RemoteImages, images_behind, mirror, place_of
from faceaug.utils.images import MAX_PIXELS, Rgb, decode
from faceaug.utils.text import without_secrets
from faceaug.utils.threads import Progress

_log = logging.getLogger(__name__)
_FACES_SHOWN = 12  # in a notebook
_FINGERPRINT_ROWS = 100_000  # rows that are converted to text at a time for the fingerprint


@dataclass(frozen=True)
class MeasuredColumns:
    """The columns of a data set that were measured on its images.

    Attributes
    ----------
    names
        Names of the columns.
    by
        SHA-256 of the weights of the estimator.
    aligned
        Whether the images were measured as they are framed, without alignment.
    errors
        Standard errors of the values, a column for each name that has them, by the keys of all images that were
        measured; None if they are not known.
    """

    names: tuple[str, ...]
    by: str
    aligned: bool
    errors: pd.DataFrame | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """A data set of checked images with attributes, or the part of it that is used.

    Attributes
    ----------
    name, location
        Name for messages, and path.
    reader
        Name of the reader that read the data set.
    table
        One row per image: "key", attribute columns, and "split" if the data set has splits. Unknown labels are NaN.
    images
        Source of the encoded images.
    problems
        Entries that were left out.
    split
        The split that the table was restricted to; None for all rows.
    max_pixels
        Largest number of pixels of an image that is decoded.
    measured
        Columns that were measured on the images; None if there are none.
    follow_links
        Whether links in the folder that lead to images elsewhere were followed.
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
    follow_links: bool = False

    def __len__(self) -> int:
        return len(self.table)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns."""
        return tuple(str(name) for name in self.table.columns if name not in ("key", SPLIT_COLUMN))

    @property
    def standard_errors(self) -> dict[str, npt.NDArray[np.float64]]:
        """Standard errors [N] of the measured columns, as far as they are known."""
        errors = self.measured.errors if self.measured else None
        if errors is None:
            return {}
        rows = errors.loc[self.table["key"]]
        return {str(name): rows[name].to_numpy(np.float64) for name in rows.columns}

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Key of each row."""
        return tuple(self.table["key"])

    def encoded(self, index: int) -> bytes:
        """Return the encoded bytes of an image; ImageError if it cannot be read."""
        return self.images.read(self.keys[index])

    def image(self, index: int) -> Rgb:
        """Return an image as uint8 [H, W, 3]; ImageError if it cannot be read."""
        return decode(self.encoded(index), name=self.keys[index], max_pixels=self.max_pixels)

    def _repr_html_(self) -> str:
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _FACES_SHOWN)).round().astype(int)).tolist()
        labels = ", ".join(self.attributes) or "no labels"
        lines = [f"{len(self):,} faces; {labels}"]
        return notebook_html(self.name, lines, strips={"Some of them": [self.image(row) for row in rows]})

    def fingerprint(self) -> str:
        """Return the SHA-256 of the table (keys, labels, selected split) as 64 hexadecimal digits."""
        # "faceaug-target" is part of what is hashed, and stays so that fingerprints do not change.
        digest = hashlib.sha256(json.dumps(["faceaug-target", 1, self.split, len(self)]).encode())
        for name in self.table.columns:
            digest.update(json.dumps(str(name)).encode())
            for start in range(0, len(self), _FINGERPRINT_ROWS):
                digest.update(_canonical(self.table[name].iloc[start : start + _FINGERPRINT_ROWS]))
        return digest.hexdigest()

    def select(self, rows: npt.ArrayLike) -> FaceDataset:
        """Return the data set with some of its rows.

        Parameters
        ----------
        rows : bool [N] or int [K]
            A mask over the rows, or row numbers in the order of the result.

        Raises
        ------
        DatasetError
            If the mask has another length, or a row number is out of range.
        """
        selected = np.asarray(rows)
        if selected.dtype == bool:
            if selected.shape != (len(self),):
                raise DatasetError(
                    f"a mask of shape {list(selected.shape)} does not fit the {len(self):,} rows of {self.name}"
                )
            selected = np.flatnonzero(selected)
        elif selected.size == 0:
            selected = selected.astype(np.int64)
        elif selected.ndim != 1 or selected.dtype.kind not in "iu" or selected.min() < 0 or selected.max() >= len(self):
            raise DatasetError(f"rows of {self.name} are selected by a mask or by numbers from 0 to {len(self) - 1}")
        return replace(self, table=self.table.iloc[selected].reset_index(drop=True))


@dataclass(frozen=True)
class LoadOptions:
    """Less common options of `load_dataset`.

    Attributes
    ----------
    file_column
        Column of the labels with the file names; when None it is found by its name or its content.
    check
        How every image is checked: "decode" decodes it, "header" reads its header only, "none" does not read it.
    max_pixels
        Largest number of pixels of an image.
    workers
        Threads that check images; one per processor (at most 16) when None.
    needs_labels
        When False, images without any labels are accepted, also a single image.
    follow_links
        Whether links in a folder of images may lead to files and folders elsewhere; those in a circle and those to
        devices are refused in any case.
    one_hot
        One-hot columns to gather, as "gender=male,female" or "gender"; see `faceaug.datasets.tables.one_hot`.
    maps
        Rules that rename and group values, as "ethnicity=black|african=black,else=other"; see
        `faceaug.datasets.tables.value_map`.

    Raises
    ------
    DatasetError
        If `max_pixels` is below 1.
    """

    file_column: str | None = None
    check: ImageCheck = "decode"
    max_pixels: int = MAX_PIXELS
    workers: int | None = None
    needs_labels: bool = True
    follow_links: bool = False
    one_hot: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise DatasetError(f"max_pixels is {self.max_pixels}; an image needs at least 1 pixel")


def load_dataset(
    source: str | Path,
    labels: str | Path | Sequence[str | Path] | None = None,
    *,
    reader: str = AUTO_READER,
    split: str | None = None,
    strict: bool = False,
    options: LoadOptions | None = None,
    progress: Progress | None = None,
) -> FaceDataset:
    """Read a data set of face images with attributes (docs/formats.md, Data sets).

    Parameters
    ----------
    source
        A folder of images, an output folder of faceaug or of Hugging Face's `save_to_disk`, or an HDF5, Parquet or tar
        file with images; or the URL of one, as s3://bucket/faces. Images in a folder behind a URL are read when they
        are needed, other files are copied.
    labels
        A CSV, TSV or Parquet file, or its URL, with one row per image, where the labels are not in the data set itself;
        or several, which are joined by the names of the files. Where they contradict each other, the first has
        precedence.
    reader
        "shards", "hdf5", "arrow" (Hugging Face), "parquet", "tar", "celeba", "fairface", "folder", "utkface",
        "classes", "unlabelled" (images alone), the name of an entry point of the group "faceaug.datasets", or "auto" to
        detect the format.
    split
        The split to use; "all" for all rows; None for the training split if there are splits, else all rows.
    strict
        Raise an error, instead of a warning, if an entry has to be left out.
    options
        See `LoadOptions`.
    progress
        Called with the number of images that were checked since the last call.

    Returns
    -------
    FaceDataset
        All readable images with labels, in the order of the source; entries that were left out are in `problems`.

    Raises
    ------
    DatasetError
        If the data set cannot be read, no image is left, or with `strict` an entry would be left out.
    RemoteError
        If what is behind a URL cannot be reached, also in the middle.

    Examples
    --------
    >>> dataset = load_dataset("faces/", "labels.csv")  # doctest: +SKIP
    >>> len(dataset), dataset.attributes  # doctest: +SKIP
    (6500, ('age', 'gender', 'ethnicity'))
    """
    options = options or LoadOptions()
    path = local_place(source)
    given = [] if labels is None else [labels] if isinstance(labels, (str, Path)) else labels
    files = [local_place(file) for file in given]
    first = files[0] if files else None
    if reader == AUTO_READER:
        reader = detect_reader(path, first, needs_labels=options.needs_labels)
    elif not path.exists():
        raise DatasetError(f"{path} does not exist; give the folder or file of the data set")
    raw = _with_prepared_labels(_with_remote_images(_read(path, first, reader, options)), path, files[1:], options)
    name = path.resolve().name.encode("utf-8", "replace").decode()  # a name of the system may be no UTF-8
    table, selected_split = select_split(normalize_splits(raw.table), split, name)
    problem_of_row = check_images(
        raw.images,
        [str(key) for key in table["key"]],
        check=options.check,
        max_pixels=options.max_pixels,
        workers=options.workers,
        progress=progress,
    )
    if callable(close := getattr(raw.images, "close", None)):
        close()
    problems = (*raw.problems, *(problem for problem in problem_of_row if problem is not None))
    table = table[[problem is None for problem in problem_of_row]].reset_index(drop=True)
    if table.empty and not (strict and problems):
        raise DatasetError(f"no image of {name} can be used: {_summary(problems)}; give images that can be read")
    _report(problems, name, strict)
    location = without_secrets(raw.images.url) if isinstance(raw.images, RemoteImages) else place_of(path)
    dataset = FaceDataset(name, reader, location, table, raw.images, problems, selected_split, options.max_pixels)
    return replace(dataset, follow_links=options.follow_links)


def local_place(place: str | Path) -> Path:
    """Return a path; one that stands for what is at a URL, where the place is the text of one."""
    return mirror(str(place), is_image_name) if is_url(place) else Path(place)


def _with_remote_images(raw: RawDataset) -> RawDataset:
    """Let images come from a URL, where a reader has found them in the folder that stands for it."""
    remote = images_behind(raw.images.root) if isinstance(raw.images, FolderImages) else None
    return raw if remote is None else replace(raw, images=remote)


def _read(path: Path, labels: Path | None, reader: str, options: LoadOptions) -> RawDataset:
    """Read a data set with a reader, without a look at its images."""
    if not options.follow_links:
        return _checked(find_reader(reader)(path, labels, file_column=options.file_column), reader)
    if reader not in LINK_READERS:
        raise DatasetError(
            f"--follow-links is for folders of images, but {path} is read by the reader {reader!r}; leave it out"
        )
    read: Any = find_reader(reader)
    return _checked(read(path, labels, file_column=options.file_column, follow_links=True), reader)


def _with_prepared_labels(
    raw: RawDataset, path: Path, further_labels: Sequence[Path], options: LoadOptions
) -> RawDataset:
    """Join further label files, gather one-hot columns, and rename values."""
    if further_labels:
        raw = add_labels(raw, path, further_labels, options.file_column)
    return apply_maps(gather_one_hot(raw, options.one_hot), options.maps)


def _checked(raw: RawDataset, reader: str) -> RawDataset:
    """Check the result of a reader, also of another package: unique keys, and unique names of columns."""
    columns = list(raw.table.columns) if isinstance(raw, RawDataset) else []
    if "key" not in columns or len(set(columns)) != len(columns) or not raw.table["key"].is_unique:
        raise DatasetError(
            f"the reader {reader!r} returned no table with a column of unique keys; its package has to be corrected"
        )
    return raw


def _report(problems: Sequence[DatasetProblem], name: str, strict: bool) -> None:
    if not problems:
        return
    if strict:
        raise DatasetError(
            f"{name} is not clean: {_summary(problems)}; correct it, or leave --strict out to continue without them"
        )
    _log.warning("%s: left out %s", name, _summary(problems))


def _summary(problems: Sequence[DatasetProblem]) -> str:
    if not problems:
        return "no rows are left"
    return f"{summarize(problems)} (first: {problems[0].name}: {problems[0].detail})"


def _canonical(values: pd.Series[Any]) -> bytes:
    """Return bytes that are equal for equal labels on every machine and with every version of pandas."""
    if values.dtype.kind in "iub" and isinstance(values.dtype, np.dtype):
        return b"i" + json.dumps(values.astype(object).map(int).tolist()).encode()
    if values.dtype.kind == "f" and isinstance(values.dtype, np.dtype):
        return b"f" + json.dumps([None if v != v else v for v in values.tolist()]).encode()
    return (
        b"t"
        + json.dumps([None if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)]).encode()
    )
