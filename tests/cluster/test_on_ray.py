"""Experiments, measurements and discoveries by a Ray cluster of two nodes give what one process gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pytest
import torch
from demo_faces import write_demo_faces
from finished_runs import assert_same_samples
from quick_discovery import QUICK
from quick_discovery import discovered as discovered
from ray_nodes import RayNodes, ReadHere, end_process, environment_set, fail, negative
from toy_experiment import toy_recipe, write_toys

from faceaug import Budget, RunConfig, analyze, balance, demo, load_dataset, plan
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.experiment import run_experiment
from faceaug.bench.recipe import parse_experiment
from faceaug.cache.store import open_cache
from faceaug.cluster.placement import RETRIES, Placement
from faceaug.cluster.ray_cluster import RayCluster
from faceaug.datasets.dataset import LoadOptions
from faceaug.discovery import fit
from faceaug.discovery.config import FACTOR_STAGE, SYNTHESIS_STAGE, DiscoveryRun
from faceaug.discovery.discover import discover, sample_pools
from faceaug.discovery.fit import BATCH_SIZE, fit_bundle
from faceaug.errors import DatasetError, FaceaugError
from faceaug.measurement import measure as measure_module
from faceaug.measurement.measure import add_measured_columns, load_estimator, measure
from faceaug.reconstruction.networks import Reconstructor
from faceaug.reconstruction.synthetic_scenes import Scenes
from faceaug.synthesis.engines import registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_ray(nodes: RayNodes) -> Iterator[Placement]:
    """The cluster, to which this process is connected, so that workers are started once."""
    import ray

    with environment_set(nodes.environment):
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


def test_measurements_of_a_cluster_are_the_same_table(on_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(measure_module, "CACHED_TOGETHER", 4)
    monkeypatch.setattr(measure_module, "ESTIMATOR_BATCH_SIZE", 2)
    paths = sorted(Path(demo.path()).rglob("*.jpg"))[:9]
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    (tmp_path / "near.jpg").write_bytes(paths.pop().read_bytes())
    monkeypatch.chdir(tmp_path)  # where no node is at work
    counts, estimator = [], load_estimator()
    images = [*paths[:3], "none.jpg", *paths[3:], "near.jpg", tmp_path / "absent.jpg"]
    table = measure(images, estimator, placement=on_ray, progress=counts.append)
    pd.testing.assert_frame_equal(table, measure(images, estimator), check_exact=True)
    assert sum(counts) == len(table) == 11
    assert table["cannot_tell"].tolist().count("unreadable") == 2


def test_a_photograph_that_a_node_cannot_read_ends_the_measurement_and_is_not_kept(on_ray, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    faces = load_dataset(write_demo_faces(tmp_path, 0, 3), options=LoadOptions(needs_labels=False))
    with pytest.raises(DatasetError, match=f"a node of the Ray cluster cannot read {faces.keys[0]}, which can be read"):
        measure(replace(faces, images=ReadHere(faces.images)), load_estimator(), placement=on_ray)
    assert open_cache().entries() == []


def test_photographs_rerendered_by_a_cluster_are_the_same(on_ray, tmp_path):
    (tmp_path / "faces").mkdir()
    faces = load_dataset(write_demo_faces(tmp_path / "faces", 0, 24), options=LoadOptions(needs_labels=False))
    faces = add_measured_columns(faces, ["yaw"], load_estimator)
    wanted = plan(analyze(faces, "yaw:-90/-15/15/90"), "uniform", Budget(max_total=6))

    def run(executor: str) -> Path:
        config = RunConfig(engine="rerender", report=False, executor=executor)
        assert balance(faces, tmp_path / executor, plan=wanted, config=config).accepted
        return tmp_path / executor

    assert_same_samples(run("local"), run("ray"))


def test_samples_and_directions_of_a_cluster_are_the_same(on_ray, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "SUMMED_TOGETHER", BATCH_SIZE)  # several parts
    generator, done = Scenes(16), {}
    torch.manual_seed(0)
    network = Reconstructor(16, 1).eval()

    def record(stage, count, total, figures):
        done[stage] = (count, total)

    def found(name: str, run: DiscoveryRun) -> bytes:
        pools = sample_pools(generator, QUICK, 16, tmp_path / name, run)
        fit_bundle(generator, network, None, pools, 6, run).save(tmp_path / f"{name}.safetensors")
        return (tmp_path / f"{name}.safetensors").read_bytes()

    assert found("there", DiscoveryRun(placement=on_ray, progress=record)) == found("here", DiscoveryRun())
    assert done[SYNTHESIS_STAGE] == done[FACTOR_STAGE] == (484, 484)
    files = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}


def test_a_discovery_on_a_cluster_writes_the_same_file(on_ray, discovered, tmp_path):
    out = tmp_path / "directions.safetensors"
    discover(Scenes(16), out, QUICK, DiscoveryRun(placement=on_ray, command="faceaug discover"))
    assert out.read_bytes() == (discovered / out.name).read_bytes()


def test_lost_tasks_are_begun_again_and_errors_are_not(on_ray, tmp_path):
    log, lost, errors = tmp_path / "log", tmp_path / "lost", []
    with RayCluster(None, 1, "cpu") as cluster:
        with pytest.raises(FaceaugError, match="it cannot be done"):
            cluster.submit(fail, log).result()
        tasks = (
            cluster.submit(end_process, lost) if k == 3 else cluster.submit(negative, k, arrived=lambda k: 10 * k)
            for k in range(20)
        )
        assert list(cluster.in_order(tasks, errors.append)) == [-10 * k for k in range(20) if k != 3]
    assert len(log.read_text().split()) == 1
    assert len(lost.read_text().split()) == RETRIES + 1
    assert len(errors) == 1
    assert f"was lost with its worker {RETRIES + 1} times" in str(errors[0])
