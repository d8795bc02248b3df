"""A lock on an output folder that the system releases with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from faceaug.errors import OutputError
from faceaug.utils.files import output_error
from faceaug.utils.text import one_line

LOCK_NAME = ".lock"

_locked_folders: set[Path] = set()  # of this process, to which the system does not refuse its own locks


class FolderLock:
    """Exclusive use of a folder.

    The lock is a POSIX record lock. The system releases it when the process ends, however it ends. Child processes do
    not inherit it, so a worker that outlives its parent does not keep the folder locked.

    Some file systems that machines share do not share such locks. So a lock file that a process of another machine
    has left is not taken over; one of this machine is, also from another container or from before it was started anew.
    Machines are told apart by their host name and, where the system has one, the number of their start, so that two
    with one name are one machine.

    Parameters
    ----------
    folder : Path
    path : Path, optional
        The file that is locked; `LOCK_NAME` in the folder when None.

    Raises
    ------
    OutputError
        When another process, or this one, has the lock, or a process of another machine may have it.
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
                    self._refuse_other_machine(folder, handle)
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n{_boot()}\n".encode(), 0)
                    return handle
            except OutputError:
                os.close(handle)
                raise
            except OSError as error:
                owner, _ = _read_owner(handle)
                os.close(handle)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    by_owner = f" by {owner}" if owner else ""
                    raise OutputError(
                        f"{folder} is in use{by_owner}; wait until that run ends, or choose another folder"
                    ) from error
                raise
            os.close(handle)

    def _refuse_other_machine(self, folder: Path, handle: int) -> None:
        owner, boot = _read_owner(handle)
        host = owner.rpartition(" on ")[2]
        if owner and boot and host != socket.gethostname() and boot != _boot():
            raise OutputError(
                f"{folder} is locked by {owner}, another machine, on which this one cannot see whether that process "
                f"still runs: if it does not, remove {self._path} to take the folder over; else wait until it ends"
            )

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


def _read_owner(handle: int) -> tuple[str, str]:
    """Return who has written a lock file, and what tells the start of that machine; empty where it does not say so."""
    owner, _, boot = os.pread(handle, 400, 0).decode("utf-8", "replace").partition("\n")
    return one_line(owner) if owner else "", boot.strip()


def _boot() -> str:
    """Return what the system calls this start of the machine, the same in all of its containers; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_open_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
