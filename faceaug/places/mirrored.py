"""A data set behind a URL as a local folder: its names at once, its images when they are read.

The folder has an empty file for each image, so that every reader lists it as if it lay there; tables and containers
are copied. The images are then read from the URL, through a cache of bounded size. Both are gone with the process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from faceaug.errors import DatasetError, ImageError, RemoteError
from faceaug.places.filesystems import is_http, local_name, open_filesystem, remote_errors, remote_name
from faceaug.utils.files import inside
from faceaug.utils.images import check_size
from faceaug.utils.text import without_secrets

MOST_CACHED_BYTES = 4 << 30
"""Bytes of images that are kept on disk; those that were read first go first."""

_mirrors: dict[Path, _Mirror] = {}


@dataclass(frozen=True)
class _Mirror:
    url: str
    sizes: Mapping[str, int]
    """Bytes of the images that are not copied, by their paths below the URL."""


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="faceaug-remote-")  # removed when the process ends


def mirror(url: str, is_image: Callable[[str], bool]) -> Path:
    """Return a local path that stands for what is at a URL.

    Parameters
    ----------
    url : str
        Of a folder, or of a file, which is copied.
    is_image : callable (name)
        Whether a file of a folder is an image, which is copied only when it is read.

    Raises
    ------
    UsageError
        When the file system is not known or its package is not installed.
    DatasetError
        When nothing is there, or the names cannot be those of local files.
    RemoteError
        When it cannot be read.
    """
    filesystem, root = open_filesystem(url)
    shown = without_secrets(url)
    folder = Path(tempfile.mkdtemp(dir=_temporary().name)).resolve()
    place = folder / local_name(url, root)
    try:
        with remote_errors(url):
            if _is_file(filesystem.info(root)):
                filesystem.get_file(root, str(place))
                _mirrors[place] = _Mirror(url.partition("?")[0] if is_http(url) else url, {})  # it may be a signature
                return place
            found = filesystem.find(root, detail=True)
    except FileNotFoundError:
        found = {}
    sizes: dict[str, int] = {}
    for path, info in sorted(found.items()):
        name = path[len(root) :].lstrip("/")
        if not name or name.endswith("/"):  # a mark of some stores for a folder
            continue
        if is_http(url):
            if "?" in name:  # a link that orders the list
                continue
            name = unquote(name)
            if ".." in name.split("/"):  # a link that leads out of the folder, as to a style sheet
                continue
        local = inside(place, name)
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            if is_image(name):
                sizes[name] = int(info.get("size") or 0)
                local.touch()
                continue
        except OSError as error:
            raise DatasetError(f"{name} of {shown} cannot be the name of a file here ({error.strerror})") from error
        try:
            with remote_errors(url):
                filesystem.get_file(path, str(local))
        except FileNotFoundError as error:
            raise RemoteError(f"{name} was removed from {shown} while it was read; run again") from error
    if not place.exists():
        if is_http(url):
            raise DatasetError(
                f"{shown} gives no list of files; name one file, or give a folder of which the server shows such a list"
            )
        raise DatasetError(
            f"nothing is at {shown}; give the URL of a folder of images, or of a file, and credentials if it needs them"
        )
    _mirrors[place] = _Mirror(url.rstrip("/"), sizes)
    return place


def _is_file(info: Mapping[str, Any]) -> bool:
    """Return whether something at a URL is a file, and no folder or page of links."""
    return bool(info["type"] == "file" and info.get("mimetype") != "text/html")


def url_of(place: Path) -> str | None:
    """Return the URL of what a path from `mirror` stands for, of a web server without a query; None for any other."""
    mirrored = _mirrors.get(place)
    return None if mirrored is None else mirrored.url


def place_of(place: Path) -> str:
    """Return how a place is called in messages: its path, or the URL of what it stands for."""
    return without_secrets(url_of(place) or place)


def images_behind(folder: Path) -> RemoteImages | None:
    """Return the images that the empty files in a folder stand for; None for any other folder."""
    for place, mirrored in _mirrors.items():
        if folder.is_relative_to(place):
            below = folder.relative_to(place).as_posix()
            prefix = "" if below == "." else f"{below}/"
            sizes = {name[len(prefix) :]: size for name, size in mirrored.sizes.items() if name.startswith(prefix)}
            return RemoteImages(f"{mirrored.url}/{prefix}".rstrip("/"), sizes, Path(tempfile.mkdtemp(dir=place.parent)))
    return None


@dataclass
class RemoteImages:
    """An ImageSource over a URL; a key is a path below it, with forward slashes.

    Attributes
    ----------
    url : str
    sizes : mapping of str to int
        Bytes of each image.
    folder : Path
        Where images are kept that were read.
    most : int
        Bytes that are kept there.
    """

    url: str
    sizes: Mapping[str, int] = field(repr=False)
    folder: Path
    most: int = MOST_CACHED_BYTES
    _kept: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False, repr=False)
    _total: int = field(default=0, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)
    _opened: tuple[int, Any, str] | None = field(default=None, init=False, repr=False)

    def read(self, key: str) -> bytes:
        """Return the bytes of an image.

        Raises
        ------
        ImageError
            When the image is no longer there or too large.
        RemoteError
            When the connection is lost, also within an image: a data set must not lose images that were not reached.
        """
        shown = without_secrets(self.url)
        if (size := self.sizes.get(key)) is None:
            raise ImageError(f"{key} is not at {shown}")
        check_size(key, size)
        try:
            return self._place_of(key).read_bytes()
        except FileNotFoundError:
            pass
        try:
            with remote_errors(f"{self.url}/{key}"):
                filesystem, root = self._filesystem()
                data = bytes(filesystem.cat_file(f"{root}/{remote_name(self.url, key)}"))
        except FileNotFoundError as error:
            raise ImageError(f"{key} is no longer at {shown}; read the data set again") from error
        if size and len(data) != size:
            raise RemoteError(
                f"{shown}/{key} gave {len(data):,} of {size:,} bytes: the connection was lost or the image was "
                "changed; run again"
            )
        with contextlib.suppress(OSError):  # the disk is full: the image is fetched again
            self._keep(key, data)
        return data

    def _place_of(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()

    def _keep(self, key: str, data: bytes) -> None:
        """Keep an image on disk, and remove those that were read first while there are too many bytes."""
        if len(data) > self.most:
            return
        place = self._place_of(key)
        temporary = place.with_name(f"{place.name}.{threading.get_ident()}.{os.getpid()}")
        temporary.write_bytes(data)
        with self._lock:
            os.replace(temporary, place)
            self._total += len(data) - self._kept.pop(key, 0)
            self._kept[key] = len(data)
            while self._total > self.most:
                oldest, size = self._kept.popitem(last=False)
                self._place_of(oldest).unlink(missing_ok=True)
                self._total -= size

    def _filesystem(self) -> tuple[Any, str]:
        if self._opened is None or self._opened[0] != os.getpid():  # a connection is not shared with a fork
            self._opened = (os.getpid(), *open_filesystem(self.url))
        return self._opened[1], self._opened[2]

    def __reduce__(self) -> tuple[type[RemoteImages], tuple[Any, ...]]:
        return RemoteImages, (self.url, self.sizes, self.folder, self.most)
