import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from shard_samples import CELLS, PLANNED, cells, header, plan, sample, write_output

from faceaug.errors import FaceaugError, IntegrityError, OutputError
from faceaug.shards import lock as claim
from faceaug.shards import manifest as manifests
from faceaug.shards import output_folder as folders
from faceaug.shards.manifest import ModelRecord, read_manifest
from faceaug.shards.output_folder import CellState, OutputFolder
from faceaug.shards.verify import verify

PRINT = "f" * 64


def begin(path, **options):
    folder = OutputFolder.open(path, PRINT, **options)
    if not folder.started:
        folder.begin(header(), cells(), plan())
    return folder


def blocks(start=0):
    """Six blocks of five samples each, with the cells' state after each."""
    for block in range(start, 6):
        samples = [sample(k) for k in range(5 * block, 5 * block + 5)]
        yield (
            block,
            samples,
            {0: CellState({"blurred": block}), 1: CellState({"far": 2 * block}, note=f"block {block}")},
        )


def run(path, stop=None, **options):
    """Write all blocks; stop before block `stop`, as Ctrl-C does."""
    changes = options.pop("changes", {})
    with OutputFolder.open(path, PRINT, max_rows=12, **options) as folder:
        if not folder.started:
            folder.begin(header(**changes), cells(), plan())
        start = 0 if folder.manifest.progress is None else folder.manifest.progress + 1
        for block, samples, states in blocks(start):
            if block == stop:
                return
            folder.append(samples, states, progress=block)
        folder.finish(measured={"seconds": 1.0})


def contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_finished_folder_has_every_file_and_counts_every_sample(tmp_path):
    run(tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {
        *("manifest.json", "manifest.sha256", "plan.json", "samples.parquet", "croissant.json", "README.md"),
        *(shard.name for shard in manifest.shards),
    }
    assert manifest.complete
    assert manifest.progress is None
    assert [s.rows for s in manifest.shards] == [10, 10, 10]
    assert [(c.planned, c.accepted, c.short, c.tried) for c in manifest.cells] == [(40, 15, 25, 20), (30, 15, 15, 25)]
    assert manifest.cells[1].rejected == {"far": 10}
    assert manifest.cells[1].note == "block 5"
    assert manifest.totals.rejected == {"blurred": 5, "far": 10}
    assert manifest.measured == {"seconds": 1.0}
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == plan()


@pytest.mark.parametrize("save_every", [0.0, 60.0])
@pytest.mark.parametrize("layout", ["blob", "raw"])
@pytest.mark.parametrize("stops", [[0], [1], [2], [3], [4], [5], [1, 1, 3, 5], [1, 2, 3, 4, 5]])
def test_an_interrupted_run_resumed_is_byte_for_byte_the_uninterrupted_one(
    tmp_path, monkeypatch, stops, layout, save_every
):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    changes = {"layout": layout}
    run(tmp_path / "a" / "out", changes=changes)
    for stop in stops:
        run(tmp_path / "b" / "out", stop=stop, resume=True, save_every=save_every, changes=changes)
        report = verify(tmp_path / "b" / "out")
        assert report.ok, report.to_text()
        assert (report.rows, report.complete, report.notes) == (5 * stop, False, ())
    run(tmp_path / "b" / "out", resume=True, changes=changes)
    assert contents(tmp_path / "a" / "out") == contents(tmp_path / "b" / "out")
    assert b"2023-11-14" in contents(tmp_path / "a" / "out")["manifest.json"]


def test_what_is_on_disk_is_whole_after_every_shard(tmp_path):
    with begin(tmp_path / "out", max_rows=12) as folder:
        assert verify(tmp_path / "out").ok
        for block, samples, states in blocks():
            folder.append(samples, states, progress=block)
            report = verify(tmp_path / "out")
            assert report.ok, report.to_text()
            manifest = read_manifest(tmp_path / "out")
            on_disk = 0 if manifest.progress is None else manifest.progress + 1
            assert report.rows == 5 * on_disk == 5 * (block // 2 * 2)
            assert manifest.totals.rejected.get("far", 0) == 2 * max(0, on_disk - 1)
            assert sum(folder.accepted().values()) == 5 * block + 5


def test_a_block_larger_than_a_shard_is_split(tmp_path):
    with begin(tmp_path / "out", max_rows=4) as folder:
        folder.add_shard([sample(k) for k in range(10)])
        assert [s.rows for s in folder.manifest.shards] == [4, 4, 2]
        folder.finish()
    assert verify(tmp_path / "out").ok


def test_shards_close_at_their_bytes(tmp_path):
    with begin(tmp_path / "out", max_bytes=4000) as folder:
        for _, samples, _ in blocks():
            folder.append(samples)
        folder.finish()
        assert len(folder.manifest.shards) > 2
    assert verify(tmp_path / "out").ok


def test_update_puts_the_state_on_disk_and_keeps_the_rest(tmp_path):
    with begin(tmp_path / "out") as folder:
        folder.append([sample(0)], {0: CellState({"blurred": 3}, note="a")}, progress={"block": 1})
        folder.update({1: CellState({"far": 4})})
        manifest = read_manifest(tmp_path / "out")
        assert [c.rejected for c in manifest.cells] == [{"blurred": 3}, {"far": 4}]
        assert manifest.cells[0].note == "a"
        assert manifest.progress == {"block": 1}
        assert manifest.totals.accepted == 1
    with OutputFolder.open(tmp_path / "out", PRINT, resume=True) as folder:
        assert folder.accepted() == {0: 1}
        assert [len(reader) for reader in folder.readers()] == [1]
        folder.append([sample(2)])
        assert folder.accepted() == {0: 2}
        folder.commit()
        assert folder.manifest.cells[0].rejected == {"blurred": 3}
        assert folder.manifest.progress == {"block": 1}
        assert [len(reader) for reader in folder.readers()] == [2]


def test_a_run_in_which_nothing_is_accepted_is_finished_and_sound(tmp_path):
    with begin(tmp_path / "out") as folder:
        folder.finish(cells={0: CellState({"far": 9}, note="out of reach"), 1: CellState({"far": 1})})
    manifest = read_manifest(tmp_path / "out")
    assert [c.short for c in manifest.cells] == list(PLANNED)
    assert manifest.totals.rejected == {"far": 10}
    assert verify(tmp_path / "out").ok


def learn(path, text="learnt"):
    (path / "models").mkdir(exist_ok=True)
    (path / "models" / "probe.safetensors").write_text(text)
    return {"files": ["models/probe.safetensors"], "probes": [ModelRecord(name="gender", sha256="e" * 64)]}


def test_what_was_learnt_is_listed_checked_and_kept(tmp_path):
    with begin(tmp_path / "out") as folder:
        folder.describe(**learn(tmp_path / "out"))
        assert [p.name for p in folder.manifest.probes] == ["gender"]
        folder.add_shard([sample(0)])
        folder.describe(**learn(tmp_path / "out"))
        folder.finish()
        names = [entry.name for entry in folder.manifest.files]
        assert names == ["plan.json", "models/probe.safetensors", "samples.parquet", "croissant.json", "README.md"]
    assert verify(tmp_path / "out").notes == ()
    (tmp_path / "out" / "models" / "probe.safetensors").write_text("Learnt")
    assert [p.file for p in verify(tmp_path / "out").problems] == ["models/probe.safetensors"]


def test_samples_are_not_continued_with_something_learnt_otherwise(tmp_path):
    with begin(tmp_path / "out") as folder:
        folder.describe(**learn(tmp_path / "out"))
        folder.describe(**learn(tmp_path / "out", "learnt again"))
        folder.add_shard([sample(0)])
        with pytest.raises(OutputError, match="other probes or directions"):
            folder.describe(**learn(tmp_path / "out", "otherwise"))
        with pytest.raises(OutputError, match=r"absent is missing"):
            folder.describe(files=["absent"])
        with pytest.raises(IntegrityError, match="leads out"):
            folder.describe(files=["../elsewhere"])


def test_resuming_a_finished_run_finds_it_complete_and_changes_nothing(tmp_path):
    write_output(tmp_path / "out")
    before = contents(tmp_path / "out")
    with OutputFolder.open(tmp_path / "out", PRINT, resume=True) as folder:
        assert folder.complete
        with pytest.raises(FaceaugError, match="finished"):
            folder.append([sample(0)])
        with pytest.raises(FaceaugError, match="begun already"):
            folder.begin(header(), cells(), plan())
    assert contents(tmp_path / "out") == before


def test_another_configuration_is_refused(tmp_path):
    write_output(tmp_path / "out", finish=False)
    for resume in (False, True):
        with pytest.raises(OutputError, match="another configuration"):
            OutputFolder.open(tmp_path / "out", "other", resume=resume)


@pytest.mark.parametrize(("finish", "said"), [(False, "--resume"), (True, "finished run")])
def test_without_resume_a_run_is_not_touched(tmp_path, finish, said):
    write_output(tmp_path / "out", finish=finish)
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match=said):
        OutputFolder.open(tmp_path / "out", PRINT)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "name", ["notes.txt", "shards/00000.h5", "plan.json", ".lock/x", "manifest.json", "shards/mine.h5", ".hidden"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path, name, resume):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("{}")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match="choose a"):
        OutputFolder.open(tmp_path / "out", PRINT, resume=resume)
    assert contents(tmp_path / "out") == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        OutputFolder.open(tmp_path / "out", PRINT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="choose a folder that can be written"):
        OutputFolder.open(tmp_path / "locked" / "out", PRINT)


