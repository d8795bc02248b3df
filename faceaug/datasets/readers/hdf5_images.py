"""Images in HDF5 files: encoded in one blob, encoded one by one, or raw pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from faceaug.errors import DatasetError, ImageError
from faceaug.utils.hdf5 import check_variable_lengths, open_hdf5
from faceaug.utils.images import MAX_PIXELS, encode
from faceaug.utils.text import one_line, shown

_LEAST_IMAGE = 4  # bytes of the file: no image takes less, compressed or not
BLOB_NAME, OFFSET_NAME = "blob", "offset"
_PIXEL_NAMES = ("pixels", "images", "image", "faces", "data", "x")
StorageKind = Literal["blob", "encoded", "pixels"]


@dataclass(frozen=True)
class ImageStorage:
    """How a file stores its images: the name of the data set, the kind of storage, and the number of images."""

    dataset: str
    kind: StorageKind
    count: int


@dataclass
class H5Images:
    """An ImageSource over one HDF5 file; a key is a row number. Each process opens the file at its first read."""

    path: Path
    storage: ImageStorage
    _file: Any = field(default=None, init=False, repr=False, compare=False)
    _process: int = field(default=-1, init=False, repr=False, compare=False)

    def read(self, key: str) -> bytes:
        """Return the image of a row, raw pixels as PNG."""
        try:
            row = int(key)
            if not 0 <= row < self.storage.count:
                raise ImageError(f"row {key} is not in {self.path}: it has rows 0 to {self.storage.count - 1}")
            return self._read(row)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:  # h5py raises these for damaged data
            raise ImageError(
                f"row {key} of {self.path} cannot be read ({one_line(error)}); the file is damaged, get a new copy"
            ) from error

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _read(self, row: int) -> bytes:
        file = self._open()
        data = file[self.storage.dataset]
        if self.storage.kind == "blob":
            begin, end = (int(at) for at in file[OFFSET_NAME][row : row + 2])
            if not 0 <= begin <= end <= data.shape[0]:
                raise ValueError(f"its offsets {begin} and {end} do not fit {data.shape[0]} bytes")
            if end - begin > self.path.stat().st_size:  # an encoded image cannot be packed much further
                raise ValueError(f"it claims {end - begin:,} bytes, more than the file has")
            return bytes(data[begin:end])
        if self.storage.kind == "encoded":
            value = data[row]
            return value if isinstance(value, bytes) else np.asarray(value, np.uint8).tobytes()
        if math.prod(data.shape[1:]) > 3 * MAX_PIXELS:
            raise ValueError(f"it is of shape {list(data.shape[1:])}, more than the {MAX_PIXELS:,} pixels of an image")
        return encode(_as_rgb(np.asarray(data[row])), "png")

    def _open(self) -> Any:
        # A handle that was inherited by a fork shares its file position with the parent process.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = open_hdf5(self.path, ImageError), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "storage": self.storage, "_file": None, "_process": -1}


def open_h5(path: Path) -> Any:
    """Open an HDF5 file for reading.

    Raises
    ------
    DatasetError
        If it is missing, cut off or not an HDF5 file, or refers to data outside of itself.
    """
    try:
        return open_hdf5(path, DatasetError)
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened as an HDF5 file; it is damaged or has another format") from error


def find_images(file: Any, path: Path) -> ImageStorage:
    """Find the images of an open file: blob and offset, else a data set of pixels or of encoded images.

    Raises
    ------
    DatasetError
        If there are none, several data sets qualify, or there are more images than the file can hold.
    """
    storage = _find_storage(file, path)
    if storage.count > path.stat().st_size // _LEAST_IMAGE:
        raise DatasetError(
            f"{path} is refused: {shown(storage.dataset)} claims {storage.count:,} images, more than a file of its "
            "size can hold; write a file that holds the images"
        )
    if storage.kind == "encoded":
        check_variable_lengths(file[storage.dataset])
    return storage


def _find_storage(file: Any, path: Path) -> ImageStorage:
    blob, offset = file.get(BLOB_NAME), file.get(OFFSET_NAME)
    if isinstance(blob, h5py.Dataset) and isinstance(offset, h5py.Dataset):
        if blob.ndim != 1 or blob.dtype != np.uint8 or offset.ndim != 1 or offset.dtype.kind not in "iu":
            raise DatasetError(
                f"{path} has a data set {BLOB_NAME!r} with {OFFSET_NAME!r}, but not uint8 [bytes] with whole numbers "
                "[images + 1]; write both anew"
            )
        return ImageStorage(BLOB_NAME, "blob", max(0, int(offset.shape[0]) - 1))
    kinds = {name: kind for name, data in datasets(file) if (kind := _storage_kind(data)) is not None}
    usual = [name for usual_name in _PIXEL_NAMES for name in kinds if name.lower() == usual_name]
    if not kinds:
        names = ", ".join(name for name, _ in datasets(file)) or "nothing"
        raise DatasetError(
            f"{path} has no images; a data set uint8 [N, H, W, 3], [N, 3, H, W] or [N, H, W], or one of encoded images "
            f"(variable-length uint8), was expected; it has {one_line(names)}"
        )
    if len(kinds) > 1 and not usual:
        raise DatasetError(
            f"{path} has several data sets of images ({one_line(', '.join(kinds))}); name the right one 'images'"
        )
    name = usual[0] if usual else next(iter(kinds))
    return ImageStorage(name, kinds[name], int(file[name].shape[0]))


def datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the data sets of a file, sorted by name; each object once, since hard links can form cycles."""
    pending = [("", file)]
    visited = {h5py.h5o.get_info(file.id).addr}
    while pending:
        prefix, group = pending.pop()
        for name in sorted(group):
            item = group[name]
            if (address := h5py.h5o.get_info(item.id).addr) in visited:
                continue
            visited.add(address)
            if isinstance(item, h5py.Dataset):
                yield prefix + name, item
            elif isinstance(item, h5py.Group):
                pending.append((prefix + name + "/", item))


def _storage_kind(data: Any) -> StorageKind | None:
    if data.ndim == 1 and h5py.check_vlen_dtype(data.dtype) == np.uint8:
        return "encoded"
    if data.dtype != np.uint8 or data.ndim not in (3, 4) or (data.ndim == 4 and not {1, 3} & {*data.shape[1::2]}):
        return None
    return "pixels"


def _as_rgb(image: Any) -> Any:
    """Return pixels [H, W], [H, W, 1 or 3] or [1 or 3, H, W] as uint8 [H, W, 3]."""
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
