"""Measure random reads of single images from a shard: the layouts of faceaug, and gzip over chunks of 32 images.

All layouts have the same images and are read in the same order, alternating within one run, from a warm cache by one
process. Run it from the root of the repository: `python benchmarks/speed_shards.py`. The record is
benchmarks/results/shards.json.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from _record import environment, write_result
from numpy.typing import NDArray

from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import Sample, write_shard
from faceaug.utils import images

BASELINE = "gzip, 32 images a chunk"
BATCH = 32

ReadRows = Callable[[Sequence[int]], object]


def smooth_images(count: int, side: int, seed: int) -> NDArray[np.uint8]:
    """Return smooth images with some noise, uint8 [count, side, side, 3]; a JPEG of one has about 20 KB at 256 px."""
    rng = np.random.default_rng(seed)
    pixels_of_all = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        smooth = images.resize(coarse, (side, side)).astype(np.float32)
        pixels_of_all[k] = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255)
    return pixels_of_all


def sample(image: NDArray[np.uint8], seed: int) -> Sample:
    """Return a sample that has an image and no labels."""
    return Sample(
        image=image,
        w=None,
        origin_w=None,
        engine="generator",
        source_sha256=None,
        harmonize={},
        cell=0,
        attr={},
        attr_confidence={},
        semantic={},
        plausibility=math.nan,
        realism=math.nan,
        seed=seed,
        quality=90,
    )


def write_gzip(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write the layout for comparison: pixels in chunks of 32 images, compressed with gzip."""
    with h5py.File(path, "w") as file:
        file.create_dataset("pixels", data=pixels, chunks=(32, *pixels.shape[1:]), compression="gzip")


def images_per_second(read: ReadRows, order: NDArray[np.int64], step: int, seconds: float) -> float:
    """Return images per second when `step` are read at a time, in the given order, for about `seconds`."""
    done, start = 0, time.perf_counter()
    while True:
        first = done % (len(order) - step + 1)
        read(order[first : first + step].tolist())
        done += step
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed


def measure(folder: Path, count: int, side: int, seconds: float, rounds: int, seed: int) -> dict[str, list[float]]:
    """Return images per second by layout, a value per round."""
    pixels = smooth_images(count, side, seed)
    samples = [sample(image, k) for k, image in enumerate(pixels)]
    write_shard(folder / "blob.h5", samples, columns=(), codec="jpeg", layout="blob")
    write_shard(folder / "raw.h5", samples, columns=(), codec="jpeg", layout="raw")
    write_gzip(folder / "gzip.h5", pixels)
    order = np.random.default_rng(seed + 1).integers(0, count, 100_000)
    with (
        ShardReader(folder / "blob.h5") as blob,
        ShardReader(folder / "raw.h5") as raw,
        h5py.File(folder / "gzip.h5", "r") as packed,
    ):
        chunks = packed["pixels"]
        readers: dict[str, tuple[ReadRows, int]] = {
            "blob": (blob.encoded_many, 1),
            f"blob, {BATCH} at once": (blob.encoded_many, BATCH),
            "blob, decoded": (blob.image_many, 1),
            "raw": (raw.image_many, 1),
            f"raw, {BATCH} at once": (raw.image_many, BATCH),
            BASELINE: (lambda rows: chunks[rows[0]], 1),
        }
        rates: dict[str, list[float]] = {name: [] for name in readers}
        for read, step in readers.values():
            images_per_second(read, order, step, seconds / 10)  # warm the cache
        for round_number in range(rounds):
            rolled = np.roll(order, 1000 * round_number)
            for name, (read, step) in readers.items():
                rates[name].append(images_per_second(read, rolled, step, seconds))
    return rates


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1200, help="images in the shard (default: %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="their side in pixels (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time per layout and round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds over all layouts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the record instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rates = measure(Path(name), options.images, options.side, options.seconds, options.rounds, options.seed)
        sizes = {path.stem: path.stat().st_size for path in Path(name).glob("*.h5")}
    layouts = {}
    for layout, values in rates.items():
        ratios = [value / baseline for value, baseline in zip(values, rates[BASELINE], strict=True)]
        layouts[layout] = {
            "images_per_second": round(statistics.median(values), 1),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
        print(f"{layout:28} {statistics.median(values):10,.0f} images/s  {statistics.median(ratios):8.1f} x")
    record = {
        **environment(options.seed, ("h5py", "numpy", "pillow")),
        "what": f"random reads of {options.side}-px images per second, one process, warm cache",
        "baseline": BASELINE,
        "rounds": options.rounds,
        "bytes": sizes,
        "layouts": layouts,
    }
    print(write_result("shards", record, options.out))


if __name__ == "__main__":
    main()
