"""Open an HDF5 file that is not trusted: all of its content must be stored in the file itself.

HDF5 can name other files in four ways: external links, external storage, virtual data sets, and soft links that lead to
one of these. A reader that follows them hands out the content of any file that the user may read. A virtual data set
that maps itself ends the process. So all links of the file are checked by class before anything of it is read.

A data set need not be stored: a file of a kilobyte can claim terabytes of fill values, and HDF5 allocates what is
claimed. So what a data set claims is compared with what a file of this size can hold.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from faceaug.errors import FaceaugError
from faceaug.utils.files import require_regular
from faceaug.utils.text import one_line, shown

MOST_LINKS = 10_000  # links that are checked in one file; a shard or a data set of faces has some dozens
MOST_DEPTH = 16  # groups inside each other; HDF5's own walk takes the depth's third power of time
MOST_CHUNK_BYTES = 1 << 27  # HDF5 holds a whole chunk in memory to read one number of it
_MOST_RATIO = 1_100  # of gzip, the best of HDF5's usual filters
_SLACK = 1 << 20  # bytes that any file may claim, so that what is small need not be stored
_TEXT_BLOCK_BYTES = 1 << 26  # of texts that are read at once
_FREE_BYTES = 1 << 26  # of values that any file may have beside its images

DAMAGE_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError)
"""What h5py raises on a damaged file."""
_HEAP_START = b"GCOL\1\0\0\0"
HEAP_ROW = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""What is stored of a value of variable length: its length, and its place in a heap."""
_NOT_PACKING = {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE}
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}


def open_hdf5(path: Path, refused: type[FaceaugError], *, cache_bytes: int | None = None) -> h5py.File:
    """Open an HDF5 file for reading after checking that all of its content is stored in the file itself.

    Parameters
    ----------
    path : Path
    refused : type of FaceaugError
        Type of the error for a file that is refused.
    cache_bytes : int, optional
        Bytes of chunks that are kept for each open data set; HDF5's own default without.

    Raises
    ------
    FaceaugError
        Of the type `refused`, when a link is not a hard link, a data set is virtual, stored in another file or claims
        more than the file can hold, or the file has more than 10,000 links or 16 groups inside each other.
    OSError
        When the file is missing, is no HDF5 file, or its structure is damaged.
    """
    require_regular(path)
    file = h5py.File(path, "r", locking=False, rdcc_nbytes=cache_bytes)
    try:
        _check(file, path, refused)
    except DAMAGE_ERRORS as error:
        file.close()
        raise OSError(f"its structure cannot be read: {one_line(error)}") from error
    except BaseException:
        file.close()
        raise
    return file


def require_stored(*datasets: h5py.Dataset) -> None:
    """Raise ValueError where data sets that are not compressed claim more bytes together than their file has."""
    claimed = sum(dataset.nbytes for dataset in datasets)
    if datasets and claimed > (size := os.path.getsize(datasets[0].file.filename)):
        raise ValueError(f"{shown(datasets[0].name)} claims {claimed:,} bytes, and the file has {size:,}")


def whole_limit(file: h5py.File) -> int:
    """Return how many bytes of data sets may be read as a whole: what the file has, or 64 MiB where that is more."""
    return max(_FREE_BYTES, os.path.getsize(file.filename))


