"""samples.parquet: a row per accepted sample, taken from the shards, for use with pandas and similar tools.

The columns `shard` and `row` locate the image. The others are those of the shards except latents; a category has the
names of its levels, and a hash is hexadecimal text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faceaug.errors import IntegrityError
from faceaug.shards.columns import Column, complete_columns
from faceaug.shards.manifest import SAMPLES_NAME, Manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import atomic, inside
from faceaug.utils.text import one_line, shown

SAMPLES_FORMAT = "faceaug-samples"
SAMPLES_VERSION = 2


def table_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of samples.parquet that come from the shards: all but the latents."""
    return tuple(column for column in complete_columns(columns) if column.type != "latent")


def samples_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of samples.parquet; its metadata has the format and the version."""
    fields = [pa.field("shard", pa.dictionary(pa.int32(), pa.string())), pa.field("row", pa.int32())]
    for column in table_columns(columns):
        metadata = {"meaning": column.meaning, **({"unit": column.unit} if column.unit else {})}
        fields.append(pa.field(column.key, _arrow_type(column), metadata=metadata))
    return pa.schema(fields, metadata={"format": SAMPLES_FORMAT, "version": str(SAMPLES_VERSION)})


def shard_table(name: str, rows: int, columns: Sequence[Column], values: Mapping[str, NDArray[Any]]) -> pa.Table:
    """Return the rows of samples.parquet that belong to one shard.

    Parameters
    ----------
    name : str
        Name of the shard in the manifest.
    rows : int
        Samples of the shard.
    columns : sequence of Column
        As the manifest lists them.
    values : mapping of str to array [rows, ...]
        Stored values by column key; a column that is absent has no value in any row.

    Returns
    -------
    pyarrow.Table
    """
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([name])),
        pa.array(np.arange(rows, dtype=np.int32)),
    ]
    arrays += [_arrow_array(column, values.get(column.key), rows) for column in table_columns(columns)]
    return pa.Table.from_arrays(arrays, schema=samples_schema(columns))


def plain_values(
    name: str, rows: int, columns: Sequence[Column], values: Mapping[str, NDArray[Any]]
) -> dict[str, list[Any]]:
    """Return `shard_table` as lists by column, without Arrow arrays, to make which Arrow would import pandas."""
    lists: dict[str, list[Any]] = {"shard": [name] * rows, "row": list(range(rows))}
    for column in table_columns(columns):
        lists[column.key] = _plain_list(column, values[column.key]) if column.key in values else [None] * rows
    return lists


def _plain_list(column: Column, values: NDArray[Any]) -> list[Any]:
    if column.type == "category":
        count = len(column.levels)
        return [column.levels[code] if 0 <= code < count else None for code in values.tolist()]
    if column.type == "sha256":
        return [value.tobytes().hex() if value.any() else None for value in values]
    return list(values.tolist())


def write_samples_table(folder: Path, manifest: Manifest) -> None:
    """Write samples.parquet from the shards that `manifest` lists, with a row group per shard.

    Raises
    ------
    IntegrityError
        When a shard is damaged.
    OutputError
        When the file cannot be written.
    """
    schema, columns = samples_schema(manifest.columns), table_columns(manifest.columns)
    with (
        atomic(folder / SAMPLES_NAME) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for entry in manifest.shards:
            with ShardReader(inside(folder, entry.name)) as reader:
                values = reader.read_columns(columns)
            writer.write_table(shard_table(entry.name, entry.rows, manifest.columns, values))


def read_samples_table(path: Path) -> pa.Table:
    """Read samples.parquet.

    Raises
    ------
    IntegrityError
        When the file is missing or damaged, or has another format or version.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:  # `read_table` would import pandas
            table = file.read(use_threads=False)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: the table of samples does not exist") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{path} is not a Parquet file, or a damaged one ({one_line(error)}); run faceaug verify"
        ) from error
    metadata = table.schema.metadata or {}
    stated_format, version = (metadata.get(key, b"").decode(errors="replace") for key in (b"format", b"version"))
    if (stated_format, version) != (SAMPLES_FORMAT, str(SAMPLES_VERSION)):
        raise IntegrityError(
            f"{path} has format {shown(stated_format)} version {shown(version)}, and this faceaug reads "
            f"{SAMPLES_FORMAT!r} version {SAMPLES_VERSION}; write the folder anew with this version"
        )
    return table


def _arrow_type(column: Column) -> pa.DataType:
    if column.type == "category":
        return pa.dictionary(pa.int32(), pa.string())
    return pa.string() if column.type == "sha256" else pa.from_numpy_dtype(column.dtype)


def _arrow_array(column: Column, values: NDArray[Any] | None, rows: int) -> pa.Array:
    arrow_type = _arrow_type(column)
    if values is None:
        return pa.nulls(rows, arrow_type)
    if column.type == "category":
        codes = pa.array(values.astype(np.int32), mask=(values < 0) | (values >= len(column.levels)))
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.levels, pa.string()))
    if column.type == "sha256":
        return pa.array([value.tobytes().hex() for value in values], arrow_type, mask=~values.any(axis=1))
    return pa.array(values, arrow_type)
