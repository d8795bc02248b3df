import dataclasses
import hashlib
import time

import h5py
import numpy as np
import pytest
from shard_samples import COLUMNS, sample

from faceaug.errors import FaceaugError
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import encode_sample, encoded, split_into_shards, write_encoded, write_shard
from faceaug.utils import images


def write(path, samples, **options):
    path.parent.mkdir(exist_ok=True)
    return write_shard(path, samples, columns=COLUMNS, **options)


def datasets(file):
    found = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_every_column_has_a_checksum_and_no_compression(tmp_path, layout):
    write(tmp_path / "shards" / "00000.h5", [sample(k) for k in range(5)], layout=layout)
    with h5py.File(tmp_path / "shards" / "00000.h5") as file:
        found = datasets(file)
        assert len(found) >= 17
        for dataset in found:
            if dataset.name != "/image":  # of variable length; it is compared with its SHA-256
                assert dataset.fletcher32, dataset.name
                assert dataset.compression is None, dataset.name
                assert h5py.check_string_dtype(dataset.dtype) is None, dataset.name


def test_encoded_images_are_rows_of_variable_length_and_pixels_chunks(tmp_path):
    many = [sample(k) for k in range(3)]
    write(tmp_path / "blob.h5", many)
    write(tmp_path / "raw.h5", many, layout="raw")
    with h5py.File(tmp_path / "blob.h5") as blob, h5py.File(tmp_path / "raw.h5") as raw:
        assert h5py.check_vlen_dtype(blob["image"].dtype) == np.uint8
        assert raw["pixels"].chunks == (1, 24, 24, 3)


def test_the_file_says_what_it_is_in_fixed_length_attributes(tmp_path):
    write(tmp_path / "a.h5", [sample(0)], codec="webp")
    with h5py.File(tmp_path / "a.h5") as file:
        found = {name: file.attrs[name] for name in file.attrs}
        assert found == {"format": b"faceaug-shard", "version": 3, "rows": 1, "layout": b"blob", "codec": b"webp"}
        assert [level.decode() for level in file["attr/skin%2Ftone"].attrs["levels"]] == [
            "dunkel",
            "hell-weiß",
            "never",
        ]
        assert file["attr/age"].attrs["unit"] == b"years"


def test_the_entry_describes_the_file(tmp_path):
    entry = write(tmp_path / "shards" / "00007.h5", [sample(k) for k in range(3)])
    data = (tmp_path / "shards" / "00007.h5").read_bytes()
    assert entry.name == "shards/00007.h5"
    assert (entry.sha256, entry.bytes, entry.rows) == (hashlib.sha256(data).hexdigest(), len(data), 3)


@pytest.mark.slow
def test_equal_samples_give_equal_bytes_under_any_name_and_at_any_time(tmp_path):
    def written(name: str, first: int) -> list[str]:
        samples = [sample(k) for k in range(first, first + 4)]
        return [write(tmp_path / layout / name, samples, layout=layout).sha256 for layout in ("blob", "raw")]

    first = written("00000.h5", 0)
    time.sleep(1.1)  # HDF5 keeps times in seconds
    assert written("00001.h5", 0) == first
    assert not set(written("00002.h5", 1)) & set(first)


def test_no_string_is_of_variable_length(tmp_path):
    write(tmp_path / "a.h5", [sample(0)])
    with h5py.File(tmp_path / "a.h5") as file:
        for item in [file, *datasets(file)]:
            for name in item.attrs:
                kind = item.attrs.get_id(name).get_type()
                assert not (isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()), (item.name, name)


def test_latents_are_absent_only_where_there_are_none_and_none_are_announced(tmp_path):
    write(tmp_path / "made.h5", [sample(k) for k in range(4)])
    write(tmp_path / "turned.h5", [sample(4), sample(9)])
    records = [encode_sample(sample(k), codec="jpeg", layout="blob") for k in (4, 9)]
    write_encoded(tmp_path / "announced.h5", records, COLUMNS, "jpeg", "blob", 6)
    with h5py.File(tmp_path / "made.h5") as made, h5py.File(tmp_path / "turned.h5") as turned:
        assert not made["source_sha256"][...].any()
        assert made["w"].shape == (4, 6)
        assert "w" not in turned
        assert "origin_w" not in turned
        assert turned["source_sha256"][1].tobytes() == bytes(range(32))
    with h5py.File(tmp_path / "announced.h5") as announced:
        assert np.isnan(announced["w"][...]).all()
        assert announced["origin_w"].shape == (2, 6)


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_every_data_set_has_a_row_for_each_sample(tmp_path, layout):
    write(tmp_path / "a.h5", [sample(k) for k in range(7)], layout=layout)
    with h5py.File(tmp_path / "a.h5") as file:
        assert {item.shape[0] for item in datasets(file)} == {7}


