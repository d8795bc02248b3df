"""Runs of the command line that are ended by signals, resumed with other things, or cannot write."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from cheap_runs import SAMPLES, finish_balance, start_balance, write_faces
from forked import ForkedProcess
from small_disks import small_disk

from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify

KILLS = 5
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was never interrupted."""
    folder = write_faces(tmp_path_factory.mktemp("whole"))
    finish_balance(folder)
    return folder


def samples(folder: Path) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in read_manifest(folder / "out").shards}


def wait_for_samples(folder: Path, run: ForkedProcess) -> None:
    """Wait until the run has written samples."""
    while run.poll() is None:
        manifest = folder / "out" / "manifest.json"
        if manifest.exists() and json.loads(manifest.read_bytes())["totals"]["accepted"]:
            return
        time.sleep(0.02)


def test_a_run_killed_at_random_moments_ends_with_the_same_samples(tmp_path, whole):
    folder = write_faces(tmp_path)
    rng = random.Random(0)
    for _ in range(KILLS):
        run = start_balance(folder, "--resume", pause=0.03)
        if rng.random() < 0.7:
            wait_for_samples(folder, run)
        time.sleep(rng.uniform(0, 0.6))
        run.kill()
        run.communicate()
        if (folder / "out" / "manifest.json").exists():
            report = verify(folder / "out")
            assert report.ok, report.to_text()
    finish_balance(folder, "--resume")
    assert samples(folder) == samples(whole)
    report = verify(folder / "out")
    assert (report.ok, report.complete, report.rows) == (True, True, SAMPLES)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_soon_and_says_how_to_continue(tmp_path, whole, number):
    folder = write_faces(tmp_path)
    run = start_balance(folder, pause=0.4)
    wait_for_samples(folder, run)
    run.send_signal(number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert not read_manifest(folder / "out").complete  # it did not wait for the other blocks
    last = "Interrupted; what is finished is kept in out: run the same command with --resume to continue."
    assert err.splitlines()[-1] == last
    assert verify(folder / "out").ok
    finish_balance(folder, "--resume")
    assert samples(folder) == samples(whole)


def test_pictures_that_were_exchanged_are_not_mixed_in(tmp_path):
    folder = write_faces(tmp_path)
    run = start_balance(folder, pause=0.2)
    wait_for_samples(folder, run)
    run.kill()
    run.communicate()
    one, two = folder / "faces" / "0.png", folder / "faces" / "3.png"
    one.rename(folder / "kept")
    two.rename(one)
    (folder / "kept").rename(two)
    again = start_balance(folder, "--resume")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 1
    assert "are not those with which the run in out began (SHA-256 " in err


def test_resuming_with_another_request_is_refused_with_both_values(tmp_path):
    folder = write_faces(tmp_path)
    run = start_balance(folder, pause=0.2)
    wait_for_samples(folder, run)
    run.kill()
    run.communicate()
    others = ("--seed", "1", "--max-total", "50", "--threshold", "resemblance=0.9")
    _, err = (again := start_balance(folder, "--resume", *others)).communicate(timeout=60)
    assert again.returncode == 1
    assert "Error: out has the run of another configuration: seed was 0 and is 1, " in err
    assert ", thresholds.resemblance was 1.0 and is 0.9, plan was " in err
    assert err.endswith("continue with what it was begun with, or choose another folder\n")


def test_a_second_run_into_the_folder_ends_at_once(tmp_path):
    folder = write_faces(tmp_path)
    run = start_balance(folder, pause=2)  # still at work when the second has started, however busy the machine
    wait_for_samples(folder, run)
    second = start_balance(folder, "--resume")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"is in use by process {run.pid} on " in err
    run.kill()
    run.communicate()
    finish_balance(folder, "--resume")  # the lock of a process that is gone is taken over


def test_a_folder_that_is_deleted_meanwhile_ends_in_one_sentence(tmp_path):
    folder = write_faces(tmp_path)
    run = start_balance(folder, pause=0.2)
    wait_for_samples(folder, run)
    while (folder / "out").exists():  # the run may write between the look at the folder and its removal
        shutil.rmtree(folder / "out", ignore_errors=True)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "Traceback" not in err
    assert "could not be written" in err
    finish_balance(folder)


def test_a_full_disk_ends_a_run_in_one_sentence_and_the_run_continues_when_there_is_room(tmp_path, whole):
    folder = write_faces(tmp_path)
    with small_disk(folder / "out", kilobytes=64) as resize:
        run = start_balance(folder, pause=0.1)  # so that samples are saved few at a time
        _, err = run.communicate(timeout=120)
        assert run.returncode == 1, err
        assert "Traceback" not in err
        last = err.splitlines()[-1]
        assert last.startswith("Error: the disk is full: out/"), err
        assert last.endswith("could not be written; free some space and run again with --resume")
        report = verify(folder / "out")
        assert report.ok, report.to_text()
        assert report.rows > 0
        resize(64 << 10)
        finish_balance(folder, "--resume")
        assert verify(folder / "out").complete
        assert samples(folder) == samples(whole)
