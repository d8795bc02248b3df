"""Read a shard: random access by row. A reader can be pickled and used in worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.shards.columns import MISSING_CODE, READ_VERSIONS, SHARD_FORMAT, SHARD_VERSION, Column, is_read
from faceaug.shards.images.blob import BLOB_NAME, OFFSET_NAME, BlobImages
from faceaug.shards.images.image_rows import IMAGE_NAME, LENGTH_NAME, POSITION_NAME, ImageRows
from faceaug.utils import images
from faceaug.utils.hdf5 import DAMAGE_ERRORS, open_hdf5, read_levels, require_stored
from faceaug.utils.jpeg import split_planes
from faceaug.utils.text import nearest, one_line, shown

PIXELS_NAME = "pixels"
IMAGE_NAMES = frozenset({PIXELS_NAME, IMAGE_NAME, POSITION_NAME, LENGTH_NAME, BLOB_NAME, OFFSET_NAME})
"""Data sets of images, which are no columns."""
_CHUNK_CACHE_BYTES = 1 << 20  # small, since a process may hold many shards open


class ShardReader:
    """Random access to one shard.

    The file is opened on first use. A process that receives the reader by pickling or by fork opens the file anew.
    HDF5 checks every read against its checksums; encoded images are compared with their SHA-256 instead.

    Parameters
    ----------
    path : path
        The shard, of this version or of version 2.

    Raises
    ------
    IntegrityError
        When the file is missing, is not a shard, has another version, refers to data outside itself, or is damaged
        where it is read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._pid = -1
        self._raw: h5py.Dataset | None = None
        self._encoded: ImageRows | BlobImages | None = None
        self._hashes: NDArray[np.uint8] | None = None
        self._rows = 0
        self._layout = ""
        self._codec = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_raw": None, "_encoded": None, "_hashes": None, "_pid": -1}

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.rows

    @property
    def rows(self) -> int:
        """Number of samples."""
        self._open()
        return self._rows

    @property
    def layout(self) -> str:
        """`blob` (encoded images) or `raw` (pixels)."""
        self._open()
        return self._layout

    @property
    def codec(self) -> str:
        """Codec of what `encoded` returns: that of the images, and `png` for the raw layout."""
        self._open()
        return "png" if self._layout == "raw" else self._codec

    @property
    def pixel_shape(self) -> tuple[int, int] | None:
        """Height and width of the images of a raw shard; None for a blob, whose images may have several sizes."""
        self._open()
        return None if self._raw is None else (self._raw.shape[1], self._raw.shape[2])

    @property
    def keys(self) -> tuple[str, ...]:
        """Paths of the columns that the shard has: `cell`, `attr/gender`, `w` ..."""
        names: list[str] = []

        def collect(name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Dataset) and name not in IMAGE_NAMES:
                names.append(name)

        try:
            self._open().visititems(collect)
        except DAMAGE_ERRORS as error:
            raise self._damaged("its structure", error) from error
        return tuple(names)

    def levels(self, key: str) -> tuple[str, ...]:
        """Return the levels of a category column in the order of their codes; empty for any other column."""
        try:
            return read_levels(self._column(key))
        except DAMAGE_ERRORS as error:
            raise self._damaged(f"column {key}", error) from error

    def column(self, key: str, rows: Sequence[int] | slice = slice(None)) -> NDArray[Any]:
        """Return the values of a column (codes for a category) for all or some rows, in the order of `rows`."""
        dataset = self._column(key)
        if not isinstance(rows, slice):
            self._check(rows)
        try:
            require_stored(dataset)
            if isinstance(rows, slice):
                return np.asarray(dataset[rows])
            first, last = (min(rows), max(rows) + 1) if len(rows) else (0, 0)
            return np.asarray(dataset[first:last])[np.asarray(rows, np.int64) - first]
        except DAMAGE_ERRORS as error:
            raise self._damaged(f"column {key}", error) from error

    def read_columns(self, columns: Iterable[Column]) -> dict[str, NDArray[Any]]:
        """Return the stored values of several columns by their keys; columns that the shard lacks are left out."""
        keys = set(self.keys)
        return {column.key: self.values(column) for column in columns if column.path in keys}

    def values(self, column: Column) -> NDArray[Any]:
        """Return the stored values of a column that is described elsewhere, as in the manifest.

        Raises
        ------
        IntegrityError
            When the shard has no such column, or it has another type, another number of rows or a code without level.
        """
        values = self.column(column.path)
        wide = column.type in ("sha256", "latent")
        if values.dtype != column.dtype or values.ndim != 1 + wide or len(values) != self.rows:
            found = f"it is {values.dtype} {list(values.shape)}, not {column.dtype} of {self.rows} rows"
            raise self._damaged(f"column {column.path}", ValueError(found))
        least = 0 if column.group == "sample" else MISSING_CODE
        if column.type == "category" and ((values < least) | (values >= len(column.levels))).any():
            raise self._damaged(f"column {column.path}", ValueError("it has a code without a level"))
        return values

    def made_by(self, engine: str) -> NDArray[np.bool_]:
        """Return which samples an engine made, bool [rows]; none where the shard does not list the engine."""
        levels = self.levels("engine")
        return np.asarray(self.column("engine") == (levels.index(engine) if engine in levels else MISSING_CODE))

    def encoded(self, row: int) -> bytes:
        """Return the encoded image of a row; pixels of a raw shard are encoded as PNG."""
        return self.encoded_many([row])[0]

    def encoded_many(self, rows: Sequence[int]) -> list[bytes]:
        """Return the encoded images of several rows, which are read in the order of the file."""
        if self.layout == "raw":
            return [images.encode(pixels, "png") for pixels in self._pixels(rows)]
        return self._compared(rows)

    def stored_many(self, rows: Sequence[int]) -> list[bytes]:
        """Return the bytes that the column sha256 is computed from: encoded images, or raw pixels."""
        return [p.tobytes() for p in self._pixels(rows)] if self.layout == "raw" else self._compared(rows)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return the image of a row, uint8 [H, W, 3]."""
        return self.image_many([row])[0]

    def image_many(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the images of several rows, uint8 [H, W, 3] each."""
        if self.layout == "raw":
            return self._pixels(rows)
        return [images.decode(data, name=self._name(row)) for row, data in zip(rows, self._compared(rows), strict=True)]

    def decoded(self, rows: Sequence[int]) -> Iterator[NDArray[np.uint8] | Image.Image]:
        """Yield the images of several rows in the form that costs least, each decoded when it is taken.

        That form is uint8 [H, W, 3] in the raw layout, and else a PIL image of mode RGB.
        """
        if self.layout == "raw":
            yield from self._pixels(rows)
        else:
            for row, data in zip(rows, self._compared(rows), strict=True):
                yield images.decode_to_pil(data, name=self._name(row))

    def planes(self, rows: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Yield the images of several rows for training, uint8 [3, H, W] each (`images.decode_to_planes`)."""
        if self.layout == "raw":
            yield from map(split_planes, self._pixels(rows))
        else:
            for row, data in zip(rows, self._compared(rows), strict=True):
                yield images.decode_to_planes(data, name=self._name(row))

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if self._file is not None:
            self._file.close()
        self._forget()

    def _forget(self) -> None:
        self._file = self._raw = self._encoded = self._hashes = None

    def _compared(self, rows: Sequence[int]) -> list[bytes]:
        """Return encoded images, each of which has the SHA-256 that the shard lists for its row.

        Images are read in the order of the file, and without HDF5 where that gives the right bytes.
        """
        self._check(rows)
        hashes, stored, result = self._row_hashes(), self._encoded, [b""] * len(rows)
        assert stored is not None, "the header was read"
        for k in sorted(range(len(rows)), key=rows.__getitem__):
            row, expected = rows[k], hashes[rows[k]].tobytes()
            try:
                data = stored.flat(row)
            except DAMAGE_ERRORS:  # HDF5 meets the same, and its error is told below
                data = b""
            if hashlib.sha256(data).digest() != expected:
                try:
                    data = stored.through_hdf5(row)
                except DAMAGE_ERRORS as error:
                    raise self._damaged(f"row {row} or a neighbouring row", error) from error
                if hashlib.sha256(data).digest() != expected:
                    raise self._damaged(f"row {row}", ValueError("the image does not have the SHA-256 of its row"))
            result[k] = data
        return result

    def _row_hashes(self) -> NDArray[np.uint8]:
        if self._hashes is None:
            hashes = self.column("sha256")
            if hashes.shape != (self._rows, 32) or hashes.dtype != np.uint8:
                raise self._damaged("column sha256", ValueError("it is not uint8 [rows, 32]"))
            self._hashes = hashes
        return self._hashes

    def _name(self, row: int) -> str:
        return f"{self.path}, row {row}"

    def _pixels(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        self._check(rows)
        assert self._raw is not None, "the layout is raw"
        result: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(rows)
        for k in sorted(range(len(rows)), key=rows.__getitem__):
            try:
                result[k] = np.asarray(self._raw[rows[k]])
            except DAMAGE_ERRORS as error:
                raise self._damaged(f"row {rows[k]} or a neighbouring row", error) from error
        return result

    def _check(self, rows: Sequence[int]) -> None:
        count = self.rows
        for row in rows:
            if not 0 <= row < count:
                raise IndexError(f"row {row} is not in {self.path}, which has {count} rows")

    def _column(self, key: str) -> h5py.Dataset:
        try:
            dataset = self._open().get(key)
        except DAMAGE_ERRORS as error:
            raise self._damaged(f"column {key}", error) from error
        if not isinstance(dataset, h5py.Dataset):
            raise FaceaugError(f"{self.path} has no column {shown(key)}: {nearest(key, self.keys)}")
        return dataset

    def _damaged(self, what: str, error: Exception) -> IntegrityError:
        return IntegrityError(
            f"{self.path}, {what}, is damaged ({one_line(error)}); run faceaug verify to see all damage"
        )

    def _open(self) -> h5py.File:
        if self._file is not None and self._pid == os.getpid():
            return self._file
        if self._file is not None:  # inherited by fork: parent and child would share one file position
            self._file.close()
            self._forget()
        try:
            file = open_hdf5(self.path, IntegrityError, cache_bytes=_CHUNK_CACHE_BYTES)
        except FileNotFoundError as error:
            raise IntegrityError(f"{self.path} is missing: the shard does not exist") from error
        except OSError as error:
            raise IntegrityError(
                f"{self.path} is not a shard of faceaug, or is damaged ({one_line(error)}); run faceaug verify"
            ) from error
        try:
            self._read_header(file)
        except BaseException as error:
            file.close()
            if isinstance(error, DAMAGE_ERRORS):
                raise self._damaged("its structure", error) from error
            raise
        self._file, self._pid = file, os.getpid()
        return file

    def _read_header(self, file: h5py.File) -> None:
        stated_format, version = _text(file.attrs.get("format")), file.attrs.get("version")
        if stated_format != SHARD_FORMAT:
            raise IntegrityError(
                f"{self.path} is not a shard of faceaug: its format is {shown(stated_format)}, not {SHARD_FORMAT!r}"
            )
        if not is_read(version):
            raise IntegrityError(
                f"{self.path} has version {shown(version)}, and this faceaug reads {READ_VERSIONS}; write the "
                "folder anew with this version, or read it with the version that wrote it"
            )
        self._rows, self._layout = int(file.attrs["rows"]), _text(file.attrs["layout"])
        self._codec = _text(file.attrs["codec"])
        if self._layout == "raw":
            self._raw = file[PIXELS_NAME]
            require_stored(self._raw)
            if self._raw.shape[:1] != (self._rows,) or self._raw.ndim != 4:
                raise ValueError("the images do not match the number of rows")
        else:
            self._encoded = (ImageRows if version == SHARD_VERSION else BlobImages)(file, self._rows)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
