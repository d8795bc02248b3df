"""Every format holds the same images and labels, with real images beside them where they are asked for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile

import pandas as pd
import pyarrow.parquet as pq
import pytest
from dataset_files import write_face
from shard_samples import sample, write_output

from faceaug.datasets import load_dataset
from faceaug.errors import IntegrityError, OutputError, UsageError
from faceaug.exports import export as exporting
from faceaug.exports import parquet, webdataset
from faceaug.exports.destination import appearing_folder
from faceaug.exports.export import FORMATS, export_output
from faceaug.exports.records import ExportSource

COUNT = 30
READ_BY_FACEAUG = ("imagefolder", "webdataset", "parquet")
OWN = (*READ_BY_FACEAUG, "coco-json")
"""Formats that need no other package."""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("formats") / "out", count=COUNT, rows=12)


@pytest.fixture
def real(tmp_path):
    rows = ["file,gender,age,hat"]
    for seed, (gender, age) in enumerate((("female", 31), ("diverse", ""), ("male", 5))):
        write_face(tmp_path / "real" / f"{seed}.png", seed)
        rows.append(f"{seed}.png,{gender},{age},no")
    (tmp_path / "real.csv").write_text("\n".join(rows))
    return load_dataset(tmp_path / "real", tmp_path / "real.csv")


@pytest.mark.parametrize("kind", READ_BY_FACEAUG)
def test_what_is_written_is_read_back_by_faceaug(out, real, tmp_path, kind):
    report = export_output(out, tmp_path / "x", kind, real=real)
    assert report.images == COUNT + 3
    read = load_dataset(tmp_path / "x" / "data" if kind == "parquet" else tmp_path / "x")
    assert len(read) == COUNT + 3
    assert read.problems == ()
    records = {record.image: record.values for record in ExportSource(out, real)}
    for row in range(len(read)):
        values = records[read.encoded(row)]
        assert str(read.table["gender"][row]) == values["gender"]
        known = read.table["age"][row]
        assert known == values["age"] or (known != known and values["age"] is None)
        assert str(read.table["synthetic"][row]) == str(values["synthetic"])
    assert [values["gender"] for values in records.values() if not values["synthetic"]] == ["female", "diverse", "male"]


def test_parquet_has_typed_features_and_a_card(out, real, tmp_path):
    export_output(out, tmp_path / "x", "parquet", real=real)
    file = next((tmp_path / "x/data").glob("*.parquet"))
    features = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["gender"] == {"names": ["female", "male", "diverse"], "_type": "ClassLabel"}
    assert features["seed"] == {"dtype": "uint64", "_type": "Value"}
    assert pq.read_table(file)["seed"][0].as_py() == sample(0).seed
    card = (tmp_path / "x/README.md").read_text()
    assert card.startswith("---\n")
    assert '"path": "data/*.parquet"' in card
    assert "3 images are photographs of real" in card


def test_coco_has_an_annotation_for_each_image(out, real, tmp_path):
    report = export_output(out, tmp_path / "x", "coco-json", by="gender", real=real)
    content = json.loads((tmp_path / "x/annotations.json").read_text("utf-8"))
    classes = {category["id"]: category["name"] for category in content["categories"]}
    assert report.folders == {"diverse": 1, "female": 16, "male": 16}
    assert len(content["images"]) == len(content["annotations"]) == COUNT + 3
    records = {record.file_name: record.values for record in ExportSource(out, real)}
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        values = records[image["file_name"]]
        assert annotation["image_id"] == image["id"]
        assert classes[annotation["category_id"]] == values["gender"]
        assert annotation["attributes"]["synthetic"] == values["synthetic"]
        assert annotation["bbox"] == [0, 0, image["width"], image["height"]]
        assert image["license"] == (1 if values["synthetic"] else 2)
    assert [licence["name"] for licence in content["licenses"]] == ["MIT", "that of the data set real"]
    assert "3 images are photographs of real, under the licence of that data set" in content["info"]["description"]


def test_the_croissant_of_parquet_lists_its_files_and_fields(out, tmp_path):
    export_output(out, tmp_path / "x", "parquet")
    description = json.loads((tmp_path / "x/croissant.json").read_text("utf-8"))
    (file, file_set), (records,) = description["distribution"], description["recordSet"]
    data = (tmp_path / "x" / file["contentUrl"]).read_bytes()
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert file_set["includes"] == "data/*.parquet"
    assert {field["@id"] for field in records["field"]} >= {"images/image", "images/gender", "images/synthetic"}
    assert description["license"] == "MIT"


def test_the_croissant_of_real_images_says_so(out, real, tmp_path):
    export_output(out, tmp_path / "x", "parquet", real=real)
    description = json.loads((tmp_path / "x/croissant.json").read_text("utf-8"))
    assert description["license"] == "other"
    assert "3 images are photographs of real" in description["description"]


def test_an_export_that_was_killed_begins_again_and_says_so(out, tmp_path, monkeypatch):
    left = tmp_path / ".x.unfinished" / "female"
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"half")
    with pytest.raises(OutputError, match="no export wrote it"):
        export_output(out, tmp_path / "x")
    (tmp_path / ".x.unfinished.lock").touch()
    report = export_output(out, tmp_path / "x")
    assert report.again
    assert report.images == COUNT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["female", "male", "metadata.csv"]


def test_an_export_holds_its_lock_until_the_folder_is_there(out, tmp_path, monkeypatch):
    replaced = os.replace

    def meanwhile(one, two):
        with pytest.raises(OutputError, match="is in use"), appearing_folder(tmp_path / "x"):
            pass
        replaced(one, two)

    with appearing_folder(tmp_path / "x") as (folder, _):
        (folder / "a").touch()
        monkeypatch.setattr(os, "replace", meanwhile)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["x", "x/a"]


def test_two_exports_to_one_place_do_not_meet(out, tmp_path):
    with appearing_folder(tmp_path / "x"), pytest.raises(OutputError, match="is in use"):
        export_output(out, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_files_are_closed_when_they_are_large(out, tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "MOST_ROWS", 12)
    monkeypatch.setattr(parquet, "ROWS_OF_GROUP", 10)
    monkeypatch.setattr(parquet, "MOST_BYTES_OF_FILE", 1)
    assert export_output(out, tmp_path / "w", "webdataset").folders == {
        "000000.tar": 12,
        "000001.tar": 12,
        "000002.tar": 6,
    }
    assert list(export_output(out, tmp_path / "p", "parquet").folders.values()) == [10, 10, 10]
    with tarfile.open(tmp_path / "w/000000.tar") as archive:
        assert archive.getnames()[:2] == ["00000-00000.jpg", "00000-00000.json"]


@pytest.mark.parametrize("kind", OWN)
def test_a_run_without_samples_and_raw_pixels(tmp_path, kind):
    assert export_output(write_output(tmp_path / "none", count=0), tmp_path / "a", kind).images == 0
    raw = write_output(tmp_path / "raw", count=6, layout="raw", codec="jpeg")
    assert export_output(raw, tmp_path / "b", kind).images == 6


@pytest.mark.parametrize("kind", OWN)
def test_damage_leaves_nothing(out, tmp_path, kind):
    folder = shutil.copytree(out, tmp_path / "in" / "out")
    path = folder / "shards" / "00001.h5"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"00001\.h5"):
        export_output(folder, tmp_path / "x", kind)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_what_is_read_back_otherwise_is_an_error(out, tmp_path, monkeypatch):
    own = FORMATS["webdataset"]
    monkeypatch.setitem(
        exporting.FORMATS, "webdataset", exporting.ExportFormat(own.write, lambda folder: iter([b"other"]))
    )
    with pytest.raises(IntegrityError, match="is read back otherwise"):
        export_output(out, tmp_path / "x", "webdataset")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused(out, tmp_path):
    with pytest.raises(UsageError, match="there is no format 'parket' to export to; did you mean 'parquet'"):
        export_output(out, tmp_path / "x", "parket")
    with pytest.raises(UsageError, match="leave --by out"):
        export_output(out, tmp_path / "x", "parquet", by="gender")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    with pytest.raises(OutputError, match="not an empty folder"):
        export_output(out, tmp_path / "full", "parquet")


def test_a_missing_package_is_named(out, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "streaming", None)
    with pytest.raises(UsageError, match="pip install mosaicml-streaming"):
        export_output(out, tmp_path / "x", "mds")
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_an_image_folder_has_a_row_an_image(out, real, tmp_path):
    report = export_output(out, tmp_path / "x", real=real, by="gender")
    assert report.folders == {"diverse": 1, "female": 16, "male": 16}
    table = pd.read_csv(tmp_path / "x/metadata.csv")
    assert list(table.columns[:3]) == ["file_name", "shard", "row"]
    assert table["synthetic"].sum() == COUNT
