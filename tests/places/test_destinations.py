"""URLs to write to are checked before anything is computed, and no secret of a URL is shown or written."""

from __future__ import annotations

import importlib
import os

import command_line as _  # noqa: F401  (makes faceaug.cli importable)
import pytest
from faceaug.cli.main import run
from faceaug.cli.terminal.console import command_line
from folder_runs import contents
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from remote_faces import put
from shard_samples import write_output
from web_server import web_server

from faceaug.datasets import load_dataset
from faceaug.errors import FaceaugError, OutputError, RemoteError, UsageError
from faceaug.places.filesystems import remote_errors, writing_errors
from faceaug.places.published import check_run_destination, published_folder
from faceaug.places.uploads import check_destination, check_new_destination, is_trial, uploaded_folder
from faceaug.utils.text import without_secrets

SIGNED = "X-Amz-Credential=AKIA%2F20250101&X-Amz-Signature=SECRET"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return write_output(tmp_path_factory.mktemp("outputs") / "a", rows=12)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://host/a/b.csv?{SIGNED}", "https://host/a/b.csv"),
        (
            f"403, message='Forbidden', url='https://host/b.csv?{SIGNED}'",
            "403, message='Forbidden', url='https://host/b.csv'",
        ),
        (f"nothing (s3://bucket/b.csv?{SIGNED}); look", "nothing (s3://bucket/b.csv); look"),
        ("sftp://me:SECRET@host/faces; look", "sftp://host/faces; look"),
        ("sftp://me:SEC@RET@host/faces; ask b@host", "sftp://host/faces; ask b@host"),
        ("sftp://me:SEC?R#ET@host/faces", "sftp://host/faces"),
        ("https://host/b.csv?SECRET", "https://host/b.csv"),
        ("hf://datasets/someone/faces@main/a.png: is it?", "hf://datasets/someone/faces@main/a.png: is it?"),
        ("age > 20 and name == 'who?'", "age > 20 and name == 'who?'"),
        ("faces/who?a=b.png, what?x=1,2 left", "faces/who?a=b.png, what?x=1,2 left"),
    ],
)
def test_a_text_without_secrets_is_otherwise_the_same(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize("errors", [remote_errors, writing_errors])
def test_the_path_of_a_signed_url_is_shown_without_its_query(errors):
    with pytest.raises(RemoteError) as raised, errors(f"s3://bucket/b.csv?{SIGNED}"):
        raise OSError(f"no access (bucket/b.csv?{SIGNED})")
    assert "SECRET" not in str(raised.value)
    assert "no access (bucket/b.csv));" in str(raised.value)


def test_no_secret_of_a_url_is_shown_or_recorded(server, output, tmp_path, capsys, caplog):
    put(f"{server}/a", contents(output))
    nowhere, unknown = f"{server}/none?{SIGNED}", f"nosuch://bucket/out?{SIGNED}"
    closed = f"http://me:SECRET@127.0.0.1:1/faces?{SIGNED}"
    read_from = [["analyze", place, "--by", "kind"] for place in (nowhere, unknown, closed)]
    read_from += [["analyze", str(output), "--by", "kind", "--labels", place] for place in (nowhere, closed)]
    read_from += [["verify", nowhere], ["evaluate", f"{server}/a", "--against", nowhere]]
    read_from += [["balance", str(output), "--by", "yaw:5", "--candidates", nowhere, "--engine", "external", "-o", "x"]]
    write_to = [
        ["balance", str(output), "--by", "yaw:5", "-o", unknown],
        ["admit", str(output), "--dataset", str(output), "--by", "yaw:5", "-o", unknown],
        ["export", f"{server}/a", "--to", "webdataset", "-o", unknown],
        ["merge", f"{server}/a", f"{server}/a", "-o", closed],
        ["split", f"{server}/a", "--shares", "0.5,0.5", "-o", unknown],
        ["evaluate", f"{server}/a", "--against", str(output), "-o", unknown],
    ]
    for command in read_from + write_to:
        assert run(command) != 0
        captured = capsys.readouterr()
        assert "Error: " in captured.err
        assert "SECRET" not in captured.out + captured.err + caplog.text
    assert "SECRET" not in command_line(("analyze", closed, f"--labels={nowhere}"))
    for place in (nowhere, closed):
        with pytest.raises((RemoteError, FaceaugError)) as raised:  # where aiohttp is not installed, it is asked for
            load_dataset(place)
        assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("command", ["admit", "balance", "evaluate", "export", "report"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    server, output, tmp_path, monkeypatch, capsys, command
):
    put(f"{server}/a", contents(output))

    def refuse(self, path, *rest, **options):
        raise PermissionError("access denied")

    def never(*values, **options):
        pytest.fail("the data set was read")

    above, reading = ("", "read_dataset") if command in ("admit", "balance") else ("outputs.", "read_unmeasured")
    monkeypatch.setattr(importlib.import_module(f"faceaug.cli.{above}{command}"), reading, never)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    out, real = f"{server}/out", str(tmp_path)
    options = {
        "admit": [real, "--dataset", real, "--by", "kind", "-o", out],
        "balance": [real, "--by", "kind", "-o", out],
        "evaluate": [str(output), "--against", real, "-o", out],
        "export": [str(output), "--to", "webdataset", "--with-real", real, "-o", out],
        "report": [f"{server}/a", "--dataset", real],
    }
    assert run([command, *options[command]]) == 1
    assert "cannot be written (access denied)" in capsys.readouterr().err


def test_a_full_place_is_refused_at_once(server, output):
    put(f"{server}/mine", {"photo.jpg": b"x"})
    put(f"{server}/run", contents(output))
    with pytest.raises(OutputError, match="is no output of faceaug"):
        check_run_destination(f"{server}/mine")
    with pytest.raises(OutputError, match="continue it with --resume"):
        check_run_destination(f"{server}/run")
    check_run_destination(f"{server}/run", resume=True)
    check_run_destination(f"{server}/new")
    assert not any("/new" in name for name in MemoryFileSystem.store)


def test_a_place_needs_no_right_to_remove_unless_files_are_removed_there(server, monkeypatch):
    def refuse(self, path):
        raise PermissionError("delete denied")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "rm_file", refuse)
        check_destination(f"{server}/new")
        with (
            pytest.raises(RemoteError, match=r"cannot be removed \(delete denied\)"),
        ):
            check_new_destination(f"{server}/new")
        check_run_destination(f"{server}/new")
    with uploaded_folder(f"{server}/new") as (folder, again):  # what checks have left is no content
        (folder / "a.txt").write_text("a")
    assert not again


def test_one_output_is_tried_to_be_written_once(server, output, monkeypatch):
    tried, write = [], MemoryFileSystem.pipe_file

    def noted(self, path, *rest, **options):
        tried.append(path)
        return write(self, path, *rest, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", noted)
    assert run(["subset", str(output), "--where", "cell >= 0", "-o", f"{server}/some", "-q"]) == 0
    assert len([path for path in tried if is_trial(path.rpartition("/")[2])]) == 1


def test_a_check_leaves_no_folders_that_were_not_there(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    check_destination(f"file://{tmp_path}/mine/a/b")
    check_destination(f"file://{tmp_path}/mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    monkeypatch.setattr(LocalFileSystem, "pipe_file", lambda *rest: os.stat("nowhere"))
    with pytest.raises(RemoteError, match="cannot be written"):
        check_destination(f"file://{tmp_path}/mine/a/b")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_web_server_is_only_read(tmp_path):
    pytest.importorskip("aiohttp")
    with web_server(tmp_path) as url, pytest.raises(UsageError, match="can only be read"):
        check_destination(f"{url}/out")


def test_the_folder_that_is_uploaded_lies_in_one_of_its_own(server):
    with published_folder("memory://bucket/..", resume=False) as published:
        assert published.folder.name == "data"
        assert published.folder.parent.name.startswith("faceaug-out-")
