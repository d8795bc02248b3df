"""load_dataset and FaceDataset: checks, strictness, splits, fingerprints, selections."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_files import face, write_face

from faceaug.datasets import LoadOptions, load_dataset, load_thumbnails
from faceaug.datasets.base import DatasetProblem, summarize
from faceaug.errors import DatasetError


@pytest.fixture
def damaged(faces) -> Path:
    """b.png is cut off behind its header, c.png is text."""
    (faces / "b.png").write_bytes((faces / "b.png").read_bytes()[:100])
    (faces / "c.png").write_text("no image")
    return faces


def keys(dataset):
    return list(dataset.table["key"])


def test_unreadable_images_are_left_out_with_a_warning(damaged, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "faceaug"):
        dataset = load_dataset(damaged, tmp_path / "labels.csv")
    assert keys(dataset) == ["a.png", "d.png", "e.png", "f.png"]
    assert list(dataset.table["age"]) == [31, 77, 18, 60]
    assert [(p.kind, p.name) for p in dataset.problems] == [
        ("unreadable image", "b.png"),
        ("unreadable image", "c.png"),
    ]
    assert "left out 2 unreadable image (first: b.png" in caplog.text


def test_strict_raises_an_error_instead(damaged, tmp_path):
    with pytest.raises(DatasetError, match=r"2 unreadable image \(first: b\.png.*leave --strict out"):
        load_dataset(damaged, tmp_path / "labels.csv", strict=True)


def test_the_check_can_be_cheaper(damaged, tmp_path):
    labels = tmp_path / "labels.csv"
    assert keys(load_dataset(damaged, labels, options=LoadOptions(check="header"))) == [
        "a.png",
        "b.png",
        "d.png",
        "e.png",
        "f.png",
    ]
    assert len(load_dataset(damaged, labels, options=LoadOptions(check="none"))) == 6
    with pytest.raises(DatasetError, match="one of decode, header, none"):
        load_dataset(damaged, labels, options=LoadOptions(check="thorough"))


def test_a_data_set_without_readable_images_is_refused(faces, tmp_path):
    for path in faces.iterdir():
        path.write_text("no image")
    with pytest.raises(DatasetError, match=r"no image of faces can be used: 6 unreadable image"):
        load_dataset(faces, tmp_path / "labels.csv")


def test_images_with_too_many_pixels_are_refused(faces, tmp_path):
    labels = tmp_path / "labels.csv"
    assert len(load_dataset(faces, labels, strict=True, options=LoadOptions(max_pixels=144))) == 6
    (faces / "a.png").unlink()
    write_face(faces / "sub" / "a.png", 0)
    for check in ("decode", "header"):
        with pytest.raises(DatasetError, match="more than the 143"):
            load_dataset(faces, labels, options=LoadOptions(max_pixels=143, check=check))
    with pytest.raises(DatasetError, match="at least 1"):
        load_dataset(faces, labels, options=LoadOptions(max_pixels=0))
    uncapped = load_dataset(faces, labels, options=LoadOptions(max_pixels=100, check="none"))
    with pytest.raises(Exception, match="more than the 100"):
        uncapped.image(0)


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_workers_do_not_change_the_result(damaged, tmp_path, workers):
    done = []
    dataset = load_dataset(damaged, tmp_path / "labels.csv", progress=done.append, options=LoadOptions(workers=workers))
    assert keys(dataset) == ["a.png", "d.png", "e.png", "f.png"]
    assert [problem.name for problem in dataset.problems] == ["b.png", "c.png"]
    assert sum(done) == 6
    with pytest.raises(DatasetError, match="0 workers"):
        load_dataset(damaged, tmp_path / "labels.csv", options=LoadOptions(workers=0))


def test_unknown_labels_stay_unknown(faces, tmp_path):
    (tmp_path / "l.csv").write_text("file,gender,age\na.png,,3\nb.png,male,\nc.png,female,5\n")
    table = load_dataset(faces, tmp_path / "l.csv").table
    assert table["gender"].isna().tolist() == [True, False, False]
    assert table["age"].isna().tolist() == [False, True, False]


# ---- splits


def with_splits(tmp_path: Path, values: list[object], column: str = "split") -> Path:
    path = tmp_path / "splits.csv"
    pd.DataFrame({"file": [f"{n}.png" for n in "abcdef"], "gender": list("xyxyxy"), column: values}).to_csv(
        path, index=False
    )
    return path


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("split", ["train", "val", "test", "train", "val", "train"]),
        ("Split", ["Training", "Validation", "TEST", "train", "dev", "training"]),
        ("partition", [0, 1, 2, 0, 1, 0]),
        ("subset", ["train", "valid", "testing", "train", "valid", "train"]),
    ],
)
def test_the_training_part_is_used_by_default(faces, tmp_path, column, values):
    labels = with_splits(tmp_path, values, column)
    dataset = load_dataset(faces, labels)
    assert dataset.split == "train"
    assert keys(dataset) == ["a.png", "d.png", "f.png"]
    assert dataset.attributes == ("gender",)
    assert set(dataset.table["split"]) == {"train"}
    assert keys(load_dataset(faces, labels, split="val")) == ["b.png", "e.png"]
    assert keys(load_dataset(faces, labels, split="test")) == ["c.png"]
    whole = load_dataset(faces, labels, split="all")
    assert len(whole) == 6
    assert whole.split is None


def test_images_of_no_split_are_in_none(faces, tmp_path):
    labels = with_splits(tmp_path, ["train", None, "test", "train", None, None])
    assert keys(load_dataset(faces, labels)) == ["a.png", "d.png"]
    assert len(load_dataset(faces, labels, split="all")) == 6


def test_only_the_chosen_split_is_checked(faces, tmp_path):
    (faces / "b.png").write_text("no image")
    labels = with_splits(tmp_path, ["train", "val", "test", "train", "train", "train"])
    assert load_dataset(faces, labels, strict=True).problems == ()
    with pytest.raises(DatasetError, match="not clean"):
        load_dataset(faces, labels, split="val", strict=True)


def test_splits_with_other_names_can_be_selected(faces, tmp_path, caplog):
    labels = with_splits(tmp_path, ["red", "blue", "red", "red", "blue", None])
    dataset = load_dataset(faces, labels)
    assert len(dataset) == 6
    assert "none of which is train, val or test" in caplog.text
    assert dataset.attributes == ("gender",)
    assert keys(load_dataset(faces, labels, split="blue")) == ["b.png", "e.png"]


def test_a_column_named_like_a_split_with_other_values_is_an_attribute(faces, tmp_path):
    dataset = load_dataset(faces, with_splits(tmp_path, ["north", "south"] * 3, "subset"))
    assert dataset.attributes == ("gender", "subset")
    assert dataset.split is None


def test_a_split_that_does_not_exist_is_refused(faces, tmp_path):
    with pytest.raises(DatasetError, match="has no splits"):
        load_dataset(faces, tmp_path / "labels.csv", split="train")
    labels = with_splits(tmp_path, ["train", "val", "val", "train", "val", "val"])
    with pytest.raises(DatasetError, match=r"no split 'test'; there are: 'train', 'val'"):
        load_dataset(faces, labels, split="test")
    with pytest.raises(DatasetError, match=r"no split 'trian'; did you mean 'train'\?"):
        load_dataset(faces, labels, split="trian")
    labels = with_splits(tmp_path, ["val"] * 6)
    with pytest.raises(DatasetError, match=r"no training split; .*'val'"):
        load_dataset(faces, labels)


# ---- fingerprint and selection


def test_the_fingerprint_follows_the_table(faces, tmp_path):
    base = load_dataset(faces, tmp_path / "labels.csv")
    assert len(base.fingerprint()) == 64
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "l.csv").write_text(text.replace("a.png,female,31", "a.png,female,32"))
    changed = load_dataset(faces, tmp_path / "l.csv")
    os.rename(faces / "a.png", faces / "z.png")
    (tmp_path / "l.csv").write_text(text.replace("a.png", "z.png"))
    renamed = load_dataset(faces, tmp_path / "l.csv")
    prints = {t.fingerprint() for t in (base, changed, renamed, base.select([0, 1]), base.select([1, 0]))}
    assert len(prints) == 5
    assert base.select(range(6)).fingerprint() == base.fingerprint()


def test_the_fingerprint_knows_the_split_and_unknown_labels(faces, tmp_path):
    labels = with_splits(tmp_path, ["train"] * 6)
    assert load_dataset(faces, labels).fingerprint() != load_dataset(faces, labels, split="all").fingerprint()
    (tmp_path / "l.csv").write_text("file,v\na.png,\nb.png,x\n")
    (tmp_path / "m.csv").write_text("file,v\na.png,None\nb.png,x\n")
    assert (
        load_dataset(faces, tmp_path / "l.csv").fingerprint() != load_dataset(faces, tmp_path / "m.csv").fingerprint()
    )


def test_the_fingerprint_does_not_depend_on_the_dtype_of_text(faces, tmp_path):
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    for dtype in (object, "category"):
        other = dataset.select(range(6))
        other.table["gender"] = other.table["gender"].astype(dtype)
        assert other.fingerprint() == dataset.fingerprint()


def test_select(faces, tmp_path):
    dataset = load_dataset(faces, tmp_path / "labels.csv")
    women = dataset.select(dataset.table["gender"] == "female")
    assert keys(women) == ["a.png", "c.png", "e.png", "f.png"]
    assert list(women.table.index) == [0, 1, 2, 3]
    assert np.array_equal(women.image(1), face(2))
    assert keys(dataset.select([5, 0])) == ["f.png", "a.png"]
    assert len(dataset.select([])) == 0
    assert len(dataset.select(np.zeros(6, bool))) == 0
    with pytest.raises(DatasetError, match="does not fit the 6 rows"):
        dataset.select([True, False])
    for rows in ([6], [-1], [0.5], [[0]]):
        with pytest.raises(DatasetError, match="from 0 to 5"):
            dataset.select(rows)
    assert np.array_equal(pickle.loads(pickle.dumps(women)).image(0), face(0))


def test_problems_are_summarized_by_kind():
    found = [
        DatasetProblem("missing file", "a", ""),
        DatasetProblem("unreadable image", "b", ""),
        DatasetProblem("missing file", "c", ""),
    ]
    assert summarize(found) == "2 missing file, 1 unreadable image"


@pytest.mark.skipif("FACEAUG_UTKFACE" not in os.environ, reason="FACEAUG_UTKFACE is not set")
def test_real_faces_by_name_and_by_labels():
    folder = Path(os.environ["FACEAUG_UTKFACE"])
    by_labels = load_dataset(folder / "images", folder / "labels.csv", strict=True, options=LoadOptions(check="none"))
    by_name = load_dataset(folder / "images", strict=True, options=LoadOptions(check="none"))
    assert by_name.reader == "utkface"
    both = by_labels.table.merge(by_name.table, on="key", suffixes=("", "_"))
    assert len(both) == len(by_labels) == len(by_name)
    for column in ("age", "gender", "ethnicity"):
        assert (both[column] == both[f"{column}_"]).all()
    some = by_labels.select(range(0, len(by_labels), 200))
    assert load_thumbnails(some, 32)[0].shape == (len(some), 32, 32, 3)
