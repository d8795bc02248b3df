"""File systems behind URLs: in memory, and on servers of S3 and of a hub on this machine."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture
def server(tmp_path, monkeypatch):
    """URL of a folder that is empty: in memory."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return "memory://bucket"


@pytest.fixture(scope="session")
def s3():
    """URL of a bucket that is empty, of a server of S3 on this machine."""
    moto_server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto_server.ThreadedMotoServer(port=0)
    server.start()
    _, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "test", "secret": "test"}
    before = fsspec.config.conf.get("s3")
    fsspec.config.conf["s3"] = options
    fsspec.filesystem("s3").mkdir("faces")
    yield "s3://faces"
    server.stop()
    fsspec.config.conf.pop("s3") if before is None else fsspec.config.conf.update(s3=before)


@pytest.fixture
def hub(monkeypatch):
    """URL of a data set on a hub on this machine, and its files, which are none."""
    pytest.importorskip("huggingface_hub")
    from hub_server import REPOSITORY, hub_server

    files: dict[str, bytes] = {}
    with hub_server(files) as endpoint:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": endpoint, "token": False})
        yield f"hf://datasets/{REPOSITORY}", files
