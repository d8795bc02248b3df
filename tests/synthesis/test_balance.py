"""A whole run on toy faces: every planned sample is accounted for, and the same samples come out however it is run."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from finished_runs import columns, interrupt, same

from faceaug.analysis.analyze import analyze
from faceaug.classifiers import face_quality as soundness
from faceaug.classifiers import networks
from faceaug.classifiers import training as learning
from faceaug.classifiers.classifier import ClassifierSchedule
from faceaug.errors import FaceaugError, OutputError, UsageError
from faceaug.generators.stylegan import initialise
from faceaug.generators.stylegan2_networks import StyleGAN2Config
from faceaug.planning.plan import Budget as PlanLimits
from faceaug.planning.plan import Plan, plan
from faceaug.shards.manifest import read_manifest
from faceaug.shards.reader import ShardReader
from faceaug.shards.verify import verify
from faceaug.synthesis import setup as guide
from faceaug.synthesis.acceptance.gates import BUILT_IN, DUPLICATE, AcceptanceThresholds
from faceaug.synthesis.balance import RunConfig, RunResult, balance, fingerprint
from faceaug.synthesis.engines import latent_edit as block

BY = "bar,spot:-3/0/3"
PLANNED = 36
# Loose where toys are not faces: what each gate refuses is tested with the gates.
LOOSE = AcceptanceThresholds(drift=1.0, spill=5.0, realistic=1.0, face_quality=0.0, exposure=0.0, duplicate_bits=4)
SETTINGS = RunConfig(draws=256, workers=1, thresholds=LOOSE, report=False, corrections=2, candidates=4)


@pytest.fixture(scope="module")
def wish(toy_dataset) -> Plan:
    return plan(analyze(toy_dataset, BY), "min:200", PlanLimits(max_total=PLANNED))


@pytest.fixture(scope="module")
def base(toy_dataset, wish, tmp_path_factory, module_quick) -> tuple[Path, RunResult, list]:
    """A run in one go: its folder, its result, and what it told."""
    out, told = tmp_path_factory.mktemp("runs") / "base", []
    result = balance(
        toy_dataset, out, plan=wish, generator=ToyFaces(), config=SETTINGS, progress=lambda *c: told.append(c)
    )
    return out, result, told


def test_planned_is_accepted_and_short(base, wish):
    out, result, _ = base
    assert (result.planned, result.accepted + result.short) == (PLANNED, PLANNED)
    assert result.accepted > PLANNED / 3
    cells = read_manifest(out).cells
    assert [cell.planned for cell in cells] == [cell.planned for cell in wish.cells]
    held = columns(out)["cell"]
    for cell in cells:
        assert cell.planned == cell.accepted + cell.short
        assert cell.tried == cell.accepted + sum(cell.rejected.values())
        assert set(cell.rejected) <= {*BUILT_IN, DUPLICATE, "judge agrees once finished"}
        assert (held == cell.index).sum() == cell.accepted
        assert bool(cell.note) == bool(cell.short)


def test_the_folder_is_clean_and_says_what_it_was_made_with(base, toy_dataset):
    out, _, _ = base
    report = verify(out)
    assert report.problems == ()
    assert report.complete
    manifest = read_manifest(out)
    assert manifest.generator.sha256 == ToyFaces().sha256
    assert manifest.dataset.fingerprint == toy_dataset.fingerprint()
    assert {"steering", "judge"} <= set(manifest.measured["probes"])
    assert manifest.measured["r2"]["bar=yes"] > 0.2
    listed = {entry.name for entry in manifest.files}
    assert {"models/steering.safetensors", "models/judge.safetensors", "models/directions.safetensors"} <= listed
    assert json.loads((out / "plan.json").read_text())["totals"]["planned"] == PLANNED


def test_samples_are_what_their_latents_say(base):
    """The picture, before finishing, comes again from w; labels, seeds and readings belong to their sample."""
    out, _, _ = base
    held = columns(out)
    cells = {cell.index: cell.attributes["bar"] for cell in read_manifest(out).cells}
    with ShardReader(out / "shards" / "00000.h5") as reader:
        levels = reader.levels("attr/bar")
        image = reader.image(0)
    assert [levels[code] for code in held["attr/bar"]] == [cells[cell] for cell in held["cell"]]
    assert len(np.unique(held["seed"])) == len(held["seed"])
    assert (held["attr_confidence/bar"] >= LOOSE.held_out).all()
    assert (held["plausibility"] <= 1).all()
    again = ToyFaces().synthesize(torch.from_numpy(held["w"][:1]))[0]
    grey, made = again.mean(0).numpy().ravel(), image.mean(2).ravel().astype(float)
    assert np.corrcoef(grey, made)[0, 1] > 0.8
    # Edits go the asked way: a bar is darker than where the edit began.
    moved = (held["w"] - held["origin_w"])[:, ToyFaces.BAR]
    wanted = np.array([cells[cell] == "yes" for cell in held["cell"]])
    assert held["w"][wanted, ToyFaces.BAR].mean() > held["w"][~wanted, ToyFaces.BAR].mean() + 0.5
    assert moved[wanted].mean() >= 0


def test_progress_is_told_to_the_end(base):
    _, result, told = base
    stages = [stage for stage, _, _ in told]
    assert stages[0] == "reading"
    assert {"probes", "directions", "making"} <= set(stages)
    making = [(done, total) for stage, done, total in told if stage == "making"]
    assert making[0] == (0, PLANNED)
    assert making[-1] == (result.accepted, PLANNED)
    assert [done for done, _ in making] == sorted(done for done, _ in making)


def test_workers_and_batches_do_not_change_a_bit(base, toy_dataset, wish, tmp_path, module_quick):
    settings = replace(SETTINGS, workers=2, batch_size=7)
    balance(toy_dataset, tmp_path / "other", plan=wish, generator=ToyFaces(), config=settings)
    same(base[0], tmp_path / "other")


def test_interruptions_do_not_change_a_bit(base, toy_dataset, wish, tmp_path, module_quick):
    """Once while learning, twice while making, then to the end: with other workers and batches each time."""
    out, done = tmp_path / "out", []
    stops = [("directions", 2, 2, 64), ("making", 2, 2, 64), ("making", 3, 1, 7)]
    partly = 0
    for stage, times, workers, batch in stops:
        settings = replace(SETTINGS, workers=workers, batch_size=batch)
        with pytest.raises(KeyboardInterrupt):
            balance(toy_dataset, out, plan=wish, generator=ToyFaces(), config=settings, resume=bool(done),
                    progress=interrupt(stage, times))  # fmt: skip
        assert not read_manifest(out).complete
        assert verify(out).problems == ()
        done.append(read_manifest(out).totals.accepted)
        partly += sum(0 < cell.accepted < cell.planned for cell in read_manifest(out).cells)
    assert partly  # it stopped inside a cell
    assert 0 == done[0] < done[1] < done[2] < base[1].accepted  # each got further, and left it on disk
    told = []
    result = balance(toy_dataset, out, plan=wish, generator=ToyFaces(), config=SETTINGS, resume=True,
                     progress=lambda *c: told.append(c))  # fmt: skip
    assert not {"probes", "directions"} & {stage for stage, _, _ in told}  # what was learnt is read back
    assert next(done for stage, done, _ in told if stage == "making") == done[2]
    assert (result.accepted, result.short) == (base[1].accepted, base[1].short)
    same(base[0], out)
    assert verify(out).problems == ()


def test_another_configuration_is_refused(base, toy_dataset, wish, module_quick):
    before = (base[0] / "manifest.json").read_bytes()
    smaller = plan(analyze(toy_dataset, BY), "min:200", PlanLimits(max_total=PLANNED - 1))
    others = [
        dict(config=replace(SETTINGS, seed=1)), dict(config=replace(SETTINGS, thresholds=replace(LOOSE, drift=0.4))),
        dict(config=replace(SETTINGS, harmonize=False)), dict(generator=ToyFaces(21)), dict(plan=smaller),
    ]  # fmt: skip
    for other in others:
        arguments = dict(plan=wish, generator=ToyFaces(), config=SETTINGS, **{})
        with pytest.raises(OutputError, match="another configuration"):
            balance(toy_dataset, base[0], resume=True, **{**arguments, **other})
    with pytest.raises(OutputError, match="finished run"):
        balance(toy_dataset, base[0], plan=wish, generator=ToyFaces(), config=SETTINGS)
    assert (base[0] / "manifest.json").read_bytes() == before


def test_a_finished_run_resumes_at_once(base, toy_dataset, wish, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("faceaug.synthesis.balance.load_thumbnails", never)
    result = balance(toy_dataset, base[0], plan=wish, generator=ToyFaces(), config=SETTINGS, resume=True)
    assert (result.accepted, result.short) == (base[1].accepted, base[1].short)


def test_tries_that_run_out_end_short_with_a_note(toy_dataset, wish, tmp_path, module_quick, monkeypatch):
    monkeypatch.setattr("faceaug.synthesis.engines.latent_edit.out_of_reach", lambda *_: "")
    impossible = replace(LOOSE, confidence=1.0)  # a probe is never that sure
    settings = replace(SETTINGS, thresholds=impossible, tries=1, harmonize=False)
    result = balance(toy_dataset, tmp_path / "out", plan=wish, generator=ToyFaces(), config=settings)
    assert (result.accepted, result.short) == (0, PLANNED)
    for cell in result.manifest.cells:
        assert cell.short == cell.planned
        assert cell.note.startswith(f"{cell.planned} short when its tries were used up")
        assert max(cell.rejected, key=cell.rejected.get) in cell.note
        assert cell.tried == sum(cell.rejected.values()) >= cell.planned
    report = verify(tmp_path / "out")
    assert report.problems == ()
    assert report.complete


def test_a_cell_out_of_reach_is_not_tried_and_says_why(toy_dataset, wish, tmp_path, module_quick, monkeypatch):
    lost = next(cell for cell in wish.cells if cell.planned)

    def told(parts, directions, probes):
        return "too narrow" if {p.task.name: p.level for p in parts} == lost.levels else ""

    monkeypatch.setattr("faceaug.synthesis.engines.latent_edit.out_of_reach", told)
    settings = replace(SETTINGS, tries=1, harmonize=False)
    result = balance(toy_dataset, tmp_path / "out", plan=wish, generator=ToyFaces(), config=settings)
    cells = {cell.index: cell for cell in result.manifest.cells}
    assert (cells[lost.index].tried, cells[lost.index].short) == (0, lost.planned)
    assert cells[lost.index].note == "too narrow"
    assert sum(cell.tried for cell in cells.values()) > 0
    assert all(cell.note != "too narrow" for index, cell in cells.items() if index != lost.index)


def test_raw_samples_are_left_as_the_generator_made_them(toy_dataset, wish, tmp_path, module_quick):
    settings = replace(SETTINGS, harmonize=False, image_format="png", layout="raw", tries=2)
    few = plan(analyze(toy_dataset, "bar"), "min:200", PlanLimits(max_total=12))
    balance(toy_dataset, tmp_path / "out", plan=few, generator=ToyFaces(), config=settings)
    held = columns(tmp_path / "out")
    pictures = ToyFaces().synthesize(torch.from_numpy(held["w"]))
    expected = ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    found = []
    for entry in read_manifest(tmp_path / "out").shards:
        with ShardReader(tmp_path / "out" / entry.name) as reader:
            found += reader.image_many(range(len(reader)))
    assert len(found) > 3
    np.testing.assert_array_equal(np.stack(found), expected)
    assert not [key for key in held if key.startswith("finish/")]


def small_trunk():
    """A trunk that is trained in moments."""
    layers = []
    for i, o in pairwise((3, 8, 16, 24)):
        layers += [torch.nn.Conv2d(i, o, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(o), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers), 24


def test_a_run_that_really_learns(toy_dataset, tmp_path, monkeypatch):
    """Nothing stands in for the probes here; with a moment's training and open gates, what is made is accounted for."""
    monkeypatch.setattr(guide, "learn", learning.train_classifiers)
    monkeypatch.setattr(guide, "train_soundness", soundness.train_face_quality)
    for name in ("residual", "plain"):
        monkeypatch.setitem(networks.TRUNKS, name, small_trunk)
    short = ClassifierSchedule(12, batch=16)
    monkeypatch.setattr(ClassifierSchedule, "for_size", classmethod(lambda cls, n: short))
    monkeypatch.setattr(soundness, "steps_for", lambda n: 8)
    for name, small in (("BLOCK", 8), ("OFFSPRING", 8), ("GENERATIONS", 1)):
        monkeypatch.setattr(block, name, small)
    open_ = AcceptanceThresholds(
        confidence=0.01, held_out=0.01, drift=9.0, spill=99.0, realistic=1.0, face_quality=0.0, exposure=0.0
    )
    few = plan(analyze(toy_dataset, "bar"), "min:200", PlanLimits(max_total=6))
    told = []
    result = balance(
        toy_dataset, tmp_path / "out", plan=few, generator=ToyFaces(), progress=lambda *call: told.append(call[0]),
        config=replace(SETTINGS, thresholds=open_, harmonize=False, corrections=1),
    )  # fmt: skip
    assert result.accepted + result.short == 6
    assert result.accepted > 0
    assert {"probes", "soundness", "directions", "making"} <= set(told)
    for figures in result.manifest.measured["probes"].values():
        assert 0 <= figures[0]["accuracy"] <= 1
        assert set(figures[0]["recall"]) <= {"no", "yes"}
    assert verify(tmp_path / "out").problems == ()


