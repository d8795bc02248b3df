"""Output folders of the version before are written anew; the old one stays, and nothing that is half done remains."""

import pytest
from folder_runs import FINGERPRINT, contents, run
from old_shards import to_old_folder
from shard_samples import write_output

from faceaug.curation import upgrade
from faceaug.datasets.dataset import load_dataset
from faceaug.errors import IntegrityError, OutputError, UsageError
from faceaug.shards.manifest import read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify


@pytest.mark.parametrize("changes", [{}, {"layout": "raw", "codec": "png"}])
def test_an_upgraded_folder_is_the_one_that_is_written_today(tmp_path, changes):
    new = write_output(tmp_path / "new", **changes)
    old = to_old_folder(write_output(tmp_path / "old", **changes))
    before = contents(old)
    assert verify(old).to_text() == "sound: 30 samples"
    upgrade.upgrade_output(old, tmp_path / "out")
    assert verify(tmp_path / "out").to_text() == "sound: 30 samples"
    assert read_manifest(tmp_path / "out").shards == read_manifest(new).shards
    assert read_manifest(tmp_path / "out").generator == read_manifest(new).generator
    assert contents(tmp_path / "out")["samples.parquet"] == contents(new)["samples.parquet"]
    assert contents(old) == before


def test_an_old_folder_is_read_as_before(tmp_path):
    new, old = write_output(tmp_path / "new"), to_old_folder(write_output(tmp_path / "old"))
    one, two = load_dataset(old), load_dataset(new)
    assert [one.encoded(row) for row in range(30)] == [two.encoded(row) for row in range(30)]


def test_an_unfinished_run_goes_on_after_the_upgrade_only(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "old", stop=3)
    old = to_old_folder(tmp_path / "old")
    with pytest.raises(OutputError, match="shards of version 2; run faceaug upgrade"):
        OutputFolder.open(old, FINGERPRINT, resume=True)
    upgrade.upgrade_output(old, tmp_path / "out")
    run(tmp_path / "out", resume=True)
    assert read_manifest(tmp_path / "out").shards == read_manifest(tmp_path / "whole").shards


def test_an_interrupted_upgrade_leaves_the_old_folder_and_nothing_else(tmp_path, monkeypatch):
    old = to_old_folder(write_output(tmp_path / "old"))
    before, done = contents(old), []

    def fail(rows):
        done.append(rows)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade.upgrade_output(old, tmp_path / "out", progress=fail)
    assert contents(old) == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_damaged_folder_is_not_upgraded(tmp_path):
    old = to_old_folder(write_output(tmp_path / "old"))
    path = old / "shards" / "00001.h5"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"00001\.h5 is missing or damaged"):
        upgrade.upgrade_output(old, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_today_needs_no_upgrade(tmp_path):
    with pytest.raises(UsageError, match="of version 3 already"):
        upgrade.upgrade_output(write_output(tmp_path / "new"), tmp_path / "out")
