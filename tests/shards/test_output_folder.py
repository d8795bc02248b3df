"""Output folders: complete, valid after every shard, with an account that adds up."""

import json
from collections import Counter

import pytest
from folder_runs import FINGERPRINT, begin_run, blocks, contents, run
from shard_samples import PLANNED, cells, header, plan, sample

from faceaug.errors import FaceaugError, IntegrityError, OutputError
from faceaug.shards.columns import engine_column
from faceaug.shards.manifest import ModelRecord, read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.reader import ShardReader
from faceaug.shards.run_state import CellState
from faceaug.shards.verify import verify


def test_a_finished_folder_has_every_file_and_counts_every_sample(tmp_path):
    run(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {
        *("manifest.json", "manifest.sha256", "plan.json", "samples.parquet", "croissant.json", "README.md"),
        *(shard.name for shard in manifest.shards),
    }
    assert manifest.complete
    assert manifest.progress is None
    assert [s.rows for s in manifest.shards] == [10, 10, 10]
    assert [(c.planned, c.accepted, c.short, c.tried) for c in manifest.cells] == [(40, 15, 25, 20), (30, 15, 15, 25)]
    assert manifest.cells[1].rejected == {"far": 10}
    assert manifest.cells[1].note == "block 5"
    assert manifest.totals.rejected == {"blurred": 5, "far": 10}
    assert manifest.measured == {"seconds": 1.0}
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == plan()


def test_the_folder_is_valid_after_every_shard(tmp_path):
    with begin_run(tmp_path / "out", max_rows=12) as folder:
        assert verify(tmp_path / "out").ok
        for block, samples, states in blocks():
            folder.append(samples, states, progress=block)
            report = verify(tmp_path / "out")
            assert report.ok, report.to_text()
            manifest = read_manifest(tmp_path / "out")
            on_disk = 0 if manifest.progress is None else manifest.progress + 1
            assert report.rows == 5 * on_disk == 5 * (block // 2 * 2)
            assert manifest.totals.rejected.get("far", 0) == 2 * max(0, on_disk - 1)
            assert sum(folder.accepted().values()) == 5 * block + 5


def test_a_block_larger_than_a_shard_is_split(tmp_path):
    with begin_run(tmp_path / "out", max_rows=4) as folder:
        folder.append([sample(k) for k in range(10)])
        folder.commit()
        assert [s.rows for s in folder.manifest.shards] == [4, 4, 2]
        folder.finish()
    assert verify(tmp_path / "out").ok


def test_shards_close_at_their_maximal_bytes(tmp_path):
    with begin_run(tmp_path / "out", max_bytes=4000) as folder:
        for _, samples, _ in blocks():
            folder.append(samples)
        folder.finish()
        assert len(folder.manifest.shards) > 2
    assert verify(tmp_path / "out").ok


def test_update_writes_the_state_to_disk_and_keeps_the_rest(tmp_path):
    with begin_run(tmp_path / "out") as folder:
        folder.append([sample(0)], {0: CellState({"blurred": 3}, note="a")}, progress={"block": 1})
        folder.update({1: CellState({"far": 4})})
        manifest = read_manifest(tmp_path / "out")
        assert [c.rejected for c in manifest.cells] == [{"blurred": 3}, {"far": 4}]
        assert manifest.cells[0].note == "a"
        assert manifest.progress == {"block": 1}
        assert manifest.totals.accepted == 1
    with OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True) as folder:
        assert folder.accepted() == {0: 1}
        assert [len(reader) for reader in folder.readers()] == [1]
        folder.append([sample(2)])
        assert folder.accepted() == {0: 2}
        folder.commit()
        assert folder.manifest.cells[0].rejected == {"blurred": 3}
        assert folder.manifest.progress == {"block": 1}
        assert [len(reader) for reader in folder.readers()] == [2]


def test_a_run_without_accepted_samples_is_finished_and_valid(tmp_path):
    with begin_run(tmp_path / "out") as folder:
        folder.finish(cells={0: CellState({"far": 9}, note="out of reach"), 1: CellState({"far": 1})})
    manifest = read_manifest(tmp_path / "out")
    assert [c.short for c in manifest.cells] == list(PLANNED)
    assert manifest.totals.rejected == {"far": 10}
    assert verify(tmp_path / "out").ok


def fit_models(path, content="fitted"):
    (path / "models").mkdir(exist_ok=True)
    (path / "models" / "guidance.safetensors").write_text(content)
    return {"files": ["models/guidance.safetensors"], "classifiers": [ModelRecord(name="guidance", sha256="e" * 64)]}


def test_fitted_models_are_listed_checked_and_kept(tmp_path):
    with begin_run(tmp_path / "out") as folder:
        folder.describe(**fit_models(tmp_path / "out"))
        assert [record.name for record in folder.manifest.classifiers] == ["guidance"]
        folder.append([sample(0)])
        folder.commit()
        folder.describe(**fit_models(tmp_path / "out"))
        folder.finish()
        names = [entry.name for entry in folder.manifest.files]
        assert names == ["plan.json", "models/guidance.safetensors", "samples.parquet", "croissant.json", "README.md"]
    assert verify(tmp_path / "out").notes == ()
    (tmp_path / "out" / "models" / "guidance.safetensors").write_text("Fitted")
    assert [p.file for p in verify(tmp_path / "out").problems] == ["models/guidance.safetensors"]


def test_a_run_with_samples_is_not_continued_with_other_models(tmp_path):
    with begin_run(tmp_path / "out") as folder:
        folder.describe(**fit_models(tmp_path / "out"))
        folder.describe(**fit_models(tmp_path / "out", "fitted again"))
        folder.append([sample(0)])
        folder.commit()
        with pytest.raises(OutputError, match="other classifiers or directions"):
            folder.describe(**fit_models(tmp_path / "out", "fitted otherwise"))
        with pytest.raises(OutputError, match=r"absent is missing"):
            folder.describe(files=["absent"])
        with pytest.raises(IntegrityError, match="leads out"):
            folder.describe(files=["../elsewhere"])


def test_a_run_states_its_own_engines_and_their_samples_are_found_by_name(tmp_path):
    with OutputFolder.open(tmp_path / "out", FINGERPRINT) as folder:
        folder.begin(header(columns=(*header().columns, engine_column(["mean"]))), cells(), plan())
        folder.append([sample(0), sample(1, engine="mean"), sample(4)])
    with OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True) as folder:
        folder.append([sample(2, engine="mean")])
        with pytest.raises(FaceaugError, match="no level of it"):
            folder.append([sample(3, engine="external")])
        folder.finish()
        (entry,) = folder.manifest.shards
    assert verify(tmp_path / "out").ok
    with ShardReader(tmp_path / "out" / entry.name) as reader:
        assert reader.levels("engine") == ("generator", "rerender", "mean")
        assert reader.made_by("mean").tolist() == [False, True, False, True]
        assert reader.made_by("generator").tolist() == [True, False, False, False]
        assert not reader.made_by("external").any()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(0, cell=2)], "cells 0 to 1"),
        ([sample(0, cell=-1)], "cells 0 to 1"),
        ([sample(k, cell=1, seed=k) for k in range(31)], "31 samples, more than the 30 planned"),
        ([sample(0, attr={"gender": "x"})], "no level"),
    ],
)
def test_samples_outside_the_plan_are_refused_before_any_is_taken(tmp_path, samples, message):
    with begin_run(tmp_path / "out") as folder:
        with pytest.raises(FaceaugError, match=message):
            folder.append(samples)
        assert folder.accepted() == Counter()
        folder.append([sample(0)])
        folder.finish()
    assert verify(tmp_path / "out").rows == 1


def test_a_closed_folder_refuses_samples(tmp_path):
    folder = begin_run(tmp_path / "out")
    folder.close()
    with pytest.raises(FaceaugError, match="closed"):
        folder.append([sample(0)])
