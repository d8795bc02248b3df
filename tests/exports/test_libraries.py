"""Exports opened by the libraries that they are for; each test is skipped where its library is not installed."""

from __future__ import annotations

import json

import pytest
from shard_samples import sample, write_output

from faceaug.exports.export import export_output
from faceaug.exports.records import ExportSource

COUNT = 30
pytestmark = pytest.mark.slow  # imports of large packages


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("libraries") / "out", count=COUNT, rows=12)


@pytest.fixture(scope="module")
def records(out):
    return list(ExportSource(out))


@pytest.fixture
def hf(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets")


def test_hugging_face_shows_images_and_names_of_classes(out, records, tmp_path, hf):
    export_output(out, tmp_path / "x", "parquet")
    data = hf.load_dataset("parquet", data_dir=str(tmp_path / "x/data"), split="train", cache_dir=str(tmp_path / "c"))
    assert len(data) == COUNT
    assert isinstance(data.features["gender"], hf.ClassLabel)
    assert data.features["gender"].names == ["female", "male"]
    assert data[3]["image"].size == (24, 24)
    assert [data.features["gender"].int2str(code) for code in data["gender"]] == [r.values["gender"] for r in records]
    assert data["seed"][0] == sample(0).seed
    assert data["skin/tone"][0] is None
    whole = hf.load_dataset(str(tmp_path / "x"), split="train", cache_dir=str(tmp_path / "c"))  # by the card
    assert whole.features == data.features


def test_hugging_face_reads_image_folders(out, tmp_path, hf):
    export_output(out, tmp_path / "x", "imagefolder")
    data = hf.load_dataset("imagefolder", data_dir=str(tmp_path / "x"), split="train", cache_dir=str(tmp_path / "c"))
    assert len(data) == COUNT
    assert sorted(data["gender"]) == ["female"] * 15 + ["male"] * 15
    assert data[0]["image"].size == (24, 24)


def test_webdataset_reads_images_with_their_labels(out, records, tmp_path):
    wds = pytest.importorskip("webdataset")
    export_output(out, tmp_path / "x", "webdataset")
    data = list(wds.WebDataset([str(p) for p in sorted((tmp_path / "x").glob("*.tar"))], shardshuffle=False))
    assert [each["jpg"] for each in data] == [record.image for record in records]
    assert [json.loads(each["json"])["gender"] for each in data] == [record.values["gender"] for record in records]


def test_mosaicml_reads_mds(out, records, tmp_path):
    streaming = pytest.importorskip("streaming")
    export_output(out, tmp_path / "x", "mds")
    data = streaming.StreamingDataset(local=str(tmp_path / "x"), shuffle=False, batch_size=1)
    assert [data[k]["image"] for k in range(COUNT)] == [record.image for record in records]
    assert data[4]["labels"]["gender"] == records[4].values["gender"]


def test_litdata_reads_its_format(out, records, tmp_path):
    litdata = pytest.importorskip("litdata")
    export_output(out, tmp_path / "x", "litdata")
    data = litdata.StreamingDataset(str(tmp_path / "x"))
    assert [data[k]["image"] for k in range(COUNT)] == [record.image for record in records]
    assert json.loads(data[4]["labels"])["gender"] == records[4].values["gender"]


def test_croissant_is_valid_and_its_records_load(out):
    mlcroissant = pytest.importorskip("mlcroissant")
    data = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
    assert not data.metadata.issues.errors
    rows = list(data.records(record_set="samples"))
    assert len(rows) == COUNT
