"""Take over an output folder: create it, refuse what a run must not write to, and clear what interruptions left."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from faceaug.errors import IntegrityError, OutputError
from faceaug.shards.columns import SHARD_VERSION
from faceaug.shards.lock import LOCK_NAME, FolderLock
from faceaug.shards.manifest import (
    MANIFEST_FORMAT,
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    PLAN_NAME,
    Manifest,
    stated_format,
)
from faceaug.shards.partial import is_shard_name
from faceaug.utils.files import inside, output_error, sha256_file

SHARDS_FOLDER = "shards"
BLOCKS_FOLDER = "blocks"
"""Where results wait to be accepted, of runs whose samples are computed by other processes."""


class OtherRunError(OutputError):
    """A folder has the run of another configuration.

    Attributes
    ----------
    manifest : Manifest
        Of that run.
    """

    def __init__(self, message: str, manifest: Manifest) -> None:
        super().__init__(message)
        self.manifest = manifest


def create_folder(path: Path) -> bool:
    """Create the folder if it is absent, and return whether it was.

    Raises
    ------
    OutputError
        When the path is a file or cannot be created.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; give a folder to write to")
    try:
        absent = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    return absent


def refuse_foreign_folder(path: Path) -> None:
    """Refuse a folder that has content and is no output of faceaug.

    A folder without a manifest is accepted when it has only what a killed run leaves before its first manifest, which
    its lock shows.

    Raises
    ------
    OutputError
    """
    names = {entry.name for entry in path.iterdir()}
    if MANIFEST_NAME in names:
        try:
            stated = stated_format(path)
        except IntegrityError:
            stated = None
        if stated != MANIFEST_FORMAT:
            raise OutputError(
                f"{path} has a {MANIFEST_NAME} that is not faceaug's, or is damaged; choose another folder"
            )
        return
    expected = {LOCK_NAME, PLAN_NAME, SHARDS_FOLDER, MANIFEST_HASH_NAME}
    names |= {f"{SHARDS_FOLDER}/{entry.name}" for entry in (path / SHARDS_FOLDER).glob("*")}
    foreign = sorted(name for name in names - expected if not _is_temporary(name))
    if foreign or (names and LOCK_NAME not in names):
        example = foreign[0] if foreign else sorted(names)[0]
        raise OutputError(
            f"{path} is not empty and is no output of faceaug ({example!r} is in it); choose another folder"
        )


def refuse_taken_folder(path: Path, *, resume: bool) -> None:
    """Refuse a folder that has anything but a run that may be continued, before it is known which run that must be.

    Raises
    ------
    OutputError
    """
    if not path.is_dir():
        return
    refuse_foreign_folder(path)
    if not resume and (path / MANIFEST_NAME).exists():
        FolderLock(path).release()  # one that is in use is refused as such
        raise OutputError(f"{path} has a run; continue it with --resume, or choose another folder")


def refuse_other_run(path: Path, manifest: Manifest, fingerprint: str, resume: bool) -> None:
    """Refuse a folder whose run cannot be continued.

    Raises
    ------
    OtherRunError
        When the run has another configuration.
    OutputError
        When it is there although `resume` is False.
    IntegrityError
        When a file is missing or damaged.
    """
    if manifest.fingerprint != fingerprint:
        command = manifest.created_by.command
        raise OtherRunError(f"{path} has the run of another configuration ({command}); choose another folder", manifest)
    if manifest.version != SHARD_VERSION:
        raise OutputError(
            f"{path} has the run of an earlier version of faceaug, with shards of version {manifest.version}; run "
            f"faceaug upgrade {path}, and continue the run in the folder that it writes"
        )
    if not resume:
        state = "a finished run" if manifest.complete else "an unfinished run"
        remedy = "choose another folder" if manifest.complete else "continue it with --resume, or choose another folder"
        raise OutputError(f"{path} has {state} of this configuration; {remedy}")
    for entry in (*manifest.shards, *manifest.files):
        file = inside(path, entry.name)
        if not file.is_file() or file.stat().st_size != entry.bytes or sha256_file(file) != entry.sha256:
            raise IntegrityError(
                f"{file} is missing or damaged, so the run cannot continue; restore it, or start in another folder"
            )


def clear_leftovers(path: Path, listed: set[str] | None) -> None:
    """Remove the temporary files of an interrupted run, and shards that are not `listed` (None: keep all shards)."""
    for file in list(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if name.startswith(f"{BLOCKS_FOLDER}/"):  # workers may be writing there
            continue
        unlisted = listed is not None and name not in listed and is_shard_name(name)
        if file.is_file() and (_is_temporary(file.name) or unlisted):
            file.unlink(missing_ok=True)


def clear_unstarted_run(path: Path) -> None:
    """Remove what was written before the first manifest, if there is none yet."""
    if not (path / MANIFEST_NAME).exists():
        for name in (PLAN_NAME, MANIFEST_HASH_NAME):
            (path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder is absent or not empty
            (path / SHARDS_FOLDER).rmdir()


def remove_blocks(path: Path) -> None:
    """Remove the results of blocks from an output folder; what writes one at this moment finds their folder gone."""
    blocks, ended = path / BLOCKS_FOLDER, path / f".{BLOCKS_FOLDER}.tmp"
    shutil.rmtree(ended, ignore_errors=True)
    with contextlib.suppress(OSError):
        blocks.rename(ended)
    shutil.rmtree(ended, ignore_errors=True)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")
