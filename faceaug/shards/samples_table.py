"""samples.parquet: a row per accepted sample, taken from the shards; the table that pandas users open.

Its columns are those of the shards (latents stay there), with the names of the levels for a category and hexadecimal
digits for a hash, after `shard` and `row`, which say where the image lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from faceaug.errors import IntegrityError
from faceaug.shards.columns import Column, complete_columns
from faceaug.shards.manifest import TABLE, Manifest
from faceaug.shards.reader import ShardReader
from faceaug.utils.files import atomic, inside

FORMAT = "faceaug-samples"
VERSION = 1

Fetch = Callable[[Column], "NDArray[Any] | None"]


def table_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of samples.parquet that come from the shards: all but the latents."""
    return tuple(c for c in complete_columns(columns) if c.type != "latent")


def samples_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of samples.parquet; format and version stand in its metadata."""
    fields = [pa.field("shard", pa.dictionary(pa.int32(), pa.string())), pa.field("row", pa.int32())]
    for column in table_columns(columns):
        notes = {"meaning": column.meaning, **({"unit": column.unit} if column.unit else {})}
        fields.append(pa.field(column.key, _arrow_type(column), metadata=notes))
    return pa.schema(fields, metadata={"format": FORMAT, "version": str(VERSION)})


def shard_table(name: str, rows: int, columns: Sequence[Column], fetch: Fetch) -> pa.Table:
    """Return the part of samples.parquet that belongs to one shard.

    Parameters
    ----------
    name : the shard's name in the manifest
    fetch : gives the stored values of a column, or None where the shard has none
    """
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([name])),
        pa.array(np.arange(rows, dtype=np.int32)),
    ]
    for column in table_columns(columns):
        values = fetch(column)
        kind = _arrow_type(column)
        if values is None:
            arrays.append(pa.nulls(rows, kind))
        elif column.type == "category":
            codes = pa.array(values.astype(np.int32), mask=(values < 0) | (values >= len(column.levels)))
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(column.levels, pa.string())))
        elif column.type == "sha256":
            absent = ~values.any(axis=1)
            arrays.append(pa.array([v.tobytes().hex() for v in values], kind, mask=absent))
        else:
            arrays.append(pa.array(values, kind))
    return pa.Table.from_arrays(arrays, schema=samples_schema(columns))


def write_samples(folder: Path, manifest: Manifest) -> None:
    """Write samples.parquet from the shards that `manifest` lists, a row group a shard."""
    schema = samples_schema(manifest.columns)
    with (
        atomic(folder / TABLE) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for entry in manifest.shards:
            with ShardReader(inside(folder, entry.name)) as reader:
                there = set(reader.keys)

                def fetch(column: Column, reader: ShardReader = reader, there: set[str] = there) -> NDArray[Any] | None:
                    return reader.column(column.dataset) if column.dataset in there else None

                writer.write_table(shard_table(entry.name, entry.rows, manifest.columns, fetch))


def read_table(path: Path) -> pa.Table:
    """Read samples.parquet, or raise IntegrityError when it is missing, damaged or of an unknown version."""
    try:
        table = pq.read_table(path, page_checksum_verification=True, use_threads=False)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: the table of the samples") from error
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{path} is no Parquet file, or a damaged one ({_line(error)}); run faceaug verify"
        ) from error
    notes = table.schema.metadata or {}
    kind, version = notes.get(b"format", b"").decode(), notes.get(b"version", b"").decode()
    if (kind, version) != (FORMAT, str(VERSION)):
        raise IntegrityError(
            f"{path} has format {kind!r} version {version!r}; this faceaug knows {FORMAT!r} version {VERSION}"
        )
    return table


def read_samples(folder: Path | str) -> pd.DataFrame:
    """Return the samples of a complete output folder as a pandas table, a row a sample, in the order of the shards."""
    frame: pd.DataFrame = read_table(Path(folder) / TABLE).to_pandas()
    return frame


def _arrow_type(column: Column) -> pa.DataType:
    if column.type == "category":
        return pa.dictionary(pa.int32(), pa.string())
    return pa.string() if column.type == "sha256" else pa.from_numpy_dtype(column.dtype)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
