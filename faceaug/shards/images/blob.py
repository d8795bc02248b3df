"""Encoded images one after the other in one data set, `blob`, as shards of version 2 store them."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from faceaug.utils.hdf5 import require_stored

BLOB_NAME, OFFSET_NAME = "blob", "offset"


def offsets_valid(offset: NDArray[np.int64], total: int) -> bool:
    """Return whether offsets int64 [n + 1] start at 0, increase at every step and end at `total`."""
    return bool(len(offset) and offset[0] == 0 and offset[-1] == total and np.all(np.diff(offset) > 0))


class BlobImages:
    """The encoded images of an open shard of version 2; `ImageRows` says what its methods return.

    Raises
    ------
    ValueError
        When the offsets do not fit the blob or the number of rows.
    """

    def __init__(self, file: h5py.File, rows: int) -> None:
        require_stored(file[BLOB_NAME], file[OFFSET_NAME])
        self._blob: h5py.Dataset = file[BLOB_NAME]
        offset = file[OFFSET_NAME][...]
        if len(offset) != rows + 1 or not offsets_valid(offset, len(self._blob)):
            raise ValueError("the images and their offsets do not match the number of rows")
        self._offset: list[int] = offset.tolist()

    def through_hdf5(self, row: int) -> bytes:
        """Return an image that HDF5 has compared with its checksum; OSError where it differs."""
        return np.asarray(self._blob[self._offset[row] : self._offset[row + 1]]).tobytes()

    def flat(self, row: int) -> bytes:
        """Return an image read without HDF5; fewer bytes where the file does not hold them as faceaug writes them."""
        return self._flat.read(self._offset[row], self._offset[row + 1])

    @cached_property
    def _flat(self) -> _FlatBytes:
        return _FlatBytes(self._blob)


class _FlatBytes:
    """The bytes of a one-dimensional data set, read from the file without HDF5.

    HDF5 reads, and sums up, whole chunks for the few bytes of one image. Here nothing is compared with a checksum: only
    bytes whose hash is known may be read so.

    Attributes
    ----------
    usable : bool
        Whether the file is an ordinary one and the data set uint8 without compression; else `read` returns nothing.
    """

    _MOST_CHUNKS = 1 << 16  # 4 GB in the chunks of a shard; a file that claims more is read by HDF5

    def __init__(self, dataset: h5py.Dataset) -> None:
        stored = dataset.id.get_create_plist()
        filters = {stored.get_filter(k)[0] for k in range(stored.get_nfilters())}
        file = dataset.file
        self.usable = (
            hasattr(os, "pread")
            and (file.driver, file.userblock_size) == ("sec2", 0)
            and (dataset.ndim, dataset.dtype) == (1, "uint8")
            and dataset.chunks is not None
            and len(dataset) <= self._MOST_CHUNKS * dataset.chunks[0]
            and filters <= {h5py.h5z.FILTER_FLETCHER32}
        )
        if self.usable:
            self._chunk = int(dataset.chunks[0])
            self._descriptor = file.id.get_vfd_handle()
            self._size = os.fstat(self._descriptor).st_size
            # Positions of the chunks in the file; the end of the file stands for none.
            self._places = np.full(-(-len(dataset) // self._chunk), self._size, np.int64)
            dataset.id.chunk_iter(self._note)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the file does not have them."""
        parts: list[bytes] = []
        while self.usable and start < stop:
            chunk, skipped = divmod(start, self._chunk)
            count = min(self._chunk - skipped, stop - start)
            place = int(self._places[chunk])
            if place + skipped + count > self._size:  # nothing is allocated for what is not there
                break
            parts.append(os.pread(self._descriptor, count, place + skipped))
            start += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _note(self, chunk: Any) -> None:
        number = chunk.chunk_offset[0] // self._chunk
        if chunk.byte_offset is not None and number < len(self._places):
            self._places[number] = min(chunk.byte_offset, self._size)