def test_a_shard_takes_hardly_more_space_than_its_images(tmp_path):
    one = write(tmp_path / "a.h5", [sample(k, size=8 * (k + 3), quality=95) for k in range(40)])
    with ShardReader(tmp_path / "a.h5") as reader:
        assert one.bytes < 1.1 * sum(map(len, reader.encoded_many(range(40)))) + 64_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attr": {"gander": "male"}}, "did you mean 'gender'"),
        ({"semantic": {"pitch": 1.0}}, "semantic/pitch"),
        ({"harmonize": {"nois": 1.0}}, "did you mean 'noise'"),
        ({"attr_confidence": {"x": 1.0}}, "attr_confidence/x"),
        ({"attr": {"gender": "mail"}}, "did you mean 'male'"),
        ({"engine": "generater"}, "did you mean 'generator'"),
        ({"engine": "rerender"}, "source_sha256"),
        ({"source_sha256": bytes(32)}, "source_sha256"),
        ({"engine": "rerender", "source_sha256": b"short"}, "source_sha256"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"uint8 \[H, W, 3\]"),
        ({"image": np.zeros((4, 4, 3))}, r"uint8 \[H, W, 3\]"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**64}, "from 0"),
        ({"w": np.zeros(5, np.float32)}, "one width"),
    ],
)
def test_samples_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(FaceaugError, match=message):
        write(tmp_path / "a.h5", [sample(0), sample(1, **changes)])
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_nothing_is_refused(tmp_path):
    with pytest.raises(FaceaugError, match="at least one"):
        write(tmp_path / "a.h5", [])


def test_the_raw_layout_takes_one_size_only(tmp_path):
    with pytest.raises(FaceaugError, match="one size"):
        write(tmp_path / "a.h5", [sample(0), sample(1, size=32)], layout="raw")


def test_images_of_several_sizes_go_into_a_blob(tmp_path):
    write(tmp_path / "a.h5", [sample(0), sample(1, size=32)], codec="png")
    with ShardReader(tmp_path / "a.h5") as reader:
        assert [image.shape for image in reader.image_many([0, 1])] == [(24, 24, 3), (32, 32, 3)]


def test_shards_close_at_rows_and_bytes():
    records = [encode_sample(sample(k), codec="jpeg", layout="blob") for k in range(10)]
    assert [len(part) for part in split_into_shards(records, max_rows=4)] == [4, 4, 2]
    limit = records[0].size + records[1].size + records[2].size
    parts = list(split_into_shards(records, max_bytes=limit))
    assert [record for part in parts for record in part] == records
    assert all(sum(record.size for record in part) <= limit for part in parts)
    assert [len(part) for part in split_into_shards(records, max_bytes=1)] == [1] * 10
    assert list(split_into_shards([])) == []


def test_prepared_samples_keep_no_image_and_no_view_of_a_block():
    block = np.zeros((100, 6), np.float32)
    record = encode_sample(dataclasses.replace(sample(0), w=block[3]), codec="jpeg", layout="blob")
    assert record.sample.image.size == 0
    assert record.sample.w.base is None


def test_quality_is_used_and_stored(tmp_path):
    write(tmp_path / "a.h5", [sample(0, quality=30), sample(0, quality=95), sample(0, quality=None)])
    with ShardReader(tmp_path / "a.h5") as reader:
        low, high, default = map(len, reader.encoded_many([0, 1, 2]))
        assert low < default < high
        assert reader.column("quality").tolist() == [30, 95, images.DEFAULT_QUALITY]


def test_encoded_images_are_stored_as_they_are(tmp_path):
    pixels = sample(0)
    given = dataclasses.replace(pixels, image=encoded(pixels.image, "jpeg", pixels.quality))
    one, other = (encode_sample(part, codec="jpeg", layout="blob") for part in (pixels, given))
    assert (one.data, one.digest, one.sample.quality) == (other.data, other.digest, other.sample.quality)
    with pytest.raises(FaceaugError, match="image is encoded; expected uint8"):
        encode_sample(given, codec="jpeg", layout="raw")
