"""Disks that are full: one sentence, what is finished stays whole, and the run continues when there is room.

A whole run of the command line on a full disk is in `test_ended_runs.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes import write_toy_dataset
from folder_runs import contents, run
from quick_runs import fit_toys, make_small
from small_disks import small_disk

from faceaug.datasets import load_dataset
from faceaug.errors import OutputError
from faceaug.shards import lock
from faceaug.shards.verify import verify
from faceaug.synthesis.fitted_models import MODEL_FILES, STATE_FILE

pytestmark = pytest.mark.slow
ROOMY = 64 << 10  # kilobytes


def fits(write: Callable[[], object]) -> bool:
    """Return whether the disk holds what is written; an error that does not say that it is full is raised."""
    try:
        write()
    except OutputError as error:
        if not str(error).startswith("the disk is full: "):
            raise
        return False
    return True


def test_a_disk_that_is_full_at_any_moment_leaves_a_folder_that_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(tmp_path / "whole" / "out")
    whole, failed = contents(tmp_path / "whole" / "out"), 0
    with small_disk(tmp_path / "small", 8) as resize:
        out = tmp_path / "small" / "out"
        for kilobytes in range(8, 1000, 24):
            resize(kilobytes)
            if fits(lambda: run(out, resume=True)):
                break
            failed += 1
            lock._locked_folders.clear()  # as the end of the process would
            if (out / "manifest.json").exists():
                assert verify(out).ok, verify(out).to_text()
        assert failed > 3
        assert contents(out) == whole


def test_a_disk_that_becomes_read_only_ends_a_run_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(tmp_path / "whole" / "out")
    with small_disk(tmp_path / "small", ROOMY) as remount:
        out = tmp_path / "small" / "out"
        run(out, stop=3)
        before = contents(out)
        remount(ROOMY, "ro")
        with pytest.raises(OutputError, match=r"could not be written \(Read-only file system\); choose a folder"):
            run(out, resume=True)
        assert verify(out).ok
        remount(ROOMY, "rw")
        assert contents(out) == before
        run(out, resume=True)
        assert contents(out) == contents(tmp_path / "whole" / "out")


def test_a_disk_that_is_full_while_models_are_fitted_ends_in_one_sentence(tmp_path, monkeypatch):
    make_small(monkeypatch)
    dataset = load_dataset(*write_toy_dataset(tmp_path / "toys", 120, codec="jpeg"))
    (tmp_path / "whole").mkdir()
    fit_toys(dataset, tmp_path / "whole")
    whole, failed = contents(tmp_path / "whole"), 0
    with small_disk(tmp_path / "small", 4) as resize:
        for kilobytes in (4, 32, 96, ROOMY):
            resize(kilobytes)
            if fits(lambda: fit_toys(dataset, tmp_path / "small")):
                break
            failed += 1
        assert failed > 1
        models = contents(tmp_path / "small")
    for name in set(MODEL_FILES) & set(whole) - {STATE_FILE}:  # which has the seconds that each stage took
        assert models[name] == whole[name], name
