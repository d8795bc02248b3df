"""The readers: those of faceaug, and those that other packages register under "faceaug.datasets"."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from faceaug.datasets.base import Reader, ReaderModule
from faceaug.datasets.readers import arrow_images as arrow
from faceaug.datasets.readers import celeba, fairface, folder, hdf5, shards, unlabelled, utkface
from faceaug.datasets.readers import class_folders as classes
from faceaug.datasets.readers import parquet_images as parquet
from faceaug.datasets.readers import tar_images as tar
from faceaug.errors import DatasetError
from faceaug.utils.text import nearest, one_line, shown

ENTRY_POINT_GROUP = "faceaug.datasets"
AUTO_READER = "auto"
UNLABELLED_READER = "unlabelled"
# In the order in which they examine a path, from the most specific sign of a format to the least.
BUILT_IN_READERS: dict[str, ReaderModule] = {
    "shards": shards,
    "hdf5": hdf5,
    "arrow": arrow,
    "parquet": parquet,
    "tar": tar,
    "celeba": celeba,
    "fairface": fairface,
    "folder": folder,
    "utkface": utkface,
    "classes": classes,
}
LINK_READERS = ("celeba", "fairface", "folder", "utkface", "classes", UNLABELLED_READER)
"""Readers of folders of images, whose function `read` takes `follow_links`."""


def reader_names() -> tuple[str, ...]:
    """Return the names that `find_reader` knows: those of faceaug first, then registered ones in alphabetical order."""
    return (*BUILT_IN_READERS, UNLABELLED_READER, *sorted(_registered()))


def find_reader(name: str) -> Reader:
    """Return a reader by name.

    Raises
    ------
    DatasetError
        If there is no reader of that name, or the package that registered it cannot be loaded.
    """
    if name in BUILT_IN_READERS:
        return BUILT_IN_READERS[name].read
    if name == UNLABELLED_READER:
        return unlabelled.read
    entry_point = _registered().get(name)
    if entry_point is None:
        raise DatasetError(f"there is no reader {shown(name)}; {nearest(name, (AUTO_READER, *reader_names()))}")
    try:
        reader = entry_point.load()
    except Exception as error:  # the import of another package can raise anything
        raise DatasetError(
            f"the reader {shown(name)} ({entry_point.value}) cannot be loaded: {one_line(error)}; repair its package"
        ) from error
    if not callable(reader):
        raise DatasetError(
            f"the reader {shown(name)} ({entry_point.value}) is not callable; its package has to register a function"
        )
    callable_reader: Reader = reader
    return callable_reader


def detect_reader(path: Path, labels: Path | None, *, needs_labels: bool = True) -> str:
    """Return the name of the reader that recognizes `path`.

    Where no reader recognizes it and no labels are needed, this is "unlabelled".

    Raises
    ------
    DatasetError
        If no reader of faceaug recognizes it.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist; give the folder or file of the data set")
    try:
        name = next((name for name, module in BUILT_IN_READERS.items() if module.detect(path, labels)), None)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    if name is not None:
        return name
    if not needs_labels and unlabelled.detect(path, labels):
        return UNLABELLED_READER
    if path.is_dir():
        return "folder"  # its error names what is missing: images, or labels
    raise DatasetError(
        f"{path} is a file that no reader recognizes; give a folder of images, or an HDF5, Parquet or tar file"
    )


def _registered() -> dict[str, EntryPoint]:
    reserved = (*BUILT_IN_READERS, UNLABELLED_READER)
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in reserved}
