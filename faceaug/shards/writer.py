"""Write a shard: one HDF5 file that is made in memory, hashed, and put on disk whole.

Made in memory, so that a full disk is an ordinary failed write and never a half-closed HDF5 file. Nothing in it depends
on the clock or the machine: equal samples give equal bytes. Object headers are of HDF5 1.10 form, which carry checksums
of their own; scalars and names, which no filter can cover, are attributes and lie in them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from faceaug.errors import FaceaugError, nearest
from faceaug.shards.columns import ENGINES, MISSING, SAMPLE_COLUMNS, Column, complete_columns
from faceaug.shards.manifest import ShardEntry
from faceaug.utils import images
from faceaug.utils.files import write_bytes

FORMAT = "faceaug-shard"
VERSION = 1
CHUNK = 65536  # bytes of the image blob under one checksum
MAX_ROWS = 2000
MAX_BYTES = 256_000_000

Codec = Literal["jpeg", "png", "webp"]
Layout = Literal["blob", "raw"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One accepted sample.

    Attributes
    ----------
    image : uint8 [H, W, 3], or bytes of a file in the shard's codec and `quality`, where images are kept encoded
    w, origin_w : float32 [D], or None for a re-rendered face
    engine : "generator" or "rerender"
    source_sha256 : 32 bytes, the real picture that a face was made of, else None
    finish, semantic, attr_confidence : value by name; names that are left out are stored as NaN
    attr : level or number by name; names that are left out are stored as missing
    plausibility, realism : float, NaN where there is none
    seed : int in [0, 2**64)
    quality : codec quality, or None for the codec's default
    """

    image: NDArray[np.uint8] | bytes
    w: NDArray[np.float32] | None
    origin_w: NDArray[np.float32] | None
    engine: str
    source_sha256: bytes | None
    finish: Mapping[str, float]
    cell: int
    attr: Mapping[str, str | float]
    attr_confidence: Mapping[str, float]
    semantic: Mapping[str, float]
    plausibility: float
    realism: float
    seed: int
    quality: int | None = None


@dataclasses.dataclass(frozen=True)
class EncodedSample:
    """A sample ready for a shard: `data` is the encoded image, or raw pixels of `shape`; `sample.image` is empty."""

    data: bytes
    shape: tuple[int, int] | None
    digest: bytes
    sample: Sample

    @property
    def size(self) -> int:
        """Bytes that the record takes in a shard, near enough to close it in time."""
        latents = [v.nbytes for v in (self.sample.w, self.sample.origin_w) if v is not None]
        return len(self.data) + sum(latents) + 256


DEFAULT_QUALITY = 90
NO_IMAGE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


def prepare(sample: Sample, *, codec: Codec, layout: Layout) -> EncodedSample:
    """Encode a sample's image (or take its pixels when `layout` is raw) and hash it."""
    image, shape = sample.image, None
    quality = None if codec == "png" else (DEFAULT_QUALITY if sample.quality is None else sample.quality)
    if isinstance(image, bytes):
        if layout == "raw":
            raise FaceaugError("a sample's image is encoded; expected uint8 [H, W, 3], as the layout is raw")
        data = image
    elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise FaceaugError(f"a sample's image is {image.dtype} {image.shape}; expected uint8 [H, W, 3]")
    elif layout == "raw":
        data, quality, shape = np.ascontiguousarray(image).tobytes(), None, (image.shape[0], image.shape[1])
    else:
        data = encoded(image, codec, quality)
    w, origin = (
        None if v is None else np.array(v, np.float32) for v in (sample.w, sample.origin_w)
    )  # no view of a block
    bare = dataclasses.replace(sample, image=NO_IMAGE, quality=quality, w=w, origin_w=origin)
    return EncodedSample(data, shape, hashlib.sha256(data).digest(), bare)


def read_back(image: NDArray[np.uint8], codec: Codec | None, quality: int | None) -> NDArray[np.uint8]:
    """Return a picture as a reader of the shard will see it; `codec` is None where pixels are stored as they are."""
    if codec is None or codec == "png":
        return image
    return images.decode(encoded(image, codec, quality))


