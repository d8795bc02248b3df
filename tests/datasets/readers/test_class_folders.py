"""Class folders, one level and nested."""

from __future__ import annotations

import os

import pytest
from dataset_files import write_face

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError


def make_tree(root, *names):
    for seed, name in enumerate(names):
        write_face(root / name, seed)
    return root


def test_one_level(tmp_path):
    dataset = load_dataset(make_tree(tmp_path, "cat/1.png", "dog/2.jpg", "cat/3.webp"), strict=True)
    assert dataset.reader == "classes"
    assert dataset.table.to_dict("list") == {
        "key": ["cat/1.png", "cat/3.webp", "dog/2.jpg"],
        "class": ["cat", "cat", "dog"],
    }


def test_nested_levels(tmp_path):
    dataset = load_dataset(
        make_tree(tmp_path, "female/white/1.png", "female/black/2.png", "male/white/3.png"), strict=True
    )
    assert dataset.attributes == ("class_1", "class_2")
    assert list(dataset.table["class_1"]) == ["female", "female", "male"]
    assert list(dataset.table["class_2"]) == ["black", "white", "white"]


def test_the_outermost_folders_may_be_splits(tmp_path):
    tree = make_tree(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "test/dog/4.png")
    dataset = load_dataset(tree)
    assert dataset.split == "train"
    assert dataset.attributes == ("class",)
    assert list(dataset.table["class"]) == ["cat", "dog"]
    assert list(load_dataset(tree, split="test").table["key"]) == ["test/dog/4.png"]


def test_folders_named_like_splits_that_contain_images_are_classes(tmp_path):
    dataset = load_dataset(make_tree(tmp_path, "train/1.png", "test/2.png"))
    assert dataset.attributes == ("class",)
    assert dataset.split is None


def test_numbers_are_classes_not_splits(tmp_path):
    dataset = load_dataset(make_tree(tmp_path, "0/a/1.png", "1/a/2.png"))
    assert dataset.attributes == ("class_1", "class_2")


def test_images_at_another_depth_are_reported(tmp_path):
    tree = make_tree(tmp_path, "cat/1.png", "dog/2.png", "dog/old/3.png", "4.png")
    dataset = load_dataset(tree, reader="classes")
    assert list(dataset.table["key"]) == ["cat/1.png", "dog/2.png"]
    assert {(p.kind, p.name) for p in dataset.problems} == {
        ("malformed name", "dog/old/3.png"),
        ("image without label", "4.png"),
    }


def test_a_gif_among_the_images_is_reported(tmp_path):
    tree = make_tree(tmp_path, "cat/1.png")
    (tree / "cat" / "2.gif").write_bytes(b"GIF89a" + bytes(20))
    (tree / "cat" / "notes.txt").write_text("not an image, and not called like one")
    assert [p.name for p in load_dataset(tree).problems] == ["cat/2.gif"]


def test_a_linked_class_folder_is_reported_not_followed(tmp_path):
    make_tree(tmp_path, "elsewhere/1.png", "set/cat/2.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "dog")
    dataset = load_dataset(tmp_path / "set")
    assert list(dataset.table["key"]) == ["cat/2.png"]
    assert [(p.kind, p.name) for p in dataset.problems] == [("unreadable image", "dog")]


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="lies in a class folder"):
        load_dataset(make_tree(tmp_path, "1.png"), reader="classes")


@pytest.mark.parametrize(
    ("names", "identities"),
    [
        (("Ada_Smith/Ada_Smith_0001.jpg", "Bo_Lee/Bo_Lee_0002.jpg"), ["Ada_Smith", "Bo_Lee"]),
        (("train/n000001/0001_01.jpg", "train/n000002/0003_01.jpg"), ["n000001", "n000002"]),
    ],
)
def test_folders_of_people_are_identities(tmp_path, names, identities):
    for seed, name in enumerate(names):
        write_face(tmp_path / name, seed)
    dataset = load_dataset(tmp_path)
    assert dataset.attributes == ("identity",)
    assert dataset.table["identity"].tolist() == identities
