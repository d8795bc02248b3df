"""Write a shard: one HDF5 file that is assembled in memory, hashed, and written to disk as a whole.

A full disk is then an ordinary failed write and leaves no HDF5 file that was closed halfway. Equal samples give equal
bytes, since nothing in a shard depends on the clock or the machine. The file format is that of HDF5 1.10, whose object
headers carry checksums. Scalars and text are attributes, because no filter can cover them and headers contain them.
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

from faceaug.errors import FaceaugError
from faceaug.shards.columns import (
    DONOR_COLUMNS,
    ENGINES_WITH_SOURCE,
    MAX_DONORS,
    MISSING_CODE,
    SHARD_FORMAT,
    SHARD_VERSION,
    SOURCE_COLUMNS,
    Column,
    complete_columns,
)
from faceaug.shards.description.provenance import mark_synthetic
from faceaug.shards.images.image_rows import LENGTH_NAME, POSITION_NAME, write_rows
from faceaug.shards.manifest import ShardEntry
from faceaug.utils import images
from faceaug.utils.files import write_bytes
from faceaug.utils.images import Codec
from faceaug.utils.text import nearest

MAX_SHARD_ROWS = 2000
MAX_SHARD_BYTES = 256_000_000
NO_IMAGE: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
_COLUMN_CHUNK = 256  # rows of a column under one checksum

Layout = Literal["blob", "raw"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One accepted sample.

    Attributes
    ----------
    image : uint8 [H, W, 3], or bytes
        Pixels, or an image that is encoded in the codec of the shard with `quality`.
    w, origin_w : float32 [D], or None
        Latent of the image before harmonization, and latent before the edit; None for a rerendered face.
    engine : str
        Name of the engine that made the sample, a level of the column `engine`.
    source_sha256 : bytes of length 32, or None
        SHA-256 of the file of the real image that the sample was made from.
    donors : tuple of bytes of length 32
        The same of real images whose features were mixed in; at most three.
    harmonize, semantic, attr_confidence : mapping of str to float
        Values by name; an absent name is stored as NaN.
    cell : int
        Index of the cell in the manifest.
    attr : mapping of str to str or float
        Level or number by name; an absent name is stored as missing.
    plausibility, realism : float
        Ratios of a distance to its limit (docs/formats.md); NaN where there is none.
    seed : int
        In [0, 2**64).
    quality : int, optional
        Quality of the codec, 1 to 100; None for the default of 90.
    """

    image: NDArray[np.uint8] | bytes
    w: NDArray[np.float32] | None
    origin_w: NDArray[np.float32] | None
    engine: str
    source_sha256: bytes | None
    harmonize: Mapping[str, float]
    cell: int
    attr: Mapping[str, str | float]
    attr_confidence: Mapping[str, float]
    semantic: Mapping[str, float]
    plausibility: float
    realism: float
    seed: int
    quality: int | None = None
    donors: tuple[bytes, ...] = ()


@dataclasses.dataclass(frozen=True)
class EncodedSample:
    """A sample in the form in which a shard stores it.

    Attributes
    ----------
    data : bytes
        The encoded image, or raw pixels.
    shape : (int, int), or None
        Height and width of raw pixels; None for an encoded image.
    digest : bytes of length 32
        SHA-256 of `data`.
    sample : Sample
        Everything else; its image is empty.
    """

    data: bytes
    shape: tuple[int, int] | None
    digest: bytes
    sample: Sample

    @property
    def size(self) -> int:
        """Approximate number of bytes that the sample takes in a shard."""
        latents = [v.nbytes for v in (self.sample.w, self.sample.origin_w) if v is not None]
        return len(self.data) + sum(latents) + 256


def encode_sample(sample: Sample, *, codec: Codec, layout: Layout) -> EncodedSample:
    """Encode the image of a sample, mark it as synthetic (or take its pixels in the layout `raw`), and hash it.

    Raises
    ------
    FaceaugError
        When the image is not uint8 [H, W, 3], or is encoded although the layout is `raw`.
    """
    image, shape = sample.image, None
    quality = None if codec == "png" else (images.DEFAULT_QUALITY if sample.quality is None else sample.quality)
    if isinstance(image, bytes):
        if layout == "raw":
            raise FaceaugError("a sample's image is encoded; expected uint8 [H, W, 3], as the layout is raw")
        data = mark_synthetic(image, codec, sample.engine, sample.seed)
    elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise FaceaugError(f"a sample's image is {image.dtype} {image.shape}; expected uint8 [H, W, 3]")
    elif layout == "raw":
        data, quality, shape = np.ascontiguousarray(image).tobytes(), None, (image.shape[0], image.shape[1])
    else:
        data = mark_synthetic(encoded(image, codec, quality), codec, sample.engine, sample.seed)
    # Latents are copied: a view would keep the array of the whole block in memory.
    w, origin = (None if v is None else np.array(v, np.float32) for v in (sample.w, sample.origin_w))
    without_image = dataclasses.replace(sample, image=NO_IMAGE, quality=quality, w=w, origin_w=origin)
    return EncodedSample(data, shape, hashlib.sha256(data).digest(), without_image)


