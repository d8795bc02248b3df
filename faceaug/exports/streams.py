"""The formats of two libraries that stream data sets: MDS of MosaicML's streaming, and that of litdata.

A sample has two fields: `image`, its encoded bytes, and `labels`, a JSON object. Both libraries are optional.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faceaug.errors import UsageError
from faceaug.exports.records import ExportSource, known_values
from faceaug.utils.threads import Progress

CHUNK_BYTES = 64 << 20
"""Size at which a file is closed."""
STREAMING_PACKAGE, LITDATA_PACKAGE = "mosaicml-streaming", "litdata"


def write_mds(source: ExportSource, folder: Path, progress: Progress) -> dict[str, int]:
    """Write the images of a source as MDS; return the number of images by file.

    Raises
    ------
    UsageError
        When the package is not installed.
    """
    try:
        from streaming import MDSWriter
    except ImportError as error:
        raise _missing(STREAMING_PACKAGE, "mds", error) from error
    columns = {"image": "bytes", "labels": "json"}
    with MDSWriter(out=str(folder), columns=columns, hashes=["sha1"], size_limit=CHUNK_BYTES) as writer:
        for record in source:
            writer.write({"image": record.image, "labels": known_values(record.values)})
            progress(1)
    shards = json.loads((folder / "index.json").read_text())["shards"]
    return {str(shard["raw_data"]["basename"]): int(shard["samples"]) for shard in shards}


def mds_images(folder: Path) -> Iterator[bytes]:
    """Yield the images of MDS that was written, in their order."""
    from streaming.base.format import reader_from_json

    for shard in json.loads((folder / "index.json").read_text())["shards"]:
        reader = reader_from_json(str(folder), None, shard)
        yield from (reader[k]["image"] for k in range(int(shard["samples"])))


def write_litdata(source: ExportSource, folder: Path, progress: Progress) -> dict[str, int]:
    """Write the images of a source for litdata; return the number of images by file.

    Raises
    ------
    UsageError
        When the package is not installed.
    """
    try:
        from litdata.streaming.writer import BinaryWriter
    except ImportError as error:
        raise _missing(LITDATA_PACKAGE, "litdata", error) from error
    writer = BinaryWriter(str(folder), chunk_bytes=CHUNK_BYTES)
    for k, record in enumerate(source):
        writer[k] = {"image": record.image, "labels": json.dumps(known_values(record.values), ensure_ascii=False)}
        progress(1)
    writer.done()
    writer.merge()
    chunks = json.loads((folder / "index.json").read_text())["chunks"]
    counts: Counter[str] = Counter()
    for chunk in chunks:
        counts[str(chunk["filename"])] += int(chunk["chunk_size"])
    return dict(counts)


def litdata_images(folder: Path) -> Iterator[bytes]:
    """Yield the images that were written for litdata, in their order."""
    from litdata import StreamingDataset

    dataset = StreamingDataset(str(folder))
    return (dataset[k]["image"] for k in range(len(dataset)))


def _missing(package: str, kind: str, error: ImportError) -> UsageError:
    return UsageError(
        f"--to {kind} needs the package {package}, which cannot be imported ({error}): pip install {package}"
    )
