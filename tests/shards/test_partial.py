import numpy as np
import pytest
from shard_samples import COLUMNS, sample

from faceaug.shards.columns import complete_columns
from faceaug.shards.manifest import ShardEntry
from faceaug.shards.partial import is_part, is_shard_name, read_encoded_samples, shard_name
from faceaug.shards.reader import ShardReader
from faceaug.shards.writer import write_encoded, write_shard


@pytest.mark.parametrize("layout", ["blob", "raw"])
@pytest.mark.parametrize("indices", [range(12), [4], [0], [4, 9]])
def test_a_shard_read_and_written_again_is_the_same_file(tmp_path, layout, indices):
    samples = [sample(k) for k in indices]
    one = write_shard(tmp_path / "one.h5", samples, columns=COLUMNS, codec="webp", layout=layout)
    with ShardReader(tmp_path / "one.h5") as reader:
        records = read_encoded_samples(reader, complete_columns(COLUMNS))
    two = write_encoded(tmp_path / "two.h5", records, complete_columns(COLUMNS), "webp", layout)
    assert one.sha256 == two.sha256
    for record, original in zip(records, samples, strict=True):
        again = record.sample
        assert (again.attr, again.semantic, again.harmonize) == (original.attr, original.semantic, original.harmonize)
        assert (again.seed, again.engine, again.source_sha256) == (
            original.seed,
            original.engine,
            original.source_sha256,
        )
        assert (again.w is None) == (original.w is None)
        assert again.w is None or np.array_equal(again.w, original.w)


def test_parts_of_different_length_have_different_names():
    names = [shard_name(7), shard_name(7, 1), shard_name(7, 12), shard_name(123456)]
    assert names == ["00007.h5", "00007.part1.h5", "00007.part12.h5", "123456.h5"]
    entries = [ShardEntry(name=f"shards/{name}", sha256="0" * 64, bytes=1, rows=1) for name in names]
    assert [is_part(entry) for entry in entries] == [False, True, True, False]
    assert all(is_shard_name(entry.name) for entry in entries)
    assert not any(
        map(is_shard_name, ["shards/mine.h5", "00007.h5", "shards/00007.h5.bak", "shards/7.h5", "x/00007.h5"])
    )
