"""Tar files of images: labels beside them or in a file, and archives that are damaged or hold something else."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from dataset_files import AGES, GENDERS, face, make_tar

from faceaug.datasets import LoadOptions, load_dataset
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.images import encode

PNG = encode(face(0), "png")


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_labels_are_those_beside_the_images(tmp_path):
    dataset = load_dataset(**make_tar(tmp_path))
    assert list(dataset.table["gender"]) == list(GENDERS)
    assert list(dataset.table["age"]) == list(AGES)
    assert dataset.keys[0] == "00000.tar/0000.png"


def test_text_and_class_are_columns_of_their_own(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"x/1.jpg": PNG, "x/1.txt": b"an old man\n", "x/1.cls": b"3"})
    table = load_dataset(path).table
    assert (table["text"][0], table["class"][0]) == ("an old man", 3)


def test_a_label_file_names_the_files_in_the_archive(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG, "deep/2.png": PNG})
    (tmp_path / "labels.csv").write_text("file,gender\n1.png,female\n2.png,male\n")
    dataset = load_dataset(path, tmp_path / "labels.csv")
    assert dict(zip(dataset.keys, dataset.table["gender"], strict=True)) == {
        "a.tar/1.png": "female",
        "a.tar/deep/2.png": "male",
    }


def test_images_alone_need_no_labels(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG})
    assert load_dataset(path, options=LoadOptions(needs_labels=False)).attributes == ()


def test_labels_that_are_no_json_leave_their_image_out(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG, "1.json": b"{", "2.png": PNG, "2.json": b'{"gender": "f"}'})
    dataset = load_dataset(path)
    assert dataset.keys == ("a.tar/2.png",)
    assert "labels that cannot be read" in dataset.problems[0].detail


def test_links_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DatasetError, match="no images are in"):
        load_dataset(tmp_path / "a.tar")


def test_compressed_and_damaged_archives_are_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG})
    data = path.read_bytes()
    path.write_bytes(gzip.compress(data))
    with pytest.raises(DatasetError, match="damaged or compressed"):
        load_dataset(path)
    path.write_bytes(data[: 512 + len(PNG) // 2])
    with pytest.raises(DatasetError):
        load_dataset(path)


def test_an_archive_that_is_cut_off_later_is_an_image_error(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": PNG})
    dataset = load_dataset(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ImageError, match="cut off"):
        dataset.images.read("a.tar/1.png")
