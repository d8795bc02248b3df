"""HDF5 files: how images may be held, which columns are found, and damage."""

from __future__ import annotations

import os
import pickle

import h5py
import numpy as np
import pytest
from dataset_files import GENDERS, face

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError, ImageError
from faceaug.utils.images import encode

FACES = np.stack([face(seed) for seed in range(6)])


def write(path, **data):
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name.replace("__", "/")] = values
        file["gender"] = np.array(GENDERS, dtype=h5py.string_dtype())
    return path


@pytest.mark.parametrize("name", ["pixels", "images", "deep__down__stuff"])
def test_pixels(tmp_path, name):
    dataset = load_dataset(write(tmp_path / "f.h5", **{name: FACES}), strict=True)
    assert np.array_equal(np.stack([dataset.image(i) for i in range(6)]), FACES)
    assert dataset.attributes == ("gender",)
    assert list(dataset.table["gender"]) == list(GENDERS)


def test_pixels_channels_first_and_grey(tmp_path):
    dataset = load_dataset(write(tmp_path / "f.h5", images=FACES.transpose(0, 3, 1, 2)))
    assert np.array_equal(dataset.image(3), FACES[3])
    grey = FACES[:, :, :, 0]
    for kind, values in enumerate((grey, grey[:, :, :, None], grey[:, None])):
        dataset = load_dataset(write(tmp_path / f"{kind}.h5", images=values))
        assert np.array_equal(dataset.image(2), np.repeat(grey[2][:, :, None], 3, 2))


def test_encoded_images(tmp_path):
    files = [encode(image, "png") for image in FACES]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("jpegs", (6,), h5py.vlen_dtype(np.uint8))
        for row, content in enumerate(files):
            data[row] = np.frombuffer(content, np.uint8)
    dataset = load_dataset(tmp_path / "f.h5", strict=True)
    assert [dataset.encoded(i) for i in range(6)] == files
    assert dataset.attributes == ()


def test_a_blob_with_offsets(tmp_path):
    files = [encode(image, "webp") for image in FACES]
    offset = np.cumsum([0, *map(len, files)])
    path = write(tmp_path / "f.h5", blob=np.frombuffer(b"".join(files), np.uint8), offset=offset)
    dataset = load_dataset(path, strict=True)
    assert [dataset.encoded(i) for i in range(6)] == files
    broken = offset.copy()
    broken[3] = 10**9
    path = write(tmp_path / "g.h5", blob=np.frombuffer(b"".join(files), np.uint8), offset=broken)
    assert [p.name for p in load_dataset(path).problems] == ["2", "3"]


def test_columns(tmp_path):
    path = write(
        tmp_path / "f.h5",
        images=FACES,
        attr__age=np.array([1, 2, 3, 4, 5, 6]),
        attr_confidence__age=np.ones(6, np.float32),
        measured__yaw=np.array([0.5, np.nan, 1, 2, 3, 4], np.float32),
        fixed=np.array([b"ab", b"", b"NA", b"None", b"x", b"y"]),
        flag=np.array([True, False] * 3),
        split=np.array([0, 0, 1, 2, 0, 0]),
        latent=np.zeros((6, 4)),
        other=np.zeros(5),
    )
    with h5py.File(path, "a") as file:
        file["code"] = np.array([1, 0, -1, 1, 0, 7])
        file["code"].attrs["levels"] = [b"no", b"yes"]
    dataset = load_dataset(path, split="all")
    table = dataset.table
    assert set(dataset.attributes) == {"age", "attr_confidence/age", "yaw", "fixed", "flag", "gender", "code"}
    assert table["age"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["fixed"].isna().tolist() == [False, True, True, False, False, False]
    assert table["fixed"][3] == "None"
    assert table["code"].tolist()[:2] == ["yes", "no"]
    assert table["code"].isna().tolist() == [False, False, True, False, False, True]
    assert np.isnan(table["yaw"][1])
    assert list(load_dataset(path).table["key"]) == ["0", "1", "4", "5"]  # CelebA's 0 is training


def test_a_shard_is_read_like_other_files(make):
    path = make("shards")["source"] / "shards" / "00001.h5"
    dataset = load_dataset(path)
    assert list(dataset.table["gender"]) == list(GENDERS[3:])
    assert dataset.table["yaw"].tolist() == [30.0, 40.0, 50.0]
    assert np.array_equal(dataset.image(0), FACES[3])


def test_damage_is_reported_by_row(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("pixels", data=FACES, chunks=(1, 12, 12, 3), fletcher32=True)
    content = bytearray((tmp_path / "f.h5").read_bytes())
    at = content.index(FACES[4].tobytes())
    content[at + 5] ^= 1
    (tmp_path / "f.h5").write_bytes(content)
    dataset = load_dataset(tmp_path / "f.h5")
    assert [(p.kind, p.name) for p in dataset.problems] == [("unreadable image", "4")]
    with pytest.raises(ImageError, match="row 4 of"):
        dataset.images.read("4")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"labels": np.zeros(6)}, "has no images"),
        ({"images": FACES.astype(np.float32)}, "has no images"),
        ({"images": FACES[:0]}, "is empty"),
        ({"one": FACES, "two": FACES}, r"several data sets of images \(one, two\)"),
        ({"images": FACES, "key": np.arange(6)}, "'key', a name that faceaug reserves"),
    ],
)
def test_files_without_usable_images_are_refused(tmp_path, data, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(write(tmp_path / "f.h5", **data))


def test_other_files_and_a_label_file_are_refused(tmp_path):
    (tmp_path / "f.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    with pytest.raises(DatasetError, match="cannot be opened as an HDF5 file"):
        load_dataset(tmp_path / "f.h5")
    (tmp_path / "l.csv").write_text("file,v\n")
    with pytest.raises(DatasetError, match="leave the label file out"):
        load_dataset(write(tmp_path / "g.h5", images=FACES), tmp_path / "l.csv")


def test_links_to_other_files_are_not_followed(tmp_path):
    write(tmp_path / "secret.h5", images=FACES)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["images"] = h5py.ExternalLink("secret.h5", "/images")
    with pytest.raises(DatasetError, match="'images' is a link to another file"):
        load_dataset(tmp_path / "f.h5")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_opens_the_file_anew(tmp_path):
    source = load_dataset(write(tmp_path / "f.h5", images=FACES)).images
    source.read("0")
    handle = source._file
    source._process -= 1  # as after a fork: the handle is another process's
    assert source.read("0") == encode(FACES[0], "png")
    assert source._file is not handle
    source.close()
    assert pickle.loads(pickle.dumps(source)).read("1") == source.read("1")


def test_loading_leaves_no_file_open(tmp_path):
    dataset = load_dataset(write(tmp_path / "f.h5", images=FACES))
    write(tmp_path / "f.h5", images=FACES[::-1])  # HDF5 refuses to make a file anew that is open
    assert np.array_equal(dataset.image(0), FACES[5])
