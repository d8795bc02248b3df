import pytest
from shard_samples import cells, header, sample

from faceaug.errors import FaceaugError
from faceaug.shards.manifest import Manifest, ShardEntry, Totals
from faceaug.shards.run_state import CellState, RunState
from faceaug.shards.writer import encode_sample


def state():
    planned = cells()
    return RunState(
        Manifest(**dict(header()), complete=False, fingerprint="f", cells=planned, totals=Totals.of(planned))
    )


def encoded_samples(*indices):
    return [encode_sample(sample(k), codec="jpeg", layout="blob") for k in indices]


def test_a_block_makes_a_new_state_and_leaves_the_old_one():
    old = state()
    new = old.extended(encoded_samples(0, 1, 2), {0: CellState({"far": 2})}, {"block": 1})
    assert (len(old.pending), old.changed, old.progress) == (0, False, None)
    assert (len(new.pending), new.changed, new.progress) == (3, True, {"block": 1})
    assert new.accepted() == {0: 2, 1: 1}
    assert new.size == sum(record.size for record in new.pending)


def test_later_changes_by_the_caller_have_no_effect():
    rejected, progress = {"far": 1}, {"blocks": {"0": 1}}
    new = state().extended([], {0: CellState(rejected)}, progress)
    rejected["far"] = 9
    progress["blocks"]["0"] = 9
    assert new.cells[0].rejected == {"far": 1}
    assert new.progress == {"blocks": {"0": 1}}


def test_cells_and_progress_that_are_not_given_again_stay():
    one = state().extended([], {0: CellState({"far": 1})}, 7)
    two = one.extended(encoded_samples(1), {1: CellState({"near": 2}, "short")}, None)
    assert two.progress == 7
    entry = ShardEntry(name="shards/00000.h5", sha256="0" * 64, bytes=1, rows=1)
    manifest = two.with_shards([entry])
    assert [(c.accepted, c.tried, c.rejected, c.note) for c in manifest.cells] == [
        (0, 1, {"far": 1}, ""),
        (1, 3, {"near": 2}, "short"),
    ]
    assert manifest.progress == 7


def test_a_manifest_that_would_contradict_itself_is_refused():
    with pytest.raises(FaceaugError, match="shards hold 0 samples"):
        state().extended(encoded_samples(0), None, None).with_shards([])


def test_a_state_taken_from_a_manifest_counts_the_samples_of_its_part_once():
    entry = ShardEntry(name="shards/00000.part1.h5", sha256="0" * 64, bytes=1, rows=1)
    manifest = state().extended(encoded_samples(0), {0: CellState({"far": 3}, "note")}, 5).with_shards([entry])
    again = RunState.from_manifest(manifest, encoded_samples(0))
    assert again.accepted() == {0: 1}
    assert again.cells[0] == CellState({"far": 3}, "note")
    assert not again.changed
    assert again.with_shards([entry]) == manifest