def test_what_decides_the_samples_is_in_the_fingerprint(toy_dataset, wish):
    generator = ToyFaces()

    def mark(**changes):
        return fingerprint(toy_dataset, wish, generator, replace(SETTINGS, **changes))

    assert mark() == mark(workers=4, batch_size=3, report=True)
    changed = [mark(seed=1), mark(draws=300), mark(truncation_psi=0.8), mark(corrections=1), mark(candidates=2),
               mark(tries=3), mark(keep=("spot",)), mark(harmonize=False), mark(image_format="png"), mark(layout="raw"),
               mark(thresholds=replace(LOOSE, drift=0.1))]  # fmt: skip
    assert len({mark(), *changed}) == 1 + len(changed)


def test_a_generator_that_draws_otherwise_is_another_in_the_fingerprint(toy_dataset, wish):
    drawn = initialise(StyleGAN2Config(8, 4, 4, 1, 64, 8), seed=0, samples=100)
    ways = [drawn, *(drawn.with_settings(**way) for way in ({"psi": 0.7}, {"noise": "none"}, {"cutoff": 2}))]
    assert len({fingerprint(toy_dataset, wish, way, SETTINGS) for way in ways}) == len(ways)
    assert fingerprint(toy_dataset, wish, drawn.with_settings(), SETTINGS) == fingerprint(
        toy_dataset, wish, drawn, SETTINGS
    )


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"batch_size": 0}, {"tries": 0}, {"candidates": 0}, {"corrections": -1}, {"draws": 100},
     {"workers": 0}, {"truncation": 0.0}, {"truncation": 1.5}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        RunConfig(**wrong)


