"""HDF5 files that claim more than they hold: refused before anything large is allocated, as data set and as shard."""

from __future__ import annotations

import resource
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from forked import run_forked
from shard_samples import write_output

from faceaug.datasets import load_dataset
from faceaug.errors import DatasetError, FaceaugError, IntegrityError
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.utils import hdf5

MOST_SECONDS, MOST_MEGABYTES = 10, 500

LoadedImages = Callable[[h5py.File], None]


def many_offsets(file: h5py.File) -> None:
    file.create_dataset("blob", (10,), "u1")
    file.create_dataset("offset", (10**8,), "i8", chunks=(1 << 20,))


def an_offset_of_terabytes(file: h5py.File) -> None:
    file["blob"] = np.zeros(4, "u1")
    file.create_dataset("offset", (2**36,), "i8", chunks=(1 << 20,))


def many_images(file: h5py.File) -> None:
    file.create_dataset("images", (10**8, 8, 8, 3), "u1", chunks=(1, 8, 8, 3))


def packed_images(file: h5py.File) -> None:
    """Two images of 400 million pixels in a few kilobytes."""
    file.create_dataset("images", (2, 20000, 20000, 3), "u1", chunks=(1, 1000, 1000, 3), compression="gzip")
    file["images"][0, :1000, :1000] = 0
    file["images"].id.flush()
    file["padding"] = np.zeros(2_500_000, "u1")


def unset_texts(file: h5py.File) -> None:
    file.create_dataset("images", (2 * 10**7,), h5py.vlen_dtype(np.uint8), chunks=(10**6,))


def wide_texts(file: h5py.File) -> None:
    _images(file)
    file.create_dataset("gender", (4,), "S1000000000")


def huge_chunks(file: h5py.File) -> None:
    _images(file)
    file.create_dataset("gender", (4,), "i8", chunks=(1 << 26,), maxshape=(None,), compression="gzip")


def packed_columns(file: h5py.File) -> None:
    """Columns of 100 MB that are kilobytes in the file."""
    file.create_dataset("images", (10**5, 1, 1, 3), "u1", compression="gzip")
    for name in "abcdef":
        file.create_dataset(name, (10**5,), "S1000", chunks=(10**4,), compression="gzip")


def shared_texts(file: h5py.File) -> None:
    """Rows that all name one text of a megabyte in the heap."""
    rows = 4000
    file["images"] = np.zeros((rows, 4, 4, 3), "u1")
    column = file.create_dataset("gender", (rows,), h5py.string_dtype(), chunks=(rows,))
    column[0] = "x" * 1_000_000
    raw = bytearray(column.id.read_direct_chunk((0,))[1])
    raw[:] = raw[:16] * rows
    column.id.write_direct_chunk((0,), bytes(raw))


def _images(file: h5py.File) -> None:
    file["images"] = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


