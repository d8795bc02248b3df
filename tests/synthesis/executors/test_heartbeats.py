"""Workers of a shared folder that are lost are noticed by their silence, and others are not."""

from __future__ import annotations

import os

from faceaug.synthesis.executors.heartbeats import DIED, SHARES_FOLDER, Heartbeat, SilentWorkers

SILENCE = 30.0


def deaths(folder):
    return sorted(path.name.split(".")[0] for path in folder.glob(f"*.{DIED}"))


def lost_worker(folder, rank, block):
    """The file of a worker that was killed."""
    (folder / SHARES_FOLDER).mkdir(exist_ok=True)
    (folder / SHARES_FOLDER / str(rank)).write_text(block)


def test_a_silent_worker_is_noticed_once_with_the_block_that_it_computed(tmp_path):
    watch = SilentWorkers(tmp_path, SILENCE)
    lost_worker(tmp_path, 0, "2-5")
    lost_worker(tmp_path, 1, "")  # it waited for work
    with Heartbeat(tmp_path, 2, SILENCE) as alive, alive.computing("3-1"):
        found = {}
        for now in range(0, 60, 10):
            stamp = 10**9 * (now + 1)
            os.utime(tmp_path / SHARES_FOLDER / "2", ns=(stamp, stamp))
            found |= watch.look(now)
        assert found == {"0": True, "1": False}
        assert deaths(tmp_path) == ["2-5"]
        assert os.listdir(tmp_path / SHARES_FOLDER) == ["2"]
    assert not os.listdir(tmp_path / SHARES_FOLDER)  # one that ends is no lost one


def test_a_driver_that_was_busy_takes_no_worker_for_lost(tmp_path):
    watch = SilentWorkers(tmp_path, SILENCE)
    lost_worker(tmp_path, 0, "2-5")
    assert watch.look(0) == watch.look(10) == {}
    assert watch.look(200) == watch.look(210) == watch.look(220) == watch.look(230) == {}
    assert watch.look(240) == {"0": True}


def test_a_worker_that_was_taken_for_lost_gives_a_sign_again(tmp_path):
    with Heartbeat(tmp_path, 0, SILENCE) as worker, worker.computing("2-5"):
        (tmp_path / SHARES_FOLDER / "0").unlink()
        worker.sign()
        assert (tmp_path / SHARES_FOLDER / "0").read_text() == "2-5"
        (tmp_path / SHARES_FOLDER / "0").unlink()
        (tmp_path / SHARES_FOLDER).rmdir()  # that of a driver which was begun again
        worker.sign()
        assert (tmp_path / SHARES_FOLDER / "0").read_text() == "2-5"


def test_a_worker_that_begins_again_notes_the_death_of_the_one_before(tmp_path):
    lost_worker(tmp_path, 4, "0-7")
    with Heartbeat(tmp_path, 4, SILENCE):
        assert deaths(tmp_path) == ["0-7"]
