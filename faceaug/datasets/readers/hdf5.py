"""HDF5: images in one data set of the file, attributes in one-dimensional data sets of the same length."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
import pandas as pd

from faceaug.datasets.base import RawDataset
from faceaug.datasets.label_file import UNKNOWN_TEXTS, refuse_reserved
from faceaug.datasets.readers.hdf5_images import OFFSET_NAME, H5Images, datasets, find_images, open_h5
from faceaug.errors import DatasetError
from faceaug.shards.columns import SHARD_FORMAT
from faceaug.shards.reader import IMAGE_NAMES
from faceaug.utils.hdf5 import DAMAGE_ERRORS, read_levels, read_texts, whole_limit
from faceaug.utils.text import one_line, shown

_SUFFIXES = (".h5", ".hdf5", ".he5")


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a file has the suffix of HDF5."""
    return path.suffix.lower() in _SUFFIXES and not path.is_dir()


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read one HDF5 file of uint8 pixels or of encoded images; a shard of faceaug is such a file too.

    A key is a row number. The columns are the one-dimensional data sets of numbers or text, named by the last part of
    their path where it is unique (the group "attr" has priority), else by the whole path. Numbers with an attribute
    "levels" are indices into that list of texts.

    Raises
    ------
    DatasetError
        If the file cannot be opened, has no images, or labels are given.
    """
    if labels is not None or file_column is not None:
        raise DatasetError("an HDF5 file contains its labels; leave the label file out")
    with open_h5(path) as file:
        try:
            storage = find_images(file, path)
            if storage.count == 0:
                raise DatasetError(f"{path} has no images; its data set {shown(storage.dataset)} is empty")
            of_shard = IMAGE_NAMES if file.attrs.get("format") == SHARD_FORMAT.encode() else ()
            used = (storage.dataset, OFFSET_NAME, *of_shard)
            found = {n: d for n, d in datasets(file) if n not in used and is_column(d, storage.count)}
            if (claimed := sum(data.nbytes for data in found.values())) > (most := whole_limit(file)):
                raise DatasetError(f"{path} is refused: its columns claim {claimed:,} bytes, and {most:,} are read")
            columns = {name: read_column(data) for name, data in found.items()}
        except DAMAGE_ERRORS as error:
            raise DatasetError(f"{path} is damaged ({one_line(error)}); get a new copy") from error
    names = short_names(list(columns))
    refuse_reserved(names)
    table = pd.DataFrame({"key": [str(row) for row in range(storage.count)]})
    columns_by_name = dict(zip(names, columns.values(), strict=True))
    return RawDataset(table.assign(**columns_by_name), H5Images(path.resolve(), storage))


def short_names(paths: list[str]) -> list[str]:
    """Name each data set by the last part of its path where it is unique; the group "attr" has priority."""
    short = [PurePosixPath(path).name for path in paths]
    attributes = {own for own, path in zip(short, paths, strict=True) if path == f"attr/{own}"}
    return [
        own if path == f"attr/{own}" or (own not in attributes and short.count(own) == 1) else path
        for own, path in zip(short, paths, strict=True)
    ]


def is_column(data: Any, rows: int) -> bool:
    """Return whether a data set has one number, boolean or text per row."""
    return data.shape == (rows,) and (data.dtype.kind in "iufbS" or h5py.check_string_dtype(data.dtype) is not None)


def read_column(data: Any) -> Any:
    """Read a column; text is UTF-8, and texts that count as unknown in a label file become NaN."""
    if data.dtype.kind in "iu" and (levels := read_levels(data)):
        values = [levels[code] if 0 <= code < len(levels) else np.nan for code in data[:].tolist()]
    elif data.dtype.kind in "iufb":
        return data[:]
    else:
        values = [text.decode("utf-8", "replace") for text in read_texts(data)]
    return pd.Series([np.nan if value in UNKNOWN_TEXTS else value for value in values], dtype=object)
