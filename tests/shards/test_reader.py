import hashlib
import multiprocessing
import os
import pickle
import random

import h5py
import numpy as np
import pytest
from old_shards import to_old_shard
from shard_samples import COLUMNS, sample

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.shards.images.blob import offsets_valid
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import write_shard
from faceaug.utils import images

COUNT = 40


@pytest.fixture(scope="module", params=["blob", "raw", "version 2"])
def shard(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "00000.h5"
    layout = "raw" if request.param == "raw" else "blob"
    write_shard(path, [sample(k) for k in range(COUNT)], columns=COLUMNS, codec="png", layout=layout)
    return to_old_shard(path) if request.param == "version 2" else path


def test_every_image_comes_back(shard):
    with ShardReader(shard) as reader:
        assert len(reader) == COUNT
        for k in range(COUNT):
            assert np.array_equal(reader.image(k), sample(k).image)
            assert np.array_equal(images.decode(reader.encoded(k)), sample(k).image)
            assert hashlib.sha256(reader.stored_many([k])[0]).digest() == reader.column("sha256", [k])[0].tobytes()


def test_any_rows_come_in_the_requested_order(shard):
    rng = random.Random(0)
    with ShardReader(shard) as reader:
        one_by_one = [reader.encoded(k) for k in range(COUNT)]
        for count in (0, 1, 7, 200):
            rows = [rng.randrange(COUNT) for _ in range(count)]
            assert reader.encoded_many(rows) == [one_by_one[row] for row in rows]
            assert reader.column("semantic/yaw", rows).tolist() == [float(row) for row in rows]


def test_other_programs_read_the_same_images(tmp_path):
    samples = [sample(k, size=size, quality=95) for k, size in enumerate((24, 512, 1024, 32))]
    path = tmp_path / "a.h5"
    write_shard(path, samples, columns=COLUMNS, codec="jpeg")
    with ShardReader(path) as reader:
        stored = reader.encoded_many(range(4))
    with h5py.File(path) as file:
        assert [row.tobytes() for row in file["image"]] == stored
        places = list(zip(file["position"][...].tolist(), file["length"][...].tolist(), strict=True))
    data = path.read_bytes()
    assert [data[start : start + length] for start, length in places] == stored


def test_columns_come_back(shard):
    samples = [sample(k) for k in range(COUNT)]
    with ShardReader(shard) as reader:
        assert reader.levels("attr/gender") == ("female", "male")
        assert reader.levels("attr/skin%2Ftone") == ("dunkel", "hell-weiß", "never")
        assert reader.levels("seed") == ()
        assert reader.column("seed").tolist() == [s.seed for s in samples]
        assert reader.column("seed").dtype == np.uint64
        assert reader.column("cell").tolist() == [s.cell for s in samples]
        assert reader.column("attr/gender").tolist() == [s.cell for s in samples]
        tones = [1 if "skin/tone" in s.attr else -1 for s in samples]
        assert reader.column("attr/skin%2Ftone").tolist() == tones
        assert reader.column("engine").tolist() == [int(s.engine == "rerender") for s in samples]
        assert reader.made_by("rerender").tolist() == [s.engine == "rerender" for s in samples]
        noise = reader.column("harmonize/noise")
        assert np.isnan(noise).tolist() == [not s.harmonize for s in samples]
        w = reader.column("w")
        for row, s in enumerate(samples):
            assert np.isnan(w[row]).all() if s.w is None else np.array_equal(w[row], s.w)


def test_a_column_that_is_not_there_names_the_nearest(shard):
    with ShardReader(shard) as reader, pytest.raises(FaceaugError, match="did you mean 'semantic/yaw'"):
        reader.column("semantic/yav")


@pytest.mark.parametrize("row", [-1, COUNT, 10**9])
def test_rows_out_of_range_are_refused(shard, row):
    with ShardReader(shard) as reader, pytest.raises(IndexError, match="40 rows"):
        reader.encoded(row)


def test_the_file_is_opened_late_and_handles_are_not_pickled(shard):
    reader = ShardReader(shard)
    assert reader._file is None
    first = reader.encoded(3)
    copy = pickle.loads(pickle.dumps(reader))
    assert copy._file is None
    assert copy.encoded(3) == first
    reader.close()
    assert reader.encoded(3) == first


def _read_all(reader, out):
    out.put([hashlib.sha256(reader.encoded(k % COUNT)).hexdigest() for k in range(200)])


def test_a_fork_reads_through_a_file_of_its_own(shard):
    """Parent and children read at once through a reader that was open before the fork."""
    reader = ShardReader(shard)
    expected = [hashlib.sha256(reader.encoded(k % COUNT)).hexdigest() for k in range(200)]
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    children = [context.Process(target=_read_all, args=(reader, out)) for _ in range(2)]
    for child in children:
        child.start()
    assert [hashlib.sha256(reader.encoded(k % COUNT)).hexdigest() for k in range(200)] == expected
    assert [out.get(timeout=30) for _ in children] == [expected, expected]
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert reader._pid == os.getpid()


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"no\.h5 is missing"):
        ShardReader(tmp_path / "no.h5").encoded(0)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_not_a_shard_is_refused(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(IntegrityError, match="is not a shard"):
        ShardReader(tmp_path / "a.h5").encoded(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.modify("version", 1), "version 1, and this faceaug reads version 3 and version 2"),
        (lambda file: file.attrs.modify("format", b"other"), "format is 'other'"),
        (lambda file: file.attrs.__delitem__("format"), "not a shard of faceaug"),
        (lambda file: file.attrs.__delitem__("rows"), "damaged"),
        (lambda file: file.attrs.modify("rows", 3), "damaged"),
        (lambda file: file.__delitem__("length"), "damaged"),
        (lambda file: file.__delitem__("image"), "damaged"),
        (lambda file: file["length"].__setitem__(0, 0), "damaged"),
        (lambda file: file["length"].__setitem__(1, 10**9), "damaged"),
    ],
)
def test_shards_of_another_kind_are_refused(tmp_path, change, message):
    path = tmp_path / "a.h5"
    write_shard(path, [sample(0), sample(1)], columns=COLUMNS)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(IntegrityError, match=message):
        ShardReader(path).encoded(0)


