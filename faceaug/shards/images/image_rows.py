"""Encoded images as rows of variable length, which every reader of HDF5 opens, and faceaug reads without HDF5.

HDF5 keeps values of variable length in heaps, without checksums, and takes long to get them from there. The bytes of a
value lie one after the other, though, so a shard also says where: an image is read from its place in the file and
compared with its SHA-256.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import h5py
import numpy as np
from numpy.typing import NDArray

from faceaug.utils.hdf5 import HEAP_ROW, check_variable_lengths, require_stored

IMAGE_NAME, POSITION_NAME, LENGTH_NAME = "image", "position", "length"


def write_rows(file: h5py.File, encoded: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Write encoded images to the data set `image` of a file that is assembled in memory.

    Returns
    -------
    int64 [n], int32 [n]
        Where the bytes of each image begin in the file, and how many there are.
    """
    kind = h5py.vlen_dtype(np.uint8)
    rows = file.create_dataset(IMAGE_NAME, (len(encoded),), kind, track_times=False)
    values = np.empty(len(encoded), kind)
    for row, data in enumerate(encoded):
        values[row] = np.frombuffer(data, np.uint8)
    # All at once, which takes far less time than row by row; `rows[...] = values` fails where all have one length.
    rows.id.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    file.flush()
    content, start = file.id.get_file_image(), rows.id.get_offset()
    heaps = np.frombuffer(content, HEAP_ROW, len(encoded), start)["address"].tolist()
    positions = [content.index(data, heap) for data, heap in zip(encoded, heaps, strict=True)]
    return np.array(positions, np.int64), np.array([len(data) for data in encoded], np.int32)


class ImageRows:
    """The encoded images of an open shard.

    Raises
    ------
    ValueError
        When the images, their positions and lengths do not fit each other, the number of rows or the file.
    """

    def __init__(self, file: h5py.File, rows: int) -> None:
        self._images: h5py.Dataset = file[IMAGE_NAME]
        require_stored(file[POSITION_NAME], file[LENGTH_NAME])
        position, length = file[POSITION_NAME][...], file[LENGTH_NAME][...]
        self._path = file.filename
        size = os.path.getsize(self._path)
        if (
            (self._images.shape, h5py.check_vlen_dtype(self._images.dtype)) != ((rows,), np.uint8)
            or (position.shape, position.dtype, length.shape, length.dtype) != ((rows,), np.int64, (rows,), np.int32)
            or bool(((length <= 0) | (position < 0) | (position > size - length)).any())
            or int(length.sum(dtype=np.int64)) > size  # no two images share bytes
        ):
            raise ValueError("the images, their positions and lengths do not fit each other, or the file is cut off")
        self._position: list[int] = position.tolist()
        self._length: list[int] = length.tolist()

    def flat(self, row: int) -> bytes:
        """Return an image read without HDF5; other bytes where another program has rewritten the file.

        Nothing is compared with a checksum: only an image whose hash is known may be read so.
        """
        return os.pread(self._descriptor, self._length[row], self._position[row])

    def through_hdf5(self, row: int) -> bytes:
        """Return an image as HDF5 reads it, without a checksum.

        Raises
        ------
        ValueError
            When the heaps of the file are damaged.
        """
        assert self._checked
        return np.asarray(self._images[row]).tobytes()

    @cached_property
    def _checked(self) -> bool:
        check_variable_lengths(self._images)
        return True

    @cached_property
    def _descriptor(self) -> int:
        return int(self._images.file.id.get_vfd_handle())
