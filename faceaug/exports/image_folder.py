"""Image files in a folder for each class, as torchvision's ImageFolder reads them, with a table beside them.

The table is `metadata.csv` with a column `file_name`, which `load_dataset("imagefolder")` of Hugging Face joins, and so
does faceaug's own reader of folders.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faceaug.errors import IntegrityError, UsageError
from faceaug.exports.records import ExportRecord, ExportSource
from faceaug.utils.text import nearest, shown, without_formula
from faceaug.utils.threads import Progress

METADATA_NAME = "metadata.csv"
_NO_LEVEL = "unknown"  # folder of images without a level


def write_image_folder(
    source: ExportSource, folder: Path, progress: Progress, by: str | Sequence[str] | None = None
) -> dict[str, int]:
    """Write the images of a source as files, and the table; return the number of images by folder.

    Parameters
    ----------
    source : ExportSource
    folder : Path
        An empty folder.
    progress : callable (images)
    by : str or sequence of str, optional
        Axes or attributes with levels that make a folder: `"gender"` or `"gender,ethnicity"`. By default all axes, that
        is, a folder for each cell.

    Raises
    ------
    UsageError
        When `by` has an unknown name.
    """
    names = folder_names(source, by)
    counts: Counter[str] = Counter()
    with open(folder / METADATA_NAME, "w", encoding="utf-8", newline="") as table:
        columns = ["file_name", *(field.name for field in source.fields)]
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writerow({name: without_formula(name) for name in columns})
        for record in source:
            place = folder_of(source, record, names)
            (folder / place).mkdir(exist_ok=True)
            file = f"{place}/{record.file_name}"
            (folder / file).write_bytes(record.image)
            writer.writerow({"file_name": file, **{name: _text(value) for name, value in record.values.items()}})
            counts[place] += 1
            progress(1)
    return dict(sorted(counts.items()))


def image_folder_images(folder: Path) -> Iterator[bytes]:
    """Yield the images of a folder that was written, in the order of its table."""
    with open(folder / METADATA_NAME, encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            yield (folder / row["file_name"]).read_bytes()


def folder_names(source: ExportSource, by: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the axes and attributes that make a folder, after checking them."""
    manifest = source.manifest
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


def folder_of(source: ExportSource, record: ExportRecord, names: Sequence[str]) -> str:
    """Return the folder of an image; the level of an axis is that of its cell.

    Levels of several names are joined by an underline, which is escaped where a level has one: no two cells meet.
    """
    cell = record.values["cell"]
    if cell is not None and not 0 <= int(cell) < len(source.manifest.cells):
        raise IntegrityError("a shard has a sample of a cell that the manifest does not list; run faceaug verify")
    of_cell = {} if cell is None else source.manifest.cells[int(cell)].attributes
    levels = [of_cell.get(name, record.values.get(name)) for name in names]  # a real image may be in no cell
    safe = [_safe_name(_NO_LEVEL if level is None else str(level)) for level in levels]
    return "_".join(level.replace("_", "%5f") for level in safe) if len(safe) > 1 else "".join(safe) or "all"


def _text(value: Any) -> Any:
    """Return a value for the table: no formula, and numbers beyond int64, which loaders cannot hold, hexadecimal."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return without_formula(value)
    return f"{value:#018x}" if isinstance(value, int) and value >= 1 << 63 else value


def _safe_name(level: str) -> str:
    """Return a level as a file name; characters that some systems refuse are escaped, so that names stay distinct."""
    text = re.sub(r"[^\w .+=()-]", lambda match: f"%{ord(match[0]):02x}", level)
    return re.sub(r"^[. =]|[. ]$", lambda match: f"%{ord(match[0]):02x}", text) or "%"
