"""Images in a tree of files: listing them, finding the file that a label names, and reading them safely."""

from __future__ import annotations

import ntpath
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from faceaug.datasets.base import DatasetProblem
from faceaug.errors import DatasetError, ImageError, IntegrityError
from faceaug.utils.files import inside, require_regular
from faceaug.utils.images import MAX_BYTES, check_size

# Suffixes of image files. The format itself is recognized by the content when the file is decoded.
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class FolderImages:
    """An ImageSource over a folder; a key is a path relative to it, with forward slashes.

    Attributes
    ----------
    root
        The folder, resolved.
    follow_links
        Whether links below the folder may lead to files elsewhere.
    """

    root: Path
    follow_links: bool = False

    def read(self, key: str) -> bytes:
        """Return the bytes of a file.

        Raises
        ------
        ImageError
            If the key leads out of the folder, also by a link unless links are followed, or the file is missing, too
            large or unreadable.
        """
        data = self._read_directly(key, MAX_BYTES)
        return self._read_resolved(key) if data is None else data

    def head(self, key: str) -> bytes:
        """Return the first bytes of a file, in which most images have their header; errors as in `read`."""
        data = self._read_directly(key, HEAD_BYTES)
        return self._read_resolved(key) if data is None else data

    def _read_directly(self, key: str, most: int) -> bytes | None:
        """Return at most the first `most` bytes of a file if no link and no ".." lies on the path to it, else None.

        That is known without resolving the path, which takes longer than reading a small image.
        """
        folder, *below = (os.fspath(self.root), *key.split("/"))
        if not hasattr(os, "O_NOFOLLOW") or "\0" in key or not {"", ".", ".."}.isdisjoint(below):
            return None
        try:
            for part in below[:-1]:
                folder = f"{folder}/{part}"
                if not stat.S_ISDIR(os.lstat(folder).st_mode):
                    return None
            # a pipe without a writer would block
            descriptor = os.open(f"{folder}/{below[-1]}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # the slower way says what it is
            return None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
                return None
            size = min(found.st_size, most)
            data = os.read(descriptor, size)
            return data if len(data) == size else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _read_resolved(self, key: str) -> bytes:
        """Return the bytes of a file, whatever links lead to it inside of the folder; errors as in `read`."""
        try:
            path = self.root / key if self.follow_links and _is_below(key) else inside(self.root, key)
            require_regular(path)
            check_size(key, path.stat().st_size)
            return path.read_bytes()
        except IntegrityError as error:
            raise ImageError(str(error)) from error
        except FileNotFoundError as error:
            raise ImageError(f"{key} is no longer in {self.root}; read the data set again") from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{key} cannot be read ({getattr(error, 'strerror', None) or error})") from error


@dataclass(frozen=True)
class Listing:
    """The regular files under a folder; links that lead out of it are among them only where they are followed.

    Attributes
    ----------
    root
        The folder, resolved.
    files
        Paths relative to the folder, with forward slashes, sorted; hidden files and folders are left out.
    links
        Links that lead out of the folder or in a circle, links to folders, and names that are no UTF-8; they are
        reported and not followed.
    follow_links
        Whether links to files and folders elsewhere were followed; those in a circle never are.
    """

    root: Path
    files: tuple[str, ...]
    links: tuple[str, ...]
    follow_links: bool = False

    @classmethod
    def of(cls, folder: Path, *, follow_links: bool = False) -> Listing:
        """List a folder.

        Raises
        ------
        DatasetError
            If it is not a folder, cannot be listed, or has no file with the suffix of an image.
        """
        if not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder; a folder of JPEG, PNG or WebP images was expected")
        root = folder.resolve()
        try:
            entries = sorted(_walk(root, follow_links))
        except OSError as error:
            raise DatasetError(
                f"{folder} cannot be listed ({error.strerror or error}); check its permissions"
            ) from error
        files = tuple(name for name, is_file in entries if is_file)
        links = tuple(name for name, is_file in entries if not is_file)
        if not any(map(is_image_name, files)):
            remedy = "give the folder that holds the JPEG, PNG or WebP files, directly or in folders below it"
            if links and not follow_links:
                remedy = "admit links to files elsewhere with --follow-links, or " + remedy
            if any(name.endswith(".arrow") for name in files):
                remedy = "Arrow files are read in a folder as Hugging Face's save_to_disk writes it, with state.json"
            raise DatasetError(
                f"no images are in {folder} ({len(files):,} other files, and {len(links):,} links that are not "
                f"followed); {remedy}"
            )
        return cls(root, files, links, follow_links)

    @property
    def source(self) -> FolderImages:
        """The source of the images."""
        return FolderImages(self.root, self.follow_links)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Files with the suffix of an image."""
        return tuple(filter(is_image_name, self.files))

    @cached_property
    def _aliases(self) -> dict[str, str | None]:
        """Short names of files, without suffix or without folder; None for a name that several files share."""
        aliases: dict[str, str | None] = {}
        for name in self.images:
            path = PurePosixPath(name)
            for alias in {str(path.with_suffix("")), path.name, path.stem}:
                aliases[alias] = None if alias in aliases else name
        return aliases

    @cached_property
    def _absent(self) -> str:
        return f"is not in {self.root}"

    @cached_property
    def _links(self) -> frozenset[str]:
        return frozenset(self.links)

    def problems(self) -> list[DatasetProblem]:
        """Return a problem for each link that is not followed."""
        detail = (
            "is a link in a circle, or its name is no UTF-8, and is not followed; put a copy of the file in its place"
            if self.follow_links
            else "is a link out of the folder, to a folder or in a circle, or its name is no UTF-8, and it is not "
            "followed; admit links with --follow-links, or put a copy of the file in its place"
        )
        return [DatasetProblem("unreadable image", name, detail) for name in self.links]

    def find(self, name: str, base: str | None = None) -> str | DatasetProblem:
        """Return the file that a label names, or the problem with the name.

        The name is looked up among the listed files, so it cannot lead out of the folder.

        Parameters
        ----------
        name
            A path relative to the folder, or the name of a file if it is unique; both also without suffix.
        base
            Path from the folder of the label file to this one ("images/"), with which names may start.
        """
        if name in self._known:
            return name
        path = name.strip().replace("\\", "/")
        if "\0" in path or path.startswith("/") or ntpath.splitdrive(name)[0] or ".." in path.split("/"):
            return DatasetProblem(
                "malformed name", name, f"leads out of {self.root}; names have to be relative to it, without '..'"
            )
        path = posixpath.normpath(path)
        for candidate in (path, path[len(base) :] if base and path.startswith(base) else path):
            if candidate in self._known:
                return candidate
            if (file := self._aliases.get(candidate, "")) is None:
                return DatasetProblem(
                    "missing file", name, "is the name of several files; give the path relative to the folder"
                )
            if file:
                return file
        if path in self._links:
            return DatasetProblem("missing file", name, "is a link that is not followed (see --follow-links)")
        return DatasetProblem("missing file", name, self._absent)


def is_image_name(name: str) -> bool:
    """Return whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def base_of(labels: Path, root: Path) -> str | None:
    """Return the path from the folder of a label file down to the images ("images/"), or None if they are not below."""
    folder = labels.resolve().parent
    if folder == root or not root.is_relative_to(folder):
        return None
    return root.relative_to(folder).as_posix() + "/"


def _is_below(key: str) -> bool:
    """Return whether a key has the form of a path below its folder, which a link there may still lead out of."""
    return "\0" not in key and not key.startswith("/") and ".." not in key.split("/")


def _followed(root: Path, entry: os.DirEntry[str], name: str) -> bool | None:
    """Return whether a link leads to a file inside of `root`; None where it leads to nothing that could be an image."""
    try:
        if entry.is_dir():
            return False
        return (root / name).resolve().is_relative_to(root) if entry.is_file() else None
    except (OSError, RuntimeError):  # a link to itself, or to one that leads back
        return False


def _walk(root: Path, follow_links: bool) -> Iterator[tuple[str, bool]]:
    """Yield (relative path, True) for files and (relative path, False) for links that are not followed.

    With `follow_links`, links to regular files count as files and those to folders as folders, each folder once.
    """
    pending, linked = [("", root)], list[tuple[str, Path]]()
    visited: set[tuple[int, int]] = set()
    while pending or linked:
        prefix, folder = pending.pop() if pending else linked.pop(0)  # a folder itself before links to it
        if follow_links:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                yield prefix.rstrip("/"), False
                continue
            visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                name = prefix + entry.name
                if entry.name.startswith(".") or entry.name == "__MACOSX":  # files of the operating system
                    continue
                if (plain := name.encode("utf-8", "replace").decode()) != name:  # bytes that are no UTF-8
                    yield plain, False
                elif entry.is_symlink() and not (follow_links and _leads_somewhere(entry)):
                    followed = _followed(root, entry, name)
                    if followed is not None:
                        yield name, followed
                elif entry.is_dir():
                    (linked if entry.is_symlink() else pending).append((name + "/", folder / entry.name))
                elif entry.is_file():  # not a pipe or a device, which would block
                    yield name, True


def _leads_somewhere(link: os.DirEntry[str]) -> bool:
    """Return whether a link leads to a file or a folder, not in a circle, to a device or to nothing."""
    try:
        return link.is_file() or link.is_dir()
    except (OSError, RuntimeError):
        return False
