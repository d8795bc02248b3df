"""Take an output folder: a lock that dies with its process, what may be taken over, and what is cleared away."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from faceaug.errors import IntegrityError, OutputError
from faceaug.shards import manifest as manifests
from faceaug.shards.manifest import PLAN, Manifest
from faceaug.shards.partial import is_shard_name
from faceaug.utils.files import inside, output_error, sha256_file

LOCK = ".lock"
SHARDS = "shards"

_held: set[Path] = set()  # folders that this process has locked: the system does not refuse a process its own locks


class FolderLock:
    """Exclusive use of a folder.

    A POSIX record lock: the system releases it when the process ends, however it ends, and children do not inherit it,
    so a worker that outlives its parent does not hold the folder.

    Raises
    ------
    OutputError
        When another process, or this one, holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._key = folder.resolve()
        self._path = folder / LOCK
        self._pid = os.getpid()
        if self._key in _held:
            raise OutputError(f"{folder} is in use by this very process; close it there first")
        try:
            self._handle = self._acquire(folder)
        except OSError as error:
            raise output_error(self._path, error) from error
        _held.add(self._key)

    def _acquire(self, folder: Path) -> int:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(handle, self._path):  # else its last holder removed the file meanwhile
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                    return handle
            except OSError as error:
                holder = os.read(handle, 200).decode("utf-8", "replace").strip()
                os.close(handle)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    user = f" by {holder}" if holder else ""
                    raise OutputError(
                        f"{folder} is in use{user}; wait until that run ends, or choose another folder"
                    ) from error
                raise
            os.close(handle)

    @property
    def ours(self) -> bool:
        """Whether this process took the lock; a forked child has a copy that means nothing."""
        return os.getpid() == self._pid

    def release(self) -> None:
        """Give the folder free; in any other process than the one that locked it nothing happens."""
        if not self.ours or self._key not in _held:
            return
        _held.discard(self._key)
        self._path.unlink(missing_ok=True)  # while still locked, so that nobody loses a lock just taken
        os.close(self._handle)


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def make_folder(path: Path) -> bool:
    """Make the folder if it is absent; say whether it was."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; give a folder to write to")
    try:
        absent = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    return absent


def refuse_foreign(path: Path) -> None:
    """Refuse a folder with something in it that is no output of faceaug.

    Without a manifest only what a killed run leaves before its first manifest is accepted, told by its lock.
    """
    names = {entry.name for entry in path.iterdir()}
    if manifests.NAME in names:
        try:
            kind = json.loads((path / manifests.NAME).read_bytes()).get("format")
        except (ValueError, OSError, AttributeError):
            kind = None
        if kind != manifests.FORMAT:
            raise OutputError(
                f"{path} holds a {manifests.NAME} that is not faceaug's, or is damaged; choose another folder"
            )
        return
    known = {LOCK, PLAN, SHARDS, manifests.HASH_NAME}
    names |= {f"{SHARDS}/{entry.name}" for entry in (path / SHARDS).glob("*")}
    strange = sorted(name for name in names - known if not _temporary(name))
    if strange or (names and LOCK not in names):
        example = strange[0] if strange else sorted(names)[0]
        raise OutputError(
            f"{path} is not empty and is no output of faceaug ({example!r} is in it); choose another folder"
        )


def refuse_to_continue(path: Path, found: Manifest, fingerprint: str, resume: bool) -> None:
    """Refuse a run that is not to be continued: another configuration's, one without `resume`, a damaged one."""
    if found.fingerprint != fingerprint:
        raise OutputError(
            f"{path} holds the run of another configuration ({found.created_by.command}); choose another one"
        )
    if not resume:
        state = "a finished run" if found.complete else "an unfinished run"
        remedy = "choose another folder" if found.complete else "continue it with --resume, or choose another folder"
        raise OutputError(f"{path} holds {state} of this configuration; {remedy}")
    for entry in (*found.shards, *found.files):
        file = inside(path, entry.name)
        if not file.is_file() or file.stat().st_size != entry.bytes or sha256_file(file) != entry.sha256:
            raise IntegrityError(
                f"{file} is missing or damaged, so the run cannot go on; restore it, or start in another folder"
            )


def clear_leftovers(path: Path, listed: set[str] | None) -> None:
    """Remove what an interrupted run left: temporary files, and shards that are not `listed` (None: touch no shard)."""
    for file in list(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        unlisted = listed is not None and name not in listed and is_shard_name(name)
        if file.is_file() and (_temporary(file.name) or unlisted):
            file.unlink(missing_ok=True)


def clear_unstarted(path: Path) -> None:
    """Remove what was written before the first manifest, if there is none yet."""
    if not (path / manifests.NAME).exists():
        for name in (PLAN, manifests.HASH_NAME):
            (path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or not empty
            (path / SHARDS).rmdir()


def _temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")
