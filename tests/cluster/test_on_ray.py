"""Experiments, measurements and discoveries by a Ray cluster of two nodes give what one process gives."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from ray_nodes import RayNodes
from toy_experiment import toy_recipe, write_toys

from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.experiment import run_experiment
from faceaug.bench.recipe import parse_experiment
from faceaug.cluster.placement import Placement
from faceaug.synthesis.engines import registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_ray(nodes: RayNodes) -> Iterator[Placement]:
    """The cluster, to which this process is connected, so that workers are started once."""
    import ray

    ray.init(address=nodes.address, log_to_driver=False)
    yield Placement("ray")
    ray.shutdown()


def _of_a_run(results) -> dict:
    """The content of results.json without what differs between two calls."""
    plain = json.loads(json.dumps(results.content))
    for run in plain["runs"]:
        run.pop("seconds")
    return plain


def test_an_experiment_is_continued_on_a_cluster_with_the_same_results(on_ray, tmp_path, monkeypatch):
    point = EntryPoint("mean", "paced_runs:spec", registry.ENGINE_ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    toys = tmp_path / "toys"
    toys.mkdir()
    content = toy_recipe(write_toys(toys)) | {"arms": ["mean:mixed", "erm", "mean:two_stage"], "synthesis": {"each": 2}}
    recipe = parse_experiment(content, "the recipe")

    def run(out: Path, place: Placement, progress=lambda *_: None):
        return run_experiment(recipe, ExperimentRun(out, tmp_path, "faceaug bench", progress, place))

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "experiment":
            raise KeyboardInterrupt

    whole = run(tmp_path / "here", Placement())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "there", on_ray, interrupt)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "there/runs").glob("*.json")}
    assert 1 <= len(stamps) < 6
    assert _of_a_run(run(tmp_path / "there", on_ray)) == _of_a_run(whole)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
