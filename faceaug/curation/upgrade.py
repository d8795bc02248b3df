"""Write an output folder of the version before anew, in the format of today; the old folder stays as it is."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import IntegrityError, UsageError
from faceaug.exports.destination import appearing_folder
from faceaug.shards import writer
from faceaug.shards.columns import SHARD_VERSION
from faceaug.shards.description.croissant import croissant_description
from faceaug.shards.lock import FolderLock
from faceaug.shards.manifest import (
    CROISSANT_NAME,
    REPORT_NAMES,
    SAMPLES_NAME,
    FileEntry,
    Manifest,
    ShardEntry,
    file_entry,
    read_manifest,
    write_manifest,
)
from faceaug.shards.partial import read_encoded_samples
from faceaug.shards.reader import ShardReader
from faceaug.shards.takeover import SHARDS_FOLDER
from faceaug.utils.files import inside, sha256_file, write_json
from faceaug.utils.threads import Progress


def upgrade_output(folder: Path | str, out: Path | str, *, progress: Progress | None = None) -> Manifest:
    """Write an output folder with shards of the version before to a new folder with shards of today.

    Images, labels and hashes of images are the same; an unfinished run can be continued in the new folder. The new
    folder appears complete or not at all.

    Parameters
    ----------
    folder : path
    out : path
        Absent, or an empty folder.
    progress : callable (samples), optional

    Returns
    -------
    Manifest
        Of the new folder.

    Raises
    ------
    UsageError
        When the folder has the format of today.
    OutputError
        When a run is writing to the folder, or `out` is not empty or cannot be written.
    IntegrityError
        When a file of the folder is damaged.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest.version == SHARD_VERSION:
        raise UsageError(f"the shards of {folder} are of version {SHARD_VERSION} already: nothing is to be upgraded")
    with _at_rest(folder, manifest), appearing_folder(Path(out)) as (new, _):
        for entry in manifest.files:
            (new / entry.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_sound(folder, entry), new / entry.name)
        for name in REPORT_NAMES:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, new / name)
            elif (folder / name).is_file():
                shutil.copyfile(folder / name, new / name)
        upgraded = _write_shards(folder, new, manifest, progress)
        if upgraded.complete:  # it lists the shards with their hashes
            table = file_entry(new, SAMPLES_NAME)
            write_json(new / CROISSANT_NAME, croissant_description(upgraded, table))
        files = tuple(file_entry(new, entry.name) for entry in manifest.files)
        upgraded = Manifest(**{**dict(upgraded), "files": files})
        write_manifest(new, upgraded)
    return upgraded


def _write_shards(folder: Path, new: Path, manifest: Manifest, progress: Progress | None) -> Manifest:
    """Write the shards anew and return the manifest that lists them."""
    generator, shards = manifest.generator, []
    if generator is not None:
        generator = generator.model_copy(update={"w_dim": _latent_width(folder, manifest)})
    width = None if generator is None else generator.w_dim
    (new / SHARDS_FOLDER).mkdir()
    for entry in manifest.shards:
        with ShardReader(_sound(folder, entry)) as reader:
            samples = read_encoded_samples(reader, manifest.columns)
        shards.append(
            writer.write_encoded(new / entry.name, samples, manifest.columns, manifest.codec, manifest.layout, width)
        )
        if progress is not None:
            progress(entry.rows)
    changes = {"version": SHARD_VERSION, "generator": generator, "shards": tuple(shards)}
    return Manifest(**{**dict(manifest), **changes})


def _latent_width(folder: Path, manifest: Manifest) -> int | None:
    for entry in manifest.shards:
        with ShardReader(_sound(folder, entry)) as reader:
            if "w" in reader.keys:
                return int(reader.column("w", [0]).shape[1])
    return None


def _sound(folder: Path, entry: FileEntry | ShardEntry) -> Path:
    """Return the path of a file that is as the manifest lists it."""
    path = inside(folder, entry.name)
    if not path.is_file() or sha256_file(path) != entry.sha256:
        raise IntegrityError(f"{path} is missing or damaged; faceaug verify {folder} says what else is")
    return path


@contextlib.contextmanager
def _at_rest(folder: Path, manifest: Manifest) -> Iterator[None]:
    """Keep a run from going on in the folder meanwhile."""
    lock = None if manifest.complete else FolderLock(folder)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
