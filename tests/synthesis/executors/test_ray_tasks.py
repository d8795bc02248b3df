"""Runs whose blocks are computed by a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import _thread
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from cheap_runs import write_faces
from finished_runs import assert_same_samples
from paced_runs import begun, drive, know_engine, start, wait_until
from ray_nodes import NEEDS_RAY, environment_of

from faceaug.errors import FaceaugError
from faceaug.shards.manifest import read_manifest
from faceaug.shards.takeover import BLOCKS_FOLDER
from faceaug.shards.verify import verify
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines import registry
from faceaug.synthesis.executors import ray_tasks
from faceaug.synthesis.executors.base import Work
from faceaug.synthesis.executors.ray_tasks import RayExecutor

FATAL = "0-2"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=NEEDS_RAY),
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Faces with labels, and the same run by threads of one process."""
    folder = write_faces(tmp_path_factory.mktemp("faces"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "entry_points", registry.entry_points)
        know_engine()
        drive(folder, folder / "base")
        yield folder


def results(out: Path) -> int:
    return len(list((out / BLOCKS_FOLDER).glob("*.safetensors")))


def test_a_node_and_the_driver_are_killed_and_the_samples_stay_the_same(faces, nodes):
    node, environment = nodes.add(), nodes.environment
    out, log = faces / "out", Path(environment["PACED_LOG"])
    run = {"executor": "ray", "address": nodes.address}
    driver = start(drive, faces, out, environment=environment, **run)
    wait_until(lambda: results(out) >= 3)
    driver.kill()
    driver.join()
    done = {path.stem for path in (out / BLOCKS_FOLDER).glob("*.safetensors")}
    times = begun(log)
    late = nodes.add()
    resumed = start(drive, faces, out, True, environment=environment, **run)
    before = begun(log).total()
    wait_until(lambda: begun(log).total() > before + 2)
    nodes.kill(node)
    resumed.join(200)
    nodes.kill(late)
    assert resumed.exitcode == 0
    assert_same_samples(faces / "base", out)
    report = verify(out)
    assert (report.ok, report.complete, report.notes) == (True, True, ())
    assert all(begun(log)[block] == times[block] for block in done)  # no result that was on disk was computed again


def test_a_block_that_ends_its_worker_each_time_is_left_out_with_the_reason(faces, tmp_path):
    log = tmp_path / "log"
    given = {**environment_of(tmp_path / "plugin"), "PACED_FATAL": FATAL, "PACED_SECONDS": "0", "PACED_LOG": str(log)}
    driver = start(drive, faces, tmp_path / "out", environment=given, executor="ray")  # a cluster of its own
    driver.join(250)
    assert driver.exitcode == 0
    assert begun(log)[FATAL] == 4
    manifest = read_manifest(tmp_path / "out")
    assert manifest.cells[0].rejected["block computed"] == 1
    assert manifest.totals.short == 0


def test_a_block_that_is_computed_is_finished_when_it_is_cancelled(monkeypatch):
    def encoded(cell: int, block: int) -> bytes:
        _thread.interrupt_main()  # as Ray does
        return b"a result"

    monkeypatch.setattr(ray_tasks, "prepared", lambda box, make: SimpleNamespace(encoded=encoded))
    before = signal.getsignal(signal.SIGINT)
    assert ray_tasks._compute([], 0, 0) == b"a result"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("initialized", "address", "said"),
    [
        (True, "10.0.0.1:6379", "connected to Ray already, so address '10.0.0.1:6379' cannot be used"),
        (False, None, "Ray could not be started on this machine: no memory"),
        (False, "auto", "there is no Ray cluster at 'auto': no memory"),
        (False, "127.0.0.1:1", "there is no Ray cluster at '127.0.0.1:1': .*refused"),  # a port without a listener
        (False, "ray://127.0.0.1:1", "there is no Ray cluster at 'ray://127.0.0.1:1': .*refused"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_said_in_a_sentence(tmp_path, monkeypatch, initialized, address, said):
    def init(**_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: initialized, init=init))
    request = SimpleNamespace(config=RunConfig(executor="ray", address=address))
    output = SimpleNamespace(path=tmp_path, manifest=SimpleNamespace(fingerprint="a run"))
    with pytest.raises(FaceaugError, match=said):
        RayExecutor(Work(request, None, output))


def test_ray_is_imported_only_when_it_is_asked_for():
    words = "import sys, faceaug.synthesis.balance, faceaug.synthesis.executors.ray_tasks; print('ray' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, env=os.environ)
    assert said.stdout.strip() == "False"
