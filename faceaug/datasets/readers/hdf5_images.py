"""Images inside HDF5 files: encoded in one blob, encoded one by one, or bare pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from faceaug.datasets.base import one_line
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.hdf5 import open_hdf5
from faceaug.utils.images import encode

BLOB, OFFSET, PIXELS = "blob", "offset", "pixels"
PIXEL_NAMES = (PIXELS, "images", "image", "faces", "data", "x")
Kind = Literal["blob", "encoded", "pixels"]


@dataclass(frozen=True)
class Layout:
    """Where and how a file holds its images: the data set's name, the kind, and how many there are."""

    dataset: str
    kind: Kind
    count: int


@dataclass
class H5Images:
    """An ImageSource over one HDF5 file; a key is a row number. Opened at the first read, by each process anew."""

    path: Path
    layout: Layout
    _file: Any = field(default=None, init=False, repr=False, compare=False)
    _process: int = field(default=-1, init=False, repr=False, compare=False)

    def read(self, key: str) -> bytes:
        """Return the image of a row, bare pixels as PNG."""
        try:
            row = int(key)
            if not 0 <= row < self.layout.count:
                raise ImageError(f"row {key} is not in {self.path}: it has rows 0 to {self.layout.count - 1}")
            return self._read(row)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:  # what h5py says of damaged data
            raise ImageError(
                f"row {key} of {self.path} cannot be read ({one_line(error)}); the file is damaged: get it anew"
            ) from error

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _read(self, row: int) -> bytes:
        file = self._open()
        data = file[self.layout.dataset]
        if self.layout.kind == "blob":
            begin, end = (int(at) for at in file[OFFSET][row : row + 2])
            if not 0 <= begin <= end <= data.shape[0]:
                raise ValueError(f"its bytes are said to be {begin} to {end} of {data.shape[0]}")
            return bytes(data[begin:end])
        if self.layout.kind == "encoded":
            value = data[row]
            return value if isinstance(value, bytes) else np.asarray(value, np.uint8).tobytes()
        return encode(_as_rgb(np.asarray(data[row])), "png")

    def _open(self) -> Any:
        # A handle that was inherited by a fork shares its file position with the parent: never use it.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = open_hdf5(self.path, ImageError), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "layout": self.layout, "_file": None, "_process": -1}


def open_h5(path: Path) -> Any:
    """Open an HDF5 file for reading.

    Raises
    ------
    DatasetError
        When it is missing, cut off or no HDF5 file, or names data outside itself.
    """
    try:
        return open_hdf5(path, DatasetError)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be opened as an HDF5 file: it is damaged or something else; get it anew"
        ) from error


def find_images(file: Any, path: Path) -> Layout:
    """Find the images of an open file: blob and offset, else a data set of pixels or of encoded images.

    Raises
    ------
    DatasetError
        When there are none, or several data sets could be meant.
    """
    if isinstance(file.get(BLOB), h5py.Dataset) and isinstance(file.get(OFFSET), h5py.Dataset):
        return Layout(BLOB, "blob", max(0, int(file[OFFSET].shape[0]) - 1))
    found = {name: kind for name, data in datasets(file) if (kind := _kind(data)) is not None}
    named = [name for wish in PIXEL_NAMES for name in found if name.lower() == wish]
    if not found:
        there = ", ".join(name for name, _ in datasets(file)) or "nothing"
        raise DatasetError(
            f"{path} has no images: a data set uint8 [N, H, W, 3], [N, 3, H, W] or [N, H, W], or one of encoded images "
            f"(variable-length uint8), was expected; it has {one_line(there)}"
        )
    if len(found) > 1 and not named:
        raise DatasetError(
            f"{path} has several data sets of images ({one_line(', '.join(found))}): call the right one 'images'"
        )
    name = named[0] if named else next(iter(found))
    return Layout(name, found[name], int(file[name].shape[0]))


def datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Walk over a file's data sets, names sorted; each group once, as hard links can form circles."""
    pending = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}
    while pending:
        prefix, group = pending.pop()
        for name in sorted(group):
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield prefix + name, item
            elif isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in seen:
                seen.add(address)
                pending.append((prefix + name + "/", item))


def _kind(data: Any) -> Kind | None:
    if data.ndim == 1 and h5py.check_vlen_dtype(data.dtype) == np.uint8:
        return "encoded"
    if data.dtype != np.uint8 or data.ndim not in (3, 4) or (data.ndim == 4 and not {1, 3} & {*data.shape[1::2]}):
        return None
    return "pixels"


def _as_rgb(image: Any) -> Any:
    """[H, W], [H, W, 1 or 3] or [1 or 3, H, W] -> uint8 [H, W, 3]."""
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
