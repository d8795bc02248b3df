"""Files that are either whole or absent: temporary name, flush to disk, rename; hashes; paths that stay inside."""

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
    """Raise OutputError where a file cannot be written at `path`: said before hours are spent on what it is to hold."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """Turn what the system says about a failed write into one sentence with the remedy."""
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


def read_json(path: Path, what: str) -> Any:
    """Read JSON from `path`; `what` names the file's role in the error.

    Raises
    ------
    IntegrityError
        When the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: no {what} is there") from error
    except (ValueError, OSError) as error:
        raise IntegrityError(f"{path} cannot be read as {what}: {error}") from error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces of one megabyte."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
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
        raise IntegrityError(f"the name {name!r} leads out of the folder {folder}; only files inside it are read")
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
