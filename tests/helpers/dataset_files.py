"""Tiny data sets of every kind, made on the spot."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceaug.shards.columns import Column
from faceaug.shards.manifest import CellRecord, CreatedBy, DatasetRecord, FileEntry, Manifest, Totals, write_manifest
from faceaug.shards.writer import Sample, write_shard
from faceaug.utils.images import encode

GENDERS = ("female", "male", "female", "male", "female", "female")
AGES = (31, 40, 5, 77, 18, 60)


def face(seed: int, size: int = 12) -> np.ndarray:
    """A picture, uint8 [size, size, 3], that tells its seed: its first pixel is (seed, 0, 0)."""
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    image[0, 0] = (seed, 0, 0)
    return image


def write_face(path: Path, seed: int, codec: str | None = None) -> None:
    """Write `face(seed)` in the codec that the name says (PNG when it says none)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower().lstrip(".").replace("jpg", "jpeg")
    path.write_bytes(encode(face(seed), codec or (suffix if suffix in ("jpeg", "webp") else "png")))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder faces/ with a.png to f.png (seeds 0 to 5) and, beside it, labels.csv."""
    folder = tmp_path / "faces"
    rows = ["file,gender,age"]
    for seed, (name, gender, age) in enumerate(zip("abcdef", GENDERS, AGES, strict=True)):
        write_face(folder / f"{name}.png", seed)
        rows.append(f"{name}.png,{gender},{age}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def make_folder(root: Path) -> dict[str, object]:
    rows = ["img_path,gender"]
    for seed, gender in enumerate(GENDERS):
        name = f"part{seed % 2}/{seed:06d}.{('jpg', 'png', 'webp')[seed % 3]}"
        write_face(root / "faces" / name, seed)
        rows.append(f"{name},{gender}")
    (root / "labels.csv").write_text("\n".join(rows))
    return {"source": root / "faces", "labels": root / "labels.csv"}


def make_celeba(root: Path) -> dict[str, object]:
    lines = [f"{len(GENDERS)}", "5_o_Clock_Shadow Female"]
    splits = []
    for seed, gender in enumerate(GENDERS):
        write_face(root / "img_align_celeba" / f"{seed + 1:06d}.jpg", seed)
        lines.append(f"{seed + 1:06d}.jpg -1 {1 if gender == 'female' else -1:2d}")
        splits.append(f"{seed + 1:06d}.jpg 0")
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    return {"source": root}


def make_fairface(root: Path) -> dict[str, object]:
    rows = {"train": ["file,age,gender,race,service_test"], "val": ["file,age,gender,race,service_test"]}
    for seed, gender in enumerate(GENDERS):
        write_face(root / "train" / f"{seed + 1}.jpg", seed)
        rows["train"].append(f"train/{seed + 1}.jpg,20-29,{gender},East Asian,False")
    write_face(root / "val" / "1.jpg", 9)
    rows["val"].append("val/1.jpg,more than 70,male,Black,True")
    for split, lines in rows.items():
        (root / f"fairface_label_{split}.csv").write_text("\n".join(lines) + "\n")
    return {"source": root}


def make_utkface(root: Path) -> dict[str, object]:
    for seed, (gender, age) in enumerate(zip(GENDERS, AGES, strict=True)):
        code = 1 if gender == "female" else 0
        write_face(root / f"{age}_{code}_{seed % 5}_201701161746{seed:05d}.jpg.chip.jpg", seed)
    return {"source": root}


def make_classes(root: Path) -> dict[str, object]:
    for seed, gender in enumerate(GENDERS):
        write_face(root / gender / f"{seed}.png", seed)
    return {"source": root}


def make_hdf5(root: Path) -> dict[str, object]:
    with h5py.File(root / "faces.h5", "w") as file:
        file["images"] = np.stack([face(seed) for seed in range(len(GENDERS))])
        file["labels/gender"] = np.array(GENDERS, dtype=h5py.string_dtype())
        file["labels/age"] = np.array(AGES)
    return {"source": root / "faces.h5"}


def make_parquet(root: Path) -> dict[str, object]:
    levels = sorted(set(GENDERS))
    images = [{"bytes": encode(face(seed), "png"), "path": f"{seed}.png"} for seed in range(len(GENDERS))]
    table = pa.table({"image": images, "gender": [levels.index(gender) for gender in GENDERS], "age": list(AGES)})
    features = {"gender": {"names": levels, "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table.slice(0, 4), root / "train-00000.parquet", row_group_size=3)
    pq.write_table(table.slice(4), root / "train-00001.parquet")
    return {"source": root}


def make_parquet_bytes(folder: str) -> dict[str, bytes]:
    """The files of `make_parquet`, by their paths."""
    with tempfile.TemporaryDirectory() as root:
        make_parquet(Path(root))
        return {f"{folder}/{path.name}": path.read_bytes() for path in Path(root).iterdir()}


def make_arrow(root: Path) -> dict[str, object]:
    """As `Dataset.save_to_disk` of Hugging Face writes it."""
    levels = sorted(set(GENDERS))
    images = [{"bytes": encode(face(seed), "png"), "path": f"{seed}.png"} for seed in range(len(GENDERS))]
    table = pa.table({"image": images, "gender": [levels.index(gender) for gender in GENDERS], "age": list(AGES)})
    names = ("data-00000-of-00002.arrow", "data-00001-of-00002.arrow")
    for name, part in zip(names, (table.slice(0, 4), table.slice(4)), strict=True):
        with pa.OSFile(str(root / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(part, max_chunksize=3)
    features = {"image": {"_type": "Image"}, "gender": {"names": levels, "_type": "ClassLabel"}}
    (root / "dataset_info.json").write_text(json.dumps({"features": features}))
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return {"source": root}


def make_tar(root: Path) -> dict[str, object]:
    for shard in range(2):
        with tarfile.open(root / f"{shard:05d}.tar", "w") as archive:
            for seed in range(3 * shard, 3 * shard + 3):
                sidecar = json.dumps({"gender": GENDERS[seed], "age": AGES[seed], "boxes": [1, 2]}).encode()
                for suffix, data in (("png", encode(face(seed), "png")), ("json", sidecar)):
                    member = tarfile.TarInfo(f"{seed:04d}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return {"source": root}


def make_shards(root: Path, layout: str = "blob", *, complete: bool = True) -> dict[str, object]:
    columns = [
        Column(group="attr", name="gender", type="category", levels=("female", "male")),
        Column(group="semantic", name="yaw", type="float32", unit="degrees"),
    ]
    (root / "shards").mkdir()
    samples = [
        Sample(
            *(face(seed), np.zeros(4, np.float32), None, "generator", None, {}, 0, {"gender": gender}, {"gender": 0.9}),
            *({"yaw": seed * 10.0}, 1.0, 1.0, seed),
        )
        for seed, gender in enumerate(GENDERS)
    ]
    half = len(samples) // 2
    parts = [samples[:half], samples[half:]]
    entries = [
        write_shard(root / "shards" / f"{i:05d}.h5", part, columns=columns, codec="png", layout=layout)
        for i, part in enumerate(parts)
    ]
    count = len(samples)
    cell = CellRecord(index=0, attributes={}, real=1, wanted=count, planned=count, accepted=count, short=0, tried=count)
    listed = ("plan.json", "samples.parquet", "croissant.json", "README.md") if complete else ()
    manifest = Manifest(
        created_by=CreatedBy(faceaug="0", command="test"),
        seed=0,
        generator=None,
        dataset=DatasetRecord(name="t", fingerprint="0" * 64, rows=1),
        layout=layout,
        codec="png",
        columns=tuple(columns),
        complete=complete,
        fingerprint="0",
        shards=tuple(entries),
        files=tuple(FileEntry(name=name, sha256="0" * 64, bytes=0) for name in listed),
        cells=(cell,),
        totals=Totals.of([cell]),
    )
    write_manifest(root, manifest)
    return {"source": root}


MAKERS: dict[str, Callable[..., dict[str, object]]] = {
    "folder": make_folder,
    "celeba": make_celeba,
    "fairface": make_fairface,
    "utkface": make_utkface,
    "classes": make_classes,
    "hdf5": make_hdf5,
    "arrow": make_arrow,
    "parquet": make_parquet,
    "tar": make_tar,
    "shards": make_shards,
}


@pytest.fixture(params=sorted(MAKERS))
def any_kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, object]]:
    """Each kind of data set in turn: the name of its reader, and the arguments that load it."""
    (tmp_path / "set").mkdir()
    return request.param, MAKERS[request.param](tmp_path / "set")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Make one kind of data set by name: make("celeba") -> the arguments that load it."""

    def build(kind: str, **options: object) -> dict[str, object]:
        (tmp_path / "set").mkdir()
        return MAKERS[kind](tmp_path / "set", **options)

    return build