def test_a_path_through_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="could not be written"):
        OutputFolder.open(tmp_path / "file" / "out", PRINT)


def test_a_folder_in_which_nothing_was_begun_leaves_nothing(tmp_path):
    with OutputFolder.open(tmp_path / "new", PRINT) as folder:
        assert not folder.started
        with pytest.raises(FaceaugError, match="begin"):
            folder.append([])
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    OutputFolder.open(tmp_path / "empty", PRINT, resume=True).close()
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("stop", range(5))
def test_a_beginning_that_fails_leaves_nothing_or_a_run_to_resume(tmp_path, monkeypatch, stop):
    """begin() writes plan.json, manifest.sha256, manifest.json, manifest.sha256; it fails at each in turn."""
    written = []

    def failing(original):
        def write(path, *rest):
            if len(written) == stop:
                raise OutputError("the disk is full")
            written.append(path.name)
            original(path, *rest)

        return write

    monkeypatch.setattr(folders, "write_json", failing(folders.write_json))
    monkeypatch.setattr(manifests, "write_bytes", failing(manifests.write_bytes))
    if stop < 4:
        with pytest.raises(OutputError):
            begin(tmp_path / "out")
    else:
        begin(tmp_path / "out").close()
    monkeypatch.undo()
    assert written == ["plan.json", "manifest.sha256", "manifest.json", "manifest.sha256"][:stop]


def test_what_a_kill_leaves_before_the_first_manifest_is_begun_anew(tmp_path):
    out = tmp_path / "out"
    (out / "shards").mkdir(parents=True)
    for name in (".lock", "plan.json", "manifest.sha256", ".plan.json.x.tmp"):
        (out / name).write_text("rest")
    run(out, resume=True)
    assert verify(out).ok
    assert not (out / ".plan.json.x.tmp").exists()


def test_leftovers_of_a_kill_are_cleared_and_nothing_else(tmp_path):
    out = write_output(tmp_path / "out", finish=False)
    (out / "shards" / "00009.h5").write_text("not listed: the kill came before the manifest")
    (out / "shards" / ".00009.h5.abc.tmp").write_text("half")
    (out / ".manifest.json.abc.tmp").write_text("half")
    (out / "notes.txt").write_text("mine")
    OutputFolder.open(out, PRINT, resume=True).close()
    names = set(contents(out))
    assert not any("00009" in name or name.endswith(".tmp") for name in names)
    assert "notes.txt" in names
    assert verify(out).notes == ("notes.txt is not listed in the manifest",)


