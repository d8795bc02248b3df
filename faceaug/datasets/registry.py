"""Which readers there are: faceaug's own, and those that others register under "faceaug.datasets"."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from faceaug.datasets.base import Reader, ReaderModule, one_line
from faceaug.datasets.readers import celeba, fairface, folder, hdf5, shards, unlabelled, utkface
from faceaug.datasets.readers import class_folders as classes
from faceaug.errors import DatasetError, nearest
from faceaug.utils.text import shown

GROUP = "faceaug.datasets"
AUTO = "auto"
UNLABELLED = "unlabelled"
# In the order in which they are asked whether a path is theirs: from the most telling sign to the least.
OWN: dict[str, ReaderModule] = {
    "shards": shards,
    "hdf5": hdf5,
    "celeba": celeba,
    "fairface": fairface,
    "folder": folder,
    "utkface": utkface,
    "classes": classes,
}


def reader_names() -> tuple[str, ...]:
    """Names that `find_reader` knows: faceaug's own first, then registered ones by name."""
    return (*OWN, UNLABELLED, *sorted(_registered()))


def find_reader(name: str) -> Reader:
    """Return a reader by name.

    Raises
    ------
    DatasetError
        When there is none of that name, or the package that registered it cannot be loaded.
    """
    if name in OWN:
        return OWN[name].read
    if name == UNLABELLED:
        return unlabelled.read
    found = _registered().get(name)
    if found is None:
        raise DatasetError(f"there is no reader {shown(name)}; {nearest(name, (AUTO, *reader_names()))}")
    try:
        reader = found.load()
    except Exception as error:  # someone else's module: whatever goes wrong at its import
        raise DatasetError(
            f"the reader {shown(name)} ({found.value}) cannot be loaded: {one_line(error)}; repair its package"
        ) from error
    if not callable(reader):
        raise DatasetError(
            f"the reader {shown(name)} ({found.value}) is not callable: its package should register a function"
        )
    checked: Reader = reader
    return checked


def detect_reader(path: Path, labels: Path | None, *, needs_labels: bool = True) -> str:
    """Return the name of the reader for what is at `path`; "unlabelled" where there are no labels and none are needed.

    Raises
    ------
    DatasetError
        When no reader of faceaug's own recognises it.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist: give the folder or HDF5 file of the data set")
    try:
        name = next((name for name, module in OWN.items() if module.detect(path, labels)), None)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    if name is not None:
        return name
    if not needs_labels and unlabelled.detect(path, labels):
        return UNLABELLED
    if path.is_dir():
        return "folder"  # whose error says what is missing: images, or labels
    raise DatasetError(f"{path} is a file that no reader knows: give a folder of images, or an HDF5 file (.h5, .hdf5)")


def _registered() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=GROUP) if found.name not in (*OWN, UNLABELLED)}
