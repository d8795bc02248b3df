import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_samples import COLUMNS, sample, write_output

from faceaug.errors import IntegrityError
from faceaug.shards.description.samples_table import read_samples_table, samples_schema

COUNT = 30


def frame_of(folder):
    return read_samples_table(folder / "samples.parquet").to_pandas()


def test_a_row_per_sample_with_the_names_of_levels(tmp_path):
    frame = frame_of(write_output(tmp_path / "out", count=COUNT, rows=12))
    samples = [sample(k) for k in range(COUNT)]
    assert len(frame) == COUNT
    assert frame["shard"].tolist() == [f"shards/{k // 12:05d}.h5" for k in range(COUNT)]
    assert frame["row"].tolist() == [k % 12 for k in range(COUNT)]
    assert frame["gender"].tolist() == [("female", "male")[s.cell] for s in samples]
    assert frame["skin/tone"].isna().tolist() == ["skin/tone" not in s.attr for s in samples]
    assert frame["seed"].tolist() == [s.seed for s in samples]
    assert frame["age"].tolist() == [s.attr["age"] for s in samples]
    assert frame["semantic/yaw"].tolist() == [s.semantic["yaw"] for s in samples]
    assert frame["harmonize/noise"].isna().tolist() == [not s.harmonize for s in samples]
    assert frame["engine"].tolist() == [s.engine for s in samples]
    assert frame["source_sha256"].isna().tolist() == [s.source_sha256 is None for s in samples]
    assert frame["source_sha256"].dropna().unique().tolist() == [bytes(range(32)).hex()]
    assert frame["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert not {"w", "origin_w"} & set(frame.columns)


def test_format_version_and_meanings_stand_in_the_file(tmp_path):
    schema = pq.read_schema(write_output(tmp_path / "out") / "samples.parquet")
    assert schema.metadata[b"format"] == b"faceaug-samples"
    assert schema.metadata[b"version"] == b"2"
    assert schema.field("semantic/yaw").metadata[b"unit"] == b"degrees"


def test_equal_samples_give_an_equal_table(tmp_path):
    one, two = write_output(tmp_path / "a"), write_output(tmp_path / "b")
    assert (one / "samples.parquet").read_bytes() == (two / "samples.parquet").read_bytes()


def test_a_run_without_samples_has_a_table_without_rows(tmp_path):
    frame = frame_of(write_output(tmp_path / "out", count=0))
    assert len(frame) == 0
    assert "gender" in frame.columns


@pytest.mark.parametrize(
    "metadata",
    [None, {"format": "faceaug-samples", "version": "1"}, {"format": "x", "version": "2"}, {b"format": b"\xf1\xff"}],
)
def test_another_version_is_refused(tmp_path, metadata):
    table = pa.table({"a": [1]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(IntegrityError, match="version"):
        read_samples_table(tmp_path / "x.parquet")


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing else PAR1"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"x\.parquet is"):
        read_samples_table(tmp_path / "x.parquet")


def test_types_follow_the_columns():
    schema = samples_schema(COLUMNS)
    assert schema.field("seed").type == pa.uint64()
    assert schema.field("age").type == pa.float64()
    assert schema.field("semantic/yaw").type == pa.float32()
    assert schema.field("gender").type == pa.dictionary(pa.int32(), pa.string())
    assert np.dtype("int16") == schema.field("quality").type.to_pandas_dtype()
