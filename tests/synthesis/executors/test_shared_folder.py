"""Runs whose blocks are computed by processes that share a folder with the driver."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cheap_runs import write_faces
from finished_runs import assert_same_samples
from folder_runs import contents
from paced_runs import begun, config, drive, know_engine, parts, start, wait_until, work

from faceaug.cluster.placement import RETRIES
from faceaug.errors import FaceaugError, IntegrityError, OutputError, UsageError
from faceaug.shards.takeover import BLOCKS_FOLDER
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import balance
from faceaug.synthesis.engines import registry
from faceaug.synthesis.executors import worker as worker_module
from faceaug.synthesis.executors.heartbeats import Heartbeat
from faceaug.synthesis.executors.registry import check_executor
from faceaug.synthesis.executors.shared_folder import WANTED_NAME, read_wanted
from faceaug.synthesis.executors.worker import Share, work_share
from faceaug.synthesis.request import check_request

pytestmark = pytest.mark.slow


@pytest.fixture
def faces(tmp_path, monkeypatch) -> Path:
    """Faces with labels; this process knows the engine."""
    monkeypatch.setattr(registry, "entry_points", registry.entry_points)  # put back afterwards
    know_engine()
    return write_faces(tmp_path / "data")


@pytest.fixture
def base(faces) -> Path:
    """The same run by threads of one process."""
    drive(faces, faces / "base")
    return faces / "base"


def results(out: Path) -> int:
    return len(list((out / BLOCKS_FOLDER).glob("*.safetensors")))


def test_workers_and_the_driver_are_killed_and_the_samples_stay_the_same(faces, base):
    out, log = faces / "out", faces / "log"
    environment = {"PACED_SECONDS": "0.3", "PACED_LOG": str(log)}

    def worker(rank: int):
        return start(work, faces, out, rank, 3, environment=environment)

    driver = start(drive, faces, out, environment=environment, executor="folder")
    workers = [worker(rank) for rank in range(3)]
    wait_until(lambda: results(out) >= 3)
    driver.kill()
    workers[1].kill()
    driver.join()
    workers[1].join()
    done = {path.stem for path in (out / BLOCKS_FOLDER).glob("*.safetensors")}
    times = begun(log)
    workers[1] = worker(1)
    drive(faces, out, resume=True, executor="folder")
    for process in workers:
        process.join(60)
        assert process.exitcode == 0
    assert_same_samples(base, out)
    report = verify(out)
    assert (report.ok, report.complete, report.notes) == (True, True, ())
    assert all(begun(log)[block] == times[block] for block in done)  # no result that was on disk was computed again


def stop_while_it_computes(worker, share: Path) -> str:
    """Stop a worker as long as it computes a block, and return which."""
    while True:
        wait_until(lambda: share.is_file() and share.read_text())
        os.kill(worker.pid, signal.SIGSTOP)
        if block := share.read_text():
            return block
        os.kill(worker.pid, signal.SIGCONT)


@pytest.mark.parametrize("goes_on", ["during the run", "after it"])
def test_a_worker_that_falls_silent_loses_its_block_and_does_no_harm_when_it_goes_on(faces, base, caplog, goes_on):
    out, log = faces / "out", faces / "log"
    blocks, settings = out / BLOCKS_FOLDER, {"executor": "folder", "worker_timeout": 1.0}
    environment = {"PACED_SECONDS": "0.3", "PACED_LOG": str(log)}
    driver = in_background(lambda: drive(faces, out, **settings))
    silent = start(work, faces, out, 0, 2, environment=environment)
    try:
        block = stop_while_it_computes(silent, blocks / "shares" / "0")
        said = "worker 0 has given no sign of life for 1 seconds: its block is left to others"
        wait_until(lambda: said in caplog.text, 20)
        assert list(blocks.glob(f"{block}.*.died"))
        other = start(work, faces, out, 1, 2, environment=environment)
        if goes_on == "during the run":
            wait_until((blocks / f"{block}.safetensors").is_file, 20)
            os.kill(silent.pid, signal.SIGCONT)
        driver.join(60)
        whole = contents(out)
        os.kill(silent.pid, signal.SIGCONT)
        for process in (silent, other):
            process.join(60)
            assert process.exitcode == 0
    finally:
        silent.kill()
    assert begun(log)[block] == 2
    assert contents(out) == whole
    assert_same_samples(base, out)
    assert verify(out).ok


def in_background(task) -> threading.Thread:
    """Run a task in a thread of this process, which does not wait for it where the test has failed."""
    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    return thread


def test_a_block_whose_workers_end_each_time_is_left_out_with_the_reason(faces):
    dataset, plan = parts(faces)
    out = faces / "out"
    done = {}
    driver = in_background(lambda: done.update(run=balance(dataset, out, plan=plan, config=config(executor="folder"))))
    wait_until(lambda: (out / BLOCKS_FOLDER).is_dir())
    for number in range(RETRIES + 1):
        (out / BLOCKS_FOLDER / f"0-0.{number}.died").touch()
    work_share(check_request(dataset, plan, config()), out, Share(0, 1))
    driver.join()
    manifest = done["run"].manifest
    assert manifest.cells[0].rejected["block computed"] == 1
    assert manifest.totals.short == 0  # another block of the cell stands in
    assert verify(out).ok


def test_a_worker_gives_signs_of_life_as_often_as_its_driver_expects_them(faces, monkeypatch):
    dataset, plan = parts(faces)
    out, given = faces / "out", []

    def heartbeat(folder, rank, timeout):
        given.append(timeout)
        return Heartbeat(folder, rank, timeout)

    monkeypatch.setattr(worker_module, "Heartbeat", heartbeat)
    driver = in_background(lambda: drive(faces, out, executor="folder", worker_timeout=2.0))
    work_share(check_request(dataset, plan, config()), out, Share(0, 1))
    driver.join()
    assert given == [2.0]


def test_an_error_of_the_engine_ends_the_driver_and_is_not_tried_again(faces, monkeypatch):
    dataset, plan = parts(faces)
    out, said = faces / "out", []

    def drive_and_fail() -> None:
        try:
            balance(dataset, out, plan=plan, config=config(executor="folder"))
        except FaceaugError as error:
            said.append(str(error))

    monkeypatch.setattr("paced_runs.PacedEngine.propose", lambda *_: 1 / 0)
    driver = in_background(drive_and_fail)
    with pytest.raises(FaceaugError, match="the engine 'mean' failed: ZeroDivisionError"):
        work_share(check_request(dataset, plan, config()), out, Share(0, 1))
    driver.join()
    assert said == ["the engine 'mean' failed: ZeroDivisionError: division by zero"]


def test_a_worker_of_another_run_is_refused_and_one_without_a_driver_ends(faces, base):
    dataset, plan = parts(faces)
    with pytest.raises(OutputError, match="has the run of another configuration"):
        work_share(check_request(dataset, plan, config(seed=7)), base, Share(0, 1))
    assert work_share(check_request(dataset, plan, config()), base, Share(0, 1)) == 0  # finished
    assert work_share(check_request(dataset, plan, config()), faces / "none", Share(0, 1), patience=0.2) == 0
    with pytest.raises(UsageError, match="the rank is 3 of 3 workers; it must be 0 to 2"):
        Share(3, 3)


def test_executors_are_checked_before_anything_is_read():
    with pytest.raises(UsageError, match="there is no executor 'foldr': did you mean 'folder'"):
        check_executor(config(executor="foldr"))
    with pytest.raises(UsageError, match="address is given, which the executor local does not use"):
        check_executor(config(address="auto"))


def test_what_is_planted_in_the_file_of_a_rank_is_neither_followed_nor_waited_for(faces):
    dataset, plan = parts(faces)
    out = faces / "out"
    driver = in_background(lambda: balance(dataset, out, plan=plan, config=config(executor="folder")))
    wait_until(lambda: (out / BLOCKS_FOLDER / "wanted.json").is_file())
    shares = out / BLOCKS_FOLDER / "shares"
    shares.mkdir()
    (shares / "0").write_text("../../planted")
    os.mkfifo(shares / "1")
    request = check_request(dataset, plan, config())
    other = in_background(lambda: work_share(request, out, Share(1, 2)))
    work_share(request, out, Share(0, 2))
    other.join()
    driver.join()
    assert not list(faces.glob("planted*"))
    assert not (out / BLOCKS_FOLDER).exists()


def test_the_time_in_which_the_driver_learns_is_not_counted_as_idle(faces, monkeypatch):
    dataset, plan = parts(faces)
    out = faces / "out"
    out.mkdir()  # a driver has begun
    computed, learning, seconds = [], True, 0

    def clock() -> float:  # which stands still once the driver has learnt
        nonlocal seconds
        seconds += 10 * learning
        return seconds

    monkeypatch.setattr(worker_module, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    request = check_request(dataset, plan, config())
    worker = in_background(lambda: computed.append(work_share(request, out, Share(0, 1), patience=30)))
    wait_until(lambda: seconds > 300 or not worker.is_alive())
    assert worker.is_alive()
    learning = False
    balance(dataset, out, plan=plan, config=config(executor="folder"))
    worker.join()
    assert computed[0] > 0


def test_an_interrupted_run_that_threads_finish_keeps_no_results_of_blocks(faces, monkeypatch):
    dataset, plan = parts(faces)
    out = faces / "out"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("faceaug.synthesis.executors.shared_folder.FolderExecutor.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            balance(dataset, out, plan=plan, config=config(executor="folder"))
    (out / BLOCKS_FOLDER / "0-0.safetensors").write_bytes(b"pictures")
    (out / f".{BLOCKS_FOLDER}.tmp").mkdir()
    balance(dataset, out, plan=plan, config=config(), resume=True)
    assert not list(out.glob("*blocks*"))
    assert not list(out.glob(".blocks*"))


def test_a_block_that_ends_each_worker_is_left_out_once_the_rank_has_begun_again_often_enough(faces):
    dataset, plan = parts(faces)
    out = faces / "out"
    done = {}
    driver = in_background(lambda: done.update(run=balance(dataset, out, plan=plan, config=config(executor="folder"))))
    for _ in range(RETRIES + 1):
        killed = start(work, faces, out, 0, 1, environment={"PACED_FATAL": "0-0"})
        killed.join(60)
        assert killed.exitcode == 9
    work_share(check_request(dataset, plan, config()), out, Share(0, 1))
    driver.join()
    assert done["run"].manifest.cells[0].rejected["block computed"] == 1


@pytest.mark.parametrize("timeout", ["0", "-1", "NaN", "Infinity", "1e300", '"soon"', "null"])
def test_a_silence_that_no_driver_asks_for_is_refused(tmp_path, timeout):
    written = '{"run": "this", "worker_timeout": %s, "blocks": [[0, 1]]}'
    (tmp_path / WANTED_NAME).write_text(written % "2.5")
    wanted = read_wanted(tmp_path, "this")
    assert wanted is not None
    assert (wanted.blocks, wanted.worker_timeout) == ([(0, 1)], 2.5)
    (tmp_path / WANTED_NAME).write_text(written % timeout)
    with pytest.raises(IntegrityError, match="is no list of blocks: run faceaug balance --resume"):
        read_wanted(tmp_path, "this")