def encoded(image: NDArray[np.uint8], codec: Codec, quality: int | None) -> bytes:
    """Return a picture as a shard holds it; the codec's default quality where None is given."""
    return images.encode(image, codec, DEFAULT_QUALITY if quality is None else quality)


def split(
    records: Sequence[EncodedSample], *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
) -> Iterator[list[EncodedSample]]:
    """Cut `records` into runs that fit a shard each, in order; a record larger than a shard gets one of its own."""
    part: list[EncodedSample] = []
    size = 0
    for record in records:
        if part and (len(part) >= max_rows or size + record.size > max_bytes):
            yield part
            part, size = [], 0
        part.append(record)
        size += record.size
    if part:
        yield part


def write_shard(
    path: Path, samples: Iterable[Sample], *, columns: Sequence[Column], codec: Codec = "jpeg", layout: Layout = "blob"
) -> ShardEntry:
    """Write `samples` to one shard file.

    Parameters
    ----------
    path : where to; the entry is named by its last two parts, shards/00000.h5
    columns : the attr, semantic and finish columns; a sample that carries other names is refused

    Returns
    -------
    ShardEntry
        Name, SHA-256, bytes and rows, as the manifest lists it.
    """
    return write_records(path, [prepare(s, codec=codec, layout=layout) for s in samples], columns, codec, layout)


def write_records(
    path: Path, records: Sequence[EncodedSample], columns: Sequence[Column], codec: Codec, layout: Layout
) -> ShardEntry:
    """Write prepared samples to one shard file; see `write_shard`."""
    if not records:
        raise FaceaugError(f"{path} would hold no sample; a shard has at least one")
    check_records(columns, records)
    with h5py.File(path.name, "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        _attribute(file, "format", FORMAT)
        file.attrs["version"] = np.int64(VERSION)
        file.attrs["rows"] = np.int64(len(records))
        _attribute(file, "layout", layout)
        _attribute(file, "codec", codec)
        _write_images(file, records, layout)
        for column in complete_columns(columns):
            values = _values(column, records)
            if values is not None:
                dataset = _dataset(file, column.dataset, values)
                _describe(dataset, column)
        file.flush()
        data = file.id.get_file_image()
    write_bytes(path, data)
    name = f"{path.parent.name}/{path.name}"
    return ShardEntry(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), rows=len(records))


def _write_images(file: h5py.File, records: Sequence[EncodedSample], layout: Layout) -> None:
    if layout == "raw":
        shapes = {record.shape for record in records if record.shape is not None}
        if len(shapes) > 1:
            raise FaceaugError(
                f"the raw layout needs images of one size, found {sorted(shapes)[:3]}; use the blob layout"
            )
        height, width = shapes.pop()
        pixels = np.frombuffer(b"".join(r.data for r in records), np.uint8).reshape(-1, height, width, 3)
        _dataset(file, "pixels", pixels, chunks=(1, height, width, 3))
        return
    offset = np.zeros(len(records) + 1, np.int64)
    np.cumsum([len(r.data) for r in records], out=offset[1:])
    blob = np.frombuffer(b"".join(r.data for r in records), np.uint8)
    _dataset(file, "blob", blob, chunks=(min(CHUNK, len(blob)),))
    _dataset(file, "offset", offset)


def _dataset(file: h5py.File, name: str, values: NDArray[Any], chunks: tuple[int, ...] | None = None) -> h5py.Dataset:
    chunks = chunks or (min(len(values), 256), *values.shape[1:])
    return file.create_dataset(name, data=values, chunks=chunks, fletcher32=True, track_times=False)


def _attribute(target: h5py.HLObject, name: str, text: str) -> None:
    if text:  # HDF5 has no fixed-length string of no bytes
        target.attrs[name] = np.bytes_(text.encode())


