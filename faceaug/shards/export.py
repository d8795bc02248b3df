"""Export an output folder to plain image files that any trainer reads."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faceaug.errors import IntegrityError, OutputError, UsageError, nearest
from faceaug.shards.columns import Column
from faceaug.shards.manifest import Manifest, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.samples_table import shard_table
from faceaug.utils.files import inside, output_error, sha256_file
from faceaug.utils.text import shown

LABELS = "labels.csv"
UNKNOWN = "unknown"  # the folder of samples that have no level
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was exported: where to, how many images, and how many into each folder."""

    destination: Path
    images: int
    folders: dict[str, int]


def export_imagefolder(
    out: Path | str,
    destination: Path | str,
    by: str | Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> ExportReport:
    """Write the images as files, a folder a class, as torchvision's ImageFolder and many others read them.

    Images are copied as they are encoded (raw pixels become PNG). `labels.csv` at the top has a row an image: its file,
    then the columns of samples.parquet. The destination appears whole or not at all.

    Parameters
    ----------
    out : a complete output folder
    destination : absent, or an empty folder
    by : what makes a folder: names of axes or of attributes with levels, `"gender"` or `"gender,ethnicity"`; by default
        all axes, that is, a folder a cell
    progress : called with the number of images just written

    Raises
    ------
    UsageError
        When `by` names nothing there is, or the run is unfinished.
    OutputError
        When the destination is not empty or cannot be written.
    IntegrityError
        When a shard or an image does not match its hash.
    """
    folder, destination = Path(out), Path(destination)
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise UsageError(f"the run in {folder} is unfinished; continue it with --resume, then export")
    names = _names(manifest, by)
    with _whole_folder(destination) as temporary:
        counts: dict[str, int] = {}
        tables = []
        for shard in manifest.shards:
            table = _export_shard(folder, shard.name, shard.sha256, manifest, names, temporary)
            for name, count in table["folder"].value_counts().items():
                counts[str(name)] = counts.get(str(name), 0) + int(count)
            tables.append(table.drop(columns="folder"))
            if progress is not None:
                progress(shard.rows)
        labels = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"file": []})
        labels.to_csv(temporary / LABELS, index=False)
    return ExportReport(destination, sum(counts.values()), dict(sorted(counts.items())))


def _names(manifest: Manifest, by: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the axes and attributes that name a folder, checked."""
    axes = list(manifest.cells[0].attributes) if manifest.cells else []
    known = [*axes, *(c.name for c in manifest.columns if c.group == "attr" and c.levels and c.name not in axes)]
    if by is None:
        return tuple(axes)
    asked = [by] if isinstance(by, str) else list(by)
    names = tuple(dict.fromkeys(name.strip() for text in asked for name in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"images cannot be sorted by {shown(name)}: {nearest(name, known)}")
    return names


def _export_shard(
    folder: Path, name: str, sha256: str, manifest: Manifest, names: Sequence[str], temporary: Path
) -> pd.DataFrame:
    """Write the images of one shard; return its part of labels.csv, with the folder of each image."""
    path = inside(folder, name)
    if not path.is_file() or sha256_file(path) != sha256:
        raise IntegrityError(f"{path} is not the file that the manifest lists; run faceaug verify to see what is wrong")
    with ShardReader(path) as reader:
        there = set(reader.keys)

        def fetch(column: Column) -> NDArray[Any] | None:
            return reader.column(column.dataset) if column.dataset in there else None

        table: pd.DataFrame = shard_table(name, reader.rows, manifest.columns, fetch).to_pandas()
        table.insert(0, "folder", _folders(table, manifest, names))
        stem, suffix = PurePosixPath(name).stem, SUFFIXES[reader.codec]
        files = [f"{sub}/{stem}-{row:05d}{suffix}" for row, sub in enumerate(table["folder"])]
        table.insert(1, "file", files)
        for sub in table["folder"].unique():
            (temporary / sub).mkdir(exist_ok=True)
        hashes = reader.column("sha256")
        for row, file in enumerate(files):
            data = reader.encoded(row)
            if reader.layout == "blob" and hashlib.sha256(data).digest() != hashes[row].tobytes():
                raise IntegrityError(f"{path}, row {row}, does not match its SHA-256; run faceaug verify")
            (temporary / file).write_bytes(data)
    return table


def _folders(table: pd.DataFrame, manifest: Manifest, names: Sequence[str]) -> list[str]:
    """Return the name of the folder of each row; the level of an axis is that of the row's cell."""
    axes = set(manifest.cells[0].attributes)
    cells = table["cell"].to_numpy(np.int64)
    parts = []
    for name in names:
        if name in axes:
            parts.append([manifest.cells[cell].attributes[name] for cell in cells])
        else:
            parts.append([UNKNOWN if level is None or level != level else str(level) for level in table[name]])
    return ["_".join(_plain(level) for level in levels) or "all" for levels in zip(*parts, strict=True)] or (
        ["all"] * len(table)
    )


def _plain(level: str) -> str:
    """Return a level as a file name; what is unsafe somewhere becomes hexadecimal, so that names stay distinct."""
    text = re.sub(r"[^\w .+=()-]", lambda found: f"%{ord(found[0]):02x}", level)
    return re.sub(r"^[. ]|[. ]$", lambda found: f"%{ord(found[0]):02x}", text) or "%"


@contextlib.contextmanager
def _whole_folder(destination: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination`; on a clean exit it takes that name, else it is removed."""
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise OutputError(f"{destination} is there already and is not an empty folder; choose another destination")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".tmp", dir=destination.parent))
    except OSError as error:
        raise output_error(destination, error) from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if destination.exists():
            destination.rmdir()
        os.replace(temporary, destination)
    except OSError as error:
        raise output_error(destination, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
