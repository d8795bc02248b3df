"""A whole run on toy faces: every planned sample is accounted for, and the same samples come out however it is run."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from finished_runs import assert_same_samples, columns, interrupt
from quick_runs import LOOSE, QUICK, changed, make_blocks_small, small_plan

from faceaug.classifiers import face_quality, networks
from faceaug.classifiers import training as classifier_training
from faceaug.classifiers.config import ClassifierConfig
from faceaug.errors import FaceaugError, OutputError, UsageError
from faceaug.generators.stylegan import StyleGAN2, initialize
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.planning.plan import Plan
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.refused import read_refused
from faceaug.shards.verify import verify
from faceaug.synthesis import fitted_models, label_classifiers
from faceaug.synthesis.acceptance.gates import BUILT_IN, DUPLICATE
from faceaug.synthesis.balance import RunResult, balance
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.latent.harmonized_samples import LOST
from faceaug.synthesis.engines.registry import create_engine
from faceaug.synthesis.request import check_request
from faceaug.synthesis.stages import fingerprint

pytestmark = pytest.mark.slow
BY = "bar,spot:-3/0/3"
PLANNED = 36
CONFIG = changed(QUICK, generator=ToyFaces())


@pytest.fixture(scope="module")
def plan(toy_dataset) -> Plan:
    return small_plan(toy_dataset, BY, PLANNED)


@pytest.fixture(scope="module")
def base(toy_dataset, plan, tmp_path_factory, module_quick) -> tuple[Path, RunResult, list]:
    """A run in one go: its folder, its result, and what it reported."""
    out, reports = tmp_path_factory.mktemp("runs") / "base", []
    result = balance(toy_dataset, out, plan=plan, config=CONFIG, progress=lambda *report: reports.append(report))
    return out, result, reports


def test_planned_is_accepted_and_short(base, plan):
    out, result, _ = base
    assert (result.planned, result.accepted + result.short) == (PLANNED, PLANNED)
    assert result.accepted > PLANNED / 3
    cells = read_manifest(out).cells
    assert [cell.planned for cell in cells] == [cell.planned for cell in plan.cells]
    cell_of_sample = columns(out)["cell"]
    for cell in cells:
        assert cell.planned == cell.accepted + cell.short
        assert cell.tried == cell.accepted + sum(cell.rejected.values())
        assert set(cell.rejected) <= {*BUILT_IN, DUPLICATE, LOST}
        assert (cell_of_sample == cell.index).sum() == cell.accepted
        assert bool(cell.note) == bool(cell.short)


def test_the_folder_verifies_and_names_the_models_of_the_run(base, toy_dataset):
    out, _, _ = base
    report = verify(out)
    assert report.problems == ()
    assert report.complete
    manifest = read_manifest(out)
    assert manifest.generator.sha256 == ToyFaces().sha256
    assert manifest.dataset.fingerprint == toy_dataset.fingerprint()
    assert {"guidance", "held_out"} <= set(manifest.measured["classifiers"])
    assert manifest.measured["r2"]["bar=yes"] > 0.2
    listed = {entry.name for entry in manifest.files}
    assert {"models/guidance.safetensors", "models/held_out.safetensors", "models/directions.safetensors"} <= listed
    assert json.loads((out / "plan.json").read_text())["totals"]["planned"] == PLANNED


def test_samples_are_the_images_of_their_latents(base):
    """The image before harmonization comes again from w; labels, seeds and readings belong to their sample."""
    out, _, _ = base
    samples = columns(out)
    cells = {cell.index: cell.attributes["bar"] for cell in read_manifest(out).cells}
    with ShardReader(out / "shards" / "00000.h5") as reader:
        levels = reader.levels("attr/bar")
        image = reader.image(0)
    assert [levels[code] for code in samples["attr/bar"]] == [cells[cell] for cell in samples["cell"]]
    assert len(np.unique(samples["seed"])) == len(samples["seed"])
    assert (samples["attr_confidence/bar"] >= LOOSE.held_out).all()
    assert (samples["plausibility"] <= 1).all()
    again = ToyFaces().synthesize(torch.from_numpy(samples["w"][:1]))[0]
    generated, written = again.mean(0).numpy().ravel(), image.mean(2).ravel().astype(float)
    assert np.corrcoef(generated, written)[0, 1] > 0.8
    # Edits go the requested way: a bar is darker than where the edit began.
    moved = (samples["w"] - samples["origin_w"])[:, ToyFaces.BAR]
    wanted = np.array([cells[cell] == "yes" for cell in samples["cell"]])
    assert samples["w"][wanted, ToyFaces.BAR].mean() > samples["w"][~wanted, ToyFaces.BAR].mean() + 0.5
    assert moved[wanted].mean() >= 0


def test_progress_is_reported_to_the_end(base):
    _, result, reports = base
    stages = [stage for stage, _, _ in reports]
    assert stages[0] == "reading"
    assert {"classifiers", "directions", "synthesis"} <= set(stages)
    synthesis = [(done, total) for stage, done, total in reports if stage == "synthesis"]
    assert synthesis[0] == (0, PLANNED)
    assert synthesis[-1] == (result.accepted, PLANNED)
    assert [done for done, _ in synthesis] == sorted(done for done, _ in synthesis)


def test_workers_and_batches_do_not_change_a_bit(base, toy_dataset, plan, tmp_path, module_quick):
    balance(toy_dataset, tmp_path / "other", plan=plan, config=changed(CONFIG, workers=2, batch_size=7))
    assert_same_samples(base[0], tmp_path / "other")


def test_interruptions_do_not_change_a_bit(base, toy_dataset, plan, tmp_path, module_quick):
    """Once while models are fitted, twice in synthesis, then to the end: with other workers and batches each time."""
    out, done = tmp_path / "out", []
    stops = [("directions", 2, 2, 64), ("synthesis", 2, 2, 64), ("synthesis", 3, 1, 7)]
    partly = 0
    for stage, times, workers, batch in stops:
        config = changed(CONFIG, workers=workers, batch_size=batch)
        with pytest.raises(KeyboardInterrupt):
            balance(toy_dataset, out, plan=plan, config=config, resume=bool(done), progress=interrupt(stage, times))
        assert not read_manifest(out).complete
        assert verify(out).problems == ()
        done.append(read_manifest(out).totals.accepted)
        partly += sum(0 < cell.accepted < cell.planned for cell in read_manifest(out).cells)
    assert partly  # it stopped inside a cell
    assert 0 == done[0] < done[1] < done[2] < base[1].accepted  # each got further, and left it on disk
    reports = []
    result = balance(
        toy_dataset, out, plan=plan, config=CONFIG, resume=True, progress=lambda *report: reports.append(report)
    )
    assert not {"classifiers", "directions"} & {stage for stage, _, _ in reports}  # what was fitted is read back
    assert next(done for stage, done, _ in reports if stage == "synthesis") == done[2]
    assert (result.accepted, result.short) == (base[1].accepted, base[1].short)
    assert_same_samples(base[0], out)
    kept = read_refused(out, read_manifest(out))
    assert kept == read_refused(base[0], read_manifest(base[0]))
    assert kept
    assert verify(out).problems == ()


def test_another_configuration_is_refused(base, toy_dataset, plan, module_quick):
    before = (base[0] / "manifest.json").read_bytes()
    smaller = small_plan(toy_dataset, BY, PLANNED - 1)
    others = [
        {"config": changed(CONFIG, seed=1)},
        {"config": changed(CONFIG, thresholds=changed(LOOSE, drift=0.4))},
        {"config": changed(CONFIG, harmonize=False)},
        {"config": changed(CONFIG, generator=ToyFaces(21))},
        {"plan": smaller},
    ]
    for other in others:
        with pytest.raises(OutputError, match="another configuration"):
            balance(toy_dataset, base[0], resume=True, **{"plan": plan, "config": CONFIG, **other})
    with pytest.raises(OutputError, match="finished run"):
        balance(toy_dataset, base[0], plan=plan, config=CONFIG)
    assert (base[0] / "manifest.json").read_bytes() == before


def test_a_finished_run_resumes_at_once(base, toy_dataset, plan, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("faceaug.synthesis.stages.load_thumbnails", never)
    result = balance(toy_dataset, base[0], plan=plan, config=CONFIG, resume=True)
    assert (result.accepted, result.short) == (base[1].accepted, base[1].short)


def test_tries_that_run_out_end_short_with_a_note(toy_dataset, plan, tmp_path, module_quick, monkeypatch):
    monkeypatch.setattr("faceaug.synthesis.engines.latent.latent_editor.out_of_reach", lambda *_: "")
    impossible = changed(LOOSE, confidence=1.0)  # a classifier is never that sure
    config = changed(CONFIG, thresholds=impossible, tries=1, harmonize=False)
    result = balance(toy_dataset, tmp_path / "out", plan=plan, config=config)
    assert (result.accepted, result.short) == (0, PLANNED)
    for cell in result.manifest.cells:
        assert cell.short == cell.planned
        assert cell.note.startswith(f"{cell.planned} short after all attempts")
        assert max(cell.rejected, key=cell.rejected.get) in cell.note
        assert cell.tried == sum(cell.rejected.values()) >= cell.planned
    report = verify(tmp_path / "out")
    assert report.problems == ()
    assert report.complete


def test_a_cell_out_of_reach_is_not_tried_and_says_why(toy_dataset, plan, tmp_path, module_quick, monkeypatch):
    lost = next(cell for cell in plan.cells if cell.planned)

    def too_narrow(goals, directions, readers):
        return "too narrow" if {goal.task.name: goal.level for goal in goals} == lost.levels else ""

    monkeypatch.setattr("faceaug.synthesis.engines.latent.latent_editor.out_of_reach", too_narrow)
    config = changed(CONFIG, tries=1, harmonize=False)
    result = balance(toy_dataset, tmp_path / "out", plan=plan, config=config)
    cells = {cell.index: cell for cell in result.manifest.cells}
    assert (cells[lost.index].tried, cells[lost.index].short) == (0, lost.planned)
    assert cells[lost.index].note == "too narrow"
    assert sum(cell.tried for cell in cells.values()) > 0
    assert all(cell.note != "too narrow" for index, cell in cells.items() if index != lost.index)


def test_raw_samples_are_left_as_the_generator_synthesized_them(toy_dataset, tmp_path, module_quick):
    config = changed(CONFIG, harmonize=False, image_format="png", layout="raw", tries=2)
    balance(toy_dataset, tmp_path / "out", plan=small_plan(toy_dataset, "bar", 12), config=config)
    samples = columns(tmp_path / "out")
    images = ToyFaces().synthesize(torch.from_numpy(samples["w"]))
    expected = ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    written = []
    for entry in read_manifest(tmp_path / "out").shards:
        with ShardReader(tmp_path / "out" / entry.name) as reader:
            written += reader.image_many(range(len(reader)))
    assert len(written) > 3
    np.testing.assert_array_equal(np.stack(written), expected)
    assert not [key for key in samples if key.startswith("harmonize/")]


def small_trunk():
    """Return a trunk that is trained in moments."""
    layers = []
    for i, o in pairwise((3, 8, 16, 24)):
        layers += [torch.nn.Conv2d(i, o, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(o), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers), 24


def test_a_run_that_really_trains(toy_dataset, tmp_path, monkeypatch):
    """Nothing stands in for the classifiers here: with little training and lenient gates, all samples are counted."""
    monkeypatch.setattr(label_classifiers, "train_classifiers", classifier_training.train_classifiers)
    monkeypatch.setattr(fitted_models, "train_face_quality", face_quality.train_face_quality)
    for name in ("residual", "plain"):
        monkeypatch.setitem(networks.TRUNKS, name, small_trunk)
    for name, steps in (("for_size", 12), ("for_face_quality", 8)):
        short = ClassifierConfig(steps, batch_size=16 if name == "for_size" else 64)
        monkeypatch.setattr(ClassifierConfig, name, classmethod(lambda cls, n, device="cpu", short=short: short))
    make_blocks_small(monkeypatch, offspring=8)
    lenient = AcceptanceThresholds(
        confidence=0.01, held_out=0.01, drift=9.0, spill=99.0, realistic=1.0, face_quality=0.0, exposure=0.0
    )
    stages = []
    result = balance(
        toy_dataset,
        tmp_path / "out",
        plan=small_plan(toy_dataset, "bar", 6),
        config=changed(CONFIG, thresholds=lenient, harmonize=False, corrections=1),
        progress=lambda stage, *_: stages.append(stage),
    )
    assert result.accepted + result.short == 6
    assert result.accepted > 0
    assert {"classifiers", "face quality", "directions", "synthesis"} <= set(stages)
    for metrics in result.manifest.measured["classifiers"].values():
        assert 0 <= metrics[0]["accuracy"] <= 1
        assert set(metrics[0]["recall"]) <= {"no", "yes"}
    assert verify(tmp_path / "out").problems == ()


def tiny_stylegan() -> StyleGAN2:
    return initialize(StyleGAN2Config(8, 4, 4, 1, 64, 8), seed=0, statistics_samples=100)


def run_fingerprint(dataset, plan, **changes) -> str:
    request = check_request(dataset, plan, changed(CONFIG, **changes))
    return fingerprint(request, create_engine(request))


def test_what_decides_the_samples_is_in_the_fingerprint(toy_dataset, plan):
    def of(**changes):
        return run_fingerprint(toy_dataset, plan, **changes)

    assert of() == of(workers=4, batch_size=3, report=True)
    others = [
        {"seed": 1},
        {"survey_samples": 300},
        {"truncation_psi": 0.8},
        {"corrections": 1},
        {"origins": 2},
        {"tries": 3},
        {"harmonize": False},
        {"image_format": "png"},
        {"layout": "raw"},
        {"thresholds": changed(LOOSE, drift=0.1)},
        {"generator": ToyFaces(21)},
    ]
    assert len({of(), *(of(**other) for other in others)}) == 1 + len(others)
    bars = small_plan(toy_dataset, "bar", PLANNED)
    assert run_fingerprint(toy_dataset, bars) != run_fingerprint(toy_dataset, bars, keep=("spot",))


def test_a_generator_that_synthesizes_otherwise_is_another_in_the_fingerprint(toy_dataset, plan):
    tiny = tiny_stylegan()
    others = ({"truncation_psi": 0.7}, {"noise_mode": "none"}, {"truncation_cutoff": 2})
    generators = [tiny, *(tiny.with_config(**other) for other in others)]
    assert len({run_fingerprint(toy_dataset, plan, generator=found) for found in generators}) == len(generators)
    again = tiny.with_config()
    assert run_fingerprint(toy_dataset, plan, generator=again) == run_fingerprint(toy_dataset, plan, generator=tiny)


def test_images_of_several_sizes_do_not_go_into_raw_pixels(toy_dataset, plan, tmp_path):
    config = RunConfig(engine="both", layout="raw", harmonize=False, generator=ToyFaces())
    with pytest.raises(UsageError, match="raw holds images of one size"):
        balance(toy_dataset, tmp_path / "o", plan=plan, config=config)
    assert not (tmp_path / "o").exists()


def test_an_attribute_that_cannot_be_kept_is_refused(toy_dataset, plan, tmp_path):
    for keep, found in (("spott", "'spott' cannot be kept"), ("bar", "'bar' cannot be kept")):
        with pytest.raises(UsageError, match=found):
            balance(toy_dataset, tmp_path / "o", plan=plan, config=changed(CONFIG, keep=(keep,)))
    assert not (tmp_path / "o").exists()


def test_samples_are_not_made_in_low_precision(toy_dataset, plan, tmp_path):
    rough = initialize(StyleGAN2Config(8, 4, 4, 1, 64, 8), seed=0, statistics_samples=100).with_config(
        precision="bfloat16"
    )
    with pytest.raises(UsageError, match="computes in bfloat16"):
        balance(toy_dataset, tmp_path / "o", plan=plan, config=changed(CONFIG, generator=rough))
    assert not (tmp_path / "o").exists()


def test_too_few_surveyed_faces_for_the_width_of_w_are_refused(toy_dataset, plan, tmp_path):
    wide = ToyFaces(129)
    with pytest.raises(UsageError, match=r"survey_samples is 256, but directions in the 129 coordinates .* 258"):
        balance(toy_dataset, tmp_path / "o", plan=plan, config=changed(CONFIG, generator=wide))
    assert not (tmp_path / "o").exists()


def test_a_foreign_folder_is_left_alone(toy_dataset, plan, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FaceaugError):
        balance(toy_dataset, tmp_path, plan=plan, config=CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_plan_of_nothing_ends_at_once_with_a_whole_folder(toy_dataset, tmp_path, module_quick):
    nothing = small_plan(toy_dataset, "bar", 0)
    result = balance(toy_dataset, tmp_path / "out", plan=nothing, config=CONFIG)
    assert (result.planned, result.accepted, result.short) == (0, 0, 0)
    report = verify(tmp_path / "out")
    assert report.problems == ()
    assert report.complete
