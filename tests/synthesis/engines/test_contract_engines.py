"""What every engine promises: the built-in ones, several in turn, and one of another package."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demo_faces import estimator, labelled_demo, write_demo_faces
from fakes import ToyFaces
from finished_runs import columns
from mean_engine import MeanEngine
from nosy_faces import nosy_dataset, nosy_estimator
from quick_runs import (
    LOOSE,
    QUICK,
    changed,
    make_inversion_small,
    make_rerender_small,
    make_small,
    preparation_inputs,
    small_plan,
)

from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import FaceaugError, UsageError
from faceaug.measurement.measure import add_measured_columns
from faceaug.planning.plan import Plan, PlannedCell
from faceaug.shards.columns import BUILT_IN_ENGINES, complete_columns, engine_column
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.shards.writer import write_shard
from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex
from faceaug.synthesis.accounting import Accounting
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines import registry
from faceaug.synthesis.engines.base import BlockResult, Engine, Preparation
from faceaug.synthesis.engines.registry import EngineSpec, create_engine, engine_names
from faceaug.synthesis.estimate import RunEstimate
from faceaug.synthesis.request import check_request

pytestmark = pytest.mark.slow
MEAN = EntryPoint("mean", "mean_engine:spec", registry.ENGINE_ENTRY_POINTS)
RAW = changed(QUICK, harmonize=False, image_format="png", thresholds=changed(LOOSE, duplicate_bits=0))
REAL = {"reconstruction": nosy_estimator(), "aligned": True}
TOYS = {"generator": ToyFaces()}
UNGUIDED = changed(RAW, **TOYS, origins=RunConfig().origins, corrections=RunConfig().corrections)
MORPH = RunConfig(
    engine="morph",
    workers=1,
    image_format="png",
    report=False,
    embedder="none",
    thresholds=changed(
        LOOSE,
        held_out=0.0,
        residual=2.0,
        unregistered=1.0,
        mixed=0.0,
        distorted=1.0,
        uncovered=1.0,
        label_distance=1.0,
        duplicate_bits=0,
    ),
)
CONFIGS = {
    "generator": changed(RAW, **TOYS),
    "unguided": changed(UNGUIDED, engine="unguided"),
    "mirrored": changed(UNGUIDED, engine="mirrored"),
    "inversion": changed(RAW, **TOYS, from_real=True, origins=16),
    "rerender": changed(
        RunConfig(engine="rerender", workers=1, image_format="png", report=False, **REAL),
        thresholds=changed(LOOSE, distorted=0.1, duplicate_bits=0),
    ),
    "both": changed(RAW, **TOYS, **REAL, engine="both", thresholds=changed(LOOSE, distorted=0.1, duplicate_bits=0)),
    "morph": MORPH,
    "auto": changed(MORPH, engine="auto", generator=ToyFaces(), survey_samples=256),
    "external": RunConfig(
        engine="external",
        aligned=True,
        workers=1,
        image_format="png",
        report=False,
        thresholds=changed(LOOSE, confidence=0.0, held_out=0.0, duplicate_bits=0),
    ),
    "mean": RunConfig(engine="mean", workers=1, image_format="png", report=False),
}
BY = {
    "generator": "bar",
    "unguided": "bar",
    "mirrored": "bar",
    "inversion": "bar",
    "rerender": "yaw:-25/-10/10/25",
    "both": "yaw:-25/-10/10/25",
    "morph": "kind",
    "auto": "kind,yaw:-90/-10/90",
    "external": "kind",
    "mean": "bar",
}
CHAINED = ("both", "auto")
"""Several engines, each of which numbers its own attempts; their hashes are the union of those of each."""
SKIPPING = ("morph",)
"""Engines that read the faces of the planned cells alone, and skip photographs in which they find none."""
GIVEN = ("external",)
"""Engines whose pictures are given: the seed decides their order and their harmonization, which may change nothing."""
WITHOUT_BATCHES = ("rerender", "morph", "external")


@pytest.fixture(scope="module", autouse=True)
def _small(module_cache) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        make_small(patched)
        make_rerender_small(patched)
        patched.setattr("faceaug.synthesis.engines.morphs.morph.MORPH_BLOCK", 4)
        patched.setattr(registry, "entry_points", lambda group: [MEAN])
        yield


@dataclass(frozen=True)
class Case:
    """A prepared engine and what it was created from; `create` makes it again with another configuration."""

    name: str
    dataset: FaceDataset
    plan: Plan
    config: RunConfig
    engine: Engine
    preparation: Preparation
    folder: Path
    create: Callable[..., Engine]

    @property
    def cells(self) -> list[PlannedCell]:
        return [cell for cell in self.plan.cells if cell.planned and not self.engine.unreachable(cell)]


@pytest.fixture(scope="module", params=list(CONFIGS))
def case(request, toy_dataset, tmp_path_factory) -> Iterator[Case]:
    name, folder = request.param, tmp_path_factory.mktemp("models")
    config = CONFIGS[name]
    dataset = toy_dataset
    if name in ("rerender", "both"):
        dataset = nosy_dataset(tmp_path_factory.mktemp("faces") / "images", 40)
    elif name in ("morph", "auto", "external"):
        dataset = labelled_demo(tmp_path_factory.mktemp("faces") / "images", 40, 20)
        if name == "auto":
            dataset = add_measured_columns(dataset, ["yaw"], estimator, workers=2)
        if name == "external":
            config = changed(config, candidates=write_demo_faces(tmp_path_factory.mktemp("candidates"), 40, 8))
    elif name == "inversion":
        dataset = replace(dataset, table=dataset.table.rename(columns={"spot": "yaw"}))
    plan = small_plan(dataset, BY.get(name, "bar"), 12)

    def create(**changes) -> Engine:
        return create_engine(check_request(dataset, plan, changed(config, **changes)))

    with pytest.MonkeyPatch.context() as patched:
        if name == "inversion":
            make_inversion_small(patched)
        engine = create()
        preparation = engine.prepare(preparation_inputs(dataset, folder))
        yield Case(name, dataset, plan, config, engine, preparation, folder, create)


def content(result: BlockResult) -> tuple:
    """Return all of a block in a form that can be compared, bit for bit."""
    rows = [
        {key: value.tobytes() if isinstance(value, np.ndarray) else repr(value) for key, value in vars(one).items()}
        for one in result.candidates
    ]
    return rows, result.refused, result.nearest


def blocks_of(case: Case, engine: Engine) -> dict[tuple[int, int], BlockResult]:
    """Return the first two blocks of the first two cells."""
    jobs = [(cell, block) for cell in case.cells[:2] for block in range(min(2, engine.blocks(cell)))]
    return {(cell.index, block): engine.propose(cell, block) for cell, block in jobs}


@pytest.fixture(scope="module")
def blocks(case) -> dict[tuple[int, int], BlockResult]:
    return blocks_of(case, case.engine)


def candidates_of(blocks: dict[tuple[int, int], BlockResult]) -> list:
    return [candidate for result in blocks.values() for candidate in result.candidates]


def test_its_identity_is_json_and_the_same_each_time(case):
    identity = json.dumps(case.engine.identity, sort_keys=True)
    assert identity == json.dumps(case.create().identity, sort_keys=True)


def test_it_estimates_a_run_before_it_is_prepared(case):
    found = case.create().estimate()
    assert isinstance(found, RunEstimate)
    assert found.seconds > 0
    assert found.bytes > 0


def test_its_preparation_is_whole_and_json(case):
    assert {path.name for path in case.folder.iterdir()} == set(case.preparation.files)
    json.dumps(case.preparation.metrics)
    hashes = case.engine.real_hashes
    assert (hashes.ndim, hashes.dtype) == (1, np.uint64)
    assert len(hashes) >= 1
    if case.name not in (*CHAINED, *SKIPPING):
        assert len(hashes) == len(case.dataset)


def test_a_cell_is_reachable_or_has_a_reason_and_some_blocks(case):
    assert case.cells
    for cell in case.plan.cells:
        assert isinstance(case.engine.unreachable(cell), str)
        assert case.engine.unreachable(cell) or case.engine.blocks(cell) > 0


def test_every_attempt_of_a_block_is_a_candidate_or_refused(case, blocks):
    assert candidates_of(blocks)
    end: dict[int, int] = {}
    for (cell, _), result in sorted(blocks.items()):
        passed = [candidate.attempt for candidate in result.candidates]
        attempts = sorted([*passed, *result.refused])
        assert passed == sorted(passed)
        assert all(isinstance(reason, str) and reason for reason in result.refused.values())
        assert attempts == list(range(attempts[0], attempts[0] + len(attempts)))  # each of them once
        if case.name not in CHAINED:
            assert attempts[0] == end.get(cell, 0)
        end[cell] = attempts[-1] + 1


def test_a_block_depends_on_seed_cell_and_number_alone(case, blocks):
    """An engine that is created again, with other workers and batches, gives the same blocks in any order."""
    again = case.create(workers=2, **({} if case.name in WITHOUT_BATCHES else {"batch_size": 7}))
    again.prepare(preparation_inputs(case.dataset, case.folder))
    cells = {cell.index: cell for cell in case.plan.cells}
    jobs = list(reversed(blocks))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: again.propose(cells[job[0]], job[1]), jobs))
    for job, result in zip(jobs, results, strict=True):
        assert content(result) == content(blocks[job])


def test_another_seed_gives_other_samples(case, blocks, tmp_path):
    other = case.create(seed=case.config.seed + 1)
    other.prepare(preparation_inputs(case.dataset, tmp_path))
    made = "seed" if case.name in GIVEN else "image"
    images = [np.asarray(getattr(one, made)).tobytes() for one in candidates_of(blocks)]
    others = [np.asarray(getattr(one, made)).tobytes() for one in candidates_of(blocks_of(case, other))]
    assert others
    assert not set(images) & set(others)


def test_samples_have_the_columns_that_it_states(case, blocks):
    groups: dict[str, dict] = {"attr": {}, "semantic": {}, "harmonize": {}}
    for column in case.engine.columns:
        groups[column.group][column.name] = column
    assert complete_columns(case.engine.columns)  # they can be a run's columns
    assert {axis.name for axis in case.plan.axes} <= set(groups["attr"])
    for candidate in candidates_of(blocks):
        assert candidate.engine in case.engine.names
        assert {axis.name for axis in case.plan.axes} <= set(candidate.attr) <= set(groups["attr"])
        assert set(candidate.confidence) <= set(groups["attr"])
        assert set(candidate.semantic) <= set(groups["semantic"])
        assert set(candidate.harmonize) <= set(groups["harmonize"])


def test_samples_are_in_the_cell_that_they_were_made_for(case, blocks):
    cells = {cell.index: cell for cell in case.plan.cells}
    for (index, _), result in blocks.items():
        for candidate in result.candidates:
            for axis in case.plan.axes:
                value, level = candidate.attr[axis.name], cells[index].levels[axis.name]
                if axis.edges is None:
                    assert value == level
                else:
                    k = axis.levels.index(level)
                    assert axis.edges[k] <= value <= axis.edges[k + 1]


def test_hashes_of_stored_samples_are_those_of_the_candidates(case, blocks, tmp_path):
    accounting = Accounting(DuplicateIndex(np.empty(0, np.uint64), -1), max_uses=10**6)
    cells = {cell.index: replace(cell, planned=10**6) for cell in case.plan.cells}
    samples = [
        sample for (index, block), result in blocks.items() for sample in accounting.take(cells[index], block, result)
    ]
    names = case.engine.names
    stated = (*case.engine.columns, engine_column(names))
    path = tmp_path / "shards" / "00000.h5"
    path.parent.mkdir()
    write_shard(path, samples, columns=stated, codec="png")
    with ShardReader(path) as reader:
        stored = list(case.engine.stored_hashes(reader))
        assert sum(int(reader.made_by(name).sum()) for name in names) == len(samples)
    assert sorted(stored) == sorted(candidate.hash for candidate in candidates_of(blocks))


def test_a_run_is_whole_and_names_the_engine_of_each_sample(case, tmp_path):
    result = balance(case.dataset, tmp_path / "out", plan=case.plan, config=case.config)
    assert 0 < result.accepted <= result.planned
    report = verify(tmp_path / "out")
    assert report.problems == ()
    assert report.complete
    names = case.engine.names
    levels = tuple(dict.fromkeys((*BUILT_IN_ENGINES, *names)))
    codes = columns(tmp_path / "out")["engine"]
    assert {levels[code] for code in codes} <= set(names)
    for entry in read_manifest(tmp_path / "out").shards:
        with ShardReader(tmp_path / "out" / entry.name) as reader:
            assert reader.levels("engine") == levels


def test_an_engine_of_another_package_is_named_and_its_settings_are_checked(toy_dataset, tmp_path):
    assert engine_names() == [
        *("generator", "rerender", "auto", "morph", "external", "unguided", "mirrored", "both", "mean"),
    ]
    plan, config = small_plan(toy_dataset, "bar", 4), CONFIGS["mean"]
    with pytest.raises(UsageError, match="survey_samples is 300, which does nothing with the engine mean"):
        balance(toy_dataset, tmp_path / "out", plan=plan, config=changed(config, survey_samples=300))
    with pytest.raises(UsageError, match="there is no engine 'meen': did you mean 'mean'"):
        balance(toy_dataset, tmp_path / "out", plan=plan, config=changed(config, engine="meen"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (EntryPoint("both", "mean_engine:spec", "faceaug.engines"), "'both', which faceaug has; it must be renamed"),
        (EntryPoint("lost", "no_such_module:spec", "faceaug.engines"), "'lost' of a plug-in failed to load"),
        (
            EntryPoint("odd", "builtins:dict", "faceaug.engines"),
            "'odd' of a plug-in is a dict: it must be an EngineSpec",
        ),
    ],
)
def test_plug_ins_that_do_not_fit_are_refused(monkeypatch, point, message):
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(FaceaugError, match=message):
        registry.engine_specs(RunConfig(engine=point.name))


def test_a_broken_plug_in_does_not_stop_other_engines(monkeypatch):
    point = EntryPoint("lost", "no_such_module:spec", "faceaug.engines")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert list(registry.engine_specs(RunConfig(engine="generator"))) == ["generator"]


class Failing(MeanEngine):
    """Keeps to the contract until `fails` is called."""

    fails = ""

    def prepare(self, inputs):
        if self.fails == "prepare":
            raise KeyError("weights")
        if self.fails == "files":
            (inputs.folder / "unlisted.bin").write_bytes(b"1")
        return super().prepare(inputs)

    def propose(self, cell, block):
        if self.fails == "propose":
            raise ZeroDivisionError("division by zero")
        return super().propose(cell, block)

    @property
    def identity(self):
        return {"weights": object()} if self.fails == "identity" else super().identity

    @property
    def names(self):
        return ("another",) if self.fails == "names" else ("mean",)


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("create", "the engine 'mean' failed: ValueError: no weights"),
        ("prepare", "the engine 'mean' failed: KeyError: 'weights'"),
        ("propose", "the engine 'mean' failed: ZeroDivisionError: division by zero"),
        ("files", "the engine mean must list the files that it keeps in .*models: unlisted.bin"),
        ("identity", "the identity of the engine mean must be of JSON values"),
        ("names", "the engine 'mean' stores its samples as 'another'"),
        ("members", "the engine 'mean' does not keep to .*Engine: it lacks .*propose"),
    ],
)
def test_an_engine_of_another_package_that_fails_is_named(toy_dataset, tmp_path, monkeypatch, fails, message):
    def create(request):
        if fails == "create":
            raise ValueError("no weights")
        if fails == "members":
            return type("Nothing", (), {})()
        return type("Engine", (Failing,), {"fails": fails})(request)

    point = SimpleNamespace(name="mean", load=lambda: EngineSpec(create))
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(FaceaugError, match=message):
        balance(toy_dataset, tmp_path / "out", plan=small_plan(toy_dataset, "bar", 4), config=CONFIGS["mean"])


def test_an_entry_point_may_be_a_spec_itself(monkeypatch):
    spec = EngineSpec(lambda request: None)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("plain", "plain_engine:SPEC", group)])
    monkeypatch.setattr(EntryPoint, "load", lambda self: spec)
    assert registry.engine_specs(RunConfig(engine="plain", survey_samples=300)) == {"plain": spec}
