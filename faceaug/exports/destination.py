"""Where an export goes: a folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import OutputError
from faceaug.shards.lock import FolderLock
from faceaug.utils.files import output_error, require_empty


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes
    ----------
    destination : Path or str
        The folder, or its URL.
    images : int
        Images that were written.
    folders : dict of str to int
        Images by folder or class, or by file where a file holds many.
    again : bool
        Whether an earlier export to there was interrupted, and what it had left was cleared away.
    """

    destination: Path | str
    images: int
    folders: dict[str, int]
    again: bool = False


@contextlib.contextmanager
def appearing_folder(destination: Path) -> Iterator[tuple[Path, bool]]:
    """Yield a temporary folder beside `destination`; a clean exit gives it that name, an error removes it.

    Yields
    ------
    Path, bool
        The folder, which is empty, and whether it held what an earlier process left that was killed.

    Raises
    ------
    OutputError
        When the destination is not empty, another process writes to it, or it cannot be written.
    """
    destination = Path(os.path.abspath(destination))
    temporary = destination.parent / f".{destination.name}.unfinished"
    beside = temporary.with_name(f"{temporary.name}.lock")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        begun = beside.exists()  # a killed process leaves it
        lock = FolderLock(destination, beside)
    except OSError as error:
        raise output_error(destination, error) from error
    try:
        require_empty(destination)
        left = os.path.lexists(temporary)
        if temporary.is_symlink() or (left and not begun):
            raise OutputError(f"{temporary} is in the way, and no export wrote it; move it away")
        if left:
            shutil.rmtree(temporary)
        try:
            temporary.mkdir()
            yield temporary, left
            if destination.exists():
                destination.rmdir()
            os.replace(temporary, destination)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise output_error(destination, error) from error
    finally:
        lock.release()  # last, so that no other process meets what is unfinished
