"""Read a shard: random access by row, safe to pickle and to use in worker processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from faceaug.errors import FaceaugError, IntegrityError, nearest
from faceaug.shards.writer import FORMAT, VERSION
from faceaug.utils import images
from faceaug.utils.hdf5 import open_hdf5
from faceaug.utils.text import one_line, shown

GAP = 65536  # bytes between two wanted images that are read along rather than skipped
SPAN = 8 << 20  # most bytes fetched in one read
CACHE = 1 << 20  # bytes of chunks kept by an open shard; a process may hold many open

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)  # what h5py makes of a damaged file


class ShardReader:
    """Random access to one shard.

    The file is opened on first use, and anew in every other process, whether the reader came there by pickling or by
    fork. Every read is checked against HDF5's checksums.

    Raises
    ------
    IntegrityError
        When the file is missing, is no shard, has an unknown version, names data outside itself, or what is read is
        damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._pid = -1
        self._images: h5py.Dataset | None = None
        self._offset: NDArray[np.int64] | None = None
        self._rows = 0
        self._layout = ""
        self._codec = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_images": None, "_pid": -1}

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
        """Codec of the encoded images; what `encoded` gives: `png` for the raw layout."""
        self._open()
        return "png" if self._layout == "raw" else self._codec

    @property
    def pixel_shape(self) -> tuple[int, int] | None:
        """Height and width of the images of a raw shard; None for a blob, where each has its own."""
        self._open()
        assert self._images is not None
        return (self._images.shape[1], self._images.shape[2]) if self._layout == "raw" else None

    @property
    def offset(self) -> NDArray[np.int64]:
        """Image k of a blob is blob[offset[k]:offset[k+1]]; int64 [rows + 1]. Of the raw layout: empty."""
        self._open()
        assert self._offset is not None
        return self._offset

    @property
    def keys(self) -> tuple[str, ...]:
        """Paths of the columns that are there: `cell`, `attr/gender`, `w` ..."""
        found: list[str] = []

        def note(name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Dataset) and name not in ("blob", "offset", "pixels"):
                found.append(name)

        try:
            self._open().visititems(note)
        except DAMAGE as error:
            raise self._damaged("its structure", error) from error
        return tuple(found)

    def levels(self, key: str) -> tuple[str, ...]:
        """Return the levels of a category column in the order of their codes; empty for any other column."""
        try:
            stored = self._column(key).attrs.get("levels")
            return () if stored is None else tuple(bytes(level).decode() for level in stored)
        except DAMAGE as error:
            raise self._damaged(f"column {key}", error) from error

    def column(self, key: str, rows: Sequence[int] | slice = slice(None)) -> NDArray[Any]:
        """Return the values of a column (codes for a category) for all or some rows, in the order asked."""
        dataset = self._column(key)
        try:
            if isinstance(rows, slice):
                return np.asarray(dataset[rows])
            self._check(rows)
            first, last = (min(rows), max(rows) + 1) if len(rows) else (0, 0)
            return np.asarray(dataset[first:last])[np.asarray(rows, np.int64) - first]
        except DAMAGE as error:
            raise self._damaged(f"column {key}", error) from error

    def encoded(self, row: int) -> bytes:
        """Return the encoded image of a row; a raw shard's pixels are encoded as PNG."""
        return self.encoded_many([row])[0]

    def encoded_many(self, rows: Sequence[int]) -> list[bytes]:
        """Return the encoded images of several rows, read in the order in which they lie in the file."""
        if self.layout == "raw":
            return [images.encode(pixels, "png") for pixels in self._pixels(rows)]
        return self._blobs(rows)

    def stored_many(self, rows: Sequence[int]) -> list[bytes]:
        """Return what the column sha256 is the hash of: encoded images, or the bytes of raw pixels."""
        return [p.tobytes() for p in self._pixels(rows)] if self.layout == "raw" else self._blobs(rows)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return the image of a row, uint8 [H, W, 3]."""
        return self.image_many([row])[0]

    def image_many(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the images of several rows, uint8 [H, W, 3] each."""
        if self.layout == "raw":
            return self._pixels(rows)
        return [
            images.decode(data, name=f"{self.path}, row {row}")
            for row, data in zip(rows, self._blobs(rows), strict=True)
        ]

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = self._images = None

    def _blobs(self, rows: Sequence[int]) -> list[bytes]:
        """Read images of the blob; what lies close together is fetched in one read."""
        self._check(rows)
        offset = self.offset
        order = sorted(range(len(rows)), key=rows.__getitem__)
        found: list[bytes] = [b""] * len(rows)
        at = 0
        while at < len(order):
            start, stop, last = offset[rows[order[at]]], offset[rows[order[at]] + 1], at + 1
            while last < len(order):
                begin, end = offset[rows[order[last]]], offset[rows[order[last]] + 1]
                if begin - stop > GAP or end - start > SPAN:
                    break
                stop, last = max(stop, end), last + 1
            piece = self._read(slice(int(start), int(stop)), rows[order[at]]).tobytes()
            for k in order[at:last]:
                found[k] = piece[offset[rows[k]] - start : offset[rows[k] + 1] - start]
            at = last
        return found

    def _pixels(self, rows: Sequence[int]) -> list[NDArray[np.uint8]]:
        self._check(rows)
        found: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(rows)
        for k in sorted(range(len(rows)), key=rows.__getitem__):
            found[k] = self._read(rows[k], rows[k])
        return found

    def _read(self, where: slice | int, row: int) -> NDArray[np.uint8]:
        self._open()
        assert self._images is not None
        try:
            return np.asarray(self._images[where])
        except DAMAGE as error:
            raise self._damaged(f"row {row} or one beside it", error) from error

    def _check(self, rows: Sequence[int]) -> None:
        count = self.rows
        for row in rows:
            if not 0 <= row < count:
                raise IndexError(f"row {row} is not in {self.path}, which has {count} rows")

    def _column(self, key: str) -> h5py.Dataset:
        try:
            found = self._open().get(key)
        except DAMAGE as error:
            raise self._damaged(f"column {key}", error) from error
        if not isinstance(found, h5py.Dataset):
            raise FaceaugError(f"{self.path} has no column {shown(key)}: {nearest(key, self.keys)}")
        return found

    def _damaged(self, what: str, error: Exception) -> IntegrityError:
        return IntegrityError(
            f"{self.path}, {what}, is damaged ({one_line(error)}); run faceaug verify to see all that is wrong"
        )

    def _open(self) -> h5py.File:
        if self._file is not None and self._pid == os.getpid():
            return self._file
        if self._file is not None:  # inherited by fork: it shares its place in the file with the parent's
            self._file.close()
            self._file = self._images = None
        try:
            file = open_hdf5(self.path, IntegrityError, cache_bytes=CACHE)
        except FileNotFoundError as error:
            raise IntegrityError(f"{self.path} is missing: no shard is there") from error
        except OSError as error:
            raise IntegrityError(
                f"{self.path} is no shard, or a damaged one ({one_line(error)}); run faceaug verify"
            ) from error
        try:
            self._take(file)
        except BaseException as error:
            file.close()
            if isinstance(error, DAMAGE):
                raise self._damaged("its structure", error) from error
            raise
        self._file, self._pid = file, os.getpid()
        return file

    def _take(self, file: h5py.File) -> None:
        kind, version = _text(file.attrs.get("format")), file.attrs.get("version")
        if kind != FORMAT:
            raise IntegrityError(f"{self.path} is no shard of faceaug: its format is {shown(kind)}, not {FORMAT!r}")
        if version != VERSION:
            raise IntegrityError(
                f"{self.path} has version {shown(version)}; this faceaug knows version {VERSION}: "
                "use the one that wrote it"
            )
        self._rows, self._layout = int(file.attrs["rows"]), _text(file.attrs["layout"])
        self._codec = _text(file.attrs["codec"])
        if self._layout == "raw":
            self._images, self._offset = file["pixels"], np.empty(0, np.int64)
            sound = self._images.shape[:1] == (self._rows,) and self._images.ndim == 4
        else:
            self._images, self._offset = file["blob"], file["offset"][:]
            sound = len(self._offset) == self._rows + 1 and offsets_sound(self._offset, len(self._images))
        if not sound:
            raise ValueError("the images and their offsets do not go with the number of rows")


def offsets_sound(offset: NDArray[np.int64], total: int) -> bool:
    """Say whether offsets start at 0, rise at every step and end at `total`."""
    return bool(len(offset) and offset[0] == 0 and offset[-1] == total and np.all(np.diff(offset) > 0))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
