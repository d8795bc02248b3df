"""Division into parts: near-duplicates stay together, groups are thinned in training alone, by the seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from faceaug.bench.partition import draw_parts, duplicate_clusters, own_parts, thin
from faceaug.bench.recipe import BenchSplit, ThinnedGroup
from faceaug.errors import DatasetError, UsageError


def test_near_duplicates_are_found_and_stay_in_one_part():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    images[40:] = np.clip(images[:20].astype(int) + 3, 0, 255)  # the first twenty again, a little brighter
    clusters = duplicate_clusters(images, 8)
    assert len(np.unique(clusters)) == 40
    for seed in range(5):
        parts = draw_parts(clusters, np.zeros(60, np.int64), BenchSplit(), seed)
        rows = [parts.train, parts.validation, parts.test]
        assert sorted(np.concatenate(rows)) == list(range(60))
        for row in range(20):
            assert sum(row in part and row + 40 in part for part in rows) == 1


def test_strata_are_in_all_parts_and_the_seed_decides():
    clusters, strata = np.arange(1000), np.repeat([0, 1], [990, 10])
    parts = draw_parts(clusters, strata, BenchSplit(train=0.6, validation=0.2, test=0.2), 3)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [600, 200, 200]
    assert [int(strata[rows].sum()) for rows in (parts.train, parts.validation, parts.test)] == [6, 2, 2]
    again = draw_parts(clusters, strata, BenchSplit(), 3)
    other = draw_parts(clusters, strata, BenchSplit(), 4)
    assert (again.test == parts.test).all()
    assert not (other.test == parts.test).all()


def test_groups_are_thinned_to_a_share_or_a_count_in_training_alone():
    parts = draw_parts(np.arange(500), np.zeros(500, np.int64), BenchSplit(), 0)
    inside = np.arange(500) % 2 == 0
    for group, count in [
        (ThinnedGroup(by="a", levels=["x"], count=7), 7),
        (ThinnedGroup(by="a", levels=["x"], share=0.1), round(0.1 / 0.9 * (~inside[parts.train]).sum())),
    ]:
        thinned = thin(parts, [inside], [group], 1)
        assert inside[thinned.train].sum() == count
        assert (~inside[thinned.train]).sum() == (~inside[parts.train]).sum()
        assert (thinned.test == parts.test).all()
        assert (thinned.validation == parts.validation).all()
        np.testing.assert_array_equal(np.union1d(thinned.train, thinned.thinned), parts.train)
        assert len(thinned.train) + len(thinned.thinned) == len(parts.train)
        assert not np.array_equal(thin(parts, [inside], [group], 2).train, thinned.train)
    with pytest.raises(UsageError, match="keep 400 training faces, but there are"):
        thin(parts, [inside], [ThinnedGroup(by="a", levels=["x"], count=400)], 0)


def test_shares_of_several_groups_hold_together():
    parts = draw_parts(np.arange(2000), np.zeros(2000, np.int64), BenchSplit(), 0)
    of_group = np.arange(2000) % 5  # two fifths a, two fifths b
    inside = [of_group < 2, (of_group >= 2) & (of_group < 4)]
    groups = [ThinnedGroup(by="g", levels=[level], share=0.1) for level in "ab"]
    thinned = thin(parts, inside, groups, 1)
    for own in inside:
        assert own[thinned.train].mean() == pytest.approx(0.1, abs=0.005)
    with pytest.raises(UsageError, match="overlap"):
        thin(parts, [inside[0], inside[0]], groups, 1)
    with pytest.raises(UsageError, match=r"sum to 1\.2"):
        thin(parts, inside, [ThinnedGroup(by="g", levels=["a"], share=0.6)] * 2, 1)


def test_own_splits_lose_training_faces_that_are_near_held_out_ones():
    table = pd.DataFrame({"key": list("abcdef"), "split": ["train", "train", "train", "val", "val", "test"]})
    parts = own_parts(table, np.array([0, 1, 2, 1, 3, 3]), "faces")
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0, 2], [3], [5])
    assert parts.duplicates == 2
    with pytest.raises(DatasetError, match="has no splits train, val and test of its own"):
        own_parts(table.drop(columns="split"), np.arange(6), "faces")
