"""Files of every kind that faceaug reads, and seeded mutations of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from faceaug.recipes import recipe
from foreign_files import network, nvidia_bytes, nvidia_module, rosinality_file
from PIL import Image
from shard_samples import write_output

from faceaug.analysis.analyze import analyze
from faceaug.datasets import load_dataset
from faceaug.generators.importers.convert import read_foreign
from faceaug.generators.registry import load_generator
from faceaug.generators.stylegan import initialize, save
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.planning import Plan, plan
from faceaug.shards.manifest import hash_line, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.utils.images import decode

_TOKENS = (
    *(
        b"\0",
        b"\xff",
        b"\n",
        b"'",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"=cmd",
        b"\x1b[31m",
        b"../",
        b"~x/",
    ),
    *(
        b"NaN",
        b"-1",
        b"1e999",
        b"99999999999999999999",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"!!bool x",
        b"&a",
        b"*a",
        b"<<: ",
    ),
)
_TABLE = pd.DataFrame({"gender": ["a"] * 3 + ["b"]})
_RECIPE = """format: faceaug-recipe
version: 2
dataset: {path: faces/, labels: labels.csv}
plan: {by: "gender,age:5", strategy: uniform, max_total: 500}
generator: {name: embedded, truncation_psi: 0.7}
thresholds: {held_out: 0.6}
run: {seed: 3, engine: morph, keep: [age]}
output: {path: out}
"""


@dataclass(frozen=True)
class FuzzedReader:
    """A file, and what reads it."""

    path: Path
    read: Callable[[Path], object]

    def run(self, data: bytes) -> None:
        """Read the file with another content; what the reader raises is raised."""
        self.path.write_bytes(data)
        self.read(self.path)


def fuzzed_readers(folder: Path) -> dict[str, FuzzedReader]:
    """Write a file of each kind, and return the readers by the kind."""
    writers = (_output, _labels, _hdf5, _weights, _documents, _image)
    readers: dict[str, FuzzedReader] = {}
    for write in writers:
        readers |= write(folder)
    return readers


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one to four changes: bits, tokens, pieces that are lost, doubled or moved, or a cut end."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        start, length = int(rng.integers(0, len(changed) + 1)), int(rng.integers(1, 40))
        kind = int(rng.integers(0, 7))
        if kind == 0 and start < len(changed):
            changed[start] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            changed[start : start + int(rng.integers(0, 9))] = _TOKENS[int(rng.integers(0, len(_TOKENS)))]
        elif kind == 2:
            del changed[start : start + length]
        elif kind == 3:
            changed[start:start] = changed[start : start + length] * int(rng.integers(1, 30))
        elif kind == 4:
            other = int(rng.integers(0, len(changed) + 1))
            changed[other : other + length] = changed[start : start + length]
        elif kind == 5 and rng.random() < 0.3:
            del changed[start:]
        else:
            width = 1 << int(rng.integers(0, 4))
            changed[start : start + width] = rng.choice([b"\0", b"\xff", b"\x7f"]) * width
    return bytes(changed)


def _output(folder: Path) -> dict[str, FuzzedReader]:
    out = folder / "out"
    write_output(out)
    manifest = read_manifest(out)

    def read_with_hash(path: Path) -> None:
        (out / "manifest.sha256").write_text(hash_line(path.read_bytes()))
        read_manifest(out)

    def read_shard(path: Path) -> None:
        verify(out)
        with ShardReader(path) as reader:
            reader.read_columns(manifest.columns)
            reader.image_many(range(min(4, reader.rows)))

    shards = folder / "shards"
    write_output(shards)
    return {
        "manifest": FuzzedReader(out / "manifest.json", read_with_hash),
        "shard": FuzzedReader(shards / manifest.shards[0].name, read_shard),
        "table of samples": FuzzedReader(shards / "samples.parquet", lambda path: verify(shards)),
    }


def _labels(folder: Path) -> dict[str, FuzzedReader]:
    faces = folder / "faces"
    faces.mkdir()
    rows = ["file,gender,age"]
    for k in range(12):
        Image.new("RGB", (8, 8), (k, 2 * k, 3 * k)).save(faces / f"{k}.png")
        rows.append(f"{k}.png,{'female' if k % 2 else 'male'},{20 + k}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    parquet = folder / "labels.parquet"
    pd.read_csv(labels).to_parquet(parquet)
    return {
        name: FuzzedReader(p, lambda path: load_dataset(faces, path))
        for name, p in (("labels", labels), ("labels in Parquet", parquet))
    }


def _hdf5(folder: Path) -> dict[str, FuzzedReader]:
    path = folder / "faces.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), compression="gzip")
        file["attr/gender"] = np.arange(12) % 2
        file["attr/gender"].attrs["levels"] = ["female", "male"]
        file["name"] = [f"person {k}" for k in range(12)]
    return {"HDF5": FuzzedReader(path, load_dataset)}


def _weights(folder: Path) -> dict[str, FuzzedReader]:
    config = StyleGAN2Config(resolution=16, z_dim=12, w_dim=10, mapping_layers=2, channel_base=64, channel_max=8)
    generator = initialize(config, seed=3, statistics_samples=100)
    save(generator, folder / "generator.safetensors")
    source = network(config)
    rosinality_file(folder / "new.pt", source)
    rosinality_file(folder / "old.pt", source, old=True)
    (folder / "nvidia.pkl").write_bytes(nvidia_bytes(nvidia_module(source)))
    return {
        "weights": FuzzedReader(folder / "generator.safetensors", load_generator),
        "checkpoint of torch": FuzzedReader(folder / "new.pt", read_foreign),
        "old checkpoint of torch": FuzzedReader(folder / "old.pt", read_foreign),
        "pickle of NVIDIA": FuzzedReader(folder / "nvidia.pkl", read_foreign),
    }


def _documents(folder: Path) -> dict[str, FuzzedReader]:
    (folder / "recipe.yaml").write_text(_RECIPE)
    plan(analyze(_TABLE, "gender"), "min:5").write(folder / "plan.json")
    (folder / "shares.json").write_text(json.dumps([{"gender": "a", "share": 0.25}, {"gender": "b", "share": 0.75}]))
    return {
        "recipe": FuzzedReader(folder / "recipe.yaml", lambda path: recipe.load(str(path))),
        "plan": FuzzedReader(folder / "plan.json", Plan.read),
        "reference": FuzzedReader(
            folder / "shares.json", lambda path: plan(analyze(_TABLE, "gender"), f"match:{path}")
        ),
    }


def _image(folder: Path) -> dict[str, FuzzedReader]:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    readers = {}
    for codec in ("jpeg", "png", "webp"):
        Image.fromarray(pixels).save(folder / f"image.{codec}")
        readers[codec] = FuzzedReader(folder / f"image.{codec}", lambda path: decode(path.read_bytes()))
    return readers
