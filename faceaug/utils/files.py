"""Atomic writes (temporary name, flush to disk, rename), JSON files, hashes, and paths that stay in a folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faceaug.errors import IntegrityError, OutputError
from faceaug.utils.text import one_line, shown

MOST_DOCUMENT_BYTES = 8 << 20  # of a recipe, a plan or another document; a plan of 10,000 cells has about 3 MiB


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is flushed to disk and renamed to `path`.

    Raises
    ------
    OutputError
        When the disk is full or the folder cannot be written; nothing is left under either name.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise output_error(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise OutputError where a file cannot be written at `path`, before hours are spent on its content."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error for a failed write: one sentence with the reason and what to do."""
    if error.errno == errno.ENOSPC or "No space left" in str(error):
        return OutputError(
            f"the disk is full: {path} could not be written; free some space and run again with --resume"
        )
    return OutputError(
        f"{path} could not be written ({error.strerror or error}); choose a folder that can be written to"
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as JSON that a person can read, atomically; NaN is refused."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, what: str, *, document: bool = False) -> Any:
    """Read JSON from `path`; `what` names the file's role in the error.

    A `document` is a file that a person may have written; its size is bounded, see `read_document`.

    Raises
    ------
    IntegrityError
        When the file is missing or is not JSON.
    """
    try:
        return json.loads(read_document(path) if document else path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: no {what} is there") from error
    except (ValueError, OSError, RecursionError) as error:
        raise IntegrityError(f"{path} cannot be read as {what}: {one_line(error)}") from error


def read_document(path: Path) -> str:
    """Return the text of a document that a person wrote: a recipe, a plan, counts or shares for cells.

    Raises
    ------
    ValueError
        When it is larger than `MOST_DOCUMENT_BYTES`, of which no more is read, or is not UTF-8.
    OSError
        When it cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read(MOST_DOCUMENT_BYTES + 1)
    if len(data) > MOST_DOCUMENT_BYTES:
        raise ValueError(
            f"it is larger than the {MOST_DOCUMENT_BYTES >> 20} MiB that such a file may have; "
            "give one that holds only what is asked for"
        )
    return data.decode("utf-8-sig")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in blocks of one megabyte."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """Return folder/name if that stays inside `folder` once links are followed.

    Raises
    ------
    IntegrityError
        When the name is absolute, climbs out by '..', or a link leads outside.
    """
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise IntegrityError(f"the name {shown(name)} leads out of the folder {folder}; only files inside it are read")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