def test_a_flipped_byte_in_an_image_is_never_read_silently(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, [sample(k) for k in range(5)], columns=COLUMNS)
    with ShardReader(path) as reader:
        image = reader.encoded(2)
    data = bytearray(path.read_bytes())
    data[data.find(image) + 20] ^= 4
    path.write_bytes(data)
    with ShardReader(path) as reader:
        for read in (reader.encoded, reader.image, lambda row: list(reader.decoded([row]))):
            with pytest.raises(IntegrityError, match="row 2"):
                read(2)


def test_an_image_with_the_hash_of_another_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, [sample(k) for k in range(5)], columns=COLUMNS)
    with h5py.File(path, "r+") as file:
        file["sha256"][2] = file["sha256"][3]
    with ShardReader(path) as reader:
        assert reader.image(3).shape == (24, 24, 3)
        with pytest.raises(IntegrityError, match=r"row 2, is damaged .*SHA-256"):
            reader.image(2)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("options", "block"), [({}, 0), ({"chunks": (2,)}, 0), ({"chunks": (100,), "compression": "gzip"}, 0), ({}, 512)]
)
def test_images_are_read_from_files_that_other_programs_rewrote(tmp_path, version, options, block):
    """As h5repack does: other chunks, compression, or a block of the user's before the content."""
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    write_shard(path, [sample(k) for k in range(100)], columns=COLUMNS)
    images_name = "image" if version == 3 else "blob"
    if version == 2:
        to_old_shard(path)
    with h5py.File(path) as old, h5py.File(other, "w", userblock_size=block) as new:
        new.attrs.update(old.attrs)
        for name in old:
            if name != images_name:
                old.copy(name, new)
        stored = old[images_name]
        new.create_dataset(images_name, data=stored[:], dtype=stored.dtype, **options)
    with ShardReader(path) as one, ShardReader(other) as two:
        rows = [4, 0, 2, 2]
        assert all(np.array_equal(a, b) for a, b in zip(one.image_many(rows), two.image_many(rows), strict=True))


def test_decoded_images_are_those_of_image_many(shard):
    rows = [7, 0, 39, 7]
    with ShardReader(shard) as reader:
        decoded = [np.asarray(image) for image in reader.decoded(rows)]
        assert all(np.array_equal(a, b) for a, b in zip(decoded, reader.image_many(rows), strict=True))


@pytest.mark.parametrize(
    ("offset", "total", "valid"),
    [
        ([0, 2, 5], 5, True),
        ([0], 0, True),
        ([], 0, False),
        ([1, 5], 5, False),
        ([0, 4], 5, False),
        ([0, 3, 3, 5], 5, False),
        ([0, 6, 5], 5, False),
    ],
)
def test_offsets(offset, total, valid):
    assert offsets_valid(np.array(offset, np.int64), total) is valid
