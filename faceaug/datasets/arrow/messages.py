"""The messages of an Arrow stream file, found without decoding any of them.

What is needed of the metadata of a message, a flatbuffer, is read here, since Arrow decompresses buffers before it can
be asked whether there are any that are compressed, and to what size (Message.fbs and Schema.fbs in the format of
Arrow, https://arrow.apache.org/docs/format/Columnar.html; flatbuffers: https://flatbuffers.dev/internals).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CONTINUATION = b"\xff\xff\xff\xff"
SCHEMA, DICTIONARY_BATCH, RECORD_BATCH = 1, 2, 3
"""Kinds of messages."""
_HEAD = 8  # bytes of the continuation marker and of the size of the metadata


@dataclass(frozen=True)
class ArrowMessage:
    """Where a message lies, and its header.

    Attributes
    ----------
    kind : int
    offset : int
        Of its first byte in the file.
    compressed : bool
        Whether the buffers of a record batch are compressed.
    """

    kind: int
    offset: int
    compressed: bool = False


def arrow_messages(data: memoryview) -> Iterator[ArrowMessage]:
    """Yield the messages of a stream.

    Parameters
    ----------
    data : memoryview
        The whole file.

    Raises
    ------
    ValueError
        When it is no Arrow stream, ends within a message, or buffers lie outside of their message or over each other:
        together they then have more bytes than the file.
    """
    offset = 0
    while offset < len(data):
        if data[offset : offset + 4] != CONTINUATION:
            raise ValueError(f"byte {offset:,} does not begin a message of an Arrow stream")
        try:
            (size,) = struct.unpack_from("<i", data, offset + 4)
            if size == 0:  # the mark of the end
                return
            metadata, body = data[offset + _HEAD : offset + _HEAD + max(size, 0)], offset + _HEAD + size
            message = _FlatTable.root(metadata)
            kind, length = message.number("B", 1), message.number("<q", 3)
            if size < 0 or length < 0 or body + length > len(data):
                raise ValueError(f"the file ends within the message at byte {offset:,}")
            compressed = kind == RECORD_BATCH and _is_compressed(message, length)
        except struct.error as error:
            raise ValueError(f"the message at byte {offset:,} is damaged ({error})") from error
        yield ArrowMessage(kind, offset, compressed)
        offset = body + length


def _is_compressed(message: _FlatTable, body: int) -> bool:
    """Return whether a record batch is compressed, once its buffers are known to fit into its body."""
    batch = message.table(2)
    buffers = batch.pairs(2)
    if (buffers < 0).any() or (buffers > body).any() or (buffers.sum(1) > body).any() or buffers[:, 1].sum() > body:
        raise ValueError("buffers of a record batch lie outside of its body")
    return batch.place(3) is not None


class _FlatTable:
    """A table of a flatbuffer; struct.error where it leads out of it."""

    def __init__(self, data: memoryview, start: int) -> None:
        self._data, self._start = data, start
        self._fields = start - self._at("<i", start)

    @classmethod
    def root(cls, data: memoryview) -> _FlatTable:
        return cls(data, struct.unpack_from("<I", data)[0])

    def place(self, field: int) -> int | None:
        """Return where the value of a field is; None where it has its default."""
        if 4 + 2 * field >= self._at("<H", self._fields):
            return None
        offset = self._at("<H", self._fields + 4 + 2 * field)
        return self._start + offset if offset else None

    def number(self, kind: str, field: int) -> int:
        place = self.place(field)
        return 0 if place is None else self._at(kind, place)

    def table(self, field: int) -> _FlatTable:
        if (place := self.place(field)) is None:
            raise struct.error(f"field {field} is missing")
        return _FlatTable(self._data, place + self._at("<I", place))

    def pairs(self, field: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Return a vector of structures of two numbers, int64 [N, 2]."""
        if (place := self.place(field)) is None:
            return np.empty((0, 2), np.int64)
        place += self._at("<I", place)
        count = self._at("<I", place)
        if place + 4 + 16 * count > len(self._data):
            raise struct.error("a vector is longer than the metadata")
        return np.frombuffer(self._data, "<i8", 2 * count, place + 4).reshape(-1, 2)

    def _at(self, kind: str, place: int) -> int:
        if place < 0:  # struct would count from the end
            raise struct.error("an offset is negative")
        return int(struct.unpack_from(kind, self._data, place)[0])
