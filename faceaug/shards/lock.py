"""A lock on an output folder that the system releases with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from faceaug.errors import OutputError
from faceaug.utils.files import output_error

LOCK_NAME = ".lock"

_locked_folders: set[Path] = set()  # of this process, to which the system does not refuse its own locks


class FolderLock:
    """Exclusive use of a folder.

    The lock is a POSIX record lock. The system releases it when the process ends, however it ends. Child processes do
    not inherit it, so a worker that outlives its parent does not keep the folder locked.

    Parameters
    ----------
    folder : Path
    path : Path, optional
        The file that is locked; `LOCK_NAME` in the folder when None.

    Raises
    ------
    OutputError
        When another process, or this one, has the lock.
    """

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        self._folder = folder.resolve()
        self._path = folder / LOCK_NAME if path is None else path
        self._pid = os.getpid()
        if self._folder in _locked_folders:
            raise OutputError(f"{folder} is in use by this very process; close it there first")
        try:
            self._handle = self._acquire(folder)
        except OSError as error:
            raise output_error(self._path, error) from error
        _locked_folders.add(self._folder)

    def _acquire(self, folder: Path) -> int:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_open_file(handle, self._path):  # else the last owner of the lock has removed the file meanwhile
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                    return handle
            except OSError as error:
                owner = os.read(handle, 200).decode("utf-8", "replace").strip()
                os.close(handle)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    by_owner = f" by {owner}" if owner else ""
                    raise OutputError(
                        f"{folder} is in use{by_owner}; wait until that run ends, or choose another folder"
                    ) from error
                raise
            os.close(handle)

    @property
    def ours(self) -> bool:
        """Whether this process took the lock; the copy in a forked child has no effect."""
        return os.getpid() == self._pid

    def release(self) -> None:
        """Release the folder. In any process except the one that locked it, nothing happens."""
        if not self.ours or self._folder not in _locked_folders:
            return
        _locked_folders.discard(self._folder)
        self._path.unlink(missing_ok=True)  # while still locked, so that the file of a new lock is not removed
        os.close(self._handle)


def _is_open_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