def read_back(image: NDArray[np.uint8], codec: Codec | None, quality: int | None) -> NDArray[np.uint8]:
    """Return an image as a reader of the shard gets it: encoded and decoded again.

    Parameters
    ----------
    image : uint8 [H, W, 3]
    codec : str or None
        None where pixels are stored as they are.
    quality : int or None
        1 to 100; None for the default of 90.

    Returns
    -------
    uint8 [H, W, 3]
    """
    if codec is None or codec == "png":
        return image
    return images.decode(encoded(image, codec, quality))


def encoded(image: NDArray[np.uint8], codec: Codec, quality: int | None) -> bytes:
    """Return the encoded image uint8 [H, W, 3] as a shard stores it; quality None stands for the default of 90."""
    return images.encode(image, codec, images.DEFAULT_QUALITY if quality is None else quality)


def split_into_shards(
    samples: Sequence[EncodedSample], *, max_rows: int = MAX_SHARD_ROWS, max_bytes: int = MAX_SHARD_BYTES
) -> Iterator[list[EncodedSample]]:
    """Split samples, in order, into groups that fit a shard each; a larger sample gets a shard of its own."""
    group: list[EncodedSample] = []
    size = 0
    for sample in samples:
        if group and (len(group) >= max_rows or size + sample.size > max_bytes):
            yield group
            group, size = [], 0
        group.append(sample)
        size += sample.size
    if group:
        yield group


def write_shard(
    path: Path, samples: Iterable[Sample], *, columns: Sequence[Column], codec: Codec = "jpeg", layout: Layout = "blob"
) -> ShardEntry:
    """Write samples to one shard file.

    Parameters
    ----------
    path : Path
        File to write. The entry has its last two parts as the name, shards/00000.h5.
    samples : iterable of Sample
        At least one.
    columns : sequence of Column
        Columns of the groups attr, semantic and harmonize, and `engine` where it differs from the default.
    codec, layout : str
        How images are stored.

    Returns
    -------
    ShardEntry
        Name, SHA-256, bytes and rows, as the manifest lists them.

    Raises
    ------
    FaceaugError
        When there is no sample, or one does not fit the columns.
    OutputError
        When the file cannot be written.
    """
    records = [encode_sample(sample, codec=codec, layout=layout) for sample in samples]
    return write_encoded(path, records, columns, codec, layout)


def write_encoded(
    path: Path,
    samples: Sequence[EncodedSample],
    columns: Sequence[Column],
    codec: Codec,
    layout: Layout,
    latent_width: int | None = None,
) -> ShardEntry:
    """Write encoded samples to one shard file; see `write_shard`.

    With a `latent_width`, a shard whose samples have no latents has the columns of latents, too, filled with NaN: all
    shards of a folder should have the same columns, since readers of HDF5 take them from the first.
    """
    if not samples:
        raise FaceaugError(f"{path} would hold no sample; a shard has at least one")
    check_samples(columns, samples)
    with h5py.File(path.name, "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        _write_text(file, "format", SHARD_FORMAT)
        file.attrs["version"] = np.int64(SHARD_VERSION)
        file.attrs["rows"] = np.int64(len(samples))
        _write_text(file, "layout", layout)
        _write_text(file, "codec", codec)
        _write_images(file, samples, layout)
        for column in complete_columns(columns):
            values = _values(column, samples, latent_width)
            if values is not None:
                _describe(_create_dataset(file, column.path, values), column)
        file.flush()
        data = file.id.get_file_image()
    write_bytes(path, data)
    name = f"{path.parent.name}/{path.name}"
    return ShardEntry(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), rows=len(samples))


def check_samples(columns: Sequence[Column], samples: Iterable[EncodedSample]) -> None:
    """Check that a shard can hold samples.

    Raises
    ------
    FaceaugError
        When a sample has a name that no column declares, an unknown level or engine, a source that is not the 32 bytes
        of a hash, a seed out of range, or comes from the engine `rerender` and names no source.
    """
    complete = complete_columns(columns)
    declared: dict[str, dict[str, Column]] = {"attr": {}, "semantic": {}, "harmonize": {}}
    for column in complete:
        if column.group in declared:
            declared[column.group][column.name] = column
    declared["attr_confidence"] = declared["attr"]
    engine = next(column for column in complete if column.key == "engine")
    for sample in (encoded_sample.sample for encoded_sample in samples):
        for group, by_name in declared.items():
            _check_names(getattr(sample, group), group, by_name)
        _level_code(engine, sample.engine)
        source = sample.source_sha256
        if (sample.engine in ENGINES_WITH_SOURCE) if source is None else (len(source) != 32 or not any(source)):
            raise FaceaugError(
                f"a sample of engine {sample.engine!r} has source_sha256 {source!r}; expected the 32 bytes of the hash "
                "of a file"
            )
        if len(sample.donors) > MAX_DONORS or any(len(donor) != 32 or not any(donor) for donor in sample.donors):
            raise FaceaugError(
                f"a sample has the donors {sample.donors!r}; expected at most {MAX_DONORS} hashes of 32 bytes"
            )
        if not 0 <= sample.seed < 2**64:
            raise FaceaugError(f"a sample has the seed {sample.seed}; give one from 0 to 2**64 - 1")


