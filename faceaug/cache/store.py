"""A folder of cached values: bounded, checked by hash, safe for several processes; without it everything is computed.

An entry is one file: a line of magic, the length of a JSON header, the header (key, names and sizes of the items,
SHA-256 of the content), and the content. Pictures are never cached. The environment variable ``FACEAUG_CACHE`` names
another folder or is "off"; ``FACEAUG_CACHE_GB`` is the size that entries may have together.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from faceaug.cache.key import CacheKey
from faceaug.errors import OutputError, UsageError
from faceaug.utils.files import atomic, expanded, read_regular, write_json
from faceaug.utils.text import one_line, shown

CACHE_VARIABLE, SIZE_VARIABLE = "FACEAUG_CACHE", "FACEAUG_CACHE_GB"
CACHE_FORMAT, CACHE_VERSION = "faceaug-cache", 1
DEFAULT_GIGABYTES = 2.0
_MARKER, _SUFFIX, _MAGIC = "faceaug-cache.json", ".entry", b"faceaug-cache-entry-1\n"
_MOST_HEADER = 1 << 20  # bytes
_LEFTOVER_SECONDS = 24 * 3600  # age from which a temporary file is that of a process that was killed
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """An entry of a cache, for a list.

    Attributes
    ----------
    path : Path
    kind : str
    size : int
        Bytes of its file.
    used : float
        When it was last used, in seconds since the epoch.
    """

    path: Path
    kind: str
    size: int
    used: float


class Cache:
    """Values by key in a folder. Nothing that goes wrong with it is an error: there is one warning, and no cache.

    Parameters
    ----------
    folder : Path or None
        Made when the first value is written; None caches nothing.
    max_bytes : int
        Size of all entries; those that were not used for longest are removed above it.
    """

    def __init__(self, folder: Path | None, max_bytes: int = int(DEFAULT_GIGABYTES * 1e9)) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._usable: bool | None = None if folder else False

    @property
    def enabled(self) -> bool:
        """Whether anything is cached."""
        return self._is_usable()

    def read(self, key: CacheKey) -> dict[str, bytes] | None:
        """Return the items of a value; None where there is none. A damaged entry is removed."""
        if not self._is_usable():
            return None
        path = self._path(key)
        try:
            data = read_regular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(f"cannot be read ({error.strerror or one_line(error)})")
            return None
        with contextlib.suppress(OSError):  # it is only read where it cannot be written
            os.utime(path)
        try:
            return _decoded(data, key)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            _log.info("the damaged cache entry %s is made again: %s", path, one_line(error))
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def write(self, key: CacheKey, items: Mapping[str, bytes]) -> None:
        """Keep the items of a value, atomically, and remove what was not used for longest where that is too much."""
        data = _encoded(items, key)
        if not self._is_usable() or len(data) > self.max_bytes:
            return
        path = self._path(key)
        try:
            self._make_folder(path.parent)
            with atomic(path) as temporary:
                temporary.write_bytes(data)
            self._evict(path)
        except (OSError, OutputError) as error:
            cause = error.__cause__ if isinstance(error, OutputError) else error
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else one_line(error)
            self._give_up(f"cannot be written ({reason})")

    def remove(self, key: CacheKey) -> None:
        """Remove a value that is no longer needed, where there is one."""
        if self._is_usable():
            with contextlib.suppress(OSError):
                self._path(key).unlink(missing_ok=True)

    def entries(self) -> list[CacheEntry]:
        """Return all entries, the one that was used last first."""
        if not self._is_usable():
            return []
        assert self.folder is not None
        found = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another process has removed it
                stat = path.stat()
                found.append(CacheEntry(path, path.parent.name, stat.st_size, stat.st_mtime))
        return sorted(found, key=lambda entry: -entry.used)

    def clear(self, kind: str | None = None) -> list[CacheEntry]:
        """Remove all entries, or those of a kind, and what killed processes left; return what was removed.

        Other files of the folder stay.
        """
        removed = []
        for entry in self.entries():
            if kind in (None, entry.kind):
                entry.path.unlink(missing_ok=True)
                removed.append(entry)
        self._remove_leftovers(0.0 if kind is None else _LEFTOVER_SECONDS)
        return removed

    def _path(self, key: CacheKey) -> Path:
        assert self.folder is not None
        return self.folder / key.kind / f"{key.digest}{_SUFFIX}"

    def _is_usable(self) -> bool:
        """Return whether the folder is a cache of this version, or may become one."""
        if self._usable is None:
            assert self.folder is not None
            self._usable = True
            try:
                reason = _refusal(self.folder)
            except OSError as error:
                reason = f"cannot be read ({error.strerror or one_line(error)})"
            if reason:
                self._give_up(reason)
        return self._usable

    def _give_up(self, reason: str) -> None:
        self._usable = False
        _log.warning(
            "the cache folder %s %s: nothing is cached; set %s to another folder, or to off",
            self.folder,
            reason,
            CACHE_VARIABLE,
        )

    def _make_folder(self, folder: Path) -> None:
        assert self.folder is not None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # features say much about a person
        marker = self.folder / _MARKER
        if not marker.exists():
            write_json(marker, {"format": CACHE_FORMAT, "version": CACHE_VERSION})
        folder.mkdir(exist_ok=True)

    def _evict(self, newest: Path) -> None:
        entries = self.entries()
        size = sum(entry.size for entry in entries)
        for entry in reversed(entries):
            if size <= self.max_bytes:
                break
            if entry.path != newest:
                with contextlib.suppress(OSError):
                    entry.path.unlink()
                size -= entry.size
        self._remove_leftovers(_LEFTOVER_SECONDS)

    def _remove_leftovers(self, age: float) -> None:
        """Remove temporary files of processes that were killed."""
        if not self._is_usable():
            return
        assert self.folder is not None
        for path in self.folder.glob(f"*/.*{_SUFFIX}.*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()


def open_cache() -> Cache:
    """Return the cache that the environment names, the same one for each call with the same environment.

    Raises
    ------
    UsageError
        When ``FACEAUG_CACHE_GB`` is no size.
    """
    given, size = os.environ.get(CACHE_VARIABLE, ""), os.environ.get(SIZE_VARIABLE, "")
    try:
        gigabytes = float(size) if size else DEFAULT_GIGABYTES
        if not 0 < gigabytes < 1e6:
            raise ValueError
    except ValueError as error:
        raise UsageError(f"{SIZE_VARIABLE} is {shown(size)}; it must be a number of gigabytes above 0") from error
    return _cache_of(given, gigabytes)


@lru_cache(maxsize=16)
def _cache_of(given: str, gigabytes: float) -> Cache:
    if given.lower() == "off":
        return Cache(None)
    if given:
        return Cache(expanded(given).absolute(), int(gigabytes * 1e9))
    import platformdirs

    return Cache(Path(platformdirs.user_cache_dir("faceaug", appauthor=False)), int(gigabytes * 1e9))


def _refusal(folder: Path) -> str:
    """Return why a folder cannot be the cache, or an empty text where it can."""
    marker = folder / _MARKER
    if not folder.exists():
        return ""
    if not folder.is_dir():
        return "is a file"
    others = any(not path.name.startswith(f".{_MARKER}.") for path in folder.iterdir())  # a marker half-written is none
    if not marker.exists():  # asked after the list: another process may make the folder a cache while it is listed
        return "holds other files" if others else ""
    try:
        stated: Any = json.loads(marker.read_text("utf-8"))
        name, version = stated["format"], stated["version"]
    except (ValueError, KeyError, TypeError):
        name, version = None, None
    if (name, version) == (CACHE_FORMAT, CACHE_VERSION):
        return ""
    return f"is of the format {shown(name)}, version {shown(version)}, and version {CACHE_VERSION} is used"


def _encoded(items: Mapping[str, bytes], key: CacheKey) -> bytes:
    content = b"".join(items.values())
    header = {
        "key": key.digest,
        "items": {name: len(value) for name, value in items.items()},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(header).encode()
    return b"".join((_MAGIC, struct.pack("<Q", len(text)), text, content))


def _decoded(data: bytes, key: CacheKey) -> dict[str, bytes]:
    start = len(_MAGIC) + 8
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it is no cache entry")
    (length,) = struct.unpack("<Q", data[len(_MAGIC) : start])
    if length > min(_MOST_HEADER, len(data)):
        raise ValueError("its header is damaged")
    try:
        header = json.loads(data[start : start + length])
    except RecursionError as error:
        raise ValueError("its header is damaged") from error
    if not isinstance(header, dict) or not isinstance(header["items"], dict):
        raise ValueError("its header is damaged")
    if any(not isinstance(size, int) or size < 0 for size in header["items"].values()):
        raise ValueError("its header is damaged")
    content = memoryview(data)[start + length :]
    if header["key"] != key.digest:
        raise ValueError("it is the entry of another key")
    if sum(header["items"].values()) != len(content) or hashlib.sha256(content).hexdigest() != header["sha256"]:
        raise ValueError("its content is damaged")
    items, at = {}, 0
    for name, size in header["items"].items():
        items[name] = bytes(content[at : at + size])
        at += size
    return items
