"""Arrow files that are compressed, damaged or made to lead out of themselves end in a sentence."""

from __future__ import annotations

import contextlib
import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from dataset_files import face, make_arrow

from faceaug.datasets import load_dataset
from faceaug.datasets.readers.arrow_images import read
from faceaug.errors import DatasetError, FaceaugError
from faceaug.utils.images import encode

NAME = "data-00000-of-00002.arrow"


@pytest.fixture
def folder(tmp_path):
    make_arrow(tmp_path)
    return tmp_path


def rewrite(folder, **options):
    with pa.memory_map(str(folder / NAME)) as source:
        table = pa.ipc.open_stream(source).read_all()
        written = pa.ipc.IpcWriteOptions(**options)
        with pa.ipc.new_stream(str(folder / "new"), table.schema, options=written) as writer:
            writer.write_table(table)
    (folder / "new").replace(folder / NAME)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_buffers_are_refused_before_they_are_decoded(folder, codec, monkeypatch):
    rewrite(folder, compression=codec)
    monkeypatch.setattr(pa.ipc, "read_record_batch", None)
    with pytest.raises(DatasetError, match=r"is compressed, .*save it again .*to_parquet"):
        load_dataset(folder)


def test_offsets_that_lead_out_of_their_buffer_are_refused(folder):
    data = bytearray((folder / NAME).read_bytes())
    length = len(encode(face(0), "png"))
    place = data.index(struct.pack("<ii", 0, length))  # of the images
    data[place + 4 : place + 8] = struct.pack("<i", 1 << 30)
    (folder / NAME).write_bytes(data)
    with pytest.raises(DatasetError, match="has a damaged record batch"):
        load_dataset(folder)


@pytest.mark.parametrize("number", [1 << 40, -8])
def test_buffers_outside_of_the_file_are_refused(folder, number):
    data = bytearray((folder / NAME).read_bytes())
    lengths = [struct.pack("<qq", offset, length) for offset in range(0, 64, 8) for length in (16, 12, 20)]
    place = next(data.index(each) for each in lengths if each in data)
    data[place + 8 : place + 16] = struct.pack("<q", number)
    (folder / NAME).write_bytes(data)
    with pytest.raises(DatasetError, match="cannot be read as Arrow"):
        load_dataset(folder)


def test_a_file_that_is_cut_off_or_of_another_kind_is_refused(folder):
    whole = (folder / NAME).read_bytes()
    for part in (b"", whole[:-30], whole[: len(whole) // 2], b"ARROW1\0\0" + whole, b"x" * 100, whole[:3]):
        (folder / NAME).write_bytes(part)
        with pytest.raises(DatasetError, match="cannot be read as Arrow"):
            load_dataset(folder)


def test_no_change_of_bytes_does_more_than_a_sentence(folder):
    """As a fuzzer does it, but always the same: a crash would end the tests."""
    whole, rng = (folder / NAME).read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, 1400, rng.integers(1, 4)).tolist():
            data[place] = int(rng.integers(256))
        (folder / NAME).write_bytes(data)
        with contextlib.suppress(FaceaugError):
            found = read(folder, None)
            [found.images.read(key) for key in found.table["key"]]


@pytest.mark.parametrize("name", ["../data.arrow", "/etc/passwd", "", None, 3])
def test_names_that_lead_out_of_the_folder_are_refused(folder, name):
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(FaceaugError, match=r"leads out of the folder|has no list of names"):
        load_dataset(folder)
