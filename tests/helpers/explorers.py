"""Explorers that tests share, served as the command serves them. Tests skip where the extra is not installed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import faceaug
from faceaug.datasets.dataset import LoadOptions, load_dataset
from faceaug.errors import MissingWeightsError
from faceaug.explorer.cells import DatasetCells
from faceaug.explorer.generated import GeneratedFaces
from faceaug.explorer.photographs import PhotographEditor
from faceaug.explorer.saving import SaveFolder
from faceaug.generators import load_generator
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import SHIPPED_DIRECTIONS, load_estimator

BY = "yaw:-90/-25/-10/10/25/90"


@pytest.fixture(scope="session")
def generated() -> GeneratedFaces:
    """The faces of the embedded generator."""
    try:
        return GeneratedFaces(load_generator("embedded"), read_bundle(SHIPPED_DIRECTIONS))
    except MissingWeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def editor() -> PhotographEditor:
    return PhotographEditor(load_estimator())


@pytest.fixture(scope="session")
def demo_cells() -> DatasetCells:
    """The cells of the demo data set, whose images are not checked here."""
    dataset = load_dataset(faceaug.demo.path(), options=LoadOptions(check="none"))
    return DatasetCells(dataset, BY, {"path": str(faceaug.demo.path())})


@pytest.fixture(scope="session")
def demo_files() -> list[Path]:
    """Files of some faces of the demo data set."""
    return sorted(Path(faceaug.demo.path()).glob("**/*.jpg"))[:40]


def asked(address: str, path: str, body: bytes | None = None, host: str | None = None) -> tuple[int, dict, bytes]:
    """Return status, headers and body of an answer."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        headers = {"Host": host} if host else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@contextmanager
def served(**content: Any) -> Iterator[str]:
    """Serve an explorer of this content in a thread and yield its address."""
    pytest.importorskip("starlette", reason="the extra explore is not installed")
    pytest.importorskip("uvicorn", reason="the extra explore is not installed")
    from faceaug.explorer.app import Exploration
    from faceaug.explorer.serve import prepare_server

    exploration = Exploration(**content)
    server, listening, address = prepare_server(exploration, 0)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    with listening:
        thread.start()
        yield address
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def save_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("explorer") / "saved"


@pytest.fixture(scope="module")
def address(generated, editor, demo_cells, save_folder) -> Iterator[str]:
    """The address of an explorer of everything but an output folder."""
    with served(saved=SaveFolder(save_folder), faces=generated, photographs=editor, dataset=demo_cells) as url:
        yield url
