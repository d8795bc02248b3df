"""Shuffled reading for training: a DataLoader over the same images in the formats of several libraries.

Every contender gives batches of uint8 [B, 3, H, W] with the number of each image, in a random order of its own making,
an epoch a repetition, from the page cache. Worker processes stay from one epoch to the next. faceaug compares every
image with its SHA-256 and checks its header before it is decoded; the others do not. Opponents that decode by
themselves decode by PIL here, as their documentation shows.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed.data import SHARDS, rgb, smooth_images, write_output
from benchmarks.speed.protocol import OURS, Case, Disagreement, Opponents, Size, Work, find_opponents
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.utils.images import encode

TITLE = "shuffled reading for training"
AIM, AIM_RAW = 1.1, 3.0
BATCH = 64
COUNTS = {"full": {64: 2000, 256: 600}, "tiny": {32: 40}}
WORKERS = {"full": (0, 2, 4), "tiny": (0,)}

Epoch = Callable[[], Iterable[tuple[Tensor, Tensor]]]


def cases(size: Size, folder: Path) -> Iterator[Case]:
    """Yield a case for each size of images, layout and number of workers."""
    opponents = find_opponents(webdataset="webdataset", streaming="streaming", litdata="litdata", datasets="datasets")
    for side, count in COUNTS[size].items():
        place = folder / str(side)
        pixels = smooth_images(count, side)
        files = [encode(image, "jpeg") for image in pixels]
        write_output(place / "blob", pixels)
        write_output(place / "raw", pixels, layout="raw")
        formats = _write(place, files, opponents)
        for workers in WORKERS[size]:
            name = f"{side} px, {workers} workers"
            epochs = {OURS: _loaded(ShardDataset(place / "blob"), workers), **_epochs(formats, opponents, workers)}
            yield _case(f"{name}, JPEG", epochs, count, AIM, opponents.missing, tolerance=0)
            epochs = {OURS: _loaded(ShardDataset(place / "raw"), workers), _FILES: _loaded(formats["files"], workers)}
            yield _case(f"{name}, raw pixels beside JPEG files", epochs, count, AIM_RAW, {}, tolerance=8)


_FILES = "files with PIL"


def _case(name: str, epochs: dict[str, Epoch], count: int, aim: float, missing: Any, tolerance: float) -> Case:
    def agree() -> str:
        read = {contender: _checksums(epoch()) for contender, epoch in epochs.items()}
        for contender, sums in read.items():
            if sums.keys() != set(range(count)):
                raise Disagreement(f"{name}: {contender} gives {len(sums)} of {count} images")
            off = max(abs(sums[k][0] - read[OURS][k][0]) for k in sums)
            if off > tolerance or (not tolerance and sums != read[OURS]):
                raise Disagreement(f"{name}: {contender} gives other pixels")
        same = "the same pixels" if not tolerance else f"mean pixels within {tolerance:g} of 255"
        return f"each of {count:,} images once, {same}"

    works: dict[str, Work] = {contender: functools.partial(_exhaust, epoch) for contender, epoch in epochs.items()}
    return Case(name, "images", count, works, agree, aim=aim, missing=missing, rounds=5)


def _exhaust(epoch: Epoch) -> None:
    for _ in epoch():
        pass


def _checksums(epoch: Iterable[tuple[Tensor, Any]]) -> dict[int, tuple[float, int]]:
    """Return the mean and a checksum of each image by its number."""
    sums = {}
    for batch, labels in epoch:
        numbers = labels["number"] if isinstance(labels, dict) else labels
        for image, number in zip(batch, numbers, strict=True):
            sums[int(number)] = (float(image.float().mean()), zlib.crc32(image.contiguous().numpy().tobytes()))
    return sums


def _loaded(dataset: Any, workers: int, shuffle: bool = True) -> Epoch:
    loader = DataLoader(dataset, BATCH, shuffle=shuffle, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader


def planes(image: NDArray[np.uint8]) -> Tensor:
    """Return uint8 [3, H, W] of uint8 [H, W, 3] as torchvision's `pil_to_tensor` does, a view of a copy."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Files(Dataset[tuple[Tensor, int]]):
    """A folder of JPEG files, read by PIL."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return planes(np.asarray(image.convert("RGB"))), index


def _write(place: Path, files: list[bytes], opponents: Opponents) -> dict[str, Any]:
    """Write JPEG files in every format, and return what opens each."""
    (place / "files").mkdir()
    for k, data in enumerate(files):
        (place / "files" / f"{k:06d}.jpg").write_bytes(data)
    opened: dict[str, Any] = {"files": Files(place / "files")}
    parts = np.array_split(np.arange(len(files)), SHARDS)
    if wds := opponents.modules.get("webdataset"):
        for number, part in enumerate(parts):
            with wds.TarWriter(str(place / f"{number}.tar")) as sink:
                for k in part.tolist():
                    sink.write({"__key__": f"{k:06d}", "jpg": files[k], "cls": k})
        opened["webdataset"] = [str(place / f"{number}.tar") for number in range(SHARDS)]
    most = sum(map(len, files)) // SHARDS + 100_000
    if streaming := opponents.modules.get("streaming"):
        columns = {"image": "bytes", "number": "int"}
        with streaming.MDSWriter(out=str(place / "mds"), columns=columns, size_limit=most) as writer:
            for k, data in enumerate(files):
                writer.write({"image": data, "number": k})
        opened["streaming"] = place / "mds"
    if "litdata" in opponents.modules:
        from litdata.streaming.writer import BinaryWriter

        (place / "litdata").mkdir()
        writer = BinaryWriter(str(place / "litdata"), chunk_bytes=most)
        for k, data in enumerate(files):
            writer[k] = {"image": data, "number": k}
        writer.done()
        writer.merge()
        opened["litdata"] = place / "litdata"
    if hf := opponents.modules.get("datasets"):
        rows = {"image": [{"bytes": data, "path": None} for data in files], "number": list(range(len(files)))}
        features = hf.Features({"image": hf.Image(), "number": hf.Value("int64")})
        hf.Dataset.from_dict(rows, features=features).to_parquet(str(place / "rows.parquet"))
        opened["datasets"] = hf.Dataset.from_parquet(str(place / "rows.parquet"), cache_dir=str(place / "cache"))
    return opened


def _epochs(formats: dict[str, Any], opponents: Opponents, workers: int) -> dict[str, Epoch]:
    epochs = {_FILES: _loaded(formats["files"], workers)}
    if "webdataset" in formats:
        epochs["webdataset"] = _webdataset(opponents.modules["webdataset"], formats["webdataset"], workers)
    if "streaming" in formats:
        epochs["streaming"] = _streaming(opponents.modules["streaming"], formats["streaming"], workers)
    if "litdata" in formats:
        epochs["litdata"] = _litdata(opponents.modules["litdata"], formats["litdata"], workers)
    if "datasets" in formats:
        epochs["datasets"] = _loaded(formats["datasets"].with_transform(_decoded_rows), workers)
        epochs["datasets"] = functools.partial(_pairs, epochs["datasets"])
    return epochs


def _decoded_rows(rows: dict[str, list[Any]]) -> dict[str, Any]:
    return {**rows, "image": [planes(np.asarray(image.convert("RGB"))) for image in rows["image"]]}


def _pairs(epoch: Callable[[], Iterable[dict[str, Tensor]]]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((batch["image"], batch["number"]) for batch in epoch())


def _webdataset(wds: Any, urls: list[str], workers: int) -> Epoch:
    dataset = wds.WebDataset(urls, shardshuffle=SHARDS).shuffle(1000).to_tuple("jpg", "cls").map(_decoded_pair)
    return _loaded(dataset, workers, shuffle=False)


def _decoded_pair(pair: tuple[bytes, bytes]) -> tuple[Tensor, int]:
    return planes(rgb(pair[0])), int(pair[1])


def _streaming(streaming: Any, place: Path, workers: int) -> Epoch:
    class Decoded(streaming.StreamingDataset):  # type: ignore[misc, name-defined]
        def __getitem__(self, at: int) -> tuple[Tensor, int]:
            item = super().__getitem__(at)
            return planes(rgb(item["image"])), item["number"]

    dataset = Decoded(local=str(place), shuffle=True, batch_size=BATCH)
    return _loaded(dataset, workers, shuffle=False)


def _litdata(litdata: Any, place: Path, workers: int) -> Epoch:
    class Decoded(litdata.StreamingDataset):  # type: ignore[misc, name-defined]
        def __getitem__(self, index: Any) -> tuple[Tensor, int]:
            item = super().__getitem__(index)
            return planes(rgb(item["image"])), item["number"]

    dataset = Decoded(str(place), shuffle=True)
    loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader
