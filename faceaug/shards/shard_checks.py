"""Checks of one shard and of the table of samples; `verify` combines them.

A shard may be damaged in any way, so nothing here relies on it. Data whose HDF5 checksum fails is read without the
checksum, and the hash of each image then shows which rows are damaged.
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
from faceaug.shards.columns import (
    ENGINES_WITH_SOURCE,
    MISSING_CODE,
    SHARD_FORMAT,
    SHARD_VERSION,
    SOURCE_COLUMNS,
    Column,
    complete_columns,
)
from faceaug.shards.description.samples_table import plain_values, samples_schema
from faceaug.shards.images.blob import BLOB_NAME, OFFSET_NAME, offsets_valid
from faceaug.shards.images.image_rows import IMAGE_NAME, LENGTH_NAME, POSITION_NAME, ImageRows
from faceaug.shards.manifest import SAMPLES_NAME, Manifest, ShardEntry
from faceaug.shards.reader import PIXELS_NAME
from faceaug.utils import images
from faceaug.utils.hdf5 import DAMAGE_ERRORS, open_hdf5, read_levels
from faceaug.utils.text import one_line, shown

_OPTIONAL = ("w", "origin_w", *SOURCE_COLUMNS)  # absent when no sample of the shard has one


@dataclasses.dataclass(frozen=True)
class ShardProblem:
    """A problem of an output folder, with the file and, where they are known, shard and row."""

    file: str
    what: str
    shard: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = self.file if self.shard in (None, self.file) else f"{self.file} ({self.shard})"
        return f"{where}{'' if self.row is None else f', row {self.row}'}: {self.what}"


@dataclasses.dataclass
class ShardContent:
    """Content of one shard: stored values by column key (latents left out), and its problems."""

    entry: ShardEntry
    columns: dict[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    problems: list[ShardProblem] = dataclasses.field(default_factory=list)

    def add(self, what: str, row: Any = None) -> None:
        """Add a problem of this shard."""
        self.problems.append(ShardProblem(self.entry.name, what, self.entry.name, None if row is None else int(row)))


def check_shard(path: Path, entry: ShardEntry, manifest: Manifest) -> ShardContent:
    """Read a whole shard and check it against the manifest; damage is reported in the result, not raised."""
    content = ShardContent(entry)
    try:
        with open_hdf5(path, IntegrityError) as file:
            if _check_header(file, content, manifest):
                _check_columns(file, content, manifest)
                _check_images(file, content, manifest)
    except IntegrityError as error:
        content.add(str(error))
    except DAMAGE_ERRORS as error:
        content.add(f"cannot be read as a shard: {one_line(error)}")
    return content


def _check_header(file: h5py.File, content: ShardContent, manifest: Manifest) -> bool:
    """Check format, version, rows, layout and codec; return False when the rest cannot be checked."""
    stated = {name: _plain(file.attrs.get(name)) for name in ("format", "version", "rows", "layout", "codec")}
    expected = {
        "format": SHARD_FORMAT,
        "version": manifest.version,
        "rows": content.entry.rows,
        "layout": manifest.layout,
        "codec": manifest.codec,
    }
    for name, value in expected.items():
        if stated[name] != value:
            content.add(f"its {name} is {shown(stated[name])}, expected {value!r}")
    return stated == expected


def _check_columns(file: h5py.File, content: ShardContent, manifest: Manifest) -> None:
    columns = {column.path: column for column in complete_columns(manifest.columns)}
    image_paths = _image_paths(manifest)
    paths: set[str] = set()
    file.visititems(lambda path, item: paths.add(path) if isinstance(item, h5py.Dataset) else None)
    for path in sorted(paths - image_paths - set(columns)):
        content.add(f"has a data set {shown(path)} that the manifest does not list")
    for path in sorted((image_paths | set(columns)) - set(_OPTIONAL) - paths):
        content.add(f"the data set {path!r} is missing")
    for path, column in columns.items():
        values = _read_whole(file[path], path, content) if path in paths else None
        if values is None:
            continue
        width = {"sha256": (32,), "latent": values.shape[1:2]}.get(column.type, ())
        if values.dtype != column.dtype or values.shape != (content.entry.rows, *width):
            content.add(
                f"{path} is {values.dtype} {list(values.shape)}, expected {column.dtype} of {content.entry.rows} rows"
            )
            continue
        if column.type != "latent":  # latents are large, and the table does not have them
            content.columns[column.key] = values
        _check_values(file[path], column, values, content, len(manifest.cells))
    _check_sources(content, columns["engine"])


def _image_paths(manifest: Manifest) -> set[str]:
    """Return the data sets of images that a shard should have."""
    if manifest.layout == "raw":
        return {PIXELS_NAME}
    return {IMAGE_NAME, POSITION_NAME, LENGTH_NAME} if manifest.version == SHARD_VERSION else {BLOB_NAME, OFFSET_NAME}


def _check_values(
    dataset: h5py.Dataset, column: Column, values: NDArray[Any], content: ShardContent, cells: int
) -> None:
    bad: NDArray[np.bool_] = np.zeros(len(values), bool)
    if column.type == "category":
        levels = read_levels(dataset)
        if levels != column.levels:
            content.add(f"{column.path} has levels {shown(levels)}, the manifest has {column.levels}")
        lowest = 0 if column.group == "sample" else MISSING_CODE
        bad = (values < lowest) | (values >= len(column.levels))
    elif column.key == "cell":
        bad = (values < 0) | (values >= cells)
    elif column.type == "latent":  # a row is finite as a whole, or NaN as a whole where a sample has no latent
        bad = np.isinf(values).any(axis=1) | (np.isnan(values).any(axis=1) & ~np.isnan(values).all(axis=1))
    for row in np.flatnonzero(bad):
        content.add(f"{column.path} has the value {values[row]}, which is not allowed", row)


def _check_sources(content: ShardContent, column: Column) -> None:
    """Check that every rerendered face names its image. Samples of other engines may have a source."""
    engine = content.columns.get("engine")
    if engine is None:
        return
    source = content.columns.get("source_sha256", np.zeros((len(engine), 32), np.uint8))
    codes = [code for code, name in enumerate(column.levels) if name in ENGINES_WITH_SOURCE]
    for row in np.flatnonzero(~source.any(axis=1) & np.isin(engine, codes)):
        content.add("its engine requires a source_sha256, and it has none", row)


def _check_images(file: h5py.File, content: ShardContent, manifest: Manifest) -> None:
    hashes = content.columns.get("sha256")
    for row, data in _stored_images(file, content, manifest):
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


def _stored_images(file: h5py.File, content: ShardContent, manifest: Manifest) -> Iterator[tuple[int, bytes | None]]:
    """Yield row and bytes of each image; None for pixels that cannot be read."""
    rows = content.entry.rows
    if manifest.layout == "raw":
        pixels = file[PIXELS_NAME]
        if pixels.ndim != 4 or pixels.shape[0] != rows or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
            content.add(f"pixels are {pixels.dtype} {list(pixels.shape)}, expected uint8 [{rows}, H, W, 3]")
            return
        for row in range(rows):
            try:
                yield row, pixels[row].tobytes()
            except OSError:
                yield row, None
        return
    if manifest.version == SHARD_VERSION:
        yield from _image_rows(file, content)
        return
    offset, blob = (_read_whole(file[name], name, content) for name in (OFFSET_NAME, BLOB_NAME))
    if offset is None or blob is None:
        return
    if offset.shape != (rows + 1,) or blob.ndim != 1 or blob.dtype != np.uint8 or not offsets_valid(offset, len(blob)):
        first = _first_bad_offset(offset, blob.size)
        content.add(f"the offsets do not increase from 0 to {blob.size} in {rows} steps", first)
        return
    for row in range(rows):
        yield row, blob[offset[row] : offset[row + 1]].tobytes()


def _image_rows(file: h5py.File, content: ShardContent) -> Iterator[tuple[int, bytes]]:
    """Yield row and bytes of each image, which have to be the same when they are read through HDF5."""
    for name in (POSITION_NAME, LENGTH_NAME):
        _read_whole(file[name], name, content)
    stored, readable = ImageRows(file, content.entry.rows), True
    for row in range(content.entry.rows):
        data = stored.flat(row)
        yield row, data
        try:
            if readable and stored.through_hdf5(row) != data:
                content.add("the image is another one when it is read through HDF5", row)
        except DAMAGE_ERRORS as error:
            content.add(f"the images cannot be read through HDF5: {one_line(error)}")
            readable = False


def _first_bad_offset(offset: NDArray[np.int64], total: int) -> int | None:
    """Return the first row whose end is not after its start or lies outside the blob."""
    wrong = np.flatnonzero((np.diff(offset) <= 0) | (offset[1:] > total)) if offset.ndim == 1 else np.empty(0)
    return int(wrong[0]) if len(wrong) else None


def _read_whole(dataset: h5py.Dataset, name: str, content: ShardContent) -> NDArray[Any] | None:
    """Read a whole data set, without its checksums where they fail; None when it cannot be read at all."""
    if dataset.nbytes > content.entry.bytes:  # a shard has no compression
        content.add(f"{name} claims {dataset.nbytes} bytes, more than the shard has")
        return None
    if not dataset.fletcher32:
        content.add(f"{name} has no checksum")
    try:
        return np.asarray(dataset[...])
    except OSError:
        content.add(f"{name} fails its checksum")
    try:
        return _read_without_checksums(dataset)
    except DAMAGE_ERRORS as error:
        content.add(f"{name} cannot be read: {one_line(error)}")
        return None


def _read_without_checksums(dataset: h5py.Dataset) -> NDArray[Any]:
    values = np.zeros(dataset.shape, dataset.dtype)
    starts = [range(0, total, step) for total, step in zip(dataset.shape, dataset.chunks, strict=True)]
    for corner in itertools.product(*starts):
        raw = dataset.id.read_direct_chunk(corner)[1]
        chunk = np.frombuffer(raw[:-4], dataset.dtype).reshape(dataset.chunks)  # the last four bytes are the checksum
        window = tuple(slice(at, at + step) for at, step in zip(corner, dataset.chunks, strict=True))
        view = values[window]  # smaller than a chunk at the end of an axis
        view[...] = chunk[tuple(slice(n) for n in view.shape)]
    return values


def check_table(table: pa.Table, contents: list[ShardContent], manifest: Manifest) -> list[ShardProblem]:
    """Compare samples.parquet with the content of the shards, value by value."""
    problems: list[ShardProblem] = []
    expected_rows = sum(content.entry.rows for content in contents)
    if table.num_rows != expected_rows:
        return [ShardProblem(SAMPLES_NAME, f"has {table.num_rows} rows, the shards have {expected_rows}")]
    schema = samples_schema(manifest.columns)
    if contents and table.column_names != schema.names:
        return [ShardProblem(SAMPLES_NAME, f"has the columns {table.column_names}, expected {schema.names}")]
    start = 0
    for content in contents:
        entry, values = content.entry, content.columns
        expected = plain_values(entry.name, entry.rows, manifest.columns, values)
        rows = table.slice(start, entry.rows)
        start += entry.rows
        for name in schema.names:
            if name in ("shard", "row") or name in values or name in _OPTIONAL:
                problems += [
                    ShardProblem(
                        SAMPLES_NAME, f"{name} is {shown(value)}, the shard has {shown(stored)}", entry.name, row
                    )
                    for row, value, stored in _differences(rows[name], schema.field(name).type, expected[name])
                ]
    return problems


def _differences(column: pa.ChunkedArray, kind: pa.DataType, expected: list[Any]) -> Iterator[tuple[int, Any, Any]]:
    if column.type != kind:
        yield 0, str(column.type), str(kind)
        return
    for row, (left, right) in enumerate(zip(column.to_pylist(), expected, strict=True)):
        if left != right and not (left != left and right != right):  # NaN equals NaN here
            yield row, left, right


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
