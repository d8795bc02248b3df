"""Where an export goes: a folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import OutputError
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
        Images by folder, or by file where a file holds many.
    """

    destination: Path
    images: int
    folders: dict[str, int]


@contextlib.contextmanager
def appearing_folder(destination: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination`; a clean exit gives it that name, an error removes it.

    Raises
    ------
    OutputError
        When the destination is not empty, or cannot be written.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise OutputError(f"{destination} exists already and is not an empty folder; choose another destination")
    temporary = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise output_error(destination, error) from error
    try:
        yield temporary
        if destination.exists():
            destination.rmdir()
        os.replace(temporary, destination)
    except OSError as error:
        raise output_error(destination, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
