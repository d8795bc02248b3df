"""Commands that read output folders, and recipes, with URLs: what they write is whole or not there."""

from __future__ import annotations

import socket

import command_line  # noqa: F401  (makes faceaug.cli importable)
import fsspec
import pytest
from dataset_files import GENDERS, make_parquet_bytes
from faceaug.cli.main import run
from faceaug.recipes import recipe
from folder_runs import contents
from fsspec.implementations.memory import MemoryFileSystem
from remote_faces import COUNT, faces, put
from shard_samples import cells, header, plan, sample, write_output
from web_server import web_server

from faceaug import RunConfig
from faceaug.curation.operations import merge_outputs, split_output, subset_output
from faceaug.datasets import load_dataset
from faceaug.datasets.image_tree import is_image_name
from faceaug.datasets.torch_dataset import ShardDataset
from faceaug.errors import DatasetError, OutputError, RemoteError, UsageError
from faceaug.exports.export import export_output
from faceaug.places.mirrored import mirror, url_of
from faceaug.places.uploads import UNFINISHED_NAME, written_folder
from faceaug.shards.output_folder import OutputFolder
from faceaug.shards.verify import verify
from faceaug.synthesis.engines.external.candidates import open_candidates


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two output folders without a common sample."""
    root = tmp_path_factory.mktemp("outputs")
    with OutputFolder.open(root / "b", "e" * 64) as folder:
        folder.begin(header(), cells(), plan())
        folder.append([sample(k) for k in range(100, 107)])
        folder.finish()
    return write_output(root / "a", rows=12), root / "b"


@pytest.fixture
def remote(server, outputs):
    for name, folder in zip("ab", outputs, strict=True):
        put(f"{server}/{name}", contents(folder))
    return server


def there(url):
    return mirror(url, is_image_name)


def sound(url):
    report = verify(there(url))
    assert (report.problems, report.complete) == ((), True)
    return report.rows


def names_at(url):
    filesystem, root = fsspec.core.url_to_fs(url)
    return {path[len(root) :].lstrip("/") for path in filesystem.find(root)} if filesystem.exists(root) else set()


def check_curation(url):
    assert run(["merge", f"{url}/a", f"{url}/b", "-o", f"{url}/both", "-q"]) == 0
    assert run(["subset", f"{url}/both", "--where", "age > 30", "-o", f"{url}/some", "-q"]) == 0
    assert run(["split", f"{url}/both", "--shares", "0.8,0.2", "-o", f"{url}/parts/", "-q"]) == 0
    assert run(["verify", f"{url}/both", "-q"]) == 0
    assert sound(f"{url}/both") == 37
    assert 0 < sound(f"{url}/some") < 37
    assert sound(f"{url}/parts/train") + sound(f"{url}/parts/val") == 37
    assert run(["export", f"{url}/some", "--to", "imagefolder", "-o", f"{url}/faces", "-q"]) == 0
    assert len(load_dataset(f"{url}/faces")) == sound(f"{url}/some")


def test_samples_are_merged_chosen_and_divided_in_memory(remote):
    check_curation(remote)


@pytest.mark.slow
def test_samples_are_merged_chosen_and_divided_on_a_server(s3, outputs):
    for name, folder in zip("ab", outputs, strict=True):
        put(f"{s3}/curated/{name}", contents(folder))
    check_curation(f"{s3}/curated")


@pytest.mark.slow
def test_samples_are_merged_chosen_and_divided_on_the_hub(hub, outputs):
    url, files = hub
    for name, folder in zip("ab", outputs, strict=True):
        files |= {f"curated/{name}/{path}": data for path, data in contents(folder).items()}
    check_curation(f"{url}/curated")
    assert not any(UNFINISHED_NAME in name for name in files)


def test_nothing_that_looks_whole_is_left_at_a_url(remote, monkeypatch):
    with pytest.raises(UsageError, match="have a sample in common"):
        merge_outputs([f"{remote}/a", f"{remote}/a"], f"{remote}/both")
    with pytest.raises(UsageError, match="none of the 30 samples"):
        subset_output(f"{remote}/a", f"{remote}/none", "age > 1000")
    with pytest.raises(OutputError, match="is not an empty folder"):
        split_output(f"{remote}/a", remote, [0.5, 0.5], names=["a", "c"])
    assert {name.split("/")[0] for name in names_at(remote)} == {"a", "b"}

    def lose(self, path, *rest, **options):
        raise TimeoutError("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "pipe_file", lose)
        with pytest.raises(RemoteError, match="timed out"):
            subset_output(f"{remote}/a", f"{remote}/some", "age > 30")
    assert "some/manifest.json" not in names_at(remote)
    subset_output(f"{remote}/a", f"{remote}/some", "age > 30")
    assert sound(f"{remote}/some")


def test_a_split_that_was_interrupted_is_replaced_by_the_next(remote, monkeypatch):
    original, calls = MemoryFileSystem.put_file, []

    def lose(self, local, *rest, **options):
        calls.append(local)
        if sum(str(each).endswith("manifest.json") for each in calls) == 2:
            raise ConnectionResetError("reset by peer")
        return original(self, local, *rest, **options)

    shares = [0.5, 0.3, 0.2]
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", lose)
        with pytest.raises(RemoteError, match="reset by peer"):
            split_output(f"{remote}/a", f"{remote}/parts", shares)
    assert UNFINISHED_NAME in names_at(f"{remote}/parts")
    split_output(f"{remote}/a", f"{remote}/parts", shares)
    assert sum(sound(f"{remote}/parts/{name}") for name in ("train", "val", "test")) == 30
    assert {name.split("/")[0] for name in names_at(f"{remote}/parts")} == {"train", "val", "test"}
    with pytest.raises(OutputError, match="is not an empty folder"):
        split_output(f"{remote}/a", f"{remote}/parts", shares, names=["one", "two", "three"])


def test_the_mark_of_an_export_below_lets_nothing_else_be_removed(remote):
    put(remote, {"photo.jpg": b"x", f"exports/v1/{UNFINISHED_NAME}": b""})
    with pytest.raises(OutputError, match="is not an empty folder"):
        export_output(f"{remote}/a", remote, "imagefolder")
    assert "photo.jpg" in names_at(remote)


def test_an_export_that_was_interrupted_says_so_and_is_replaced(remote, monkeypatch):
    original, calls = MemoryFileSystem.put_file, []

    def lose(self, *values, **options):
        calls.append(values)
        if len(calls) > 1:
            raise ConnectionResetError("reset by peer")
        return original(self, *values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", lose)
        with pytest.raises(RemoteError, match="reset by peer"):
            export_output(f"{remote}/a", f"{remote}/tar", "imagefolder")
    assert UNFINISHED_NAME in names_at(f"{remote}/tar")
    report = export_output(f"{remote}/a", f"{remote}/tar", "webdataset")
    assert (report.again, report.destination) == (True, f"{remote}/tar")
    assert names_at(f"{remote}/tar") == set(report.folders)
    with pytest.raises(OutputError, match="is not an empty folder"):
        export_output(f"{remote}/a", f"{remote}/tar", "webdataset")


def test_an_export_from_a_url_needs_a_place(remote, capsys):
    assert run(["export", f"{remote}/a", "--to", "webdataset"]) == 2
    assert "say where to write, as -o a-webdataset/" in capsys.readouterr().err


def test_the_report_goes_to_the_url(remote):
    put(f"{remote}/a/report_files", {"old.png": b"x"})  # which the mirror holds as an empty file
    assert run(["report", f"{remote}/a", "-q"]) == 0
    found = names_at(f"{remote}/a")
    assert "report.html" in found
    assert len({name for name in found if name.startswith("report_files/")}) > 1
    assert sound(f"{remote}/a") == 30


def test_pictures_of_the_report_before_are_removed_at_the_url(remote):
    put(f"{remote}/a/report_files", {"real-000.webp": b"x", "faces-999.webp": b"x", "mine.webp": b"x"})
    assert run(["report", f"{remote}/a", "--no-real-faces", "-q"]) == 0
    found = names_at(f"{remote}/a")
    assert "report_files/mine.webp" in found
    assert not {"report_files/real-000.webp", "report_files/faces-999.webp"} & found


def test_an_unfinished_run_is_named_by_its_url(remote, tmp_path):
    put(f"{remote}/half", contents(write_output(tmp_path / "half", finish=False)))
    with pytest.raises(UsageError, match="the run in memory://bucket/half is unfinished"):
        subset_output(f"{remote}/half", f"{remote}/some", "age > 30")
    with pytest.raises(UsageError, match="the run in memory://bucket/half is unfinished"):
        export_output(f"{remote}/half", f"{remote}/faces", "imagefolder")


def test_files_beside_others_go_to_the_url(remote):
    with written_folder(f"{remote}/a/report_files") as folder:
        (folder / "evaluation.json").write_text("{}")
    assert "report_files/evaluation.json" in names_at(f"{remote}/a")


def test_samples_at_a_url_are_a_torch_data_set(remote, outputs):
    one, other = ShardDataset(f"{remote}/a"), ShardDataset(outputs[0])
    assert len(one) == len(other) == 30
    assert (one[7][0] == other[7][0]).all()


def test_candidates_are_read_from_a_url(server, capsys):
    files = faces()
    put(f"{server}/made", {name: data for name, data in files.items() if name.endswith(".png")})
    put(server, {"claims.csv": files["labels.csv"]})
    found = open_candidates(RunConfig(candidates=f"{server}/made", candidate_labels=f"{server}/claims.csv"), ())
    assert len(found) == COUNT
    assert "kind" in found.dataset.attributes
    command = ["balance", f"{server}/made", "--by", "yaw:5", "--engine", "external", "-o", "out"]
    assert run([*command, "--candidates", f"{server}/none"]) != 0
    assert "nothing is at memory://bucket/none" in capsys.readouterr().err


def test_urls_in_a_recipe_stay(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "format: faceaug-recipe\nversion: 2\n"
        "dataset: {path: s3://bucket/faces, labels: [s3://bucket/a.csv, b.csv]}\n"
        "run: {engine: external, candidates: s3://bucket/made}\noutput: {path: s3://bucket/out}\n"
    )
    options = recipe.load(str(tmp_path / "run.yaml")).options()
    assert options["source"] == "s3://bucket/faces"
    assert options["labels"] == ["s3://bucket/a.csv", str(tmp_path / "b.csv")]
    assert (options["candidates"], options["out"]) == ("s3://bucket/made", "s3://bucket/out")


def test_a_file_that_is_removed_while_a_folder_is_copied_is_said(server, monkeypatch):
    put(f"{server}/faces", faces())

    def gone(self, path, *rest, **options):
        raise FileNotFoundError(path)

    monkeypatch.setattr(MemoryFileSystem, "get_file", gone)
    with pytest.raises(RemoteError, match=r"labels\.csv was removed from memory://bucket/faces while it was read"):
        load_dataset(f"{server}/faces")


def test_folders_of_a_web_server_are_read_by_their_lists(tmp_path):
    pytest.importorskip("aiohttp")
    for name, data in faces().items():
        name = name.replace("0/0.png", "0/a face & more.png")
        (tmp_path / "my faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my faces" / name).write_bytes(data.replace(b"0/0.png", b"0/a face & more.png"))
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<p>no list</p>")
    (tmp_path / "styled").mkdir()
    links = '<a href="../style.css">style</a><a href="0.png">0.png</a>'
    (tmp_path / "styled" / "index.html").write_text(links)
    (tmp_path / "styled" / "0.png").write_bytes(faces()["0/0.png"])
    (tmp_path / "style.css").write_text("")
    with web_server(tmp_path) as url:
        assert [file.name for file in mirror(f"{url}/styled", is_image_name).iterdir()] == ["0.png"]
        one, other = load_dataset(f"{url}/my%20faces"), load_dataset(tmp_path / "my faces")
        assert one.table.equals(other.table)
        assert [one.encoded(row) for row in range(COUNT)] == [other.encoded(row) for row in range(COUNT)]
        assert len(load_dataset(f"{url}/my%20faces", f"{url}/my%20faces/labels.csv?download=true")) == COUNT
        labels = f"{url}/my%20faces/labels.csv"
        assert url_of(mirror(f"{labels}?X-Amz-Signature=SECRET", is_image_name)) == labels
        with pytest.raises(DatasetError, match="gives no list of files"):
            load_dataset(f"{url}/page")
        with pytest.raises(DatasetError, match=r"nothing is at|gives no list"):
            load_dataset(f"{url}/none")
    with pytest.raises(RemoteError, match="cannot be reached"):
        load_dataset(f"{url}/my%20faces")  # the server is gone


@pytest.mark.slow
def test_samples_are_merged_chosen_and_divided_on_a_server_of_google(outputs, monkeypatch):
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks for what the emulator has not
    pytest.importorskip("gcsfs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="faces")
    server.start()
    try:
        options = {"endpoint_url": f"http://127.0.0.1:{port}", "token": "anon"}
        for protocol in ("gs", "gcs"):
            monkeypatch.setitem(fsspec.config.conf, protocol, options)
        for name, folder in zip("ab", outputs, strict=True):
            put(f"gs://faces/curated/{name}", contents(folder))
        check_curation("gs://faces/curated")
    finally:
        server.stop()


def test_a_data_set_of_the_hub_is_read_by_its_name(hub):
    url, files = hub
    files |= {**{f"images/{name}": data for name, data in faces().items()}, **make_parquet_bytes("data")}
    dataset = load_dataset(f"{url}/data")
    assert list(dataset.table["gender"]) == list(GENDERS)
    images = load_dataset(f"{url}@main/images")
    assert [images.encoded(row) for row in (0, 5)] == [files["images/0/0.png"], files["images/1/5.png"]]
    with pytest.raises(DatasetError, match="nothing is at hf://datasets/someone/none"):
        load_dataset("hf://datasets/someone/none")


@pytest.mark.parametrize(("protocol", "remedy"), [("hf", "hub"), ("gs", "gs"), ("s3", "s3")])
def test_the_extra_of_a_file_system_that_is_missing_is_named(monkeypatch, protocol, remedy):
    def missing(url, **options):
        raise ImportError(f"Install it to access {url}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UsageError, match=rf"pip install 'faceaug\[{remedy}\]'"):
        load_dataset(f"{protocol}://bucket/faces")
