"""One process at a time uses a folder, and the lock ends with its process."""

import multiprocessing
import socket
from pathlib import Path

import pytest
from folder_runs import FINGERPRINT, begin_run
from forked import start_forked
from shard_samples import sample

from faceaug.errors import OutputError
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify


def test_this_process_cannot_open_a_folder_twice(tmp_path):
    with begin_run(tmp_path / "out"), pytest.raises(OutputError, match="in use by this very process"):
        OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True)
    OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True).close()


HOLD_A_FOLDER = """
import multiprocessing, sys
from folder_runs import begin_run
from shard_samples import sample
folder = begin_run(sys.argv[1])
folder.append([sample(0)])
folder.commit()
print("ready", flush=True)
multiprocessing.parent_process().join()  # until it is killed, or the tests have ended
"""


@pytest.mark.slow
def test_a_folder_in_use_is_refused_until_its_process_is_killed(tmp_path):
    out = tmp_path / "out"
    with start_forked(HOLD_A_FOLDER, out) as user:
        user.wait_for("ready\n")
        with pytest.raises(OutputError, match=f"in use by process {user.pid}"):
            OutputFolder.open(out, FINGERPRINT, resume=True)
        user.kill()
        user.communicate(30)
    assert (out / ".lock").exists()
    assert verify(out).ok
    with OutputFolder.open(out, FINGERPRINT, resume=True) as folder:
        assert folder.manifest.totals.accepted == 1
    assert not (out / ".lock").exists()


BOOT = Path("/proc/sys/kernel/random/boot_id")


@pytest.mark.skipif(not BOOT.exists(), reason="this system does not say when it was started")
def test_a_lock_of_another_machine_is_named_and_not_taken_over(tmp_path):
    out = tmp_path / "out"
    begin_run(out).close()
    (out / ".lock").write_text("process 7 on elsewhere\n0123-4567\n")
    with pytest.raises(OutputError, match=f"locked by process 7 on elsewhere, .*: if it does not, remove {out}/.lock"):
        OutputFolder.open(out, FINGERPRINT, resume=True)
    (out / ".lock").unlink()
    OutputFolder.open(out, FINGERPRINT, resume=True).close()


@pytest.mark.parametrize(
    "text",
    ["process 7 on elsewhere\n{boot}\n", "process 7 on {host}\n0123-4567\n", "process 7 on {host}\n", "", "\x00\xff"],
)
def test_a_stale_lock_of_this_machine_is_taken_over(tmp_path, text):
    out = tmp_path / "out"
    begin_run(out).close()
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    (out / ".lock").write_text(text.format(boot=boot, host=socket.gethostname()))  # of a container; before a restart
    OutputFolder.open(out, FINGERPRINT, resume=True).close()


def _close(folder):
    folder.close()


def test_a_child_neither_holds_nor_releases_the_lock(tmp_path):
    with begin_run(tmp_path / "out") as folder:
        folder.append([sample(2)])
        child = multiprocessing.get_context("fork").Process(target=_close, args=(folder,))
        child.start()
        child.join(30)
        assert (tmp_path / "out" / ".lock").exists()
        assert list((tmp_path / "out" / "shards").iterdir()) == []
        folder.append([sample(0)])
        folder.finish()
    assert verify(tmp_path / "out").rows == 2
