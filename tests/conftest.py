"""One thread: on tensors as small as those of tests more cost more than they give, and some processors have two.

Nothing is cached, unless a test names a folder of its own: no test reads or writes the cache of the user.

Nothing waits for the disk: processes are killed here and there, but the machine is not, and each of thousands of
files would cost milliseconds.

Compiled Python is kept, whatever the environment says: else every worker, and every process that a test starts, would
compile the package again.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium
from ray_nodes import NEEDS_RAY, RayNodes, ray_nodes

# Before torch and numpy are imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FACEAUG_CACHE"] = "off"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.fsync = lambda descriptor: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers begin with the files that have slow tests, so that none is left with a long file at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def made_once(common_folder: Path) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder that all workers of a session share: the worker that needs it first makes it, the others wait."""

    def get(name: str, make: Callable[[Path], None]) -> Path:
        folder = common_folder / "made" / name
        folder.parent.mkdir(exist_ok=True)
        with folder.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                part = folder.with_name(f"{name}.part")
                shutil.rmtree(part, ignore_errors=True)  # what a worker left that failed
                part.mkdir()
                make(part)
                part.rename(folder)
        return folder

    return get


@pytest.fixture(scope="module")
def learnt_once(common_folder: Path) -> Iterator[None]:
    """A cache for tests that really learn: what one of them learns on some faces, the others of the session find.

    Entries are kept by what decides them, so it is not for tests that replace the training by something else.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEAUG_CACHE", str(common_folder / "learnt"))
        yield


@pytest.fixture(scope="module")  # an event loop runs as long as it is open
def browser() -> Iterator[Any]:
    """A headless Chromium; tests are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra browser (playwright) is not installed")
    path = chromium()
    if path is None:
        pytest.skip("no Chromium was found; install one, or name it in FACEAUG_CHROMIUM")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """A Ray cluster with two nodes; to start it takes some seconds."""
    pytest.importorskip("ray", reason=NEEDS_RAY)
    with ray_nodes(tmp_path_factory.mktemp("nodes")) as started:
        yield started