@pytest.mark.parametrize("name", ["shards/00001.h5", "plan.json", "manifest.json"])
def test_a_damaged_run_is_not_continued(tmp_path, name):
    out = write_output(tmp_path / "out", finish=False)
    data = (out / name).read_bytes()
    (out / name).write_bytes(data[:-9] + b"!" + data[-8:])
    with pytest.raises((IntegrityError, OutputError), match="damaged"):
        OutputFolder.open(out, PRINT, resume=True)


def test_an_interrupted_exchange_of_the_manifest_is_mended(tmp_path):
    out = write_output(tmp_path / "out", finish=False)
    line = (out / "manifest.sha256").read_text()
    (out / "manifest.sha256").write_text("0" * 64 + line[64:] + line)
    assert verify(out).ok
    OutputFolder.open(out, PRINT, resume=True).close()
    assert (out / "manifest.sha256").read_text() == line


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([sample(0, cell=2)], "cells 0 to 1"),
        ([sample(0, cell=-1)], "cells 0 to 1"),
        ([sample(k, cell=1, seed=k) for k in range(31)], "31 samples, more than the 30 planned"),
        ([sample(0, attr={"gender": "x"})], "no level"),
    ],
)
def test_samples_that_the_plan_does_not_know_are_refused_before_any_is_taken(tmp_path, samples, said):
    with begin(tmp_path / "out") as folder:
        with pytest.raises(FaceaugError, match=said):
            folder.append(samples)
        assert folder.accepted() == Counter()
        folder.append([sample(0)])
        folder.finish()
    assert verify(tmp_path / "out").rows == 1


def test_a_closed_folder_takes_nothing(tmp_path):
    folder = begin(tmp_path / "out")
    folder.close()
    with pytest.raises(FaceaugError, match="closed"):
        folder.append([sample(0)])


def test_this_process_cannot_open_a_folder_twice(tmp_path):
    with begin(tmp_path / "out"), pytest.raises(OutputError, match="in use by this very process"):
        OutputFolder.open(tmp_path / "out", PRINT, resume=True)
    OutputFolder.open(tmp_path / "out", PRINT, resume=True).close()


HOLD = """
import sys
import time
from faceaug.shards.output_folder import OutputFolder
sys.path.insert(0, sys.argv[2])
from shard_samples import cells, header, plan, sample
folder = OutputFolder.open(sys.argv[1], "f" * 64)
folder.begin(header(), cells(), plan())
folder.add_shard([sample(0)])
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_folder_in_use_is_refused_and_free_again_once_its_user_is_killed(tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", HOLD, str(out), str(Path(__file__).parents[1] / "helpers")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout.readline() == "ready\n"
        with pytest.raises(OutputError, match=f"in use by process {user.pid}"):
            OutputFolder.open(out, PRINT, resume=True)
        user.send_signal(signal.SIGKILL)
        user.wait(30)
    assert (out / ".lock").exists()
    assert verify(out).ok
    with OutputFolder.open(out, PRINT, resume=True) as folder:
        assert folder.manifest.totals.accepted == 1
    assert not (out / ".lock").exists()


def _close(folder):
    folder.close()


def test_a_child_neither_holds_nor_releases_the_lock(tmp_path):
    with begin(tmp_path / "out") as folder:
        folder.append([sample(2)])
        child = multiprocessing.get_context("fork").Process(dataset=_close, args=(folder,))
        child.start()
        child.join(30)
        assert (tmp_path / "out" / ".lock").exists()
        assert list((tmp_path / "out" / "shards").iterdir()) == []
        folder.append([sample(0)])
        folder.finish()
    assert verify(tmp_path / "out").rows == 2


FULL = """
import resource, signal, sys
from faceaug.errors import OutputError
from faceaug.shards.output_folder import OutputFolder
sys.path.insert(0, sys.argv[2])
from shard_samples import cells, header, plan, sample
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with OutputFolder.open(sys.argv[1], "f" * 64) as folder:
        folder.begin(header(), cells(), plan())
        folder.add_shard([sample(0)], progress=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        folder.append([sample(k, size=96) for k in range(1, 20)], progress=1)
        getattr(folder, sys.argv[3])()
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("how", "name"), [("commit", "00001.h5"), ("save", "00001.part19.h5"), ("close", "00001.part")]
)
def test_a_write_that_the_system_refuses_leaves_what_was_there_before(tmp_path, how, name):
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", FULL, str(out), str(Path(__file__).parents[1] / "helpers"), how]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert name in done.stdout
    assert "could not be written" in done.stdout
    assert done.stderr == ""
    report = verify(out)
    assert report.ok, report.to_text()
    assert report.rows == 1
    assert not [p for p in out.rglob("*") if p.suffix == ".tmp"]
    with OutputFolder.open(out, PRINT, resume=True) as folder:
        assert folder.manifest.progress == 0


