"""Fixtures: runs on toy faces that are quick."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from quick_runs import QUICK, changed, fit_toys, make_small


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs on toy faces small, for one test."""
    make_small(monkeypatch)


@pytest.fixture(scope="module")
def module_quick() -> Iterator[None]:
    """Make runs on toy faces small while the fixtures of a module are made, and whatever comes between."""
    with pytest.MonkeyPatch.context() as patched:
        make_small(patched)
        yield


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the tests of one module, which replace the training all in the same way, if they do."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FACEAUG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory):
    """Toy faces as JPEG files, 1 in 6 with a dark bar across the eyes."""
    from fakes import write_toy_dataset

    from faceaug.datasets.dataset import load_dataset

    images, labels = write_toy_dataset(tmp_path_factory.mktemp("toys"), 200, codec="jpeg")
    return load_dataset(images, labels)


@pytest.fixture(scope="module")
def toy_models(toy_dataset, tmp_path_factory: pytest.TempPathFactory, module_quick):
    """What is fitted for a run on toy faces by bar and spot (two bins) without harmonization."""
    from faceaug.synthesis.config import AcceptanceThresholds

    config = changed(QUICK, harmonize=False, thresholds=AcceptanceThresholds())
    return fit_toys(toy_dataset, tmp_path_factory.mktemp("models"), config=config)
