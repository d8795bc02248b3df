"""Atomic writes (temporary name, flush to disk, rename), JSON, regular files, hashes, and paths inside a folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

from faceaug.errors import IntegrityError, OutputError, UsageError
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
    with _output_errors(path):
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a file")
        _try_to_write(path.parent, f".{path.name}.")  # as `atomic`, which needs room for it


def check_writable_folder(folder: Path) -> None:
    """Raise OutputError where no files can be written to a folder, which may be absent, before they are computed."""
    place = folder.absolute()
    with _output_errors(folder):
        if place.exists() and not place.is_dir():
            raise OutputError(f"{folder} is a file; give a folder to write to")
        _try_to_write(next(path for path in (place, *place.parents) if path.exists()), ".faceaug-")


def require_empty(folder: Path) -> None:
    """Raise OutputError unless a folder is absent or empty."""
    with _output_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} exists already and is not an empty folder; choose another destination")


def _try_to_write(folder: Path, prefix: str) -> None:
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=folder)
    os.close(handle)
    os.unlink(name)


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Raise OutputError, which names `path`, where it cannot be looked at or written."""
    try:
        yield
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
        return parse_json(read_document(path) if document else read_regular(path))
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: no {what} is there") from error
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise IntegrityError(f"{path} cannot be read as {what}: {reason}") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that is not trusted.

    Raises
    ------
    ValueError
        When it is no JSON or no UTF-8, has a key twice (of which the last would win), half of a surrogate pair, which
        no file can hold, or lists too deep inside each other.
    """
    try:
        value = json.loads(text, object_pairs_hook=without_twins)
    except RecursionError as error:
        raise ValueError("it has too many lists or mappings inside each other") from error
    if ("\\u" if isinstance(text, str) else b"\\u") in text:  # type: ignore[operator]
        json.dumps(value, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError
    return value


def without_twins(pairs: Iterable[tuple[Hashable, Any]]) -> dict[Any, Any]:
    """Return pairs as a mapping; ValueError for a key that occurs twice."""
    result: dict[Hashable, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {shown(key)} occurs twice")
        result[key] = value
    return result


def require_regular(path: Path) -> None:
    """Raise OSError unless `path` is a regular file: opening a pipe waits forever, and a device has no end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe, device or socket, not a file", str(path))


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file; OSError for a pipe or device."""
    require_regular(path)
    return path.read_bytes()


def read_document(path: Path) -> str:
    """Return the text of a document that a person wrote: a recipe, a plan, counts or shares for cells.

    Raises
    ------
    ValueError
        When it is larger than `MOST_DOCUMENT_BYTES`, of which no more is read, or is not UTF-8.
    OSError
        When it cannot be read.
    """
    require_regular(path)
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
        When the name is absolute, climbs out by '..', a link leads outside or in a circle, or no file can have it.
    """
    try:
        path = (folder / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # NUL or half of a surrogate pair; links in a circle
        raise IntegrityError(f"the name {shown(name)} in {folder} cannot be followed ({one_line(error)})") from error
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise IntegrityError(f"the name {shown(name)} leads out of the folder {folder}; only files inside it are read")
    return path


def expanded(text: str) -> Path:
    """Return a path that a person wrote, with "~" for the home folder.

    Raises
    ------
    UsageError
        When it names the home of a user who is not known, or has a character that no path can have.
    """
    try:
        if "\0" in text:
            raise ValueError("it has a NUL character")
        return Path(text).expanduser()
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"the path {shown(text)} cannot be used: {one_line(error)}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
