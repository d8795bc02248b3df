"""Files and folders that go to a URL as a whole."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import OutputError
from faceaug.places.filesystems import is_url, open_filesystem, writing_errors
from faceaug.shards.manifest import MANIFEST_NAME, REPORT_NAMES, SHEET_NAME

UNFINISHED_NAME = "faceaug-unfinished.txt"
"""File that lies at a URL while a folder is uploaded there."""
_UNFINISHED = b"An upload to here is under way, or was interrupted: what is here may not be whole.\n"


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
    open_filesystem(str(place))  # before anything is written
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
    again = mark in found  # not below: another folder's mark tells nothing of this one
    if found and not again:
        raise OutputError(f"{url} exists already and is not an empty folder; choose another destination")
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
