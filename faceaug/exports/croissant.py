"""Croissant 1.0 of a Parquet export: its images and labels load through `mlcroissant`, as on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faceaug.exports.records import ExportField, ExportSource
from faceaug.shards.description.croissant import croissant_file, croissant_header
from faceaug.shards.manifest import FileEntry

_FILES = "parquet-files"
_TYPES = {"bool": "sc:Boolean", "class": "sc:Integer", "text": "sc:Text", "float32": "sc:Float", "float64": "sc:Float"}


def croissant_of_parquet(source: ExportSource, files: Sequence[FileEntry]) -> dict[str, Any]:
    """Return the description of Parquet files with an `Image` column, as JSON values.

    A class is the number of its level; the description of its field names them.
    """
    header = croissant_header(source.manifest)
    if source.real is not None:
        header |= {"description": header["description"] + source.real_statement, "license": "other"}
    return {
        **header,
        "distribution": [
            *[croissant_file(entry, "application/x-parquet", "images and labels") for entry in files],
            {
                "@type": "cr:FileSet",
                "@id": _FILES,
                "name": _FILES,
                "description": "all Parquet files",
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "images",
                "name": "images",
                "description": "one row per image",
                "field": [
                    _field("image", "sc:ImageObject", "the image", {"transform": {"jsonPath": "bytes"}}),
                    *[_field(f.name, _TYPES.get(f.kind, "sc:Integer"), _meaning(f), {}) for f in source.fields],
                ],
            }
        ],
    }


def _meaning(field: ExportField) -> str:
    levels = ", ".join(f"{code} {level}" for code, level in enumerate(field.levels))
    return f"{field.name}: {levels}" if levels else field.name


def _field(name: str, data_type: str, description: str, further: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": f"images/{name}",
        "description": description,
        "dataType": data_type,
        "source": {"fileSet": {"@id": _FILES}, "extract": {"column": name}, **further},
    }
