"""Writing encoded images with their hashes: a shard beside raw h5py in the same layout, tar and MDS.

All write the same images, which are encoded already, and flush them to disk. A shard has a mark of provenance in each
image, the SHA-256 of each image and of the file, and checksums of HDF5. Raw h5py writes images and hashes
in the same layout; MDS with SHA-256 as its writer offers it; tar files have no hashes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.speed.data import NUMBER, sample, smooth_images
from benchmarks.speed.protocol import OURS, Case, Disagreement, Size, find_opponents
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import write_shard
from faceaug.utils.images import decode, encode

TITLE = "writing encoded images, with hashes"
AIM = 0.9
COUNTS = {"full": {64: 2000, 256: 1000}, "tiny": {32: 20}}


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield a case for each size of images."""
    opponents = find_opponents(webdataset="webdataset", streaming="streaming")
    for side, count in COUNTS[size].items():
        files = [encode(image, "jpeg") for image in smooth_images(count, side)]
        place = folder / str(side)
        place.mkdir()
        yield _case(f"{side} px, {count:,} JPEG files, {sum(map(len, files)) / 1e6:.0f} MB", files, place, opponents)


def _case(name: str, files: list[bytes], place: Path, opponents: Any) -> Case:
    works = {
        OURS: lambda: write_shard(
            place / "shard.h5", [sample(data, k) for k, data in enumerate(files)], columns=(NUMBER,)
        ),
        "h5py, same layout": lambda: _write_h5py(place / "raw.h5", files),
        "webdataset TarWriter": lambda: _write_tar(opponents.modules["webdataset"], place / "part.tar", files),
        "streaming MDSWriter": lambda: _write_mds(opponents.modules["streaming"], place / "mds", files),
    }
    works = opponents.of(works)

    def agree() -> str:
        for work in works.values():
            work()
        with ShardReader(place / "shard.h5") as reader, h5py.File(place / "raw.h5") as raw:
            stored = reader.stored_many(range(len(files)))
            if [row.tobytes() for row in raw["image"]] != files:
                raise Disagreement(f"{name}: h5py gives other images")
            if any(not np.array_equal(decode(a), decode(b)) for a, b in zip(stored, files, strict=True)):
                raise Disagreement(f"{name}: the shard gives other pixels")
        return f"{len(files):,} images are read back with the same pixels"

    return Case(name, "images", len(files), works, agree, aim=AIM, missing=opponents.missing)


def _write_h5py(path: Path, files: list[bytes]) -> None:
    """Write images as rows of variable length, and their hashes, as in a shard, without any other column."""
    hashes = np.frombuffer(b"".join(hashlib.sha256(data).digest() for data in files), np.uint8).reshape(-1, 32)
    rows = np.empty(len(files), object)
    rows[:] = [np.frombuffer(data, np.uint8) for data in files]
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.create_dataset("image", data=rows, dtype=h5py.vlen_dtype(np.uint8))
        file.create_dataset("sha256", data=hashes, chunks=(min(256, len(hashes)), 32), fletcher32=True)
    _flush(path)


def _write_tar(wds: Any, path: Path, files: list[bytes]) -> None:
    with wds.TarWriter(str(path)) as sink:
        for k, data in enumerate(files):
            sink.write({"__key__": f"{k:06d}", "jpg": data, "cls": k})
    _flush(path)


def _write_mds(streaming: Any, folder: Path, files: list[bytes]) -> None:
    columns = {"image": "bytes", "number": "int"}
    with streaming.MDSWriter(out=str(folder), columns=columns, hashes=["sha256"], exist_ok=True) as writer:
        for k, data in enumerate(files):
            writer.write({"image": data, "number": k})
    for path in folder.iterdir():
        _flush(path)


def _flush(path: Path) -> None:
    """Flush a file to disk, as the writer of shards does."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
