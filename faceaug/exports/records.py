"""What an export writes: the samples of an output folder one by one, and real images beside them, with typed labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from faceaug.analysis.axes import attribute, cell_codes, label
from faceaug.datasets.dataset import FaceDataset, local_place
from faceaug.errors import IntegrityError, UsageError
from faceaug.exports.stripping import without_metadata
from faceaug.places.mirrored import place_of
from faceaug.planning.plan import Plan
from faceaug.shards.columns import Column
from faceaug.shards.description.samples_table import shard_table, table_columns
from faceaug.shards.manifest import PLAN_NAME, Manifest, ShardEntry, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import inside, sha256_file
from faceaug.utils.images import Codec, inspect

SYNTHETIC = "synthetic"
"""Field that tells samples from real images."""
SUFFIXES: dict[Codec, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


@dataclass(frozen=True)
class ExportField:
    """A label or another value of every record.

    Attributes
    ----------
    name : str
    kind : str
        "class", "text", "bool", or the name of a number type of NumPy.
    levels : tuple of str
        Of a class.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ExportRecord:
    """One image.

    Attributes
    ----------
    key : str
        A name of letters, digits and hyphens, unique in the export.
    image : bytes
        As it is encoded; raw pixels as PNG.
    codec : "jpeg", "png" or "webp"
    values : dict
        By field; None where there is no value.
    """

    key: str
    image: bytes
    codec: Codec
    values: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        """The key with the suffix of the codec."""
        return self.key + SUFFIXES[self.codec]


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that there are; JSON has no NaN."""
    return {name: value for name, value in values.items() if value is not None and value == value}


class ExportSource:
    """The records of an export: samples in the order of their shards, then real images in that of their table.

    Parameters
    ----------
    out : path or URL
        A complete output folder.
    real : FaceDataset, optional
        Real images that are written, too, with those of their labels that samples have.

    Raises
    ------
    UsageError
        When the run is unfinished.
    IntegrityError
        When the manifest is damaged.
    """

    def __init__(self, out: Path | str, real: FaceDataset | None = None) -> None:
        self.folder, self.real = local_place(out), real
        self.manifest: Manifest = read_manifest(self.folder)
        if not self.manifest.complete:
            place = place_of(self.folder)
            raise UsageError(f"the run in {place} is unfinished; continue it with --resume, then export")
        self.columns = table_columns(self.manifest.columns)

    def __len__(self) -> int:
        return self.manifest.totals.accepted + (len(self.real) if self.real is not None else 0)

    @property
    def real_statement(self) -> str:
        """A sentence on the real images, with a space before it; empty where there are none."""
        if self.real is None:
            return ""
        return (
            f" {len(self.real):,} images are photographs of {self.real.name}, under the licence of that data set; "
            f"their field `{SYNTHETIC}` is false."
        )

    @cached_property
    def fields(self) -> tuple[ExportField, ...]:
        """The fields of every record, those of `samples.parquet` first."""
        own = [ExportField("shard", "text"), ExportField("row", "int32")]
        own += [self._field(column) for column in self.columns]
        return (*own, ExportField(SYNTHETIC, "bool"))

    def __iter__(self) -> Iterator[ExportRecord]:
        """Yield the records, each read when it is needed.

        Raises
        ------
        IntegrityError
            When a shard or an image does not match its hash.
        ImageError
            When a real image cannot be read.
        """
        for entry in self.manifest.shards:
            yield from self._samples(entry)
        if self.real is not None:
            yield from self._real_images(self.real)

    def _field(self, column: Column) -> ExportField:
        if column.type == "category":
            levels = column.levels
            if self.real is not None and column.group == "attr" and column.name in self.real.table.columns:
                known = {label(value) for value in self.real.table[column.name]} - {"", *levels}
                levels = (*levels, *sorted(known))
            return ExportField(column.key, "class", levels)
        return ExportField(column.key, "text" if column.type == "sha256" else column.type)

    def _samples(self, entry: ShardEntry) -> Iterator[ExportRecord]:
        path = inside(self.folder, entry.name)
        if not path.is_file() or sha256_file(path) != entry.sha256:
            raise IntegrityError(
                f"{path} is not the file that the manifest lists; run faceaug verify to see what is wrong"
            )
        stem = PurePosixPath(entry.name).stem
        with ShardReader(path) as reader:
            values = reader.read_columns(self.columns)
            rows = shard_table(entry.name, reader.rows, self.manifest.columns, values).to_pylist()
            for row, of_row in enumerate(rows):
                image, codec = reader.encoded(row), cast("Codec", reader.codec)
                if reader.layout == "blob" and hashlib.sha256(image).digest() != values["sha256"][row].tobytes():
                    raise IntegrityError(f"{path}, row {row}, does not match its SHA-256; run faceaug verify")
                yield ExportRecord(f"{stem}-{row:05d}", image, codec, {**of_row, SYNTHETIC: True})

    def _real_images(self, real: FaceDataset) -> Iterator[ExportRecord]:
        given = [column for column in self.columns if column.group == "attr" and column.name in real.table.columns]
        cells = self._cells(real)
        empty = dict.fromkeys((field.name for field in self.fields), None)
        for row in range(len(real)):
            encoded = real.encoded(row)
            codec = inspect(encoded, name=real.keys[row], max_pixels=real.max_pixels).codec
            image = without_metadata(encoded, codec)
            values = {column.key: _value(real.table[column.name].iloc[row], column) for column in given}
            cell = None if cells is None or cells[row] < 0 else int(cells[row])
            own = {"cell": cell, "sha256": hashlib.sha256(image).hexdigest(), SYNTHETIC: False}
            yield ExportRecord(f"real-{row:07d}", image, codec, {**empty, **values, **own})

    def _cells(self, real: FaceDataset) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """Return the cell of each real image, where the columns that the plan counts are there."""
        axes = Plan.read(self.folder / PLAN_NAME).axes
        if any(axis.name not in real.table.columns for axis in axes):
            return None
        return cell_codes([axis.assign(attribute(real.table, axis.name)) for axis in axes], axes)


def _value(value: Any, column: Column) -> Any:
    """Return a label of a real image as that of a sample; None where it is missing."""
    text = label(value)
    if not text or value != value:
        return None
    return text if column.type == "category" else float(value)
