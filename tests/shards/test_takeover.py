"""Which folder a run may write to, and what it clears away first."""

import os

import pytest
from folder_runs import FINGERPRINT, contents, run
from shard_samples import cells, header, plan, sample, write_output

from faceaug.errors import FaceaugError, IntegrityError, OutputError
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify


def test_a_finished_run_that_is_resumed_is_complete_and_unchanged(tmp_path):
    write_output(tmp_path / "out")
    before = contents(tmp_path / "out")
    with OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=True) as folder:
        assert folder.complete
        with pytest.raises(FaceaugError, match="finished"):
            folder.append([sample(0)])
        with pytest.raises(FaceaugError, match="has begun already"):
            folder.begin(header(), cells(), plan())
    assert contents(tmp_path / "out") == before


def test_another_configuration_is_refused(tmp_path):
    write_output(tmp_path / "out", finish=False)
    for resume in (False, True):
        with pytest.raises(OutputError, match="another configuration"):
            OutputFolder.open(tmp_path / "out", "other", resume=resume)


@pytest.mark.parametrize(("finish", "message"), [(False, "--resume"), (True, "finished run")])
def test_without_resume_a_run_is_refused_and_unchanged(tmp_path, finish, message):
    write_output(tmp_path / "out", finish=finish)
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match=message):
        OutputFolder.open(tmp_path / "out", FINGERPRINT)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "name", ["notes.txt", "shards/00000.h5", "plan.json", ".lock/x", "manifest.json", "shards/mine.h5", ".hidden"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_other_content_is_refused_and_unchanged(tmp_path, name, resume):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("{}")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match="choose a"):
        OutputFolder.open(tmp_path / "out", FINGERPRINT, resume=resume)
    assert contents(tmp_path / "out") == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        OutputFolder.open(tmp_path / "out", FINGERPRINT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="choose a folder that can be written"):
        OutputFolder.open(tmp_path / "locked" / "out", FINGERPRINT)


def test_a_path_through_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="could not be written"):
        OutputFolder.open(tmp_path / "file" / "out", FINGERPRINT)


def test_a_folder_in_which_no_run_began_is_left_as_it_was(tmp_path):
    with OutputFolder.open(tmp_path / "new", FINGERPRINT) as folder:
        assert not folder.started
        with pytest.raises(FaceaugError, match="begin"):
            folder.append([])
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    OutputFolder.open(tmp_path / "empty", FINGERPRINT, resume=True).close()
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_run_killed_before_its_first_manifest_starts_anew(tmp_path):
    out = tmp_path / "out"
    (out / "shards").mkdir(parents=True)
    for name in (".lock", "plan.json", "manifest.sha256", ".plan.json.x.tmp"):
        (out / name).write_text("leftover")
    run(out, resume=True)
    assert verify(out).ok
    assert not (out / ".plan.json.x.tmp").exists()


def test_only_leftovers_of_a_killed_run_are_removed(tmp_path):
    out = write_output(tmp_path / "out", finish=False)
    (out / "shards" / "00009.h5").write_text("not listed: the kill came before the manifest")
    (out / "shards" / ".00009.h5.abc.tmp").write_text("half")
    (out / ".manifest.json.abc.tmp").write_text("half")
    (out / "notes.txt").write_text("mine")
    OutputFolder.open(out, FINGERPRINT, resume=True).close()
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
        OutputFolder.open(out, FINGERPRINT, resume=True)


def test_an_interrupted_replacement_of_the_manifest_is_completed(tmp_path):
    out = write_output(tmp_path / "out", finish=False)
    line = (out / "manifest.sha256").read_text()
    (out / "manifest.sha256").write_text("0" * 64 + line[64:] + line)
    assert verify(out).ok
    OutputFolder.open(out, FINGERPRINT, resume=True).close()
    assert (out / "manifest.sha256").read_text() == line
