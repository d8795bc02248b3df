"""Export an output folder to plain image files that any trainer can read."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from faceaug.errors import IntegrityError, OutputError, UsageError
from faceaug.shards.description.samples_table import shard_table, table_columns
from faceaug.shards.manifest import Manifest, ShardEntry, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, output_error, sha256_file
from faceaug.utils.text import nearest, shown, without_formula
from faceaug.utils.threads import Progress

_LABELS_NAME = "labels.csv"
_NO_LEVEL = "unknown"  # folder of samples without a level
_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes
    ----------
    destination : Path
    images : int
        Images that were written.
    folders : dict of str to int
        Images by folder.
    """

    destination: Path
    images: int
    folders: dict[str, int]


def export_imagefolder(
    out: Path | str,
    destination: Path | str,
    by: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the images as files with a folder per class, the layout of torchvision's ImageFolder.

    Images are copied in their encoding (raw pixels become PNG). `labels.csv` at the top has a row per image: its file,
    then the columns of samples.parquet. The destination appears complete or not at all.

    Parameters
    ----------
    out : path
        A complete output folder.
    destination : path
        Absent, or an empty folder.
    by : str or sequence of str, optional
        Axes or attributes with levels that make a folder: `"gender"` or `"gender,ethnicity"`. By default all axes, that
        is, a folder per cell.
    progress : callable (images), optional
        Called with the number of images that were just written.

    Returns
    -------
    ExportReport

    Raises
    ------
    UsageError
        When `by` has an unknown name, or the run is unfinished.
    OutputError
        When the destination is not empty or cannot be written.
    IntegrityError
        When a shard or an image does not match its hash.
    """
    folder, destination = Path(out), Path(destination)
    manifest = read_manifest(folder)
    if not manifest.complete:
        raise UsageError(f"the run in {folder} is unfinished; continue it with --resume, then export")
    names = _folder_names(manifest, by)
    with _appearing_folder(destination) as temporary:
        counts: Counter[str] = Counter()
        tables = []
        for shard in manifest.shards:
            table = _export_shard(folder, shard, manifest, names, temporary)
            counts.update(table["folder"])
            tables.append(table.drop(columns="folder"))
            if progress is not None:
                progress(shard.rows)
        labels = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"file": []})
        texts = [name for name in labels.columns if name != "file" and labels[name].dtype.kind not in "iufb"]
        labels[texts] = labels[texts].map(lambda value: without_formula(value) if isinstance(value, str) else value)
        labels.rename(columns=without_formula).to_csv(temporary / _LABELS_NAME, index=False)
    return ExportReport(destination, counts.total(), dict(sorted(counts.items())))


def _folder_names(manifest: Manifest, by: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the axes and attributes that make a folder, after checking them."""
    axes = list(manifest.cells[0].attributes) if manifest.cells else []
    if by is None:
        return tuple(axes)
    allowed = [*axes, *(c.name for c in manifest.columns if c.group == "attr" and c.levels and c.name not in axes)]
    requested = [by] if isinstance(by, str) else list(by)
    names = tuple(dict.fromkeys(name.strip() for text in requested for name in text.split(",")))
    for name in names:
        if name not in allowed:
            raise UsageError(f"images cannot be sorted by {shown(name)}: {nearest(name, allowed)}")
    return names


def _export_shard(
    folder: Path, entry: ShardEntry, manifest: Manifest, names: Sequence[str], temporary: Path
) -> pd.DataFrame:
    """Write the images of one shard; return its rows of labels.csv and the folder of each image."""
    path = inside(folder, entry.name)
    if not path.is_file() or sha256_file(path) != entry.sha256:
        raise IntegrityError(f"{path} is not the file that the manifest lists; run faceaug verify to see what is wrong")
    with ShardReader(path) as reader:
        values = reader.read_columns(table_columns(manifest.columns))
        table: pd.DataFrame = shard_table(entry.name, reader.rows, manifest.columns, values).to_pandas()
        table.insert(0, "folder", _folders(table, manifest, names))
        stem, suffix = PurePosixPath(entry.name).stem, _SUFFIXES[reader.codec]
        files = [f"{sub}/{stem}-{row:05d}{suffix}" for row, sub in enumerate(table["folder"])]
        table.insert(1, "file", files)
        for sub in table["folder"].unique():
            (temporary / sub).mkdir(exist_ok=True)
        for row, file in enumerate(files):
            data = reader.encoded(row)
            if reader.layout == "blob" and hashlib.sha256(data).digest() != values["sha256"][row].tobytes():
                raise IntegrityError(f"{path}, row {row}, does not match its SHA-256; run faceaug verify")
            (temporary / file).write_bytes(data)
    return table


def _folders(table: pd.DataFrame, manifest: Manifest, names: Sequence[str]) -> list[str]:
    """Return the folder of each row; the level of an axis is that of the row's cell."""
    axes = set(manifest.cells[0].attributes)
    cells = table["cell"].to_numpy(np.int64)
    if len(cells) and not 0 <= cells.min() <= cells.max() < len(manifest.cells):
        raise IntegrityError("a shard has a sample of a cell that the manifest does not list; run faceaug verify")
    levels_by_name = []
    for name in names:
        if name in axes:
            levels_by_name.append([manifest.cells[cell].attributes[name] for cell in cells])
        else:
            levels_by_name.append(
                [_NO_LEVEL if level is None or level != level else str(level) for level in table[name]]
            )
    if not names:
        return ["all"] * len(table)
    return ["_".join(_safe_name(level) for level in levels) for levels in zip(*levels_by_name, strict=True)]


def _safe_name(level: str) -> str:
    """Return a level as a file name; characters that some systems refuse are escaped, so that names stay distinct."""
    text = re.sub(r"[^\w .+=()-]", lambda match: f"%{ord(match[0]):02x}", level)
    return re.sub(r"^[. =]|[. ]$", lambda match: f"%{ord(match[0]):02x}", text) or "%"


@contextlib.contextmanager
def _appearing_folder(destination: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination`; a clean exit gives it that name, an error removes it."""
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise OutputError(f"{destination} exists already and is not an empty folder; choose another destination")
    temporary = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise output_error(destination, error) from error
    try:
        yield temporary
        if destination.exists():
            destination.rmdir()
        os.replace(temporary, destination)
    except OSError as error:
        raise output_error(destination, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
