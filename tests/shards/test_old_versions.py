"""Files of version 1 are refused with a sentence that says what was found, what is read, and what to do."""

import json

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from shard_samples import write_output

from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import IntegrityError
from faceaug.shards.description.samples_table import read_samples_table
from faceaug.shards.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, hash_line, read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify

SENTENCE = r"has version 1, and this faceaug reads version 3 and version 2; write the folder anew"


@pytest.fixture
def folder(tmp_path):
    """An output folder in the form of version 1: other keys in the manifest, another group in the shards."""
    path = write_output(tmp_path / "out", count=6)
    value = json.loads((path / MANIFEST_NAME).read_text())
    for old, new in (("target", "dataset"), ("probes", "classifiers"), ("settings", "config")):
        value[old] = value.pop(new)
    for column in value["columns"]:
        column["group"] = column["group"].replace("harmonize", "finish")
    data = json.dumps({**value, "version": 1}).encode()
    (path / MANIFEST_NAME).write_bytes(data)
    (path / MANIFEST_HASH_NAME).write_text(hash_line(data))
    with h5py.File(path / "shards" / "00000.h5", "r+") as file:
        file.attrs["version"] = np.int64(1)
        file.move("harmonize", "finish")
    table = pq.read_table(path / "samples.parquet")
    names = [name.replace("harmonize/", "finish/") for name in table.column_names]
    metadata = {"format": "faceaug-samples", "version": "1"}
    pq.write_table(table.rename_columns(names).replace_schema_metadata(metadata), path / "samples.parquet")
    return path


@pytest.mark.parametrize("read", [read_manifest, ShardDataset])
def test_a_manifest_of_version_1_is_refused(folder, read):
    with pytest.raises(IntegrityError, match=rf"manifest\.json {SENTENCE}"):
        read(folder)


def test_a_run_of_version_1_is_not_continued(folder):
    with pytest.raises(IntegrityError, match=SENTENCE):
        OutputFolder.open(folder, "f" * 64, resume=True)


def test_verify_names_a_manifest_of_version_1(folder):
    (problem,) = verify(folder).problems
    assert problem.file == MANIFEST_NAME
    assert "reads version 3 and version 2" in problem.what


def test_a_shard_of_version_1_is_refused(folder):
    with ShardReader(folder / "shards" / "00000.h5") as reader, pytest.raises(IntegrityError, match=SENTENCE):
        reader.encoded(0)


def test_a_table_of_version_1_is_refused(folder):
    with pytest.raises(IntegrityError, match="version '1', and this faceaug reads 'faceaug-samples' version 2"):
        read_samples_table(folder / "samples.parquet")
