"""Parquet with images: labels as Hugging Face types them, and files that are no such table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_files import AGES, GENDERS, face, make_parquet, write_face

from faceaug.datasets import load_dataset
from faceaug.datasets.arrow.image_columns import class_names_of
from faceaug.datasets.registry import detect_reader
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.images import encode


def test_class_labels_have_the_names_of_their_classes(tmp_path):
    dataset = load_dataset(**make_parquet(tmp_path))
    assert list(dataset.table["gender"]) == list(GENDERS)
    assert list(dataset.table["age"]) == list(AGES)


def test_a_single_file_with_plain_bytes_is_read(tmp_path):
    images = pa.array([encode(face(seed), "png") for seed in range(6)])
    pq.write_table(pa.table({"picture": images, "gender": list(GENDERS)}), tmp_path / "faces.parquet")
    dataset = load_dataset(tmp_path / "faces.parquet")
    assert dataset.attributes == ("gender",)
    assert dataset.keys[5] == "faces.parquet:5"


def test_an_image_that_is_only_named_by_a_path_is_left_out(tmp_path):
    images = [{"bytes": encode(face(0), "png"), "path": "a"}, {"bytes": None, "path": "/etc/passwd"}]
    pq.write_table(pa.table({"image": images, "gender": ["a", "b"]}), tmp_path / "faces.parquet")
    dataset = load_dataset(tmp_path / "faces.parquet")
    assert [problem.name for problem in dataset.problems] == ["faces.parquet:1"]
    with pytest.raises(ImageError, match="is not opened"):
        dataset.images.read("faces.parquet:1")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"file": ["a.png"], "gender": ["female"]}, "no column of encoded images"),
        ({"one": [b"1"], "two": [b"2"]}, "several columns of encoded images"),
        ({"image": [b"1"], "key": ["a"]}, "a name that faceaug reserves"),
    ],
)
def test_a_table_without_one_column_of_images_is_refused(tmp_path, table, message):
    pq.write_table(pa.table(table), tmp_path / "faces.parquet")
    with pytest.raises(DatasetError, match=message):
        load_dataset(tmp_path / "faces.parquet")


def test_files_of_other_columns_and_damaged_files_are_refused(tmp_path):
    image = encode(face(0), "png")
    pq.write_table(pa.table({"image": [image], "gender": ["female"]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"image": [image], "age": [3]}), tmp_path / "1.parquet")
    with pytest.raises(DatasetError, match="other columns than the first file"):
        load_dataset(tmp_path)
    (tmp_path / "1.parquet").write_bytes((tmp_path / "0.parquet").read_bytes()[:-20])
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        load_dataset(tmp_path)


def test_a_folder_of_images_with_labels_in_parquet_stays_a_folder(tmp_path):
    write_face(tmp_path / "a.png", 0)
    pq.write_table(pa.table({"file": ["a.png"], "gender": ["female"]}), tmp_path / "labels.parquet")
    assert detect_reader(tmp_path, None) == "folder"


def test_files_are_splits_by_the_beginnings_of_their_names(tmp_path):
    image = encode(face(0), "png")
    for name, count in (("train-00000-of-00002", 2), ("train-00001-of-00002", 1), ("test-00000-of-00001", 4)):
        pq.write_table(pa.table({"image": [image] * count, "age": [3] * count}), tmp_path / f"{name}.parquet")
    assert (len(load_dataset(tmp_path)), len(load_dataset(tmp_path, split="test"))) == (3, 4)
    pq.write_table(pa.table({"image": [image] * 5, "age": [3] * 5}), tmp_path / "unlabeled-00000-of-00001.parquet")
    assert [len(load_dataset(tmp_path, split=split)) for split in (None, "test", "unlabeled")] == [3, 4, 5]


def test_files_are_splits_by_their_folders(tmp_path):
    image = encode(face(0), "png")
    for split, count in (("train", 3), ("test", 4)):
        (tmp_path / "default" / split).mkdir(parents=True)
        table = pa.table({"image": [image] * count, "age": [3] * count})
        pq.write_table(table, tmp_path / "default" / split / "0000.parquet")
    assert (len(load_dataset(tmp_path)), len(load_dataset(tmp_path, split="test"))) == (3, 4)


def test_a_feature_without_names_of_classes_leaves_those_of_others():
    label = {"_type": "ClassLabel", "names": ["a", "b"]}
    tags, unnamed = [{"dtype": "string", "_type": "Value"}], {"_type": "ClassLabel", "names": None}
    assert class_names_of({"tags": tags, "unnamed": unnamed, "kind": label}) == {"kind": ["a", "b"]}
