"""Pipes, devices, links and names that no one expects: an error or a reported problem, never a hang."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import socket
import struct
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import pandas as pd
import pytest
import torch
from faceaug.recipes import recipe
from PIL import Image
from shard_samples import write_output

from faceaug import analyze, plan
from faceaug.cache.key import CacheKey
from faceaug.cache.store import Cache
from faceaug.classifiers.classifier import Classifier
from faceaug.datasets import load_dataset
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import FaceaugError, GeneratorError, IntegrityError
from faceaug.generators.importers.convert import import_generator
from faceaug.generators.importers.unpickler import read_pickle, refusal_reason
from faceaug.generators.registry import load_generator
from faceaug.latents.bundle import is_bundle, read_bundle
from faceaug.latents.directions import read_directions
from faceaug.planning import Plan
from faceaug.shards.manifest import file_entry, hash_line, read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.utils.training.checkpoints import read_checkpoint

Replace = Callable[[Path], None]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


REPLACEMENTS = (pipe, device, unix_socket, loop, dangling, folder, empty)
TABLE = pd.DataFrame({"gender": ["a"] * 3 + ["b"]})
READERS: dict[str, Callable[[Path], object]] = {
    "g.safetensors": load_generator,
    "directions.safetensors": read_directions,
    "bundle.safetensors": read_bundle,
    "classifier.safetensors": Classifier.load,
    "stylegan.pkl": import_generator,
    "rosinality.pt": import_generator,
    "plan.json": Plan.read,
    "recipe.yaml": lambda path: recipe.load(str(path)),
    "reference.csv": lambda path: plan(analyze(TABLE, "gender"), f"match:{path}"),
    "images.h5": load_dataset,
    "shard.h5": lambda path: ShardReader(path).rows,
    "list_attr_celeba.txt": lambda path: load_dataset(images(path.parent), path),
    "checkpoint.safetensors": lambda path: read_checkpoint(path.parent, {}, {}, {}),
}


def images(path: Path, count: int = 3) -> Path:
    (path / "faces").mkdir(exist_ok=True)
    for k in range(count):
        Image.new("RGB", (16, 16), (k, k, k)).save(path / "faces" / f"{k}.png")
    return path / "faces"


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, replace: Replace) -> None:
    replace(tmp_path / name)
    if (name, replace) == ("recipe.yaml", empty):
        return  # a recipe may leave everything out
    with pytest.raises(FaceaugError):
        READERS[name](tmp_path / name)
    assert not is_bundle(tmp_path / name)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder, which tests copy."""
    return write_output(tmp_path_factory.mktemp("sound") / "out")


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize(
    "name", ["manifest.json", "manifest.sha256", "samples.parquet", "shards/00000.h5", "plan.json"]
)
def test_a_file_of_an_output_folder_that_is_none_is_named(
    sound: Path, tmp_path: Path, name: str, replace: Replace
) -> None:
    shutil.copytree(sound, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    replace(tmp_path / "out" / name)
    assert name in {problem.file for problem in verify(tmp_path / "out").problems}
    if name.startswith(("manifest", "shards")):
        with pytest.raises(FaceaugError):
            load_dataset(tmp_path / "out")
        with pytest.raises(FaceaugError):
            ShardDataset(tmp_path / "out")


def test_a_manifest_that_is_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write_output(tmp_path / "out")
    (tmp_path / "other").mkdir()
    for name in ("manifest.json", "manifest.sha256"):
        (tmp_path / "other" / name).symlink_to(tmp_path / "out" / name)
    with pytest.raises(IntegrityError, match="leads out of the folder"):
        read_manifest(tmp_path / "other")
    assert not verify(tmp_path / "other").ok


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_one_odd_entry_leaves_the_other_images_usable(tmp_path: Path, replace: Replace) -> None:
    faces = images(tmp_path)
    replace(faces / "odd.jpg")
    (tmp_path / "labels.csv").write_text("file,g\n0.png,a\n1.png,b\n2.png,a\nodd.jpg,b\n")
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    assert len(dataset) == 3
    assert {problem.name for problem in dataset.problems} == {"odd.jpg"}


@pytest.mark.parametrize("name", [b"x" * 251 + b".png", b"new\nline.png", b"\x1b[31m.png", b"=1+1.png"])
def test_odd_names_are_images_as_others(tmp_path: Path, name: bytes) -> None:
    faces = images(tmp_path)
    (faces / "0.png").rename(os.fsdecode(bytes(faces) + b"/" + name))
    (faces / "a").mkdir()
    (faces / "1.png").rename(faces / "a" / "1.png")
    (faces / "b").mkdir()
    (faces / "2.png").rename(faces / "b" / "2.png")
    assert len(load_dataset(faces, reader="unlabelled")) == 3


def test_a_name_that_is_no_utf8_is_a_problem(tmp_path: Path) -> None:
    faces = images(tmp_path)
    (faces / "0.png").rename(os.fsdecode(bytes(faces) + b"/\xff\xfe.png"))
    dataset = load_dataset(faces, reader="unlabelled")
    assert (len(dataset), [problem.name for problem in dataset.problems]) == (2, ["??.png"])


@pytest.mark.slow
def test_a_folder_of_very_many_files_is_read_in_little_time_and_memory(tmp_path: Path) -> None:
    """Tens of thousands are linked to one image; FACEAUG_TEST_FILES gives another number."""
    count, faces = int(os.environ.get("FACEAUG_TEST_FILES", "20000")), images(tmp_path, 1)
    for k in range(1, count):
        if k % 50_000:  # a file has at most 65,000 names
            os.link(faces / f"{k // 50_000 * 50_000}.png", faces / f"{k}.png")
        else:
            (faces / f"{k}.png").write_bytes((faces / "0.png").read_bytes())
    rows = "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in range(count))
    (tmp_path / "labels.csv").write_text(f"file,g\n{rows}")
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    assert (len(dataset), dataset.problems) == (count, ())
    assert time.process_time() - start < count / 1000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 500


def test_names_with_nul_are_problems(tmp_path: Path) -> None:
    faces = images(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"file,g\n0.png,a\n1.png,b\n2\x00.png,a\n")
    assert len(load_dataset(faces, tmp_path / "labels.csv")) == 2


def test_a_code_without_a_level_is_refused(tmp_path: Path) -> None:
    write_output(tmp_path)
    manifest = read_manifest(tmp_path)
    entry = manifest.shards[0]
    with h5py.File(tmp_path / entry.name, "a") as file:
        codes = file["attr/gender"][:]
        codes[0] = 77
        file["attr/gender"][...] = codes
    data = (tmp_path / "manifest.json").read_bytes()
    data = data.replace(entry.sha256.encode(), file_entry(tmp_path, entry.name).sha256.encode())
    (tmp_path / "manifest.json").write_bytes(data)
    (tmp_path / "manifest.sha256").write_text(hash_line(data))
    for read in (lambda: ShardDataset(tmp_path), lambda: load_dataset(tmp_path)):
        with pytest.raises(IntegrityError, match=r"attr/gender, is damaged \(it has a code without a level"):
            read()
    assert "attr/gender has the value 77" in verify(tmp_path).to_text()


def test_a_pickle_whose_memo_would_collide_is_refused() -> None:
    collide = b"".join(b"p%d\n" % (k * ((1 << 61) - 1)) for k in range(1, 100_000))
    for data in (b"\x80\x00N" + collide + b".", b"\x80\x00Np-1\n."):
        with pytest.raises(GeneratorError, match="its pickle cannot be read"):
            read_pickle(BytesIO(data), "x.pkl", (), refusal_reason)


class Running:
    """An object whose pickle writes a file when it is loaded, by a call within a call."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.canary)!r}, 'w').close()",)


@pytest.mark.parametrize("kind", ["x.pkl", "nested.pkl", "new.pt", "old.pt"])
def test_no_code_of_a_pickle_runs(tmp_path: Path, kind: str) -> None:
    path, canary = tmp_path / kind, tmp_path / "canary"
    content = {"G_ema": Running(canary), "g_ema": {"a": [Running(canary)]}}
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content if kind == "x.pkl" else {"G_ema": [pickle.dumps(content), content]}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "new.pt")
    for read in (import_generator, load_generator, Classifier.load, read_directions):
        with pytest.raises(FaceaugError):
            read(path)
    assert not canary.exists()
    if path.suffix == ".pkl":  # the canary sings where it may
        pickle.loads(path.read_bytes())
        assert canary.exists()


def test_safetensors_with_absurd_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    for header in (
        b"{" * 100_000,
        b'{"__metadata__": {"faceaug": "' + b"[" * 100_000 + b'"}}',
        b'{"a": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4398046511104]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], '
        b'"data_offsets": [0, 4]}}',
    ):
        for length in (len(header), 1 << 62):
            path.write_bytes(struct.pack("<Q", length) + header + b"\0" * 8)
            for read in (load_generator, read_directions, read_bundle, Classifier.load):
                with pytest.raises(FaceaugError) as caught:
                    read(path)
                assert len(str(caught.value)) < 1_000


def test_a_pipe_in_place_of_a_cache_entry_is_made_again(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path / "cache"), CacheKey("kind", {"a": 1})
    cache.write(key, {"item": b"value"})
    (entry,) = cache.entries()
    entry.path.unlink()
    os.mkfifo(entry.path)
    assert cache.read(key) is None
