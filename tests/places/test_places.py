"""Data sets and outputs behind URLs: in memory, and on a server of S3 on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import command_line  # noqa: F401  (makes faceaug.cli importable)
import fsspec
import pyarrow as pa
import pytest
from cheap_runs import SAMPLES, finish_balance, write_faces
from folder_runs import FINGERPRINT, blocks, contents, run
from fsspec.implementations.memory import MemoryFileSystem
from remote_faces import COUNT, faces, put
from shard_samples import cells, header, plan, write_output

from faceaug.datasets import load_dataset
from faceaug.datasets.dataset import LoadOptions
from faceaug.datasets.image_tree import is_image_name
from faceaug.errors import DatasetError, ImageError, IntegrityError, OutputError, RemoteError, UsageError
from faceaug.places.mirrored import RemoteImages, mirror
from faceaug.places.published import published_folder
from faceaug.shards.manifest import read_manifest
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import RunResult
from faceaug.utils.threads import BlockProgress, BlockReport


def local(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def check_dataset(url: str, folder: Path) -> None:
    """Compare a data set behind a URL with the same one in a folder."""
    files = faces()
    put(f"{url}/faces", files)
    one, two = load_dataset(f"{url}/faces"), load_dataset(local(folder / "faces", files))
    assert one.fingerprint() == two.fingerprint()
    assert one.name == two.name == "faces"
    assert [one.encoded(row) for row in range(COUNT)] == [two.encoded(row) for row in range(COUNT)]
    labels = {key: data for key, data in files.items() if key.endswith(".csv")}
    put(f"{url}/labels", labels)
    again = load_dataset(f"{url}/faces", f"{url}/labels/labels.csv")
    assert again.fingerprint() == two.fingerprint()


def test_a_data_set_in_memory_is_that_of_a_folder(server, tmp_path):
    check_dataset(server, tmp_path)


@pytest.mark.slow
def test_a_data_set_on_a_server_is_that_of_a_folder(s3, tmp_path):
    check_dataset(f"{s3}/input", tmp_path)


def test_images_that_an_arrow_file_names_are_read_from_the_url(server):
    pictures = [data for name, data in faces().items() if name.endswith(".png")]
    table = pa.table({"image": [{"bytes": None, "path": "1.png"}, {"bytes": pictures[0], "path": None}]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    split = {
        "data.arrow": sink.getvalue().to_pybytes(),
        "dataset_info.json": b'{"features": {}}',
        "state.json": b'{"_data_files": [{"filename": "data.arrow"}]}',
        "1.png": pictures[1],
    }
    put(f"{server}/faces/test", split)
    put(f"{server}/faces", {"dataset_dict.json": b'{"splits": ["test"]}'})
    options = LoadOptions(needs_labels=False)
    for place in ("faces", "faces/test"):
        dataset = load_dataset(f"{server}/{place}", split="all", options=options)
        assert [dataset.encoded(row) for row in range(2)] == [pictures[1], pictures[0]]


def test_images_are_fetched_when_they_are_read_and_few_are_kept(server, monkeypatch):
    files = faces()
    put(f"{server}/faces", files)
    fetched: list[str] = []
    original = MemoryFileSystem.cat_file

    def count(self, path, *rest, **options):
        fetched.append(path)
        return original(self, path, *rest, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", count)
    dataset = load_dataset(f"{server}/faces")
    assert isinstance(dataset.images, RemoteImages)
    assert len(fetched) == COUNT  # each is checked once
    dataset.encoded(0)
    assert len(fetched) == COUNT
    small = RemoteImages(dataset.images.url, dataset.images.sizes, dataset.images.folder / "..", 1000)
    for key in dataset.keys:
        small.read(key)
    assert sum(small._kept.values()) <= 1000


def test_a_connection_that_is_lost_in_the_middle_ends_the_reading(server, monkeypatch):
    put(f"{server}/faces", faces())
    read = []

    def lose(self, path, *rest, **options):
        read.append(path)
        if len(read) > 3:
            raise ConnectionResetError("reset by peer")
        return self.store[path].getvalue()

    monkeypatch.setattr(MemoryFileSystem, "cat_file", lose)
    with pytest.raises(RemoteError, match=r"cannot be reached \(reset by peer\)"):
        load_dataset(f"{server}/faces")


def test_half_an_image_is_no_image(server, monkeypatch):
    put(f"{server}/faces", faces())
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda self, path, *rest: self.store[path].getvalue()[:-9])
    with pytest.raises(RemoteError, match="the connection was lost or the image was changed"):
        load_dataset(f"{server}/faces")


def test_what_is_not_there_or_not_known_is_said_in_a_sentence(server):
    with pytest.raises(DatasetError, match="nothing is at memory://bucket/none"):
        load_dataset(f"{server}/none")
    with pytest.raises(UsageError, match="no file system is known for 'nosuch'"):
        load_dataset("nosuch://bucket/faces")
    with pytest.raises(UsageError, match=r"needs the package boxfs, .*: pip install boxfs"):
        load_dataset("box://bucket/faces")
    put(f"{server}/faces", faces())
    dataset = load_dataset(f"{server}/faces")
    with pytest.raises(ImageError, match="is not at"):
        dataset.images.read("../labels.csv")


def test_names_cannot_lead_out_of_the_folder(server):
    put(f"{server}/faces", faces())
    fsspec.filesystem("memory").store["/bucket/faces/../../x.csv"] = fsspec.filesystem("memory").store[
        "/bucket/faces/labels.csv"
    ]
    with pytest.raises(IntegrityError, match="leads out of"):
        load_dataset(f"{server}/faces")


def write_remote(url: str, stop: int | None = None, resume: bool = False) -> None:
    """Write the run of `folder_runs.run` to a URL, block by block."""
    with (
        published_folder(url, resume=resume) as published,
        OutputFolder.open(published.folder, FINGERPRINT, max_rows=12, resume=resume) as folder,
    ):
        if not folder.started:
            folder.begin(header(), cells(), plan())
        report = published.following(None)
        start = 0 if folder.manifest.progress is None else folder.manifest.progress + 1
        for block, samples, states in blocks(start):
            if block == stop:
                raise KeyboardInterrupt
            folder.append(samples, states, progress=block)
            folder.save()
            report("synthesis", block, 6)
        folder.finish(measured={"seconds": 1.0})


def there(url: str) -> Path:
    return mirror(url, is_image_name)


def check_output(url: str, folder: Path) -> None:
    """Compare an output that was interrupted and continued behind a URL with one of a folder."""
    run(folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        write_remote(url, stop=4)
    report = verify(there(url))
    assert (report.problems, report.rows, report.complete) == ((), 20, False)
    with pytest.raises(OutputError, match="has a run; continue it with --resume"):
        write_remote(url)
    write_remote(url, resume=True)
    assert verify(there(url)).to_text() == "sound: 30 samples"
    expected, found = contents(folder / "whole"), contents(there(url))
    assert set(found) == set(expected)
    assert {name for name in found if found[name] != expected[name]} <= {
        "README.md",
        "manifest.json",
        "manifest.sha256",
    }


def test_an_output_in_memory_is_that_of_a_folder(server, tmp_path):
    check_output(f"{server}/out", tmp_path)


@pytest.mark.slow
def test_an_output_on_a_server_is_that_of_a_folder(s3, tmp_path):
    check_output(f"{s3}/out", tmp_path)


@pytest.mark.slow
def test_a_data_set_and_an_output_on_the_hub_are_those_of_a_folder(hub, tmp_path):
    url, _ = hub
    check_dataset(f"{url}/input", tmp_path)
    check_output(f"{url}/out", tmp_path)


@pytest.mark.slow
def test_the_command_line_balances_from_a_server_to_a_server(s3, tmp_path, monkeypatch):
    options = fsspec.config.conf["s3"]
    for name, value in (("ENDPOINT_URL", options["endpoint_url"]), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(f"AWS_{name}", value)
    folder = write_faces(tmp_path)
    put(f"{s3}/run", {name: data for name, data in contents(folder).items() if name.endswith("labels.csv")})
    finish_balance(folder, "--labels", f"{s3}/run/labels.csv", "-o", f"{s3}/run/out")
    assert verify(there(f"{s3}/run/out")).to_text() == f"sound: {SAMPLES} samples"


@pytest.mark.parametrize("lost", range(1, 9))
def test_a_connection_lost_at_any_upload_leaves_what_is_whole(server, tmp_path, monkeypatch, lost):
    url, calls = f"{server}/out", []
    originals = {name: getattr(MemoryFileSystem, name) for name in ("put_file", "pipe_file")}

    def failing(name):
        def call(self, *values, **options):
            calls.append(name)
            if len(calls) >= lost:
                raise TimeoutError("timed out")
            return originals[name](self, *values, **options)

        return call

    with monkeypatch.context() as patch:
        for name in originals:
            patch.setattr(MemoryFileSystem, name, failing(name))
        with pytest.raises(RemoteError, match="timed out"):
            write_remote(url)
    if fsspec.filesystem("memory").exists("/bucket/out/manifest.json"):
        assert verify(there(url)).problems == ()
    write_remote(url, resume=True)
    assert verify(there(url)).to_text() == "sound: 30 samples"


def test_a_run_without_a_shard_is_continued(server):
    with pytest.raises(KeyboardInterrupt):
        write_remote(f"{server}/out", stop=0)
    write_remote(f"{server}/out", resume=True)
    assert verify(there(f"{server}/out")).to_text() == "sound: 30 samples"


def test_blocks_are_reported_through_an_upload(server):
    class Bar:
        blocks: ClassVar[list[BlockReport]] = []

        def __call__(self, stage, done, total):
            pass

        def block(self, block):
            self.blocks.append(block)

    with published_folder(f"{server}/out", resume=False) as published:
        report = published.following(Bar())
        assert isinstance(report, BlockProgress)
        report.block(BlockReport("female", 1, 2, 3, 1, 1.0))
        published.following(None).block(Bar.blocks[0])
    assert len(Bar.blocks) == 1


@pytest.mark.parametrize("url", ["memory://", "memory:///"])
def test_a_url_without_a_path_is_refused(server, url):
    with pytest.raises(UsageError, match="has no path"), published_folder(url, resume=False):
        pass
    with pytest.raises(UsageError, match="has no path"):
        load_dataset(url)


def test_a_bucket_that_is_missing_is_said_with_its_url(server, monkeypatch):
    def missing(self, *values, **options):
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(MemoryFileSystem, "put_file", missing)
    with pytest.raises(RemoteError, match=r"memory://bucket/out/plan.json cannot be written \(The specified bucket"):
        write_remote(f"{server}/out")


def test_the_result_of_a_run_behind_a_url_names_it(server, tmp_path):
    manifest = read_manifest(write_output(tmp_path / "out"))
    result = RunResult(manifest, {}, f"{server}/out")
    assert "The faces are at memory://bucket/out." in result._repr_html_()
    with pytest.raises(UsageError, match="the faces are at memory://bucket/out"):
        result.show(0)


def test_the_page_of_an_output_shows_faces_behind_a_url(server, tmp_path):
    from faceaug.cli.main import run as run_command

    put(f"{server}/faces", faces())
    out = write_output(tmp_path / "out")
    assert run_command(["report", str(out), "--dataset", f"{server}/none"]) != 0
    assert run_command(["report", str(out), "--dataset", f"{server}/faces", "-q"]) == 0


def test_a_place_with_other_content_is_refused(server):
    put(f"{server}/out", {"mine.txt": b"x"})
    with pytest.raises(OutputError, match="is not empty and is no output of faceaug"):
        write_remote(f"{server}/out")


def test_an_output_behind_a_url_is_a_data_set(server, tmp_path):
    out = write_output(tmp_path / "out")
    put(f"{server}/made", contents(out))
    one, two = load_dataset(f"{server}/made"), load_dataset(out)
    assert [one.encoded(row) for row in range(30)] == [two.encoded(row) for row in range(30)]


@pytest.mark.slow
def test_credentials_that_are_missing_are_said(monkeypatch):
    pytest.importorskip("s3fs")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9", "skip_instance_cache": True})
    with pytest.raises(RemoteError, match=r"cannot be reached .*credentials"):
        load_dataset("s3://bucket/faces")
