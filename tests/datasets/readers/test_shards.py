"""faceaug's own output folders as a data set: both layouts, and everything that is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dataset_files import GENDERS, face

from faceaug.datasets import load_dataset
from faceaug.datasets.readers.shards import ShardImages
from faceaug.errors import DatasetError, IntegrityError
from faceaug.shards.manifest import hash_line
from faceaug.shards.reader import ShardReader


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_both_layouts(make, layout):
    dataset = load_dataset(**make("shards", layout=layout), strict=True)
    assert dataset.attributes == ("gender", "semantic/yaw")
    assert list(dataset.table["key"])[2:4] == ["shards/00000.h5:2", "shards/00001.h5:0"]
    assert list(dataset.table["gender"]) == list(GENDERS)
    assert dataset.table["semantic/yaw"].tolist() == [0, 10, 20, 30, 40, 50]
    assert np.array_equal(np.stack([dataset.image(i) for i in range(6)]), np.stack([face(i) for i in range(6)]))


def test_an_unfinished_run_is_refused(make):
    with pytest.raises(DatasetError, match=r"has not finished; .*--resume"):
        load_dataset(**make("shards", complete=False))


def test_damage_is_refused(make):
    path = make("shards")["source"]
    shard = path / "shards" / "00001.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"00001\.h5 is missing or does not match its hash; run faceaug verify"):
        load_dataset(path)
    shard.unlink()
    with pytest.raises(IntegrityError, match=r"00001\.h5 is missing"):
        load_dataset(path)


def rewrite(path, change):
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    data = json.dumps(manifest).encode()
    (path / "manifest.json").write_bytes(data)
    (path / "manifest.sha256").write_text(hash_line(data))


def test_an_unknown_version_is_refused(make):
    path = make("shards")["source"]
    rewrite(path, lambda manifest: manifest.update(version=99))
    with pytest.raises(IntegrityError, match="version 99"):
        load_dataset(path)


def test_a_name_that_leaves_the_folder_is_refused(make):
    path = make("shards")["source"]
    rewrite(path, lambda manifest: manifest["shards"][0].update(name="../00000.h5"))
    with pytest.raises(IntegrityError):
        load_dataset(path)


def test_a_link_that_leaves_the_folder_is_refused(make, tmp_path):
    path = make("shards")["source"]
    (path / "shards" / "00000.h5").rename(tmp_path / "00000.h5")
    (path / "shards" / "00000.h5").symlink_to(tmp_path / "00000.h5")
    with pytest.raises(IntegrityError, match="leads out"):
        load_dataset(path)


def test_a_changed_manifest_is_refused(make):
    path = make("shards")["source"]
    (path / "manifest.json").write_text((path / "manifest.json").read_text().replace("degrees", "radians"))
    with pytest.raises(IntegrityError, match="does not match"):
        load_dataset(path)


def test_a_manifest_of_another_program_is_ignored(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(DatasetError, match="no images"):
        load_dataset(tmp_path)


def test_a_label_file_is_refused(make, tmp_path):
    (tmp_path / "l.csv").write_text("file,v\n")
    with pytest.raises(DatasetError, match="leave the label file out"):
        load_dataset(**make("shards"), labels=tmp_path / "l.csv")


def test_only_a_few_shards_stay_open(make, monkeypatch):
    folder = make("shards")["source"]
    source = ShardImages({f"shards/{name}.h5": folder / f"shards/{name}.h5" for name in ("00000", "00001")}, max_open=1)
    closed = []
    monkeypatch.setattr(ShardReader, "close", lambda self: closed.append(self.path.name))
    for name in ("00000", "00000", "00001", "00000"):
        source.read(f"shards/{name}.h5:1")
    assert closed == ["00000.h5", "00001.h5"]
