"""Tar files of images, also as WebDataset writes them: an image and its labels have one name and two suffixes."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from faceaug.datasets.base import DatasetProblem, RawDataset
from faceaug.datasets.image_tree import Listing, is_image_name
from faceaug.datasets.label_file import find_file_column, is_parquet, join, read_labels, with_numbers
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.files import parse_json
from faceaug.utils.images import check_size
from faceaug.utils.text import one_line, shown

_MOST_TEXT = 1 << 20  # bytes of a member of labels
_TEXTS = {".txt": "text", ".cls": "class"}
"""Members that hold one value beside an image, and the names of their columns."""


@dataclass(frozen=True)
class _Member:
    """Where a file lies in a tar file."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset, os.SEEK_SET)
            return file.read(self.size)


@dataclass(frozen=True, eq=False)
class TarImages:
    """An ImageSource over tar files; a key is the name of the file, a slash, and the name in it."""

    members: dict[str, _Member]

    def read(self, key: str) -> bytes:
        """Return the bytes of a file in a tar file."""
        member = self.members.get(key)
        if member is None:
            raise ImageError(f"there is no image {shown(key)} in the tar files; read the data set again")
        check_size(key, member.size)
        try:
            data = member.read()
        except OSError as error:
            raise ImageError(f"{key} cannot be read ({error.strerror or error})") from error
        if len(data) < member.size:
            raise ImageError(f"{member.path} ends before {key} does; it is cut off, get a new copy")
        return data


def detect(path: Path, labels: Path | None) -> bool:
    """Return whether a path is a tar file, or a folder of them without image files."""
    if path.is_file():
        return path.suffix.lower() == ".tar"
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    return any(name.lower().endswith(".tar") for name in names) and not any(map(is_image_name, names))


def read(path: Path, labels: Path | None, *, file_column: str | None = None) -> RawDataset:
    """Read tar files without unpacking them.

    Labels are those of the label file, or else of what lies beside an image under its name: the scalars of a .json,
    the text of a .txt (column "text") and the class of a .cls ("class").

    Raises
    ------
    DatasetError
        If there is no tar file, one is damaged or compressed, or it holds no images.
    """
    files = [path] if path.is_file() else sorted(f for f in path.glob("*.tar") if not f.name.startswith("."))
    if not files:
        raise DatasetError(f"{path} has no tar files; give a .tar file or a folder of them")
    root = path.parent.resolve() if path.is_file() else path.resolve()
    members = {f"{file.name}/{name}": member for file in files for name, member in _members(file).items()}
    images = tuple(sorted(filter(is_image_name, members)))
    if not images:
        raise DatasetError(f"no images are in {path} ({len(members):,} other files); tar files of images were expected")
    source = TarImages({name: members[name] for name in images})
    if labels is not None:
        table, listing = read_labels(labels), Listing(root, images, ())
        column = find_file_column(table, listing, labels, file_column)
        joined = join(table if is_parquet(labels) else with_numbers(table, column), column, listing, labels)
        return RawDataset(joined.table, source, joined.problems)
    if file_column is not None:
        raise DatasetError("a column of file names is of a label file; give it with --labels")
    table, problems = _labels_beside(images, members)
    return RawDataset(table, source, tuple(problems))


def _members(path: Path) -> dict[str, _Member]:
    """Return the regular files of a tar file by their names; links are left out, since nothing is unpacked."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = {m.name: _Member(path.resolve(), m.offset_data, m.size) for m in archive if m.isreg()}
        for name in members:
            name.encode()  # a name that is no UTF-8 cannot stand in a table
        return members
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read as a tar file ({one_line(error)}); it is damaged or compressed: give it plain"
        ) from error


def _labels_beside(images: tuple[str, ...], members: dict[str, _Member]) -> tuple[pd.DataFrame, list[DatasetProblem]]:
    beside: dict[str, dict[str, str]] = {}
    for name in members:
        stem, suffix = _split(name)
        if suffix in (".json", *_TEXTS):
            beside.setdefault(stem, {})[suffix] = name
    rows, problems = [], []
    for image in images:
        try:
            rows.append({"key": image, **_values(beside.get(_split(image)[0], {}), members)})
        except (ValueError, RecursionError, OSError) as error:
            problems.append(
                DatasetProblem("unreadable image", image, f"has labels that cannot be read: {one_line(error)}")
            )
    if not rows:
        raise DatasetError(f"no image of the tar file has labels that can be read (first: {problems[0].detail})")
    table = pd.DataFrame(rows)
    return with_numbers(table.where(table.notna(), np.nan), "key"), problems


def _values(names: dict[str, str], members: dict[str, _Member]) -> dict[str, Any]:
    """Return the labels of one image."""
    values: dict[str, Any] = {}
    for suffix, name in names.items():
        if members[name].size > _MOST_TEXT:
            raise ValueError(f"{name} has {members[name].size:,} bytes, more than labels may have")
        text = members[name].read().decode("utf-8")
        if suffix in _TEXTS:
            values[_TEXTS[suffix]] = text.strip()
            continue
        content = parse_json(text)
        if not isinstance(content, dict):
            raise ValueError(f"{name} is no JSON object")
        values |= {str(key): v for key, v in content.items() if v is None or isinstance(v, (str, int, float, bool))}
    if "key" in values:  # WebDataset's own name of a sample, which is the file's
        del values["key"]
    return values


def _split(name: str) -> tuple[str, str]:
    """Return a name without its suffixes, as WebDataset groups files, and the suffixes in lower case."""
    path = PurePosixPath(name)
    base, dot, suffix = path.name.partition(".")
    return str(path.with_name(base or path.name)), (dot + suffix).lower()
