"""Interrupted, killed and failed runs leave a valid folder, and end with the same bytes as an uninterrupted run."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from folder_runs import FINGERPRINT, begin_run, contents, run
from forked import ForkedProcess, run_forked

from faceaug.errors import OutputError
from faceaug.shards import lock
from faceaug.shards import manifest as manifest_module
from faceaug.shards import output_folder as output_folder_module
from faceaug.shards.manifest import read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The files of a run of each layout that was not interrupted, at a given moment."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOURCE_DATE_EPOCH", "1700000000")
        for layout in ("blob", "raw"):
            run(folder / layout / "out", changes={"layout": layout})
    return {layout: contents(folder / layout / "out") for layout in ("blob", "raw")}


@pytest.mark.parametrize("save_every", [0.0, 60.0])
@pytest.mark.parametrize("layout", ["blob", "raw"])
@pytest.mark.parametrize("stops", [[0], [1], [2], [3], [4], [5], [1, 1, 3, 5], [1, 2, 3, 4, 5]])
def test_an_interrupted_run_resumed_is_byte_for_byte_the_uninterrupted_one(
    uninterrupted, tmp_path, monkeypatch, stops, layout, save_every
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    out, changes = tmp_path / "out", {"layout": layout}
    for stop in stops:
        run(out, stop=stop, resume=True, save_every=save_every, changes=changes)
        report = verify(out)
        assert report.ok, report.to_text()
        assert (report.rows, report.complete, report.notes) == (5 * stop, False, ())
    run(out, resume=True, changes=changes)
    assert contents(out) == uninterrupted[layout]
    assert b"2023-11-14" in uninterrupted[layout]["manifest.json"]


@pytest.mark.parametrize("stop", range(5))
def test_a_failed_begin_leaves_a_folder_that_can_be_used_again(tmp_path, monkeypatch, stop):
    """begin() writes plan.json, manifest.sha256, manifest.json, manifest.sha256; it fails at each in turn."""
    written = []

    def failing(original):
        def write(path, *rest):
            if len(written) == stop:
                raise OutputError("the disk is full")
            written.append(path.name)
            original(path, *rest)

        return write

    monkeypatch.setattr(output_folder_module, "write_json", failing(output_folder_module.write_json))
    monkeypatch.setattr(manifest_module, "write_bytes", failing(manifest_module.write_bytes))
    if stop < 4:
        with pytest.raises(OutputError):
            begin_run(tmp_path / "out")
    else:
        begin_run(tmp_path / "out").close()
    monkeypatch.undo()
    assert written == ["plan.json", "manifest.sha256", "manifest.json", "manifest.sha256"][:stop]


FILL_THE_DISK = """
import resource, signal, sys
from faceaug.errors import OutputError
from folder_runs import begin_run
from shard_samples import sample
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with begin_run(sys.argv[1]) as folder:
        folder.append([sample(0)], progress=0)
        folder.commit()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        folder.append([sample(k, size=96) for k in range(1, 20)], progress=1)
        getattr(folder, sys.argv[2])()
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("method", "name"), [("commit", "00001.h5"), ("save", "00001.part19.h5"), ("close", "00001.part")]
)
def test_a_write_that_the_system_refuses_leaves_the_folder_as_it_was(tmp_path, method, name):
    out = tmp_path / "out"
    done = run_forked(FILL_THE_DISK, out, method, timeout=60)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    assert "could not be written" in done.stdout
    assert done.stderr == ""
    report = verify(out)
    assert report.ok, report.to_text()
    assert report.rows == 1
    assert not [p for p in out.rglob("*") if p.suffix == ".tmp"]
    with OutputFolder.open(out, FINGERPRINT, resume=True) as folder:
        assert folder.manifest.progress == 0


def test_a_run_killed_at_any_moment_is_valid_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(tmp_path / "a" / "out")
    out = tmp_path / "b" / "out"
    for delay in (0.02, 0.07, 0.05):
        user = ForkedProcess(partial(run, resume=True, save_every=0.0), out, folder=tmp_path)
        while user.poll() is None and f"process {user.pid} " not in _text(out / ".lock"):
            time.sleep(0.001)
        time.sleep(delay)
        user.kill()
        user.communicate()
        assert (out / "manifest.json").exists() is verify(out).ok
        if (out / "manifest.json").exists() and read_manifest(out).complete:
            break
    with begin_run(out, max_rows=12, resume=True) as folder:
        complete = folder.complete
    if not complete:
        run(out, resume=True)
    assert contents(tmp_path / "a" / "out") == contents(out)


def _text(path):
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


class InterruptAtLine:
    """A trace function that raises KeyboardInterrupt at the n-th line of the code that writes the folder."""

    def __init__(self, lines):
        self.lines_left = lines

    def __call__(self, frame, event, argument):
        name = Path(frame.f_code.co_filename)
        if name.parent.name != "shards" or name.name not in ("output_folder.py", "run_state.py", "manifest.py"):
            return None
        return self.trace_line

    def trace_line(self, frame, event, argument):
        if event == "line":
            self.lines_left -= 1
            if self.lines_left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.trace_line


def test_ctrl_c_at_any_line_leaves_a_folder_that_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(tmp_path / "whole" / "out")
    whole = contents(tmp_path / "whole" / "out")
    step = int(os.environ.get("FACEAUG_TEST_STEP", "293"))  # 1 takes minutes and tries every line
    for after in range(5, 10**6, step):
        out = tmp_path / str(after) / "out"
        before = sys.gettrace()
        try:
            sys.settrace(InterruptAtLine(after))
            run(out, resume=True, save_every=0.0 if after % 2 else 60.0)
            break  # fewer lines than that: the run came to its end
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        lock._locked_folders.clear()  # as the end of the process would
        if (out / "manifest.json").exists():
            report = verify(out)
            assert report.ok, (after, report.to_text())
        with OutputFolder.open(out, FINGERPRINT, resume=True) as folder:  # as a run does that finds itself complete
            complete = folder.complete
        if not complete:
            run(out, resume=True)
        assert contents(out) == whole, after
    assert after > 3 * step
