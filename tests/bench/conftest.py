"""Small experiments on toy faces."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from toy_experiment import toy_recipe, write_toys

from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.experiment import run_experiment
from faceaug.bench.recipe import parse_experiment
from faceaug.synthesis.engines import registry


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/ and labels.csv of toy faces."""
    return write_toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture
def content(toys: Path) -> dict[str, Any]:
    """A recipe of seconds."""
    return toy_recipe(toys)


@pytest.fixture
def mean_engine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of another package, which takes means of real faces."""
    point = EntryPoint("mean", "mean_engine:spec", registry.ENGINE_ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    return "mean"


@pytest.fixture
def experiment(tmp_path: Path):
    """Run an experiment: experiment(content) -> its results; the folder is tmp_path / "out" unless another is given."""

    def run(content: dict[str, Any], out: Path | None = None, progress=lambda stage, done, total: None):
        recipe = parse_experiment(content, "the recipe")
        return run_experiment(recipe, ExperimentRun(out or tmp_path / "out", tmp_path, "faceaug bench", progress))

    return run