BOMBS = (
    *(many_offsets, an_offset_of_terabytes, many_images, packed_images, unset_texts),
    *(wide_texts, huge_chunks, packed_columns, shared_texts),
)
READ = """
import pathlib, resource, sys, time
from faceaug.datasets import load_dataset
from faceaug.errors import FaceaugError
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    load_dataset(sys.argv[1])
except FaceaugError as error:
    assert len(str(error)) < 1000
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print("refused", megabytes, time.process_time() - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_little_time_and_memory(tmp_path: Path, bomb: LoadedImages) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        bomb(file)
    done = run_forked(READ, tmp_path / "x.h5", timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    word, megabytes, seconds = done.stdout.split()
    assert (word, float(megabytes) < MOST_MEGABYTES, float(seconds) < MOST_SECONDS) == ("refused", True, True), done


def test_a_claim_is_refused_by_what_the_file_can_hold(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        many_offsets(file)
    with pytest.raises(DatasetError, match=r"'offset' claims 800,000,000 bytes, more than a file of 1,672 bytes can"):
        load_dataset(tmp_path / "x.h5")


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.__setitem__("offset", 5),
        lambda file: file.__setitem__("offset", np.array([0, np.nan, 4.0])),
        lambda file: file.__setitem__("offset", np.zeros((2, 2), "i8")),
    ],
)
def test_offsets_of_another_form_are_refused(tmp_path: Path, change: LoadedImages) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["blob"] = np.zeros(4, "u1")
        change(file)
    with pytest.raises(DatasetError, match="but not uint8"):
        load_dataset(tmp_path / "x.h5")


@pytest.mark.parametrize("levels", [5, "female", [[1, 2], [3, 4]], [1.5]])
def test_levels_that_are_no_list_of_texts_are_refused(tmp_path: Path, levels: object) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        _images(file)
        file["gender"] = np.arange(4)
        file["gender"].attrs["levels"] = levels
    with pytest.raises(DatasetError, match="the levels of '/gender' are no list of texts"):
        load_dataset(tmp_path / "x.h5")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        _images(file)
        file[b"gender\xff"] = np.arange(4)
    with pytest.raises(DatasetError, match="has a name that is no UTF-8"):
        load_dataset(tmp_path / "x.h5")


def test_a_column_under_many_names_is_read_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        _images(file)
        file["gender"] = np.arange(4)
        for k in range(200):
            file[f"z{k}"] = file["gender"]
        group = file.create_group("group")
        for k in range(12):
            group[f"g{k}"] = group
    start = time.process_time()
    assert load_dataset(tmp_path / "x.h5").attributes == ("gender",)
    assert time.process_time() - start < MOST_SECONDS


def test_texts_of_any_length_are_read(tmp_path: Path) -> None:
    words = ["", "ä", "woman", "x" * 3000] * 500
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["variable"], file["fixed"] = words, np.array([word.encode() for word in words])
    with h5py.File(tmp_path / "x.h5") as file:
        for name in ("variable", "fixed"):
            assert [text.decode() for text in hdf5.read_texts(file[name])] == words


@pytest.mark.parametrize("options", [{}, {"chunks": (4,)}, {"chunks": (2,), "compression": "gzip"}])
@pytest.mark.parametrize("name", ["gender", "images"])
def test_a_value_that_claims_gigabytes_is_refused(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    kind = h5py.string_dtype() if name == "gender" else h5py.vlen_dtype(np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if name == "gender":
            _images(file)
        column = file.create_dataset(name, (4,), kind, **options)
        for row in range(4):
            column[row] = "x" * 77 if name == "gender" else np.zeros(77, np.uint8)
        place = None if options else column.id.get_offset()
        if options:
            raw = column.id.read_direct_chunk((0,))[1]
            claimed = b"\xff" * 4 + (zlib.decompress(raw) if "compression" in options else raw)[4:]
            column.id.write_direct_chunk((0,), zlib.compress(claimed) if "compression" in options else claimed)
    if place is not None:
        data = (tmp_path / "x.h5").read_bytes()
        (tmp_path / "x.h5").write_bytes(data[:place] + b"\xff" * 4 + data[place + 4 :])
    with pytest.raises(DatasetError, match="has a value of 4,294,967,295 bytes, more than the file"):
        load_dataset(tmp_path / "x.h5")


def test_a_heap_without_an_end_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        _images(file)
        file["gender"] = ["female", "male"] * 2
    data = bytearray((tmp_path / "x.h5").read_bytes())
    free = data.index(b"GCOL") + 16
    while data[free : free + 2] != b"\0\0":  # objects with an index, a size, and as many bytes
        free += 16 + -(-int.from_bytes(data[free + 8 : free + 16], "little") // 8) * 8
    data[free + 8 : free + 16] = bytes(8)
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(DatasetError, match="a heap of it has an object without an end"):
        load_dataset(tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["length", "seed", "w"])
def test_a_shard_that_claims_more_than_it_holds_is_refused(tmp_path: Path, name: str) -> None:
    write_output(tmp_path / "out")
    path = tmp_path / "out" / read_manifest(tmp_path / "out").shards[0].name
    with h5py.File(path, "a") as file:
        old = file[name]
        shape, kind = (10**5, *old.shape[1:]), old.dtype
        del file[name]
        file.create_dataset(name, shape, kind, chunks=(1000, *shape[1:]), compression="gzip")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(IntegrityError, match="claims"), ShardReader(path) as reader:
        reader.column(name)
    assert not verify(tmp_path / "out").ok
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MEGABYTES


def test_images_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    write_output(tmp_path / "out")
    path = tmp_path / "out" / read_manifest(tmp_path / "out").shards[0].name
    with h5py.File(path, "a") as file:
        file["position"][...] = 0
        file["length"][...] = path.stat().st_size // 2
    with pytest.raises(IntegrityError, match="do not fit each other"), ShardReader(path) as reader:
        reader.image_many(range(reader.rows))


def test_every_flipped_byte_of_a_shard_ends_in_an_error_of_faceaug(tmp_path: Path) -> None:
    write_output(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    path = tmp_path / "out" / manifest.shards[0].name
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            with ShardReader(path) as reader:
                reader.read_columns(manifest.columns)
                reader.image_many(range(reader.rows))
        except FaceaugError:
            pass
