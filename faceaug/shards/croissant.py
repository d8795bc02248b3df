"""croissant.json: the output folder in the vocabulary of MLCommons Croissant 1.0, for tools that read that.

The table of samples is a record set with a field a column; the shards are listed with their hashes, and each sample
says in which shard and row its image lies (Croissant has no way to say how to extract from HDF5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faceaug.shards.columns import Column
from faceaug.shards.data_card import licence, limitations, people, summary
from faceaug.shards.manifest import TABLE, FileEntry, Manifest
from faceaug.shards.samples_table import table_columns

FORMAT = "faceaug-croissant"
VERSION = 1

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "faceaug": "urn:faceaug:",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_TYPES = {"category": "sc:Text", "sha256": "sc:Text", "float32": "sc:Float", "float64": "sc:Float"}


def croissant(manifest: Manifest, table: FileEntry) -> dict[str, Any]:
    """Return the Croissant description of an output folder.

    Parameters
    ----------
    manifest : the manifest, with all its shards
    table : the entry of samples.parquet
    """
    made = manifest.created_by
    levels = [c for c in table_columns(manifest.columns) if c.group == "attr" and c.levels]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "faceaug:format": FORMAT,
        "faceaug:version": VERSION,
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"{manifest.dataset.name} balanced",
        "description": summary(manifest),
        "license": licence(manifest),
        "url": "urn:faceaug:" + manifest.fingerprint,
        "version": "1.0.0",
        "datePublished": made.date,
        "creator": {"@type": "sc:Organization", "name": f"faceaug {made.faceaug}"},
        "citeAs": f"{manifest.dataset.name}, balanced by faceaug {made.faceaug}, {made.date}",
        "isLiveDataset": False,
        "rai:dataLimitations": limitations(manifest),
        "rai:dataUseCases": "Training and testing of face models, together with the real images that were balanced.",
        "rai:personalSensitiveInformation": people(manifest),
        "distribution": [
            _file(table, "application/x-parquet", "a row per sample"),
            *[_file(shard, "application/x-hdf5", f"images of {shard.rows} samples") for shard in manifest.shards],
        ],
        "recordSet": [*[_enumeration(column) for column in levels], _samples(manifest.columns)],
    }


def _file(entry: FileEntry, encoding: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.name,
        "name": entry.name,
        "description": description,
        "contentUrl": entry.name,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": encoding,
        "sha256": entry.sha256,
    }


def _enumeration(column: Column) -> dict[str, Any]:
    """The levels of an attribute, as a record set that its field refers to."""
    name = f"levels/{column.name}"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"levels of {column.name}",
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{name}/name"},
        "field": [{"@type": "cr:Field", "@id": f"{name}/name", "name": f"{name}/name", "dataType": "sc:Text"}],
        "data": [{f"{name}/name": level} for level in column.levels],
    }


def _samples(columns: Sequence[Column]) -> dict[str, Any]:
    fields = [
        _field("shard", "sc:Text", "file that holds the image"),
        _field("row", "sc:Integer", "place of the image in that file"),
    ]
    for column in table_columns(columns):
        meaning = f"{column.meaning}{f' ({column.unit})' if column.unit else ''}" or column.key
        field = _field(column.key, _TYPES.get(column.type, "sc:Integer"), meaning)
        if column.group == "attr" and column.levels:
            field["references"] = {"field": {"@id": f"levels/{column.name}/name"}}
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "a row per accepted sample",
        "key": [{"@id": "samples/shard"}, {"@id": "samples/row"}],
        "field": fields,
    }


def _field(column: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"samples/{column}",
        "name": f"samples/{column}",
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": TABLE}, "extract": {"column": column}},
    }
