"""Where an export goes: a folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import OutputError
from faceaug.shards.lock import LOCK_NAME, FolderLock
from faceaug.utils.files import output_error


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes
    ----------
    destination : Path
    images : int
        Images that were written.
    folders : dict of str to int
        Images by folder or class, or by file where a file holds many.
    again : bool
        Whether an earlier export to there was interrupted, and what it had left was cleared away.
    """

    destination: Path
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
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise OutputError(f"{destination} exists already and is not an empty folder; choose another destination")
    destination = Path(os.path.abspath(destination))
    temporary = destination.parent / f".{destination.name}.unfinished"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in temporary.iterdir()}
        if temporary.is_symlink() or (names and LOCK_NAME not in names):  # what a killed process left has its lock
            raise OutputError(f"{temporary} is in the way, and no export wrote it; move it away")
        lock = FolderLock(temporary)
    except OSError as error:
        raise output_error(destination, error) from error
    try:
        left = [path for path in temporary.iterdir() if path.name != LOCK_NAME]
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield temporary, bool(left)
        lock.release()  # removes its file, which is no part of what was written
        if destination.exists():
            destination.rmdir()
        os.replace(temporary, destination)
    except OSError as error:
        raise output_error(destination, error) from error
    finally:
        lock.release()
        shutil.rmtree(temporary, ignore_errors=True)
