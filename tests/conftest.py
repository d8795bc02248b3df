"""One thread: on tensors as small as those of tests more cost more than they give, and some processors have two.

Nothing is cached, unless a test names a folder of its own: no test reads or writes the cache of the user.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import chromium
from ray_nodes import NEEDS_RAY, RayNodes, ray_nodes

# Before torch and numpy are imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FACEAUG_CACHE"] = "off"


@pytest.fixture(scope="module")
def learnt_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the tests of a module: what one of them learns on some faces, the others find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEAUG_CACHE", str(tmp_path_factory.mktemp("cache")))
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
