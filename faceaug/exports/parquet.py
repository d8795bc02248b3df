"""Parquet as Hugging Face reads it: images in an `Image` column, classes as `ClassLabel`, and a data card.

The features stand in the metadata of every file, as `datasets` itself writes them, so that its loader and the hub show
images and names of classes. Nothing of the library is needed to write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceaug.exports.croissant import croissant_of_parquet
from faceaug.exports.records import ExportField, ExportRecord, ExportSource
from faceaug.shards.description.data_card import image_licence, known_limits, summary
from faceaug.shards.manifest import CROISSANT_NAME, file_entry
from faceaug.utils.threads import Progress

DATA_FOLDER = "data"
MOST_BYTES_OF_FILE = 400 << 20
"""Bytes of images at which a file is closed."""
ROWS_OF_GROUP = 100  # the viewer of the hub reads a row group at a time
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(source: ExportSource, folder: Path, progress: Progress) -> dict[str, int]:
    """Write the images of a source to Parquet files with a data card; return the number of images by file."""
    (folder / DATA_FOLDER).mkdir()
    schema = _schema(source.fields)
    counts: dict[str, int] = {}
    writer: pq.ParquetWriter | None = None
    rows: list[ExportRecord] = []
    size, name = 0, ""
    try:
        for record in source:
            rows.append(record)
            size += len(record.image)
            if len(rows) == ROWS_OF_GROUP:
                writer, name = _write(writer, folder, name, rows, schema, counts)
                progress(len(rows))
                rows = []
                if size > MOST_BYTES_OF_FILE:
                    writer.close()
                    writer, size = None, 0
        if rows or not counts:
            writer, name = _write(writer, folder, name, rows, schema, counts)
            progress(len(rows))
    finally:
        if writer is not None:
            writer.close()
    (folder / "README.md").write_text(_card(source, len(source)), encoding="utf-8")
    description = croissant_of_parquet(source, [file_entry(folder, name) for name in counts])
    (folder / CROISSANT_NAME).write_text(json.dumps(description, indent=2, ensure_ascii=False), encoding="utf-8")
    return counts


def parquet_images(folder: Path) -> Iterator[bytes]:
    """Yield the images of Parquet files that were written, in their order."""
    for path in sorted((folder / DATA_FOLDER).glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_OF_GROUP, columns=["image"]):
                for value in batch.column(0):
                    yield value.as_py()["bytes"]


def _write(
    writer: pq.ParquetWriter | None,
    folder: Path,
    name: str,
    rows: list[ExportRecord],
    schema: pa.Schema,
    counts: dict[str, int],
) -> tuple[pq.ParquetWriter, str]:
    """Write a row group to the open file, or to a new one."""
    if writer is None:
        name = f"{DATA_FOLDER}/train-{len(counts):05d}.parquet"
        writer = pq.ParquetWriter(folder / name, schema, compression="zstd", write_page_checksum=True)
    columns = [pa.array([{"bytes": row.image, "path": row.file_name} for row in rows], _IMAGE)]
    columns += [_column(field, [row.values[field.name] for row in rows]) for field in schema if field.name != "image"]
    writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    counts[name] = counts.get(name, 0) + len(rows)
    return writer, name


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    """Return values as they are stored: a class by its number, NaN as missing."""
    known = [None if value is None or value != value else value for value in values]
    if levels := (field.metadata or {}).get(b"levels"):
        codes = {level: code for code, level in enumerate(json.loads(levels))}
        known = [None if value is None else codes[value] for value in known]
    return pa.array(known, field.type)


def _schema(fields: tuple[ExportField, ...]) -> pa.Schema:
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    columns = [pa.field("image", _IMAGE)]
    for field in fields:
        if field.kind == "class":
            features[field.name] = {"names": list(field.levels), "_type": "ClassLabel"}
            columns.append(pa.field(field.name, pa.int64(), metadata={"levels": json.dumps(field.levels)}))
        else:
            kind = {"text": "string"}.get(field.kind, field.kind)
            features[field.name] = {"dtype": kind, "_type": "Value"}
            columns.append(
                pa.field(field.name, {"string": pa.string(), "bool": pa.bool_()}.get(kind) or pa.type_for_alias(kind))
            )
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _card(source: ExportSource, count: int) -> str:
    """Return the data card with the metadata that the hub reads."""
    manifest = source.manifest
    size = next((name for most, name in _SIZES if count < most), "10M<n<100M")
    header = {
        "pretty_name": f"{manifest.dataset.name} balanced",
        "license": "other",
        "license_name": image_licence(manifest),
        "task_categories": ["image-classification"],
        "tags": ["face", "synthetic", "balanced", "faceaug"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": f"{DATA_FOLDER}/*.parquet"}]}],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()]
    head = "---\n" + "\n".join(lines) + "\n---"
    limits = f"## Known limits\n\n{known_limits(manifest)}"
    reading = (
        "## Reading\n\n```python\nfrom datasets import load_dataset\n\n"
        'faces = load_dataset("parquet", data_dir="data", split="train")\n```'
    )
    parts = [head, f"# {manifest.dataset.name}, balanced", summary(manifest) + source.real_statement, reading, limits]
    return "\n\n".join(parts) + "\n"


_SIZES = (
    (1000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
