"""FairFace: two label files, whose names are the splits."""

from __future__ import annotations

import pytest

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError


@pytest.fixture
def fairface(make):
    return make("fairface")["source"]


def test_the_label_files_are_the_splits(fairface):
    train = load_dataset(fairface)
    assert train.split == "train"
    assert train.attributes == ("age", "gender", "race", "service_test")
    assert list(train.table["key"]) == [f"train/{i}.jpg" for i in range(1, 7)]
    assert set(train.table["age"]) == {"20-29"}
    validation = load_dataset(fairface, split="val")
    assert validation.table.iloc[0].to_dict() == {
        "key": "val/1.jpg",
        "age": "more than 70",
        "gender": "male",
        "race": "Black",
        "service_test": "True",
        "split": "val",
    }


def test_only_one_label_file(fairface):
    (fairface / "fairface_label_val.csv").unlink()
    dataset = load_dataset(fairface)
    assert len(dataset) == 6
    assert [(p.kind, p.name) for p in dataset.problems] == [("image without label", "val/1.jpg")]


def test_a_label_file_without_its_column(fairface):
    path = fairface / "fairface_label_val.csv"
    path.write_text(path.read_text().replace("file,", "fil,"))
    with pytest.raises(DatasetError, match=r"no column 'file'; did you mean 'fil'\?"):
        load_dataset(fairface)


def test_no_label_file(fairface):
    for path in fairface.glob("*.csv"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"no fairface_label_\*\.csv"):
        load_dataset(fairface, reader="fairface")
