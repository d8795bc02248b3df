"""croissant.json: the output folder in the vocabulary of MLCommons Croissant 1.0.

The table of samples is a record set with a field per column. The shards are listed with their hashes, and each sample
names the shard and row of its image, since Croissant cannot express how to read an image from HDF5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faceaug.shards.columns import Column
from faceaug.shards.description.data_card import image_licence, known_limits, people_statement, summary
from faceaug.shards.description.samples_table import table_columns
from faceaug.shards.manifest import SAMPLES_NAME, FileEntry, Manifest

CROISSANT_FORMAT = "faceaug-croissant"
CROISSANT_VERSION = 1

CROISSANT_CONTEXT: dict[str, Any] = {
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


def croissant_description(manifest: Manifest, table: FileEntry) -> dict[str, Any]:
    """Return the Croissant description of an output folder.

    Parameters
    ----------
    manifest : Manifest
        With all shards.
    table : FileEntry
        Of samples.parquet.

    Returns
    -------
    dict
        JSON values.
    """
    categories = [c for c in table_columns(manifest.columns) if c.group == "attr" and c.levels]
    return {
        **croissant_header(manifest),
        "distribution": [
            croissant_file(table, "application/x-parquet", "one row per accepted sample"),
            *[
                croissant_file(shard, "application/x-hdf5", f"images of {shard.rows} samples")
                for shard in manifest.shards
            ],
        ],
        "recordSet": [*[_enumeration(column) for column in categories], _samples(manifest.columns)],
    }


def croissant_header(manifest: Manifest) -> dict[str, Any]:
    """Return what a Croissant description says of the samples of an output folder as a whole."""
    created_by = manifest.created_by
    return {
        "@context": CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "faceaug:format": CROISSANT_FORMAT,
        "faceaug:version": CROISSANT_VERSION,
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"{manifest.dataset.name} balanced",
        "description": summary(manifest),
        "license": image_licence(manifest),
        "url": "urn:faceaug:" + manifest.fingerprint,
        "version": "1.0.0",
        "datePublished": created_by.date,
        "creator": {"@type": "sc:Organization", "name": f"faceaug {created_by.faceaug}"},
        "citeAs": f"{manifest.dataset.name}, balanced by faceaug {created_by.faceaug}, {created_by.date}",
        "isLiveDataset": False,
        "rai:dataLimitations": known_limits(manifest),
        "rai:dataUseCases": "Training and testing of face models, together with the real images that were balanced.",
        "rai:personalSensitiveInformation": people_statement(manifest),
    }


def croissant_file(entry: FileEntry, encoding: str, description: str) -> dict[str, Any]:
    """Return the description of a file."""
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
    """Return the levels of an attribute as a record set, to which the field of the attribute refers."""
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
        _field("shard", "sc:Text", "file that contains the image"),
        _field("row", "sc:Integer", "row of the image in that file"),
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
        "description": "one row per accepted sample",
        "key": [{"@id": "samples/shard"}, {"@id": "samples/row"}],
        "field": fields,
    }


def _field(column: str, data_type: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"samples/{column}",
        "name": f"samples/{column}",
        "description": description,
        "dataType": data_type,
        "source": {"fileObject": {"@id": SAMPLES_NAME}, "extract": {"column": column}},
    }
