"""Images that were made elsewhere: which of them pass, why the others do not, and how they fill a plan."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quick_runs import LOOSE, changed
from toy_embedder import ToyEmbedder

from faceaug import demo
from faceaug.analysis.analyze import analyze
from faceaug.datasets.dataset import FaceDataset, load_dataset
from faceaug.errors import DatasetError, UsageError
from faceaug.planning.plan import plan
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.refused import read_refused
from faceaug.shards.verify import verify
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.external.admission import Admission, admit
from faceaug.synthesis.engines.external.verdicts import table_of_verdicts
from faceaug.synthesis.engines.morphs.identity_gate import IdentityGate
from faceaug.synthesis.engines.registry import engine_specs
from faceaug.utils.images import Rgb, encode, resize

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("learnt_once")]
TINTS = {"warm": (1.0, 0.75, 0.5), "cool": (0.5, 0.75, 1.0)}


def tinted(picture: Rgb, tint: str) -> Rgb:
    return (picture * np.array(TINTS[tint])).astype(np.uint8)


@dataclass(frozen=True)
class World:
    """Tinted faces, "warm" ones and few "cool" ones, and candidates with what is claimed of them."""

    dataset: FaceDataset
    config: RunConfig
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    root, people = tmp_path_factory.mktemp("world"), load_dataset(demo.path())
    (root / "faces").mkdir()
    (root / "made").mkdir()
    rows, claims = [], []
    for row in range(90):
        tint = "cool" if row % 3 == 0 else "warm"
        (root / "faces" / f"{row:03d}.png").write_bytes(encode(tinted(people.image(row), tint), "png"))
        rows.append((f"{row:03d}.png", tint))

    def add(name: str, picture: Rgb, claim: str = "") -> None:
        (root / "made" / name).write_bytes(encode(picture, "png"))
        claims.append((name, claim, f"a {claim or 'plain'} portrait"))

    for row in range(90, 114):
        tint = "cool" if row % 2 else "warm"
        add(f"{tint}{row}.png", tinted(people.image(row), tint), tint if row % 4 < 2 else "")
    add("wrong1.png", tinted(people.image(120), "cool"), "warm")
    add("other1.png", tinted(people.image(121), "cool"), "grey")
    add("real1.png", resize(tinted(people.image(4), "warm"), (96, 96)), "warm")
    add("twin1.png", resize(tinted(people.image(130), "cool"), (80, 80)))
    add("twin2.png", tinted(people.image(130), "cool"))
    add("tiny1.png", resize(tinted(people.image(122), "cool"), (20, 20)))
    add("huge1.png", resize(tinted(people.image(123), "cool"), (1200, 1200)), "cool")
    add("flat1.png", np.full((64, 64, 3), 90, np.uint8))
    (root / "made" / "bad1.png").write_bytes(b"no image")
    claims.append(("bad1.png", "warm", ""))
    add("unnamed.png", tinted(people.image(124), "warm"))
    claims.pop()
    pd.DataFrame(rows, columns=["file", "tint"]).to_csv(root / "labels.csv", index=False)
    pd.DataFrame(claims, columns=["file", "tint", "prompt"]).to_csv(root / "claims.csv", index=False)
    config = RunConfig(
        engine="external",
        candidates=root / "made",
        candidate_labels=root / "claims.csv",
        aligned=True,
        workers=2,
        report=False,
        thresholds=changed(LOOSE, duplicate_bits=3),
    )
    return World(load_dataset(root / "faces", root / "labels.csv"), config, root)


@pytest.fixture(scope="module")
def found(world) -> Admission:
    return admit(analyze(world.dataset, "tint"), world.dataset, config=world.config)


def test_most_candidates_that_are_as_claimed_pass(found):
    passed = set(found.table.loc[found.table["reason"] == "", "file"])
    good = {name for name in found.table["file"] if name[:4] in ("warm", "cool")}
    assert len(good) == 24
    assert len(good & passed) >= 16
    assert "huge1.png" in passed  # 1,200 px are reduced to the size of the data set's images


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("wrong1.png", "claimed label confirmed"),
        ("other1.png", "claimed label confirmed"),
        ("real1.png", "no image of the data set"),
        ("twin2.png", "no near-copy"),
        ("tiny1.png", "large enough"),
        ("flat1.png", "face found"),
        ("bad1.png", "candidate readable"),
        ("unnamed.png", "candidate with its label"),
    ],
)
def test_each_refusal_has_its_reason(found, file, reason):
    row = found.table[found.table["file"] == file].iloc[0]
    assert row["reason"] == reason


def test_refusals_are_a_table_with_values_and_claims(found, tmp_path):
    found.write_refusals(tmp_path / "refusals.csv")
    table = pd.read_csv(tmp_path / "refusals.csv").set_index("file")
    assert len(table) == len(found.table) - found.passed == sum(found.reasons.values())
    wrong = table.loc["wrong1.png"]
    assert (wrong["claimed/tint"], wrong["claimed/prompt"]) == ("warm", "a warm portrait")
    assert wrong["read/guidance/tint=cool"] > 0.5 < wrong["read/held_out/tint=cool"]
    assert table.loc["tiny1.png", "read/shorter_side"] == 20


def test_all_that_passed_is_written_and_names_its_files(world, found, tmp_path):
    run = found.write(tmp_path / "out")
    assert (run.accepted, run.short) == (found.passed, 0)
    assert verify(tmp_path / "out").problems == ()
    candidates = table_of_verdicts(tmp_path / "out/models/candidates.csv")
    known = dict(zip(candidates["sha256"], candidates["cell"], strict=True))
    manifest = read_manifest(tmp_path / "out")
    assert manifest.config["engine"] == "external"
    assert "candidates" not in manifest.config  # a path of this machine
    sizes = {world.dataset.image(row).shape for row in range(len(world.dataset))}
    for entry in manifest.shards:
        with ShardReader(tmp_path / "out" / entry.name) as reader:
            for row, (cell, sha256) in enumerate(
                zip(reader.column("cell"), reader.column("source_sha256"), strict=True)
            ):
                assert known[sha256.tobytes().hex()] == cell
                assert reader.image(row).shape in sizes  # as the data set's images are


def test_a_plan_is_filled_and_the_rest_is_made_by_the_next_engine(world, tmp_path):
    thresholds = changed(world.config.thresholds, residual=2.0, unregistered=1.0, distorted=1.0, uncovered=1.0)
    config = changed(world.config, engine="external, morph", embedder="none", thresholds=thresholds, tries=4)
    wanted = plan(analyze(world.dataset, "tint"), "uniform")  # 30 more cool faces than there are candidates
    result = balance(world.dataset, tmp_path / "out", plan=wanted, config=config)
    assert verify(tmp_path / "out").problems == ()
    engines = []
    for entry in result.manifest.shards:
        with ShardReader(tmp_path / "out" / entry.name) as reader:
            engines += [reader.levels("engine")[code] for code in reader.column("engine")]
    assert {"external", "morph"} <= set(engines)
    assert result.manifest.measured["external"]["candidates"] == 33


def test_refused_candidates_are_kept_to_look_at_but_for_copies_of_faces(world, tmp_path):
    wanted = plan(analyze(world.dataset, "tint"), "min:200")  # more than there are, so that all are tried
    balance(world.dataset, tmp_path / "out", plan=wanted, config=world.config)
    manifest = read_manifest(tmp_path / "out")
    kept = Counter((picture.cell, picture.reason) for picture in read_refused(tmp_path / "out", manifest))
    tried = {(cell.index, reason): count for cell in manifest.cells for reason, count in cell.rejected.items()}
    assert "claimed label confirmed" in {reason for _, reason in kept}
    assert kept == {key: min(count, 2) for key, count in tried.items() if key[1] != "no near-copy"}


@pytest.fixture
def assessed_anew(monkeypatch) -> None:
    """Candidates are assessed although the cache has verdicts on them."""
    monkeypatch.setattr("faceaug.synthesis.engines.external.external.restore_files", lambda *_: False)


@pytest.mark.usefixtures("assessed_anew")
def test_verdicts_depend_neither_on_workers_nor_on_the_candidates_that_follow(world, found, tmp_path):
    first = found.table.head(11)  # of which the last ones are not as many as networks read at once
    for name in first["file"]:
        shutil.copy(world.folder / "made" / name, tmp_path)
    config = changed(world.config, candidates=tmp_path, workers=1)
    again = admit(analyze(world.dataset, "tint"), world.dataset, config=config).table.head(11)
    known = [name for name in first if first[name].notna().any()]
    pd.testing.assert_frame_equal(again[known], first[known])


@pytest.mark.usefixtures("assessed_anew")  # verdicts are kept by settings, and the gate that this test sets is none
@pytest.mark.parametrize(("least", "passes"), [(0.0, True), (2.0, False)])
def test_people_of_the_data_set_are_refused_where_an_embedder_is_named(world, monkeypatch, least, passes):
    """The distance to the nearest real face must be at least that of the gate; it is a column of the samples."""
    gate = IdentityGate(ToyEmbedder(), least)
    monkeypatch.setattr(IdentityGate, "of", lambda config: gate)
    config = changed(world.config, embedder="toy")
    found = admit(analyze(world.dataset, "tint"), world.dataset, config=config)
    assert (found.passed > 0) == passes
    assert ("nobody of the data set" in found.reasons) != passes
    measured = found.table["read/nearest_person"].dropna()
    assert len(measured) >= 10
    assert measured.between(0, 2).all()


def test_samples_of_an_output_folder_are_candidates_too(world, found, tmp_path):
    """What another run has made is admitted with its labels, but for what the harmonization of a second time costs."""
    found.write(tmp_path / "out")
    config = changed(world.config, candidates=tmp_path / "out", candidate_labels=None)
    again = admit(analyze(world.dataset, "tint"), world.dataset, config=config)
    assert len(again.table) == found.passed
    assert again.passed > found.passed / 2
    assert set(again.table["claimed/tint"]) == {"warm", "cool"}


def test_where_none_passes_nothing_is_written(world, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.png").write_bytes(b"none")
    config = changed(world.config, candidates=tmp_path / "made", candidate_labels=None)
    none = admit(analyze(world.dataset, "tint"), world.dataset, config=config)
    assert (none.passed, none.reasons) == (0, {"candidate readable": 1})
    with pytest.raises(DatasetError, match="none of 1 candidates passed"):
        none.write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_candidates_are_assessed_without_learning_anew(world, found, tmp_path, monkeypatch):
    monkeypatch.setattr("faceaug.synthesis.engines.external.standards.train_face_quality", None)
    monkeypatch.setattr("faceaug.synthesis.label_classifiers.train_classifiers", None)
    (tmp_path / "a.png").write_bytes(encode(np.full((64, 64, 3), 90, np.uint8), "png"))
    config = changed(world.config, candidates=tmp_path, candidate_labels=None)
    assert admit(analyze(world.dataset, "tint"), world.dataset, config=config).reasons == {"face found": 1}


def test_claims_that_are_no_numbers_are_refused(world, tmp_path):
    table = pd.DataFrame({"file": ["bad1.png"], "size": ["large"]})
    table.to_csv(tmp_path / "claims.csv", index=False)
    sized = load_dataset(world.folder / "faces", _sized(world, tmp_path))
    config = changed(world.config, candidate_labels=tmp_path / "claims.csv")
    with pytest.raises(DatasetError, match="labels claimed for the candidates do not fit"):
        admit(analyze(sized, "size:2"), sized, config=config)


def _sized(world: World, folder: Path) -> Path:
    files = sorted(path.name for path in (world.folder / "faces").iterdir())
    pd.DataFrame({"file": files, "size": np.arange(len(files)) % 17}).to_csv(folder / "sized.csv", index=False)
    return folder / "sized.csv"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"engine": "external", "tries": 3}, "tries is 3, which does nothing with the engine external"),
        ({"engine": "morph", "candidates": "made"}, "candidates is 'made', which does nothing with the engine morph"),
        ({"engine": "morph,morph"}, "names one engine twice"),
        ({"engine": "external,morp"}, "there is no engine 'morp': did you mean 'morph'"),
        ({"engine": "external", "candidates": "made", "layout": "raw", "harmonize": False}, "raw holds images of one"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, message):
    with pytest.raises(UsageError, match=message):
        engine_specs(RunConfig(**config))


def test_the_engine_needs_candidates(world, tmp_path):
    wanted = plan(analyze(world.dataset, "tint"), "uniform")
    with pytest.raises(UsageError, match="--candidates generated/"):
        balance(world.dataset, tmp_path / "out", plan=wanted, config=RunConfig(engine="external"))
    config = changed(world.config, candidates=tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="does not exist"):
        balance(world.dataset, tmp_path / "out", plan=wanted, config=config)
    assert not (tmp_path / "out").exists()
