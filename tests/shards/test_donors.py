"""The columns of donors: the real images whose features a sample has beside those of its host."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pandas as pd
import pytest
from folder_runs import FINGERPRINT
from shard_samples import COLUMNS, cells, header, plan, sample

from faceaug.errors import FaceaugError
from faceaug.shards.columns import DONOR_COLUMNS, MAX_DONORS, complete_columns, engine_column
from faceaug.shards.manifest import read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.partial import read_encoded_samples
from faceaug.shards.reader import ShardReader
from faceaug.shards.run_state import CellState
from faceaug.shards.verify import verify
from faceaug.shards.writer import Sample, write_encoded, write_shard

MORPHS = (*COLUMNS, engine_column(["morph"]))


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def morph(index: int, donors: int = 1) -> Sample:
    """Return a morph of a host with so many donors."""
    hashes = tuple(digest(f"donor {index} {k}") for k in range(donors))
    return sample(
        index,
        engine="morph",
        w=None,
        origin_w=None,
        plausibility=float("nan"),
        source_sha256=digest(f"host {index}"),
        donors=hashes,
    )


def stored(path, samples) -> dict[str, np.ndarray]:
    write_shard(path, samples, columns=MORPHS, codec="png")
    with ShardReader(path) as reader:
        return {name: reader.column(name) for name in DONOR_COLUMNS if name in reader.keys}


def test_donors_are_read_as_they_were_written(tmp_path):
    samples = [morph(0, 1), morph(1, 2), sample(2)]
    found = stored(tmp_path / "one.h5", samples)
    for k, name in enumerate(DONOR_COLUMNS):
        expected = [one.donors[k] if k < len(one.donors) else bytes(32) for one in samples]
        assert [row.tobytes() for row in found[name]] == expected


def test_a_shard_without_morphs_names_no_donors(tmp_path):
    found = stored(tmp_path / "one.h5", [sample(k) for k in range(6)])
    assert not any(values.any() for values in found.values())


@pytest.mark.parametrize("layout", ["blob", "raw"])
def test_a_part_of_a_shard_keeps_its_donors(tmp_path, layout):
    samples = [morph(0, 3), sample(1), morph(2, 1), sample(4), morph(5, 2)]
    columns = complete_columns(MORPHS)
    one = write_shard(tmp_path / "one.h5", samples, columns=MORPHS, codec="png", layout=layout)
    with ShardReader(tmp_path / "one.h5") as reader:
        records = read_encoded_samples(reader, columns)
    assert [record.sample.donors for record in records] == [original.donors for original in samples]
    assert [record.sample.engine for record in records] == [original.engine for original in samples]
    two = write_encoded(tmp_path / "two.h5", records, columns, "png", layout)
    assert one.sha256 == two.sha256


@pytest.mark.parametrize(
    ("donors", "message"),
    [
        (tuple(digest(f"{k}") for k in range(MAX_DONORS + 1)), "expected at most 3 hashes of 32 bytes"),
        ((b"short",), "expected at most 3 hashes of 32 bytes"),
        ((digest("a") + b"0",), "expected at most 3 hashes of 32 bytes"),
        ((bytes(32),), "expected at most 3 hashes of 32 bytes"),
    ],
)
def test_donors_that_are_no_hashes_or_too_many_are_refused(tmp_path, donors, message):
    wrong = sample(0, engine="morph", source_sha256=digest("host"), donors=donors)
    with pytest.raises(FaceaugError, match=message):
        write_shard(tmp_path / "one.h5", [wrong], columns=MORPHS, codec="png")
    assert not (tmp_path / "one.h5").exists()


def test_a_morph_without_its_host_is_refused(tmp_path):
    wrong = sample(0, engine="morph", source_sha256=None, donors=(digest("donor"),))
    with pytest.raises(FaceaugError, match="a sample of engine 'morph' has source_sha256 None"):
        write_shard(tmp_path / "one.h5", [wrong], columns=MORPHS, codec="png")


def run(path, stop: int | None = None, resume: bool = False):
    """Write six blocks of four samples, morphs among them, or end before block `stop` as an interruption does."""
    with OutputFolder.open(path, FINGERPRINT, max_rows=10, resume=resume) as folder:
        if not folder.started:
            folder.begin(header(columns=MORPHS), cells(), plan())
        start = 0 if folder.manifest.progress is None else folder.manifest.progress + 1
        for block in range(start, 6):
            if block == stop:
                return path
            samples = [morph(4 * block + k, k) if k else sample(4 * block + k) for k in range(4)]
            folder.append(samples, {0: CellState({"registered": block})}, progress=block)
        folder.finish(measured={"seconds": 1.0})
    return path


@pytest.fixture
def whole(tmp_path):
    return run(tmp_path / "whole")


def test_an_output_folder_of_morphs_is_sound_and_its_table_names_the_donors(whole):
    report = verify(whole)
    assert (report.problems, report.complete) == ((), True)
    table = pd.read_parquet(whole / "samples.parquet")
    assert table["donor1_sha256"][1] == digest("donor 1 0").hex()
    assert table["donor3_sha256"][3] == digest("donor 3 2").hex()
    assert table["engine"][1] == "morph"


def test_an_interrupted_folder_of_morphs_goes_on_to_the_same_bytes(whole, tmp_path):
    out = run(tmp_path / "out", stop=3)
    assert verify(out).problems == ()
    run(out, resume=True)
    shards = [[(entry.name, entry.sha256) for entry in read_manifest(folder).shards] for folder in (out, whole)]
    assert shards[0] == shards[1]


@pytest.mark.parametrize("name", ["source_sha256", DONOR_COLUMNS[0]])
def test_damage_to_the_names_of_real_images_is_found(whole, name):
    shard = whole / read_manifest(whole).shards[0].name
    with h5py.File(shard, "r+") as file:
        file[name][1] = 255 - file[name][1]
    assert any(shard.name in f"{problem}" for problem in verify(whole).problems)