def test_the_cells_of_the_helpers_are_those_planned():
    assert [c.attributes["gender"] for c in cells()] == list(CELLS)
    assert dataclasses.is_dataclass(CellState)


KILLED = """
import sys
import time
from pathlib import Path
sys.path[:0] = [sys.argv[2], str(Path(sys.argv[2]).parent / "helpers")]
import test_output_folder
test_output_folder.run(Path(sys.argv[1]), resume=True, save_every=0.0)
"""


def test_a_run_killed_at_any_moment_is_sound_and_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(tmp_path / "a" / "out")
    out = tmp_path / "b" / "out"
    for delay in (0.02, 0.07, 0.05):
        arguments = [sys.executable, "-c", KILLED, str(out), str(Path(__file__).parent)]
        with subprocess.Popen(arguments, stderr=subprocess.PIPE) as user:
            while user.poll() is None and f"process {user.pid} " not in _text(out / ".lock"):
                time.sleep(0.001)
            time.sleep(delay)
            user.kill()
        assert (out / "manifest.json").exists() is verify(out).ok
        if (out / "manifest.json").exists() and read_manifest(out).complete:
            break
    with begin(out, max_rows=12, resume=True) as folder:
        complete = folder.complete
    if not complete:
        run(out, resume=True)
    assert contents(tmp_path / "a" / "out") == contents(out)


def _text(path):
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


class Stop:
    """Raise KeyboardInterrupt at the n-th line that is run in the code that writes the folder."""

    def __init__(self, after):
        self.left = after

    def __call__(self, frame, event, argument):
        name = Path(frame.f_code.co_filename)
        if name.parent.name != "shards" or name.name not in ("folder.py", "state.py", "manifest.py"):
            return None
        return self.line

    def line(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.line


def test_ctrl_c_at_any_line_leaves_a_folder_that_ends_as_if_nothing_had_happened(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(tmp_path / "whole" / "out")
    whole = contents(tmp_path / "whole" / "out")
    step = int(os.environ.get("FACEAUG_TEST_STEP", "293"))  # 1 takes minutes and tries every line
    for after in range(5, 10**6, step):
        out = tmp_path / str(after) / "out"
        before = sys.gettrace()
        try:
            sys.settrace(Stop(after))
            run(out, resume=True, save_every=0.0 if after % 2 else 60.0)
            break  # fewer lines than that: the run came to its end
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        claim._held.clear()  # as the end of the process would
        if (out / "manifest.json").exists():
            report = verify(out)
            assert report.ok, (after, report.to_text())
        with OutputFolder.open(out, PRINT, resume=True) as folder:  # as a run does that finds itself complete
            complete = folder.complete
        if not complete:
            run(out, resume=True)
        assert contents(out) == whole, after
    assert after > 3 * step
