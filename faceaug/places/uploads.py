"""Files and folders that go to a URL as a whole."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import OutputError, RemoteError, UsageError
from faceaug.places.filesystems import is_url, open_filesystem, writing_errors
from faceaug.shards.manifest import MANIFEST_NAME, REPORT_NAMES, SHEET_NAME
from faceaug.utils.text import without_secrets

UNFINISHED_NAME = "faceaug-unfinished.txt"
"""File that lies at a URL while a folder is uploaded there."""
TRIAL_NAME = "faceaug-can-write-here.txt"
"""File by which `check_destination` finds out whether a URL can be written."""
_VERSIONED = ("hf://", "git://", "github://")  # where each file that is written is a commit
_NO_SUCH_METHOD = (405, 501)  # what a web server answers that is only read
_UNFINISHED = b"An upload to here is under way, or was interrupted: what is here may not be whole.\n"


def check_destination(place: Path | str) -> None:
    """Refuse a URL that cannot be written, before what goes there is computed; of a folder nothing is checked.

    A small file is written there and removed.

    Raises
    ------
    UsageError
        When the file system is not known, its package is not installed, or it can only be read.
    RemoteError
        When it cannot be written, as without credentials.
    """
    if not is_url(place):
        return
    url = str(place)
    filesystem, root = open_filesystem(url)
    if url.startswith(_VERSIONED):
        return
    try:
        with writing_errors(url):
            filesystem.makedirs(root, exist_ok=True)
            filesystem.pipe_file(f"{root}/{TRIAL_NAME}", b"faceaug writes here\n")
            filesystem.rm_file(f"{root}/{TRIAL_NAME}")
    except RemoteError as error:
        if isinstance(error.__cause__, NotImplementedError) or getattr(error.__cause__, "status", 0) in _NO_SUCH_METHOD:
            raise UsageError(
                f"{without_secrets(url)} can only be read; give a folder, or the URL of a place that can be written, "
                "as s3://bucket/out"
            ) from error
        raise


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
    interrupted.

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
    with writing_errors(url):
        found = filesystem.find(root) if filesystem.exists(root) else []
    found = [path for path in found if path != f"{root}/{TRIAL_NAME}"]
    again = mark in found  # not below: another folder's mark tells nothing of this one
    if found and not again:
        raise OutputError(
            f"{without_secrets(url)} exists already and is not an empty folder; choose another destination"
        )
    check_destination(url)
    with tempfile.TemporaryDirectory(prefix="faceaug-out-") as staging:
        yield Path(staging), again
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