def _describe(dataset: h5py.Dataset, column: Column) -> None:
    _attribute(dataset, "unit", column.unit)
    _attribute(dataset, "meaning", column.meaning)
    if column.levels:
        levels = [level.encode() for level in column.levels]
        dataset.attrs["levels"] = np.array(levels, dtype=f"S{max(1, *map(len, levels))}")


def _values(column: Column, records: Sequence[EncodedSample]) -> NDArray[Any] | None:
    """Return the values of one column, or None for a latent or source that no sample of the shard has."""
    samples = [record.sample for record in records]
    if column.group == "sample":
        return _sample_values(column, records)
    found = [getattr(sample, column.group).get(column.name) for sample in samples]
    if column.type == "category":
        return np.array([MISSING if level is None else _code(column, level) for level in found], column.dtype)
    return np.array([np.nan if value is None else float(value) for value in found], column.dtype)


def _sample_values(column: Column, records: Sequence[EncodedSample]) -> NDArray[Any] | None:
    samples = [record.sample for record in records]
    if column.type == "latent":
        return _latents([getattr(sample, column.name) for sample in samples], column.name)
    if column.name == "sha256":
        return np.frombuffer(b"".join(r.digest for r in records), np.uint8).reshape(-1, 32)
    if column.name == "source_sha256":
        if all(sample.source_sha256 is None for sample in samples):
            return None
        return np.frombuffer(b"".join(s.source_sha256 or bytes(32) for s in samples), np.uint8).reshape(-1, 32)
    if column.name == "quality":
        return np.array([MISSING if s.quality is None else s.quality for s in samples], column.dtype)
    found = [getattr(sample, column.name) for sample in samples]
    return np.array([_code(column, v) for v in found] if column.type == "category" else found, column.dtype)


def _latents(found: Sequence[NDArray[np.float32] | None], name: str) -> NDArray[np.float32] | None:
    """Stack latents [n, D]; a row of NaN where a sample has none, None when no sample has one."""
    widths = {latent.shape for latent in found if latent is not None}
    if not widths:
        return None
    if len(widths) > 1 or len(shape := widths.pop()) != 1:
        raise FaceaugError(f"the latents {name} of one shard must be vectors of one width")
    stacked = np.full((len(found), *shape), np.nan, np.float32)
    for row, latent in enumerate(found):
        if latent is not None:
            stacked[row] = latent
    return stacked


def _code(column: Column, level: object) -> int:
    try:
        return column.levels.index(str(level))
    except ValueError as error:
        raise FaceaugError(
            f"a sample has {column.key} {str(level)!r}, which is no level of it: {nearest(str(level), column.levels)}"
        ) from error


def check_records(columns: Sequence[Column], records: Iterable[EncodedSample]) -> None:
    """Refuse what a shard could not hold: undeclared names, unknown levels, a source without its engine."""
    declared: dict[str, dict[str, Column]] = {"attr": {}, "semantic": {}, "finish": {}}
    for column in columns:
        if column.group in declared:
            declared[column.group][column.name] = column
    declared["attr_confidence"] = declared["attr"]
    engine = next(column for column in SAMPLE_COLUMNS if column.key == "engine")
    for sample in (record.sample for record in records):
        for group, known in declared.items():
            for name, value in getattr(sample, group).items():
                if name not in known:
                    raise FaceaugError(
                        f"a sample carries {group}/{name}, which no column declares: {nearest(name, known)}"
                    )
                if group == "attr" and known[name].type == "category":
                    _code(known[name], value)
        _code(engine, sample.engine)
        source = sample.source_sha256
        if (sample.engine == ENGINES[1]) if source is None else (len(source) != 32 or not any(source)):
            raise FaceaugError(
                f"a sample of engine {sample.engine!r} has source_sha256 {source!r}; the 32 bytes of a picture's hash "
                "were expected"
            )
        if not 0 <= sample.seed < 2**64:
            raise FaceaugError(f"a sample has the seed {sample.seed}; give one from 0 to 2**64 - 1")
