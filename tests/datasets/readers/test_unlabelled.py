"""Pictures without labels: only where none are needed."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_files import face, write_face

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.datasets.registry import detect_reader
from faceaug.errors import DatasetError


@pytest.fixture
def pictures(tmp_path):
    for seed, name in enumerate(("b/2.png", "a.png", "b/1.png")):
        write_face(tmp_path / "set" / name, seed)
    return tmp_path / "set"


def test_a_tree_of_images(pictures):
    dataset = load_dataset(pictures, strict=True, options=LoadOptions(needs_labels=False))
    assert dataset.reader == "unlabelled"
    assert dataset.keys == ("a.png", "b/1.png", "b/2.png")
    assert dataset.attributes == ()
    assert np.array_equal(dataset.image(0), face(1))


def test_a_single_image(pictures):
    dataset = load_dataset(pictures / "a.png", options=LoadOptions(needs_labels=False))
    assert dataset.keys == ("a.png",)
    assert np.array_equal(dataset.image(0), face(1))


def test_labels_are_read_if_there_are_any(faces):
    (faces / "labels.csv").write_text((faces.parent / "labels.csv").read_text())
    dataset = load_dataset(faces, options=LoadOptions(needs_labels=False))
    assert dataset.reader == "folder"
    assert "gender" in dataset.attributes
    assert load_dataset(faces, reader="unlabelled").attributes == ()


def test_by_default_labels_are_needed(pictures):
    with pytest.raises(DatasetError, match="images but no labels"):
        load_dataset(pictures)
    with pytest.raises(DatasetError, match="a file that no reader recognizes"):
        load_dataset(pictures / "a.png")


def test_paths_without_images_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match="a file that no reader recognizes"):
        load_dataset(tmp_path / "notes.txt", options=LoadOptions(needs_labels=False))
    with pytest.raises(DatasetError, match="no images are in"):
        load_dataset(tmp_path, options=LoadOptions(needs_labels=False))
    with pytest.raises(DatasetError, match="does not exist"):
        load_dataset(tmp_path / "nowhere", options=LoadOptions(needs_labels=False))


def test_a_label_file_is_never_ignored(pictures, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,v\na.png,1\n")
    with pytest.raises(DatasetError, match="takes no labels"):
        load_dataset(pictures, labels, reader="unlabelled")
    assert detect_reader(pictures, labels, needs_labels=False) == "folder"
