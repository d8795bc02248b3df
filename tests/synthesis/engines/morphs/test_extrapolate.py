"""Extrapolation: faces of neighbouring cells that are moved to a cell whose own faces are too few."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demo_faces import labelled_demo
from finished_runs import assert_same_samples, columns
from quick_runs import LOOSE, changed, preparation_inputs

from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import FaceDataset
from faceaug.errors import UsageError
from faceaug.planning.budget import Budget
from faceaug.planning.plan import plan
from faceaug.shards.columns import DONOR_COLUMNS
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.morphs import extrapolate, morph
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.request import check_request

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("learnt_once")]
CONFIG = RunConfig(
    engine="morph",
    extrapolate=True,
    workers=1,
    report=False,
    embedder="none",
    thresholds=changed(
        LOOSE, held_out=0.0, residual=2.0, unregistered=1.0, mixed=0.0, distorted=1.0, uncovered=1.0, label_distance=1.0
    ),
)


BY = "kind,age:20/22/25"


def with_few(folder: Path, left: int) -> FaceDataset:
    """Return faces of which `left` are rare and of the upper bin, which is too few for a morph."""
    dataset = labelled_demo(folder)
    table = dataset.table
    few = np.flatnonzero((table["kind"] == "rare") & (table["age"] >= 22))
    table.loc[few[left:], "age"] = np.nan
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return with_few(tmp_path_factory.mktemp("faces") / "images", 1)


def planned(dataset, count: int = 4):
    return plan(analyze(dataset, BY), "uniform", Budget(max_total=count))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    balance(dataset, out, plan=planned(dataset), config=CONFIG)
    return out


def moved(out: Path) -> np.ndarray:
    """Return which samples of the first shard were extrapolated."""
    with ShardReader(sorted(out.glob("shards/*.h5"))[0]) as reader:
        return np.asarray(reader.made_by("extrapolate"))


def test_a_cell_of_one_face_is_filled_from_its_neighbours(dataset, run):
    manifest = read_manifest(run)
    cell = next(cell for cell in manifest.cells if cell.real == 1)
    assert cell.accepted == cell.planned
    assert cell.planned
    rows = {hashlib.sha256(dataset.encoded(row)).digest(): row for row in range(len(dataset))}
    stored, made = columns(run), moved(run)
    assert made.any()
    kinds, ages = dataset.table["kind"], dataset.table["age"]
    for k in np.flatnonzero(made):
        host, donor = (rows[stored[name][k].tobytes()] for name in ("source_sha256", DONOR_COLUMNS[0]))
        assert kinds[host] == kinds[donor] == "rare"
        assert host != donor
        assert max(ages[host], ages[donor]) < 22
    assert verify(run).problems == ()


def test_samples_have_the_labels_of_their_cell(dataset, run):
    stored, made = columns(run), moved(run)
    kinds = planned(dataset).axes[0].levels
    assert {kinds[code] for code in stored["attr/kind"][made]} == {"rare"}
    assert (stored["attr/age"][made] >= 22).all()
    low, high = extrapolate.MOVE_STRENGTH
    strength = stored["semantic/move_strength"][made]
    assert ((strength >= low - 1e-6) & (strength <= high + 1e-6)).all()
    assert (stored["semantic/change_outside"][made] <= CONFIG.thresholds.spill).all()
    assert np.isnan(stored["semantic/move_strength"][~made]).all()


def test_the_manifest_says_how_much_labels_explain(run):
    r2 = read_manifest(run).measured["extrapolate"]["r2"]
    assert {"shape", "texture", "shape by kind", "texture by age"} <= r2.keys()
    assert all(value <= 1 for value in r2.values())


def test_samples_do_not_depend_on_workers(dataset, run, tmp_path):
    balance(dataset, tmp_path / "out", plan=planned(dataset), config=changed(CONFIG, workers=2))
    assert_same_samples(tmp_path / "out", run)


def prepared(dataset, wanted, folder, monkeypatch, config: RunConfig = CONFIG) -> extrapolate.ExtrapolationEngine:
    """Return the engine of a plan, without a classifier."""
    blind = SimpleNamespace(read=lambda images: (np.zeros((len(images), 0)), None))
    nobody = SimpleNamespace(held_out=blind, tasks=(), metrics={})
    monkeypatch.setattr(morph, "fit_label_classifiers", lambda *inputs, **options: nobody)
    folder.mkdir()
    chain = create_engine(check_request(dataset, wanted, config))
    chain.prepare(preparation_inputs(dataset, folder))
    moves = chain._engines[1]
    assert isinstance(moves, extrapolate.ExtrapolationEngine)
    moves._judge = None
    return moves


def hosts_and_donors(dataset, candidates) -> list[tuple[int, int]]:
    rows = {hashlib.sha256(dataset.encoded(row)).digest(): row for row in range(len(dataset))}
    return [(rows[c.source.sha256], rows[c.donors[0].sha256]) for c in candidates]


def test_an_empty_cell_is_filled_with_moved_faces_of_one_neighbour(tmp_path, monkeypatch):
    dataset = with_few(tmp_path / "images", 0)
    table, wanted = dataset.table, planned(dataset)
    empty = next(cell for cell in wanted.cells if cell.real == 0)
    moves = prepared(dataset, wanted, tmp_path / "models", monkeypatch)
    assert moves.unreachable(empty) == ""
    candidates = moves.propose(empty, 0).candidates
    assert candidates
    for candidate, (host, donor) in zip(candidates, hosts_and_donors(dataset, candidates), strict=True):
        assert host != donor
        assert table["kind"][host] == table["kind"][donor] == candidate.attr["kind"] == "rare"
        assert max(table["age"][host], table["age"][donor]) < 22 <= candidate.attr["age"]


def test_a_label_that_is_moved_is_held_to_the_whole_threshold(dataset, tmp_path, monkeypatch):
    wanted = planned(dataset)
    cell = next(cell for cell in wanted.cells if cell.real == 1)
    moves = prepared(dataset, wanted, tmp_path / "models", monkeypatch)
    asked = []

    def verdict(read, rows, levels, reached):
        asked.append(set(reached))
        return {}, False

    moves._judge = SimpleNamespace(read=lambda morphs: np.zeros((len(morphs), 0)), verdict=verdict)
    refused = moves.propose(cell, 0).refusals()
    assert refused[morph.LABELLED] == len(asked) > 0
    assert all(names == {"age"} for names in asked)


def test_a_cell_without_a_neighbour_says_so(dataset, tmp_path):
    wanted = planned(dataset)
    engine = create_engine(check_request(dataset, wanted, CONFIG))
    last = engine._engines[1]
    assert last.unreachable(wanted.cells[0]) == "extrapolation needs 20 faces with labels, and there are fewer"
    last._lines = object()
    assert last.unreachable(wanted.cells[0]) == (
        "extrapolation needs faces of a neighbouring cell, and no cell that is one bin away has any"
    )


@pytest.mark.parametrize("by", ["kind,side", "yaw:-20/0/20"])
def test_without_a_labelled_number_it_is_refused(dataset, by):
    turned = dataset.select(np.arange(len(dataset)))
    turned.table["yaw"] = np.linspace(-20, 20, len(dataset))
    wanted = plan(analyze(turned, by), "uniform", Budget(max_total=3))
    for engine in ("morph", "auto"):
        with pytest.raises(UsageError, match="extrapolate moves faces from one bin of a number to the next, and --by"):
            create_engine(check_request(turned, wanted, changed(CONFIG, engine=engine)))


@pytest.mark.parametrize("engine", ["rerender", "generator", "both"])
def test_other_engines_do_not_take_it(dataset, engine):
    request = check_request(dataset, planned(dataset), RunConfig(engine=engine, extrapolate=True))
    with pytest.raises(UsageError, match="extrapolate is True, which does nothing with the engine"):
        create_engine(request)