@pytest.mark.parametrize(
    ("given", "idle"),
    [({"engine": "rerender", "finish": False}, "finish"), ({"engine": "rerender", "draws": 300}, "draws"),
     ({"engine": "rerender", "device": "cuda"}, "device"), ({"uses": 2}, "uses")],
)  # fmt: skip
def test_settings_that_would_do_nothing_are_refused(given, idle):
    engine = given.get("engine", "generator")
    with pytest.raises(UsageError, match=f"{idle} is .*does nothing with the engine {engine}: leave it out"):
        RunConfig(**given)
    RunConfig(**{**given, "engine": "both"})


def test_pictures_of_two_sizes_do_not_go_into_raw_pixels():
    with pytest.raises(UsageError, match="pictures of one size"):
        RunConfig(engine="both", layout="raw", harmonize=False)


def test_an_attribute_that_cannot_be_kept_is_refused(toy_dataset, wish, tmp_path):
    for keep, found in (("spott", "'spott' cannot be kept"), ("bar", "'bar' cannot be kept")):
        with pytest.raises(UsageError, match=found):
            balance(
                toy_dataset, tmp_path / "o", plan=wish, generator=ToyFaces(), config=replace(SETTINGS, keep=(keep,))
            )
    assert not (tmp_path / "o").exists()


def test_faces_are_not_made_in_low_precision(toy_dataset, wish, tmp_path):
    rough = ToyFaces()
    rough.precision = "bfloat16"
    with pytest.raises(UsageError, match="computes in bfloat16"):
        balance(toy_dataset, tmp_path / "o", plan=wish, generator=rough, config=SETTINGS)
    assert not (tmp_path / "o").exists()


def test_a_foreign_folder_is_left_alone(toy_dataset, wish, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FaceaugError):
        balance(toy_dataset, tmp_path, plan=wish, generator=ToyFaces(), config=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
