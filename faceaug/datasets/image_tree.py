"""Images in a tree of files: what is there, which of it a name in a label file means, and reading it safely."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from faceaug.datasets.base import MALFORMED, MISSING, UNREADABLE, DatasetProblem
from faceaug.errors import DatasetError, ImageError, IntegrityError
from faceaug.utils.files import inside

# Names under which images come. What a file really is, its content says when it is decoded.
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
MAX_BYTES = 1 << 30  # 64 million pixels of 16-bit RGBA are half of this: what is larger is no image of ours


@dataclass(frozen=True)
class FolderImages:
    """An ImageSource over a folder; a key is a path relative to it, with forward slashes."""

    root: Path

    def read(self, key: str) -> bytes:
        """Return the file's bytes; a key that leads out of the folder, also by a link, is refused."""
        try:
            path = inside(self.root, key)
            if (size := path.stat().st_size) > MAX_BYTES:
                raise ImageError(f"{key} has {size:,} bytes, more than the {MAX_BYTES:,} that an image may have")
            return path.read_bytes()
        except IntegrityError as error:
            raise ImageError(str(error)) from error
        except FileNotFoundError as error:
            raise ImageError(f"{key} is not in {self.root} any more; read the data set again") from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{key} cannot be read ({getattr(error, 'strerror', None) or error})") from error


@dataclass(frozen=True)
class Listing:
    """The regular files under a folder, found once; links that lead out of it are not among them.

    Attributes
    ----------
    root
        The folder, resolved.
    files
        Paths relative to it, with forward slashes, sorted; hidden files and folders are passed over.
    links
        Links that lead out of the folder, and links to folders: reported, never followed.
    """

    root: Path
    files: tuple[str, ...]
    links: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> Listing:
        """List a folder.

        Raises
        ------
        DatasetError
            When it is no folder, cannot be listed, or no file in it has the name of an image.
        """
        if not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder: a folder of JPEG, PNG or WebP images was expected there")
        root = folder.resolve()
        try:
            found = sorted(_walk(root, ""))
        except OSError as error:
            raise DatasetError(
                f"{folder} cannot be listed ({error.strerror or error}); check its permissions"
            ) from error
        files = tuple(name for name, is_file in found if is_file)
        links = tuple(name for name, is_file in found if not is_file)
        if not any(map(is_image_name, files)):
            raise DatasetError(
                f"no images are in {folder} (found {len(files):,} other files, and {len(links):,} links that lead "
                "elsewhere): give the folder that holds the JPEG, PNG or WebP files, directly or in folders below it"
            )
        return cls(root, files, links)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The files that have the name of an image."""
        return tuple(filter(is_image_name, self.files))

    @cached_property
    def _aliases(self) -> dict[str, str | None]:
        """Other names that mean one file: without its suffix, without its folder; None where several would fit."""
        aliases: dict[str, str | None] = {}
        for name in self.images:
            path = PurePosixPath(name)
            for alias in {str(path.with_suffix("")), path.name, path.stem}:
                aliases[alias] = None if alias in aliases else name
        return aliases

    @cached_property
    def _links(self) -> frozenset[str]:
        return frozenset(self.links)

    def problems(self) -> list[DatasetProblem]:
        """Report the links that are not followed."""
        detail = (
            "a link that leads out of the folder, or to another folder: such links are not followed; copy the files"
        )
        return [DatasetProblem(UNREADABLE, name, detail) for name in self.links]

    def find(self, name: str, base: str | None = None) -> str | DatasetProblem:
        """Return the file that a label means by `name`, or what is wrong with the name.

        The name is only ever looked up among the files that were listed, so it cannot lead anywhere else.

        Parameters
        ----------
        name
            A path relative to the folder; or a bare file name that only one file has; each also without its suffix.
        base
            Path from the label file's folder to this one ("images/"): names may start with it.
        """
        if name in self._known:
            return name
        path = name.strip().replace("\\", "/")
        if "\0" in path or path.startswith("/") or PureWindowsPath(name).drive or ".." in path.split("/"):
            return DatasetProblem(
                MALFORMED, name, f"leads out of {self.root}; names are relative to it and have no '..'"
            )
        path = str(PurePosixPath(path))
        for candidate in (path, path[len(base) :] if base and path.startswith(base) else path):
            if candidate in self._known:
                return candidate
            if (found := self._aliases.get(candidate, "")) is None:
                return DatasetProblem(
                    MISSING, name, "several files could be meant; give the path relative to the folder"
                )
            if found:
                return found
        if path in self._links:
            return DatasetProblem(MISSING, name, "is a link that leads out of the folder and is not followed")
        return DatasetProblem(MISSING, name, f"is not in {self.root}")


def is_image_name(name: str) -> bool:
    """Tell whether a file's name ends like that of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def base_of(labels: Path, root: Path) -> str | None:
    """Path from a label file's folder down to the images ("images/"), or None when they are not below it."""
    folder = labels.resolve().parent
    if folder == root or not root.is_relative_to(folder):
        return None
    return root.relative_to(folder).as_posix() + "/"


def _walk(root: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield (relative path, True) for files and (relative path, False) for links that are not followed."""
    pending = [prefix]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = folder + entry.name
                if entry.name.startswith(".") or entry.name == "__MACOSX":  # what systems leave behind
                    continue
                if entry.is_symlink():
                    if entry.is_dir():
                        yield name, False
                    elif entry.is_file():
                        yield name, (root / name).resolve().is_relative_to(root)
                elif entry.is_dir():
                    pending.append(name + "/")
                elif entry.is_file():  # no pipes, no devices: reading those would never end
                    yield name, True
