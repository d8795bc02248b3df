"""Fixtures: runs on toy faces that are quick."""

import pytest
from quick_runs import make_small


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs on toy faces small, for one test."""
    make_small(monkeypatch)


@pytest.fixture(scope="module")
def module_quick():
    """Make runs on toy faces small while the fixtures of a module are made, and whatever comes between."""
    with pytest.MonkeyPatch.context() as patched:
        make_small(patched)
        yield


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory):
    """Toy faces as JPEG files, 1 in 6 with a dark bar across the eyes."""
    from fakes import write_toy_dataset

    from faceaug.datasets.dataset import load_dataset

    images, labels = write_toy_dataset(tmp_path_factory.mktemp("toys"), 200, codec="jpeg")
    return load_dataset(images, labels)


@pytest.fixture(scope="module")
def toy_guide(toy_dataset, tmp_path_factory: pytest.TempPathFactory, module_quick):
    """What a run on toy faces by bar and spot (two bins) knows before its first sample; samples are left raw."""
    from fakes import ToyFaces

    from faceaug.analysis.axes import build_axis, parse_by
    from faceaug.datasets.thumbnails import load_thumbnails
    from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
    from faceaug.synthesis.setup import fit_models

    axes = [build_axis(toy_dataset.table, spec) for spec in parse_by("bar,spot:-3/0/3")]
    arrays, _ = load_thumbnails(toy_dataset, 64)
    return fit_models(
        toy_dataset, arrays, axes, ToyFaces(), tmp_path_factory.mktemp("models"), seed=0, keep=(), draws=256,
        thresholds=AcceptanceThresholds(), harmonize=False, codec="png", workers=1, batch_size=64, device="cpu", progress=lambda *_: None,
    )  # fmt: skip