def read_texts(dataset: h5py.Dataset) -> list[bytes]:
    """Return the texts of a one-dimensional data set of text.

    Texts of variable length lie in a heap, and any number of rows may name the same one. So only as many rows are read
    at once as fit the memory even if each of them names the whole heap.

    Raises
    ------
    ValueError
        When they are longer together than `whole_limit`.
    """
    if dataset.dtype.kind == "S":
        return [bytes(text) for text in dataset[:].tolist()]
    check_variable_lengths(dataset)
    limit = whole_limit(dataset.file)
    texts: list[bytes] = []
    block, total = max(1, min(1 << 16, _TEXT_BLOCK_BYTES // _heap_bound(dataset.file))), 0
    for start in range(0, len(dataset), block):
        part = [text if isinstance(text, bytes) else str(text).encode() for text in dataset[start : start + block]]
        total += sum(map(len, part))
        if total > limit:
            raise ValueError(f"the texts of {shown(dataset.name)} are longer together than {limit:,} bytes")
        texts += part
    return texts


def read_levels(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Return the attribute "levels" of a data set of codes; empty where it has none.

    Raises
    ------
    ValueError
        When it is no list of texts, or could take more memory than `whole_limit`.
    """
    if "levels" not in dataset.attrs:
        return ()
    stored = dataset.attrs.get_id("levels")
    rows = math.prod(stored.shape) if len(stored.shape) == 1 else 0
    is_text = stored.dtype.kind == "S" or h5py.check_string_dtype(stored.dtype) is not None
    if not rows or not is_text:
        raise ValueError(f"the levels of {shown(dataset.name)} are no list of texts")
    most = stored.get_storage_size() if stored.dtype.kind == "S" else rows * _heap_bound(dataset.file)
    if most > 4 * whole_limit(dataset.file):
        raise ValueError(
            f"the levels of {shown(dataset.name)} could take {most:,} bytes; store texts of a fixed length"
        )
    if stored.dtype.kind != "S":
        check_heaps(Path(dataset.file.filename))
    levels = dataset.attrs["levels"]
    return tuple(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in levels)


def check_variable_lengths(dataset: h5py.Dataset) -> None:
    """Raise ValueError where values of variable length claim more than the file has, or their heaps are damaged.

    HDF5 allocates the length that a row or a heap claims before it looks whether there is as much.
    """
    path = Path(dataset.file.filename)
    with _mapped(path) as data:
        for raw in _raw_rows(dataset, path):
            rows = np.frombuffer(raw[: len(raw) // HEAP_ROW.itemsize * HEAP_ROW.itemsize], HEAP_ROW)
            rows = rows[rows["length"] > 0]
            if len(rows) and int(rows["length"].max()) > len(data):
                claimed = int(rows["length"].max())
                raise ValueError(f"{shown(dataset.name)} has a value of {claimed:,} bytes, more than the file")
            for address in set(rows["address"].tolist()):  # np.unique imports numpy.ma, a tenth of a small verify
                _check_heap(data, address + dataset.file.userblock_size)


def _raw_rows(dataset: h5py.Dataset, path: Path) -> Iterator[bytes]:
    """Yield the bytes of a data set as they are stored, piece by piece."""
    stored, width = dataset.id.get_create_plist(), HEAP_ROW.itemsize
    if stored.get_layout() == h5py.h5d.CONTIGUOUS:
        if (offset := dataset.id.get_offset()) is not None:
            with open(path, "rb") as file:
                file.seek(offset)
                raw = file.read(len(dataset) * width)
            if len(raw) < len(dataset) * width:  # HDF5 would take what lies in its memory for the rest
                raise ValueError(f"{shown(dataset.name)} is cut off")
            yield raw
        return
    filters = [stored.get_filter(k)[0] for k in range(stored.get_nfilters())]
    if stored.get_layout() != h5py.h5d.CHUNKED or filters not in ([], [h5py.h5z.FILTER_DEFLATE]):
        raise ValueError(
            f"{shown(dataset.name)} is stored in a way that is not read; write it without a filter or by gzip"
        )
    for number in range(dataset.id.get_num_chunks()):
        left_out, raw = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
        if not filters or left_out:  # the filter is not applied to this chunk
            yield raw
            continue
        try:
            yield zlib.decompressobj().decompress(raw, dataset.chunks[0] * width)
        except zlib.error as error:
            raise ValueError(f"{shown(dataset.name)} has a damaged chunk ({error})") from error


def check_heaps(path: Path) -> None:
    """Raise ValueError where any heap of a file is damaged; see `check_variable_lengths`."""
    with _mapped(path) as data:
        at = -1
        while (at := data.find(_HEAP_START, at + 1)) >= 0:
            _check_heap(data, at)


def _check_heap(data: mmap.mmap, at: int) -> None:
    """Check the list of objects, each with its size, at a place; at a free one of no bytes HDF5 does not advance."""
    size = int.from_bytes(data[at + 8 : at + 16], "little")
    if data[at : at + 8] != _HEAP_START or at + size > len(data):
        raise ValueError("a heap of it is missing or larger than the file")
    place = at + 16
    while place + 16 <= at + size:
        index, _, _, length = struct.unpack("<HHIQ", data[place : place + 16])
        if index == length == 0 or length > size:
            raise ValueError("a heap of it has an object without an end")
        place += 16 + -(-length // 8) * 8 if index else length


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _heap_bound(file: h5py.File) -> int:
    """Return the most bytes that heaps can have: those of the file in which no data set lies."""
    stored = 0

    def add(name: str, item: Any) -> None:
        nonlocal stored
        stored += item.id.get_storage_size() if isinstance(item, h5py.Dataset) else 0

    file.visititems(add)
    return max(1, os.path.getsize(file.filename) - stored)


def _check(file: h5py.File, path: Path, refused: type[FaceaugError]) -> None:
    """Raise `refused` for the first object that is not to be read."""
    for count, (name, fault) in enumerate(_walk(file, path.stat().st_size), start=1):
        if count > MOST_LINKS or name.count("/") > MOST_DEPTH:
            raise refused(
                f"{path} is refused: it has more than {MOST_LINKS:,} groups and data sets, or more than {MOST_DEPTH} "
                "groups inside each other, and a file of faces needs only a few; leave out what is not needed"
            )
        if fault is not None:
            raise refused(
                f"{path} is refused: {shown(name)} {fault}, and only what lies in the file itself is read; "
                "write a file that holds the data itself"
            )


def _walk(file: h5py.File, size: int) -> Iterator[tuple[str, str | None]]:
    """Yield the path of each link, and why it is refused or None; nothing but hard links is followed.

    Groups can form circles through hard links: each object is visited once, by its address in the file.
    """
    pending = [("", h5py.h5g.open(file.id, b"/"))]
    visited: set[int] = set()
    while pending:
        prefix, group = pending.pop()
        for key, kind, address in _links(group):
            name = prefix + key.decode("utf-8", "replace")
            if kind != h5py.h5l.TYPE_HARD:
                yield name, "is " + _LINKS.get(kind, "a link of a kind that is not known")
                continue
            if "\N{REPLACEMENT CHARACTER}" in name:
                yield name, "has a name that is no UTF-8"
                continue
            if address not in visited:
                visited.add(address)
                item = h5py.h5o.open(group, key)
                yield name, _fault(item, size)
                if isinstance(item, h5py.h5g.GroupID):
                    pending.append((name + "/", item))
            else:
                yield name, None


def _links(group: Any) -> list[tuple[bytes, int, int]]:
    """Return name, class and, of a hard link, the address of a group's links; at most one more than may be there."""
    links: list[tuple[bytes, int, int]] = []

    def note(name: bytes, info: Any) -> bool | None:
        links.append((name, info.type, info.u if info.type == h5py.h5l.TYPE_HARD else 0))  # h5py reuses `info`
        return True if len(links) > MOST_LINKS else None  # anything but None ends the iteration

    group.links.iterate(note, info=True)
    return links


def _fault(item: Any, size: int) -> str | None:
    """Say why an object of a file of `size` bytes is refused before it is read; None for one that may be read."""
    if not isinstance(item, h5py.h5d.DatasetID):
        return None
    stored = item.get_create_plist()
    if stored.get_layout() == h5py.h5d.VIRTUAL:  # its size is not asked for: that would open what it maps
        return "is a virtual data set, which maps other data"
    if stored.get_external_count() > 0:
        return "is a data set whose values are stored in another file"
    shape, width = item.shape or (), item.get_type().get_size()
    claimed = math.prod(shape) * width
    filters = {stored.get_filter(k)[0] for k in range(stored.get_nfilters())}
    if claimed > size * (1 if filters <= _NOT_PACKING else _MOST_RATIO) + _SLACK:
        return f"claims {claimed:,} bytes, more than a file of {size:,} bytes can hold"
    if stored.get_layout() == h5py.h5d.CHUNKED and math.prod(stored.get_chunk()) * width > MOST_CHUNK_BYTES:
        return f"is stored in chunks of more than {MOST_CHUNK_BYTES >> 20} MiB"
    return None
