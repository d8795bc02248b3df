"""The engine morph: new faces of a cell, made of its own faces, in the size and scene of their photographs."""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from demo_faces import labelled_demo
from finished_runs import assert_same_samples, columns
from quick_runs import LOOSE, changed

from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import load_dataset
from faceaug.errors import DatasetError, UsageError
from faceaug.identity import registry as identity_registry
from faceaug.measurement.measure import load_estimator
from faceaug.planning.budget import Budget
from faceaug.planning.plan import plan
from faceaug.shards.columns import DONOR_COLUMNS
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.morphs import morph
from faceaug.synthesis.engines.morphs.attempt import ALONE
from faceaug.synthesis.engines.morphs.morph_faces import measure_morphs
from faceaug.synthesis.engines.morphs.proposals import DONOR_SHARE
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.request import check_request
from faceaug.utils.images import encode

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("learnt_once")]
CONFIG = RunConfig(
    engine="morph",
    workers=1,
    report=False,
    embedder="none",
    thresholds=changed(
        LOOSE, held_out=0.0, residual=2.0, unregistered=1.0, mixed=0.0, distorted=1.0, uncovered=1.0, label_distance=1.0
    ),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return labelled_demo(tmp_path_factory.mktemp("faces") / "images")


def planned(dataset, count: int = 12, by: str = "kind"):
    return plan(analyze(dataset, by), "uniform", Budget(max_total=count))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = balance(dataset, out, plan=planned(dataset), config=CONFIG)
    assert result.accepted == 12
    return out


def files_of(dataset) -> dict[bytes, int]:
    return {hashlib.sha256(dataset.encoded(row)).digest(): row for row in range(len(dataset))}


def test_samples_name_host_and_donor_of_their_own_cell(dataset, run):
    rows, stored = files_of(dataset), columns(run)
    for host, donor in zip(stored["source_sha256"], stored[DONOR_COLUMNS[0]], strict=True):
        kinds = {dataset.table["kind"].iloc[rows[digest.tobytes()]] for digest in (host, donor)}
        assert kinds == {"rare"}
        assert host.tobytes() != donor.tobytes()
    assert not stored[DONOR_COLUMNS[1]].any()  # there is no second donor
    assert verify(run).problems == ()


def test_numbers_are_means_of_the_faces_and_measurements_are_the_samples_own(dataset, run):
    rows, stored, age = files_of(dataset), columns(run), dataset.table["age"].to_numpy()
    for k, (host, donor) in enumerate(zip(stored["source_sha256"], stored[DONOR_COLUMNS[0]], strict=True)):
        low, high = sorted((age[rows[host.tobytes()]], age[rows[donor.tobytes()]]))
        assert low - 1e-9 <= stored["attr/age"][k] <= high + 1e-9
    assert np.isfinite(stored["semantic/yaw"]).all()
    assert (stored["semantic/donor_share"] <= DONOR_SHARE[1]).all()


def test_samples_do_not_depend_on_workers(dataset, run, tmp_path):
    balance(dataset, tmp_path / "out", plan=planned(dataset), config=changed(CONFIG, workers=3))
    assert_same_samples(tmp_path / "out", run)


def test_an_interrupted_run_goes_on_to_the_same_samples(dataset, run, tmp_path, monkeypatch):
    propose = morph.MorphEngine.propose

    def interrupted(self, cell, block):
        if block == 1:
            raise KeyboardInterrupt
        return propose(self, cell, block)

    monkeypatch.setattr(morph, "MORPH_BLOCK", 4)
    monkeypatch.setattr(morph.MorphEngine, "propose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        balance(dataset, tmp_path / "out", plan=planned(dataset), config=CONFIG)
    monkeypatch.setattr(morph.MorphEngine, "propose", propose)
    balance(dataset, tmp_path / "out", plan=planned(dataset), config=CONFIG, resume=True)
    whole = tmp_path / "whole"
    balance(dataset, whole, plan=planned(dataset), config=CONFIG)
    assert_same_samples(tmp_path / "out", whole)


def test_what_is_read_off_a_picture_does_not_depend_on_what_else_is_read(dataset):
    estimator, pictures = load_estimator(), [dataset.image(row) for row in range(6)]
    windows = [np.float32([0.01 * row, 0, -0.2, 0]) for row in range(6)]

    def read(rows: list[int]):
        faces = measure_morphs(estimator, [pictures[k] for k in rows], [windows[k] for k in rows], aligned=False)
        return dict(zip(rows, faces, strict=True))

    together = read([0, 1, 2, 3, 4, 5])
    for others in (read([0]), read([5, 3, 0]), read([2, 4, 1, 0])):
        for row, one in others.items():
            np.testing.assert_array_equal(one.values, together[row].values)
            if one.descriptor is not None:
                assert np.array_equal(one.descriptor, together[row].descriptor)


def test_a_face_takes_part_in_as_many_samples_as_are_allowed(dataset, tmp_path):
    config = changed(CONFIG, max_uses=2)
    result = balance(dataset, tmp_path / "out", plan=planned(dataset, 12), config=config)
    stored = columns(tmp_path / "out")
    uses = Counter(digest.tobytes() for name in ("source_sha256", DONOR_COLUMNS[0]) for digest in stored[name])
    assert max(uses.values()) <= 2
    assert result.short
    assert "source below its limit of uses" in read_manifest(tmp_path / "out").totals.rejected


def test_three_donors_are_named(dataset, tmp_path):
    balance(dataset, tmp_path / "out", plan=planned(dataset, 3), config=changed(CONFIG, donors=3))
    stored = columns(tmp_path / "out")
    assert all(stored[name].any(axis=1).all() for name in DONOR_COLUMNS)
    assert verify(tmp_path / "out").problems == ()


def test_a_photograph_that_changed_since_it_was_read_is_refused(tmp_path, monkeypatch):
    changed_set = labelled_demo(tmp_path / "copy")
    rare = np.flatnonzero(changed_set.table["kind"] == "rare")
    read = morph.read_faces

    def read_and_change(*arguments, **options):
        faces = read(*arguments, **options)
        for row in rare[1:]:
            other = encode(255 - changed_set.image(int(row)), "png")
            (tmp_path / "copy" / changed_set.keys[int(row)]).write_bytes(other)
        return faces

    monkeypatch.setattr(morph, "read_faces", read_and_change)
    result = balance(changed_set, tmp_path / "out", plan=planned(changed_set, 6), config=CONFIG)
    assert result.accepted == 0
    assert result.manifest.totals.rejected[morph.CHANGED] > 0


def test_a_cell_of_one_face_ends_short_and_says_why(tmp_path):
    dataset = labelled_demo(tmp_path / "images", alone=True)
    wanted = planned(dataset, 3, by="kind,side")
    result = balance(dataset, tmp_path / "out", plan=wanted, config=CONFIG)
    cell = next(cell for cell in result.manifest.cells if cell.real == 1)
    assert cell.planned
    assert cell.accepted == 0
    assert cell.note == "a morph needs two faces of its cell, and this one has 1"


def test_two_copies_of_one_picture_make_no_morph(tmp_path):
    dataset = labelled_demo(tmp_path / "images", count=40, rare=8)
    rare = [row for row in range(40) if dataset.table["kind"].iloc[row] == "rare"]
    for row in rare[1:]:
        (tmp_path / "images" / dataset.keys[row]).write_bytes(dataset.encoded(rare[0]))
    again = load_dataset(tmp_path / "images", tmp_path / "images.csv")
    result = balance(again, tmp_path / "out", plan=planned(again, 2), config=CONFIG)
    assert result.accepted == 0
    assert set(result.manifest.totals.rejected) == {ALONE}


def test_a_data_set_without_faces_is_refused_in_a_sentence(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(40):
        noise = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
        (folder / f"{k}.png").write_bytes(encode(noise, "png"))
    table = pd.DataFrame({"file": [f"{k}.png" for k in range(40)], "kind": ["rare", "common", "common", "common"] * 10})
    table.to_csv(tmp_path / "labels.csv", index=False)
    dataset = load_dataset(folder, tmp_path / "labels.csv")
    wanted = plan(analyze(dataset, "kind"), "uniform", Budget(max_total=4))
    with pytest.raises(DatasetError, match=r"no face was found in 10 of 10 photographs"):
        balance(dataset, tmp_path / "out", plan=wanted, config=CONFIG)


@pytest.mark.parametrize("name", ["from_real", "truncation_psi"])
def test_settings_of_other_engines_are_refused(dataset, name):
    value = True if name == "from_real" else 0.5
    request = check_request(dataset, planned(dataset), changed(CONFIG, **{name: value}))
    with pytest.raises(UsageError, match=f"{name} is .*, which does nothing with the engine morph"):
        create_engine(request)


@pytest.fixture
def toy(monkeypatch) -> None:
    point = EntryPoint("toy", "toy_embedder:ToyEmbedder", identity_registry.IDENTITY_ENTRY_POINTS)
    monkeypatch.setattr(identity_registry, "entry_points", lambda group: [point])


def test_a_sample_as_near_to_its_sources_as_one_person_is_refused(dataset, tmp_path, toy):
    strict = changed(CONFIG, embedder="toy", thresholds=changed(CONFIG.thresholds, identity=1000.0))
    result = balance(dataset, tmp_path / "strict", plan=planned(dataset, 4), config=strict)
    assert result.manifest.totals.rejected[morph.NEW_PERSON] > 0
    allowed = changed(strict, allow_same_identity=True)
    result = balance(dataset, tmp_path / "allowed", plan=planned(dataset, 4), config=allowed)
    assert result.accepted == 4
    assert morph.NEW_PERSON not in result.manifest.totals.rejected
    assert np.isfinite(columns(tmp_path / "allowed")["semantic/identity_distance"]).all()


def test_an_unknown_embedder_is_refused(dataset, toy):
    with pytest.raises(UsageError, match="there is no embedder of faces 'toi'"):
        create_engine(check_request(dataset, planned(dataset), changed(CONFIG, embedder="toi")))
