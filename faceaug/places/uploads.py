"""Files and folders that go to a URL as a whole."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faceaug.errors import OutputError, RemoteError, UsageError
from faceaug.places.filesystems import is_url, open_filesystem, reason_of, remote_errors, writing_errors
from faceaug.shards.manifest import MANIFEST_NAME, REPORT_NAMES, SHEET_NAME
from faceaug.utils.files import check_writable_folder, require_empty
from faceaug.utils.text import without_secrets

UNFINISHED_NAME = "faceaug-unfinished.txt"
"""File that lies at a URL while a folder is uploaded there."""
_TRIAL_NAME = "faceaug-can-write-here-{}.txt"  # each call has its own, since others may check the same place
_VERSIONED = ("hf://", "git://", "github://")  # where each file that is written is a commit
_NO_SUCH_METHOD = (405, 501)  # what a web server answers that is only read
_UNFINISHED = b"An upload to here is under way, or was interrupted: what is here may not be whole.\n"


def is_trial(name: str) -> bool:
    """Return whether a file is one by which `check_destination` found out whether a URL can be written."""
    return re.fullmatch(_TRIAL_NAME.format("[0-9a-f]+"), name) is not None


def check_destination(place: Path | str, *, removes: bool = False) -> None:
    """Refuse a URL or folder that cannot be written, before what goes there is computed.

    A small file is written there and removed, and so are folders that were made for it.

    Parameters
    ----------
    place
        The URL, or a folder.
    removes
        Refuse a URL, too, from which files cannot be removed.

    Raises
    ------
    UsageError
        When the file system is not known, its package is not installed, or it can only be read.
    RemoteError
        When a URL cannot be written, as without credentials, or its files cannot be removed.
    OutputError
        When a folder cannot be written.
    """
    if not is_url(place):
        check_writable_folder(Path(place))
        return
    url = str(place)
    filesystem, root = open_filesystem(url)
    if url.startswith(_VERSIONED):
        return
    trial, new = f"{root}/{_TRIAL_NAME.format(secrets.token_hex(8))}", []
    try:
        with writing_errors(url):
            new = _missing_folders(filesystem, root)
            filesystem.makedirs(root, exist_ok=True)
            filesystem.pipe_file(trial, b"faceaug writes here\n")
        _remove_trial(filesystem, trial, url, needed=removes)
    except RemoteError as error:
        if isinstance(error.__cause__, NotImplementedError) or getattr(error.__cause__, "status", 0) in _NO_SUCH_METHOD:
            raise UsageError(
                f"{without_secrets(url)} can only be read; give a folder, or the URL of a place that can be written, "
                "as s3://bucket/out"
            ) from error
        raise
    finally:
        for folder in new:
            with contextlib.suppress(RemoteError, FileNotFoundError), remote_errors(url):
                filesystem.rmdir(folder)  # which leaves one that is not empty


def check_new_destination(place: Path | str) -> None:
    """Refuse a URL or folder to which a whole new folder cannot be written, before that is computed.

    Raises
    ------
    OutputError
        When it has other content already.
    UsageError, RemoteError
        As `check_destination`.
    """
    if is_url(place):
        _replaced_files(str(place))
    else:
        require_empty(Path(place))
    check_destination(place, removes=True)


def _replaced_files(url: str) -> list[str]:
    """Return what an interrupted upload has left at a URL, which is refused where it has anything else."""
    filesystem, root = open_filesystem(url)
    with writing_errors(url):
        found = filesystem.find(root) if filesystem.exists(root) else []
    found = [path for path in found if not is_trial(path[len(root) + 1 :])]
    if found and f"{root}/{UNFINISHED_NAME}" not in found:  # not below: another folder's mark tells nothing of this one
        raise OutputError(
            f"{without_secrets(url)} exists already and is not an empty folder; choose another destination"
        )
    return found


def _missing_folders(filesystem: Any, root: str) -> list[str]:
    """Return a folder and those above it that are not there, without the topmost: it may be a bucket."""
    missing = []
    with contextlib.suppress(PermissionError):  # what is there is not told to everybody who may write
        while "/" in root.strip("/") and not filesystem.exists(root):
            missing.append(root)
            root = root.rpartition("/")[0]
    return missing


def _remove_trial(filesystem: Any, trial: str, url: str, *, needed: bool) -> None:
    try:
        with remote_errors(url):
            filesystem.rm_file(trial)
    except (RemoteError, FileNotFoundError) as error:
        if needed:
            raise RemoteError(
                f"files of {without_secrets(url)} cannot be removed ({reason_of(error.__cause__ or error)}), as is "
                "needed there; check what the credentials allow, or choose another place"
            ) from error


def upload_file(folder: Path, name: str, url: str) -> None:
    """Upload the file `name` of a folder to the same name below a URL.

    Raises
    ------
    RemoteError
        When it cannot be written.
    """
    filesystem, root = open_filesystem(url)
    target = f"{root}/{name}"
    with writing_errors(f"{url}/{name}"):
        filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        filesystem.put_file(str(folder / name), target)


def upload_report(folder: Path, url: str) -> None:
    """Upload the report of an output folder, which no manifest lists, and remove pictures of the one before.

    Files without content are left out: they stand for images at the URL where the folder is a mirror of it.
    """
    names = [name for name in _files(folder) if name.split("/")[0] in REPORT_NAMES]
    for name in names:
        if (folder / name).stat().st_size:
            upload_file(folder, name, url)
    filesystem, root = open_filesystem(url)
    with writing_errors(url):
        for path in filesystem.find(f"{root}/{REPORT_NAMES[1]}"):
            if SHEET_NAME.fullmatch(Path(path).name) and path[len(root) + 1 :] not in names:
                filesystem.rm_file(path)


@contextlib.contextmanager
def written_folder(place: Path | str) -> Iterator[Path]:
    """Yield a folder for files that go to a place, which may have others: itself, or one whose files are uploaded."""
    if not is_url(place):
        Path(place).mkdir(parents=True, exist_ok=True)
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="faceaug-out-") as staging:
        yield Path(staging)
        for name in _files(Path(staging)):
            upload_file(Path(staging), name, str(place).rstrip("/"))


@contextlib.contextmanager
def uploaded_folder(url: str) -> Iterator[tuple[Path, bool]]:
    """Yield an empty folder that is uploaded to a URL at the end, which must be empty; after an error nothing is.

    While it is uploaded, the file `UNFINISHED_NAME` lies there, and manifests come last. Another call replaces what was
    interrupted. Whether the URL can be written shows at the end; `check_new_destination` tells before.

    Yields
    ------
    Path, bool
        The folder, and whether an earlier upload was interrupted.

    Raises
    ------
    OutputError
        When the URL has other content.
    RemoteError
        When it cannot be written.
    """
    filesystem, root = open_filesystem(url)
    mark = f"{root}/{UNFINISHED_NAME}"
    found = _replaced_files(url)
    with tempfile.TemporaryDirectory(prefix="faceaug-out-") as staging:
        yield Path(staging), bool(found)
        with writing_errors(url):
            filesystem.makedirs(root, exist_ok=True)
            filesystem.pipe_file(mark, _UNFINISHED)
            for path in found:
                if path != mark:
                    filesystem.rm_file(path)
        for name in sorted(_files(Path(staging)), key=lambda name: Path(name).name == MANIFEST_NAME):
            upload_file(Path(staging), name, url.rstrip("/"))
        with writing_errors(url):
            filesystem.rm_file(mark)


@contextlib.contextmanager
def local_output(out: Path | str) -> Iterator[Path]:
    """Yield the folder that a whole output is written to: `out`, or one that is uploaded to the URL at the end.

    Raises
    ------
    OutputError, RemoteError, UsageError
        See `uploaded_folder`.
    """
    if not is_url(out):
        yield Path(out)
        return
    with uploaded_folder(str(out)) as (folder, _):
        yield folder


def _files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
