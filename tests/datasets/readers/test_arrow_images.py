"""Folders of Hugging Face's `save_to_disk`: labels as the library types them, splits, and images by their paths."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import AGES, GENDERS, face, make_arrow, make_parquet, write_face

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.images import encode


def write_dataset(folder, table, features=None):
    folder.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))


def test_it_is_the_table_that_parquet_gives(tmp_path):
    for name in ("arrow", "parquet"):
        (tmp_path / name).mkdir()
    one, other = load_dataset(**make_arrow(tmp_path / "arrow")), load_dataset(**make_parquet(tmp_path / "parquet"))
    assert one.table.drop(columns="key").equals(other.table.drop(columns="key"))
    assert [one.encoded(row) for row in range(6)] == [other.encoded(row) for row in range(6)]


def test_the_splits_of_a_dictionary_are_splits(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        make_arrow(tmp_path / split)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    dataset = load_dataset(tmp_path)
    assert (len(dataset), dataset.split) == (6, "train")
    assert len(load_dataset(tmp_path, split="all")) == 12
    assert load_dataset(tmp_path, split="val").keys[4] == "validation/data-00001-of-00002.arrow:0"


def test_images_that_are_named_by_a_path_are_read_in_the_folder_only(tmp_path):
    write_face(tmp_path / "faces" / "1.png", 1)
    write_face(tmp_path / "elsewhere.png", 2)
    paths = ["1.png", str(tmp_path / "faces/1.png"), "../elsewhere.png", str(tmp_path / "elsewhere.png"), None]
    images = [{"bytes": encode(face(0), "png"), "path": None}, *({"bytes": None, "path": path} for path in paths)]
    write_dataset(tmp_path / "faces", pa.table({"image": images, "n": range(6)}))
    dataset = load_dataset(tmp_path / "faces")
    assert dataset.keys == ("data.arrow:0", "data.arrow:1", "data.arrow:2")
    assert dataset.encoded(1) == dataset.encoded(2) == (tmp_path / "faces/1.png").read_bytes()
    with pytest.raises(ImageError, match="leads out of the folder"):
        dataset.images.read("data.arrow:3")


def test_the_images_of_a_split_are_named_from_its_own_folder_or_from_that_of_all(tmp_path, caplog):
    write_face(tmp_path / "test" / "own.png", 1)
    write_face(tmp_path / "of_all.png", 2)
    images = [{"bytes": None, "path": path} for path in ("own.png", "of_all.png")]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    write_dataset(tmp_path / "test", pa.table({"image": pa.array(images, kind), "n": range(2)}))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["test"]}')
    dataset = load_dataset(tmp_path, split="test")
    files = (tmp_path / "test" / "own.png", tmp_path / "of_all.png")
    assert [dataset.encoded(row) for row in range(2)] == [file.read_bytes() for file in files]
    assert not caplog.records


def test_a_column_of_splits_of_its_own_is_kept_with_a_warning(tmp_path, caplog):
    table = pa.table({"image": [encode(face(k), "png") for k in range(2)], "split": ["val", "train"]})
    for name in ("train", "test"):
        write_dataset(tmp_path / "arrow" / name, table)
        (tmp_path / "parquet").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "parquet" / f"{name}-00000.parquet")
    (tmp_path / "arrow" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for name in ("arrow", "parquet"):
        caplog.clear()
        assert sorted(load_dataset(tmp_path / name, split="all").table["split"]) == ["train", "train", "val", "val"]
        assert f"{name}: its own column 'split' is used; the splits that its files are named after" in caplog.text


def test_a_file_that_is_named_twice_is_refused(tmp_path):
    write_dataset(tmp_path, pa.table({"image": [encode(face(0), "png")]}))
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}] * 2}))
    with pytest.raises(DatasetError, match="has a name twice"):
        load_dataset(tmp_path)


@pytest.mark.slow
def test_it_reads_what_the_library_writes(tmp_path):
    datasets = pytest.importorskip("datasets")
    levels = sorted(set(GENDERS))
    features = datasets.Features(
        image=datasets.Image(),
        gender=datasets.ClassLabel(names=levels),
        age=datasets.Value("int32"),
        note=datasets.Value("string"),
        score=datasets.Value("float32"),
    )
    images = [{"bytes": encode(face(seed), "png"), "path": None} for seed in range(5)]
    write_face(tmp_path / "5.png", 5)
    images.append({"bytes": None, "path": str(tmp_path / "5.png")})  # which the library copies into its files
    columns = {
        "image": images,
        "gender": [*map(levels.index, GENDERS[:5]), None],
        "age": AGES,
        "note": [*"abcde", None],
        "score": [0.5] * 6,
    }
    written = datasets.Dataset.from_dict(columns, features=features)
    written.save_to_disk(str(tmp_path / "one"), num_shards=2)
    datasets.DatasetDict(train=written, test=written).save_to_disk(str(tmp_path / "dict"))
    dataset = load_dataset(tmp_path / "one", strict=True)
    assert dataset.attributes == ("gender", "age", "note", "score")
    assert dataset.table["gender"].fillna("").tolist() == [*GENDERS[:5], ""]
    assert [int(dataset.image(row)[0, 0, 0]) for row in range(6)] == list(range(6))
    assert len(load_dataset(tmp_path / "dict", split="all")) == 12


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"file": ["a.png"]}, "no column of encoded images"),
        ({"image": [b"1"], "key": ["a"]}, "a name that faceaug reserves"),
        ({"image": [b"1"], "gender": pa.array(["a"]).dictionary_encode()}, "has dictionaries"),
    ],
)
def test_a_table_that_is_no_data_set_is_refused(tmp_path, table, message):
    write_dataset(tmp_path / "set", pa.table(table))
    with pytest.raises(DatasetError, match=message):
        load_dataset(tmp_path / "set")