def _check_names(values: Mapping[str, Any], group: str, declared: Mapping[str, Column]) -> None:
    for name, value in values.items():
        if name not in declared:
            raise FaceaugError(f"a sample has {group}/{name}, which no column declares: {nearest(name, declared)}")
        if group == "attr" and declared[name].type == "category":
            _level_code(declared[name], value)


def _write_images(file: h5py.File, samples: Sequence[EncodedSample], layout: Layout) -> None:
    if layout == "raw":
        shapes = {sample.shape for sample in samples if sample.shape is not None}
        if len(shapes) > 1:
            raise FaceaugError(
                f"the raw layout needs images of one size, found {sorted(shapes)[:3]}; use the blob layout"
            )
        height, width = shapes.pop()
        pixels = np.frombuffer(b"".join(s.data for s in samples), np.uint8).reshape(-1, height, width, 3)
        _create_dataset(file, "pixels", pixels, chunks=(1, height, width, 3))
        return
    position, length = write_rows(file, [sample.data for sample in samples])
    _create_dataset(file, POSITION_NAME, position)
    _create_dataset(file, LENGTH_NAME, length)


def _create_dataset(
    file: h5py.File, path: str, values: NDArray[Any], chunks: tuple[int, ...] | None = None
) -> h5py.Dataset:
    chunks = chunks or (min(len(values), _COLUMN_CHUNK), *values.shape[1:])
    return file.create_dataset(path, data=values, chunks=chunks, fletcher32=True, track_times=False)


def _write_text(owner: h5py.HLObject, name: str, text: str) -> None:
    if text:  # HDF5 has no fixed-length string of no bytes
        owner.attrs[name] = np.bytes_(text.encode())


def _describe(dataset: h5py.Dataset, column: Column) -> None:
    _write_text(dataset, "unit", column.unit)
    _write_text(dataset, "meaning", column.meaning)
    if column.levels:
        levels = [level.encode() for level in column.levels]
        dataset.attrs["levels"] = np.array(levels, dtype=f"S{max(1, *map(len, levels))}")


def _values(column: Column, samples: Sequence[EncodedSample], latent_width: int | None) -> NDArray[Any] | None:
    """Return the values of one column, or None for latents where there are none."""
    if column.group == "sample":
        return _fixed_values(column, samples, latent_width)
    values = [getattr(s.sample, column.group).get(column.name) for s in samples]
    if column.type == "category":
        codes = [MISSING_CODE if level is None else _level_code(column, level) for level in values]
        return np.array(codes, column.dtype)
    return np.array([np.nan if value is None else float(value) for value in values], column.dtype)


def _fixed_values(column: Column, samples: Sequence[EncodedSample], latent_width: int | None) -> NDArray[Any] | None:
    if column.name == "sha256":
        return np.frombuffer(b"".join(s.digest for s in samples), np.uint8).reshape(-1, 32)
    if column.name in SOURCE_COLUMNS:
        return _digests(column.name, samples)
    values = [getattr(s.sample, column.name) for s in samples]
    if column.type == "latent":
        return _stack_latents(values, column.name, latent_width)
    if column.name == "quality":
        return np.array([MISSING_CODE if value is None else value for value in values], column.dtype)
    return np.array([_level_code(column, v) for v in values] if column.type == "category" else values, column.dtype)


def _digests(name: str, samples: Sequence[EncodedSample]) -> NDArray[np.uint8]:
    """Return the hashes [n, 32] of real images, zeros where a sample has none."""
    if name in DONOR_COLUMNS:
        k = DONOR_COLUMNS.index(name)
        values = [s.sample.donors[k] if k < len(s.sample.donors) else None for s in samples]
    else:
        values = [s.sample.source_sha256 for s in samples]
    return np.frombuffer(b"".join(value or bytes(32) for value in values), np.uint8).reshape(-1, 32)


def _stack_latents(
    latents: Sequence[NDArray[np.float32] | None], name: str, width: int | None
) -> NDArray[np.float32] | None:
    """Stack latents to [n, D] with a row of NaN where a sample has none; None without a width and without latents."""
    shapes = {latent.shape for latent in latents if latent is not None} | ({(width,)} if width else set())
    if not shapes:
        return None
    if len(shapes) > 1 or len(shape := shapes.pop()) != 1:
        raise FaceaugError(f"the latents {name} of one shard must be vectors of one width, that of the generator")
    stacked = np.full((len(latents), *shape), np.nan, np.float32)
    for row, latent in enumerate(latents):
        if latent is not None:
            stacked[row] = latent
    return stacked


def _level_code(column: Column, level: object) -> int:
    try:
        return column.levels.index(str(level))
    except ValueError as error:
        raise FaceaugError(
            f"a sample has {column.key} {str(level)!r}, which is no level of it: {nearest(str(level), column.levels)}"
        ) from error
