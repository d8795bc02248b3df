"""Tensors in files that torch wrote, read without executing the file and without more memory than the file's size.

torch's own safe reader (``weights_only=True``) runs no code either, but it enlarges a storage to whatever size a file
claims. Here a tensor must lie within the bytes of the file, and all tensors together within the file's size. Both
layouts are read: the zip archive of today, and the stream of pickles from before torch 1.6, in which the storages
inside pickled modules are still written.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceaug.errors import GeneratorError
from faceaug.generators.importers.unpickler import ConstructedObject, GlobalName, StoredObject, read_pickle
from faceaug.utils.files import require_regular
from faceaug.utils.text import printable

STREAM_MAGIC = 0x1950A86A20F9469CFC6C
STREAM_START = b"\x80\x02\x8a\x0a" + STREAM_MAGIC.to_bytes(10, "little") + b"."

_STORAGE_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_FLOAT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
LOAD_FROM_BYTES = "torch.storage._load_from_bytes"
_ALLOWED_NAMES = frozenset({*_STORAGE_DTYPES, REBUILD_TENSOR, REBUILD_PARAMETER, "collections.OrderedDict"})


@dataclass(frozen=True, eq=False)
class Storage:
    """Consecutive numbers of the file."""

    data: memoryview
    dtype: torch.dtype

    @property
    def size(self) -> int:
        return len(self.data) // self.dtype.itemsize


class TorchFile:
    """The content of a file, and its tensors, which are read on demand.

    Attributes
    ----------
    value : Any
        The pickled value, with `ConstructedObject` in place of tensors and of instances of classes.
    """

    def __init__(self, value: Any, find: Callable[[Any], Storage], size: int, where: str | Path) -> None:
        self.value, self.where = value, where
        self._find, self._left = find, size

    def shape(self, value: Any, name: str) -> tuple[int, ...]:
        """Return the shape that a tensor claims to have, without reading it."""
        size, _, _, _ = self._claims(value, name)
        return size

    def tensor(self, value: Any, name: str) -> Tensor:
        """Read a tensor of floating point numbers as float32; `name` is its name in errors.

        Raises
        ------
        GeneratorError
            When it is no such tensor, exceeds its storage, or the tensors read so far exceed the file's size.
        """
        size, stride, offset, key = self._claims(value, name)
        storage = self._find(key)
        if storage.dtype not in _FLOAT_DTYPES:
            raise GeneratorError(f"{self.where} has {name} as {storage.dtype}; expected floating point numbers")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else offset
        if count > storage.size or last >= max(storage.size, 1):
            raise GeneratorError(
                f"{self.where} is refused: {name} claims the shape {size}, but holds {storage.size} numbers"
            )
        self._left -= count * storage.dtype.itemsize
        if self._left < 0:
            raise GeneratorError(f"{self.where} is refused: its tensors would be larger together than the file is")
        width = storage.dtype.itemsize
        writable = bytearray(storage.data[offset * width : (last + 1) * width])  # torch requires writable memory
        row = torch.frombuffer(writable, dtype=storage.dtype) if writable else torch.empty(0, dtype=storage.dtype)
        return row.as_strided(size, stride).to(torch.float32).contiguous()

    def _claims(self, value: Any, name: str) -> tuple[tuple[int, ...], tuple[int, ...], int, Any]:
        for _ in range(4):
            if isinstance(value, ConstructedObject) and value.name == REBUILD_PARAMETER and value.args:
                value = value.args[0]
        if not isinstance(value, ConstructedObject) or value.name != REBUILD_TENSOR or len(value.args) < 4:
            raise GeneratorError(f"{self.where} has a {_kind(value)} where the tensor {name} is expected")
        key, offset, size, stride = value.args[:4]
        numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) or len(size) != len(stride) or len(size) > 8:
            raise GeneratorError(f"{self.where} is damaged: the tensor {name} has no readable shape")
        return size, stride, offset, key


def read_torch_file(path: Path, extra: Collection[str], hint: Callable[[str], str]) -> TorchFile:
    """Read a file that torch.save wrote; `extra` are names that may also occur, `hint` explains why others may not.

    Raises
    ------
    GeneratorError
        When the file is damaged, compressed, or names what may not occur.
    """
    try:
        require_regular(path)
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                return _read_archive(path, extra, hint)
            file.seek(0)
            return read_stream(file.read(), path, extra, hint)
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read: {error.strerror or error}") from error


def read_stream(data: bytes, where: str | Path, extra: Collection[str], hint: Callable[[str], str]) -> TorchFile:
    """Read the layout from before torch 1.6: five pickles, then each storage as its length and its numbers."""
    stream = io.BytesIO(data)

    def next_pickle(names: Collection[str] = ()) -> Any:
        return read_pickle(stream, where, names, hint)

    if next_pickle() != STREAM_MAGIC or next_pickle() != 1001:
        raise GeneratorError(f"{where} is no file that torch wrote, or of a version that is not known")
    system = next_pickle()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise GeneratorError(f"{where} was written on a machine of another byte order; save it again on a common one")
    stored: list[StoredObject] = []
    value = read_pickle(stream, where, {*_ALLOWED_NAMES, *extra}, hint, stored)
    keys = next_pickle()
    types = {key: dtype for key, dtype, _ in (_storage_key(item, where) for item in stored)}
    view, storages = memoryview(data), {}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise GeneratorError(f"{where} is damaged: its storages are not listed")
    at = stream.tell()
    for key in keys:
        if key not in types or at + 8 > len(data):
            raise GeneratorError(f"{where} is truncated or damaged: the storage {printable(key)} is missing")
        (count,) = struct.unpack_from("<q", data, at)
        end = at + 8 + count * types[key].itemsize
        if count < 0 or end > len(data):
            raise GeneratorError(f"{where} is truncated: a storage claims {count} numbers that are not there")
        storages[key] = Storage(view[at + 8 : end], types[key])
        at = end
    return TorchFile(value, _finder(storages, where), len(data), where)


def _read_archive(path: Path, extra: Collection[str], hint: Callable[[str], str]) -> TorchFile:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            _check_entries(archive.infolist(), size, path)
            pickle_name = next((name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")), None)
            if pickle_name is None:
                raise GeneratorError(f"{path} is an archive, but not one that torch wrote: it has no data.pkl")
            folder = pickle_name.partition("/")[0]
            order = f"{folder}/byteorder"
            if order in entries and archive.read(order) != b"little":
                raise GeneratorError(
                    f"{path} was written on a machine of another byte order; save it again on a common one"
                )
            stored: list[StoredObject] = []
            value = read_pickle(io.BytesIO(archive.read(pickle_name)), path, {*_ALLOWED_NAMES, *extra}, hint, stored)
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, EOFError, OSError) as error:
        raise GeneratorError(f"{path} is truncated or damaged ({printable(error)}); get the file again") from error

    def find(key: Any) -> Storage:
        name, dtype, count = _storage_key(key, path)
        entry = entries.get(f"{folder}/data/{name}")
        if entry is None or entry.file_size != count * dtype.itemsize:
            raise GeneratorError(
                f"{path} is damaged: the storage {printable(name)} is missing or of another size than stated"
            )
        try:
            with zipfile.ZipFile(path) as archive:
                return Storage(memoryview(archive.read(entry)), dtype)
        except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, EOFError, OSError) as error:
            raise GeneratorError(f"{path} is damaged at the storage {printable(name)} ({printable(error)})") from error

    return TorchFile(value, find, size, path)


def _check_entries(entries: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise GeneratorError(
                f"{path} is refused: {printable(entry.filename)} is packed, {entry.compress_size} bytes that become "
                f"{entry.file_size}; torch writes its files unpacked"
            )
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise GeneratorError(f"{path} is refused: its entries hold {total} bytes together, the file only {size}")


def _storage_key(stored: Any, where: str | Path) -> tuple[str, torch.dtype, int]:
    """Return key, type and length of a storage that a pickle refers to."""
    key = stored.key if isinstance(stored, StoredObject) else None
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
        raise GeneratorError(f"{where} is damaged: a tensor refers to a {_kind(stored)} in place of a storage")
    _, kind, name, _, count = key[:5]
    if (
        not isinstance(kind, GlobalName)
        or kind.text not in _STORAGE_DTYPES
        or not isinstance(name, str)
        or type(count) is not int
    ):
        raise GeneratorError(f"{where} is damaged: a storage is of an unknown kind")
    if len(key) > 5 and key[5] is not None:
        raise GeneratorError(f"{where} has views of storages, which files of generators have not; save it again")
    return name, _STORAGE_DTYPES[kind.text], count


def _finder(storages: Mapping[str, Storage], where: str | Path) -> Callable[[Any], Storage]:
    def find(key: Any) -> Storage:
        name, _, _ = _storage_key(key, where)
        if name not in storages:
            raise GeneratorError(f"{where} is damaged: the storage {printable(name)} is missing")
        return storages[name]

    return find


def storage_of(value: Any, where: str | Path, hint: Callable[[str], str]) -> Storage:
    """Return the storage that a pickled module holds as bytes for ``torch.storage._load_from_bytes``."""
    if (
        not isinstance(value, ConstructedObject)
        or value.name != LOAD_FROM_BYTES
        or not isinstance(value.args[0] if value.args else 0, bytes)
    ):
        raise GeneratorError(f"{where} is damaged: a tensor refers to a {_kind(value)} in place of a storage")
    inner = read_stream(value.args[0], where, (), hint)
    return inner._find(inner.value)


def _kind(value: Any) -> str:
    """Return the kind of a value from a file, for errors."""
    return printable(value.name) if isinstance(value, ConstructedObject) else type(value).__name__
