"""Shards and output folders as the version before wrote them, made of those of today."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np

from faceaug.shards.columns import OLD_VERSION, SOURCE_COLUMNS
from faceaug.shards.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, hash_line
from faceaug.shards.reader import ShardReader

CHUNK = 65536


def to_old_shard(path: Path) -> Path:
    """Rewrite a shard as one of version 2: encoded images in one blob, and no columns without values."""
    with ShardReader(path) as reader:
        stored = reader.stored_many(range(reader.rows)) if reader.layout == "blob" else []
    other = path.with_suffix(".old")
    with h5py.File(path) as new, h5py.File(other, "w", libver=("v110", "v110")) as old:
        old.attrs.update({**new.attrs, "version": np.int64(OLD_VERSION)})
        for name in new:
            empty = (name in SOURCE_COLUMNS and not new[name][...].any()) or (
                name in ("w", "origin_w") and np.isnan(new[name][...]).all()
            )
            if name not in ("image", "position", "length") and not empty:
                new.copy(name, old)
        if stored:
            blob = np.frombuffer(b"".join(stored), np.uint8)
            offset = np.cumsum([0, *map(len, stored)])
            old.create_dataset("blob", data=blob, chunks=(min(CHUNK, len(blob)),), fletcher32=True)
            old.create_dataset("offset", data=offset, chunks=(len(offset),), fletcher32=True)
    return other.replace(path)


def to_old_folder(folder: Path) -> Path:
    """Rewrite an output folder as one of version 2."""
    value = json.loads((folder / MANIFEST_NAME).read_text())
    value["version"] = OLD_VERSION
    if value["generator"]:
        del value["generator"]["w_dim"]
    for entry in value["shards"]:
        data = to_old_shard(folder / entry["name"]).read_bytes()
        entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    data = json.dumps(value).encode()
    (folder / MANIFEST_NAME).write_bytes(data)
    (folder / MANIFEST_HASH_NAME).write_text(hash_line(data))
    return folder
