"""One process at a time uses a folder, and the lock ends with its process."""

import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from folder_runs import FINGERPRINT, begin_run
from shard_samples import sample

from faceaug.errors import OutputError
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify

HELPERS = Path(__file__).parents[1] / "helpers"


def test_this_process_cannot_open_a_folder_twice(tmp_path):
    with begin_run(tmp_path / "out"), pytest.raises(OutputError, match="in use by this very process"):
        OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True)
    OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True).close()


HOLD_A_FOLDER = """
import sys
sys.path.insert(0, sys.argv[2])
from folder_runs import begin_run
from shard_samples import sample
folder = begin_run(sys.argv[1])
folder.append([sample(0)])
folder.commit()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_folder_in_use_is_refused_until_its_process_is_killed(tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", HOLD_A_FOLDER, str(out), str(HELPERS)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout.readline() == "ready\n"
        with pytest.raises(OutputError, match=f"in use by process {user.pid}"):
            OutputFolder.open(out, FINGERPRINT, resume=True)
        user.send_signal(signal.SIGKILL)
        user.wait(30)
    assert (out / ".lock").exists()
    assert verify(out).ok
    with OutputFolder.open(out, FINGERPRINT, resume=True) as folder:
        assert folder.manifest.totals.accepted == 1
    assert not (out / ".lock").exists()


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
