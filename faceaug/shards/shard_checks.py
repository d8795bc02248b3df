"""What is checked in one shard and in the table of samples; `verify` puts the pieces together.

A shard may be damaged in any way, so nothing here trusts it: data whose HDF5 checksum fails is read around it, and the
hash of each image then tells which rows the damage hit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faceaug.errors import ImageError, IntegrityError
from faceaug.shards.columns import ENGINES, MISSING, Column, complete_columns
from faceaug.shards.manifest import TABLE, Manifest, ShardEntry
from faceaug.shards.reader import DAMAGE, offsets_sound
from faceaug.shards.samples_table import Fetch, shard_table
from faceaug.shards.writer import FORMAT, VERSION
from faceaug.utils import images
from faceaug.utils.hdf5 import open_hdf5
from faceaug.utils.text import one_line, shown

OPTIONAL = ("w", "origin_w", "source_sha256")  # absent when no sample of the shard has one


@dataclasses.dataclass(frozen=True)
class ShardProblem:
    """Something that is wrong: in which file, and if known of which shard and row."""

    file: str
    what: str
    shard: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = self.file if self.shard in (None, self.file) else f"{self.file} ({self.shard})"
        return f"{where}{'' if self.row is None else f', row {self.row}'}: {self.what}"


@dataclasses.dataclass
class ShardContent:
    """What was read of one shard: stored values by column key, and what is wrong."""

    entry: ShardEntry
    columns: dict[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    problems: list[ShardProblem] = dataclasses.field(default_factory=list)

    def add(self, what: str, row: Any = None) -> None:
        """Note a problem of this shard."""
        self.problems.append(ShardProblem(self.entry.name, what, self.entry.name, None if row is None else int(row)))


def check_shard(path: Path, entry: ShardEntry, manifest: Manifest) -> ShardContent:
    """Read all of a shard and check it against the manifest."""
    content = ShardContent(entry)
    try:
        with open_hdf5(path, IntegrityError) as file:
            if _check_head(file, content, manifest):
                _check_columns(file, content, manifest)
                _check_images(file, content, manifest)
    except IntegrityError as error:
        content.add(str(error))
    except DAMAGE as error:
        content.add(f"cannot be read as a shard: {one_line(error)}")
    return content


def _check_head(file: h5py.File, content: ShardContent, manifest: Manifest) -> bool:
    """Check format, version, rows, layout and codec; False when reading on makes no sense."""
    found = {name: _plain(file.attrs.get(name)) for name in ("format", "version", "rows", "layout", "codec")}
    expected = {
        "format": FORMAT,
        "version": VERSION,
        "rows": content.entry.rows,
        "layout": manifest.layout,
        "codec": manifest.codec,
    }
    for name, value in expected.items():
        if found[name] != value:
            content.add(f"its {name} is {shown(found[name])}, expected {value!r}")
    return found == expected


def _check_columns(file: h5py.File, content: ShardContent, manifest: Manifest) -> None:
    columns = {column.dataset: column for column in complete_columns(manifest.columns)}
    stored = {"pixels"} if manifest.layout == "raw" else {"blob", "offset"}
    there: set[str] = set()
    file.visititems(lambda name, item: there.add(name) if isinstance(item, h5py.Dataset) else None)
    for name in sorted(there - stored - set(columns)):
        content.add(f"holds a dataset {shown(name)} that the manifest does not know")
    for name in sorted((stored | set(columns)) - set(OPTIONAL) - there):
        content.add(f"the dataset {name!r} is missing")
    for name, column in columns.items():
        if name not in there:
            continue
        values = _whole(file[name], name, content)
        if values is None:
            continue
        width = {"sha256": (32,), "latent": values.shape[1:2]}.get(column.type, ())
        if values.dtype != column.dtype or values.shape != (content.entry.rows, *width):
            content.add(
                f"{name} is {values.dtype} {list(values.shape)}, expected {column.dtype} of {content.entry.rows} rows"
            )
            continue
        if column.type != "latent":  # large, and not in the table
            content.columns[column.key] = values
        _check_values(file[name], column, values, content, len(manifest.cells))
    _check_sources(content)


def _check_values(
    dataset: h5py.Dataset, column: Column, values: NDArray[Any], content: ShardContent, cells: int
) -> None:
    bad: NDArray[np.bool_] = np.zeros(len(values), bool)
    if column.type == "category":
        levels = tuple(bytes(level).decode("utf-8", "replace") for level in dataset.attrs.get("levels", ()))
        if levels != column.levels:
            content.add(f"{column.dataset} has levels {shown(levels)}, the manifest has {column.levels}")
        lowest = 0 if column.group == "sample" else MISSING
        bad = (values < lowest) | (values >= len(column.levels))
    elif column.key == "cell":
        bad = (values < 0) | (values >= cells)
    elif column.type == "latent":  # all of it, or nothing (NaN) for a sample that has none
        bad = np.isinf(values).any(axis=1) | (np.isnan(values).any(axis=1) & ~np.isnan(values).all(axis=1))
    for row in np.flatnonzero(bad):
        content.add(f"{column.dataset} has the value {values[row]}, which it cannot have", row)


def _check_sources(content: ShardContent) -> None:
    """A re-rendered face names its real picture; a drawn one may, where it began with one."""
    engine = content.columns.get("engine")
    if engine is None:
        return
    source = content.columns.get("source_sha256", np.zeros((len(engine), 32), np.uint8))
    for row in np.flatnonzero(~source.any(axis=1) & (engine == ENGINES.index("rerender"))):
        content.add("its engine and source_sha256 do not go together", row)


def _check_images(file: h5py.File, content: ShardContent, manifest: Manifest) -> None:
    hashes = content.columns.get("sha256")
    for row, data in _stored(file, content, manifest):
        if data is None:
            content.add("its pixels fail their checksum", row)
            continue
        if hashes is not None and hashlib.sha256(data).digest() != hashes[row].tobytes():
            content.add("the image does not match its SHA-256", row)
        if manifest.layout == "blob":
            try:
                info = images.decode_with_info(data, name="the image")[1]
            except ImageError as error:
                content.add(str(error), row)
                continue
            if info.codec != manifest.codec:
                content.add(f"the image is {info.codec}, expected {manifest.codec}", row)


def _stored(file: h5py.File, content: ShardContent, manifest: Manifest) -> Iterator[tuple[int, bytes | None]]:
    """Yield row and bytes of each image, None for pixels that cannot be read."""
    rows = content.entry.rows
    if manifest.layout == "raw":
        pixels = file["pixels"]
        if pixels.ndim != 4 or pixels.shape[0] != rows or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
            content.add(f"pixels are {pixels.dtype} {list(pixels.shape)}, expected uint8 [{rows}, H, W, 3]")
            return
        for row in range(rows):
            try:
                yield row, pixels[row].tobytes()
            except OSError:
                yield row, None
        return
    offset, blob = _whole(file["offset"], "offset", content), _whole(file["blob"], "blob", content)
    if offset is None or blob is None:
        return
    if offset.shape != (rows + 1,) or blob.ndim != 1 or blob.dtype != np.uint8 or not offsets_sound(offset, len(blob)):
        content.add(f"the offsets do not rise from 0 to {blob.size} in {rows} steps", _first_fault(offset, blob.size))
        return
    for row in range(rows):
        yield row, blob[offset[row] : offset[row + 1]].tobytes()


def _first_fault(offset: NDArray[np.int64], total: int) -> int | None:
    """Return the first row whose end does not lie beyond its start and within the blob."""
    wrong = np.flatnonzero((np.diff(offset) <= 0) | (offset[1:] > total)) if offset.ndim == 1 else np.empty(0)
    return int(wrong[0]) if len(wrong) else None


def _whole(dataset: h5py.Dataset, name: str, content: ShardContent) -> NDArray[Any] | None:
    """Read a whole dataset, around its checksums where these fail; None when nothing can be had."""
    if dataset.nbytes > content.entry.bytes:  # nothing in a shard is compressed
        content.add(f"{name} claims {dataset.nbytes} bytes, more than the shard has")
        return None
    if not dataset.fletcher32:
        content.add(f"{name} has no checksum")
    try:
        return np.asarray(dataset[...])
    except OSError:
        content.add(f"{name} fails its checksum")
    try:
        return _around_checksums(dataset)
    except DAMAGE as error:
        content.add(f"{name} cannot be read: {one_line(error)}")
        return None


def _around_checksums(dataset: h5py.Dataset) -> NDArray[Any]:
    values = np.zeros(dataset.shape, dataset.dtype)
    steps = [range(0, total, step) for total, step in zip(dataset.shape, dataset.chunks, strict=True)]
    for corner in itertools.product(*steps):
        raw = dataset.id.read_direct_chunk(corner)[1]
        chunk = np.frombuffer(raw[:-4], dataset.dtype).reshape(dataset.chunks)  # the last four bytes are the checksum
        window = tuple(slice(at, at + step) for at, step in zip(corner, dataset.chunks, strict=True))
        part = values[window]
        part[...] = chunk[tuple(slice(n) for n in part.shape)]
    return values


def check_table(table: pa.Table, contents: list[ShardContent], manifest: Manifest) -> list[ShardProblem]:
    """Compare samples.parquet with what the shards hold, cell by cell."""
    problems: list[ShardProblem] = []
    expected_rows = sum(content.entry.rows for content in contents)
    if table.num_rows != expected_rows:
        return [ShardProblem(TABLE, f"has {table.num_rows} rows, the shards have {expected_rows}")]
    start = 0
    for content in contents:
        entry, values = content.entry, content.columns
        expected = shard_table(entry.name, entry.rows, manifest.columns, _fetch(values))
        if start == 0 and table.column_names != expected.column_names:
            return [ShardProblem(TABLE, f"has the columns {table.column_names}, expected {expected.column_names}")]
        part = table.slice(start, entry.rows)
        start += entry.rows
        for name in expected.column_names:
            if name in ("shard", "row") or name in values or name in OPTIONAL:
                problems += [
                    ShardProblem(TABLE, f"{name} is {shown(found)}, the shard has {shown(stored)}", entry.name, row)
                    for row, found, stored in _differences(part[name], expected[name])
                ]
    return problems


def _fetch(values: dict[str, NDArray[Any]]) -> Fetch:
    return lambda column: values.get(column.key)


def _differences(found: pa.ChunkedArray, expected: pa.ChunkedArray) -> Iterator[tuple[int, Any, Any]]:
    if found.type != expected.type:
        yield 0, str(found.type), str(expected.type)
        return
    for row, (left, right) in enumerate(zip(found.to_pylist(), expected.to_pylist(), strict=True)):
        if left != right and not (left != left and right != right):  # NaN agrees with NaN
            yield row, left, right


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
