"""Whole runs on real faces alone: accounted for, the same however they are run, labels kept, no generator at all."""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import ToyFaces
from finished_runs import columns, interrupt, same
from nosy_faces import nosy_dataset, nosy_estimator

from faceaug.analysis.analyze import analyze
from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import Budget as PlanLimits
from faceaug.planning.plan import plan
from faceaug.shards.columns import BUILT_IN_ENGINES
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.acceptance.gates import DUPLICATE, AcceptanceThresholds
from faceaug.synthesis.accounting import USED_UP
from faceaug.synthesis.balance import RunConfig, balance
from faceaug.synthesis.engines import rerender as rerendering
from faceaug.synthesis.engines.rerender import EXPOSED, FACE, OTHERWISE, REACHED, UNREADABLE, WHOLE

BY = "shape,yaw:-25/-10/10/25"
SETTINGS = RunConfig(
    engine="rerender", workers=1, aligned=True, thresholds=AcceptanceThresholds(duplicate_bits=2, distorted=0.1), max_uses=2
)


@pytest.fixture(scope="module", autouse=True)
def _coarse():
    """Bend on a coarse grid, a few attempts at a time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("faceaug.reconstruction.warp.GRID", 32)
        patched.setattr("faceaug.synthesis.engines.rerender.BLOCK", 4)
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return nosy_dataset(tmp_path_factory.mktemp("faces") / "pictures", 40)


@pytest.fixture(scope="module")
def wish(dataset):
    return plan(analyze(dataset, BY), "uniform", PlanLimits(max_total=14))


def run(dataset, wish, out, **given):
    return balance(dataset, out, plan=wish, estimator=nosy_estimator(), **{"settings": SETTINGS, **given})


@pytest.fixture(scope="module")
def base(dataset, wish, tmp_path_factory, module_quick):
    out = tmp_path_factory.mktemp("runs") / "base"
    return out, run(dataset, wish, out)


def test_planned_is_accepted_and_short_and_the_folder_is_clean(base, wish):
    out, result = base
    assert result.planned == wish.total == result.accepted + result.short
    assert result.accepted > wish.total / 2
    assert verify(out).problems == ()
    manifest = read_manifest(out)
    assert manifest.generator is None
    assert [record.sha256 for record in manifest.classifiers] == ["ab" * 32]
    known = {DUPLICATE, USED_UP, EXPOSED, FACE, OTHERWISE, REACHED, UNREADABLE, WHOLE}
    for cell in manifest.cells:
        assert cell.planned == cell.accepted + cell.short
        assert set(cell.rejected) <= known
        assert bool(cell.note) == bool(cell.short)
    assert not (out / "models").exists()
    assert "real people" in (out / "README.md").read_text()
    assert "real faces are rerendered" in (out / "report.html").read_text()


def test_samples_are_measured_in_their_cells_and_keep_their_labels(base, dataset, wish):
    out, _ = base
    held = columns(out)
    assert "w" not in held
    assert (held["engine"] == BUILT_IN_ENGINES.index("rerender")).all()
    rows = {hashlib.sha256(dataset.encoded(k)).digest(): k for k in range(len(dataset))}
    for k, cell in enumerate(held["cell"]):
        levels = wish.cells[cell].levels
        row = dataset.table.iloc[rows[held["source_sha256"][k].tobytes()]]
        assert row["shape"] == levels["shape"]
        assert wish.axes[0].levels[held["attr/shape"][k]] == row["shape"]
        assert held["attr/weight"][k] == row["weight"]  # not asked for, and kept all the same
        code = wish.axes[1].levels.index(levels["yaw"])
        assert wish.axes[1].edges[code] <= held["attr/yaw"][k] < wish.axes[1].edges[code + 1]
        assert not wish.axes[1].edges[code] <= row["yaw"] < wish.axes[1].edges[code + 1]
        assert held["semantic/yaw"][k] == pytest.approx(held["attr/yaw"][k], abs=1e-4)
    _, counts = np.unique([source.tobytes() for source in held["source_sha256"]], return_counts=True)
    assert counts.max() <= SETTINGS.max_uses
    assert np.isnan(held["attr_confidence/shape"]).all()
    assert (held["attr_confidence/yaw"] > 0.5).all()


def test_workers_and_interruptions_do_not_change_a_bit(base, dataset, wish, tmp_path, module_quick):
    out = tmp_path / "out"
    two = replace(SETTINGS, workers=2)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, wish, out, config=two, progress=interrupt("making", 3))
    assert verify(out).problems == ()
    assert 0 < read_manifest(out).totals.accepted < base[1].accepted
    with pytest.raises(OutputError, match="another configuration"):
        run(dataset, wish, out, config=replace(two, engine="generator", max_uses=3), generator=ToyFaces(), resume=True)
    result = run(dataset, wish, out, config=two, resume=True)
    assert result.accepted == base[1].accepted
    same(base[0], out)


def test_no_generator_is_loaded_and_nothing_is_learnt(dataset, wish, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("not needed")

    for name in ("load_generator", "prepare", "tasks_of"):
        monkeypatch.setattr(f"faceaug.synthesis.balance.{name}", never)
    small = plan(analyze(dataset, BY), "uniform", PlanLimits(max_total=2))
    assert run(dataset, small, tmp_path / "out").planned == 2


def test_labels_alone_write_nothing(dataset, tmp_path):
    labels = plan(analyze(dataset, "shape"), "uniform")
    with pytest.raises(UsageError, match="--engine rerender turns and relights"):
        run(dataset, labels, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_gone_is_counted(tmp_path, module_quick):
    lost = nosy_dataset(tmp_path / "pictures", 30)
    small = plan(analyze(lost, "yaw:-25/-10/10/25"), "min:20", PlanLimits(max_total=12))

    class Gone(type(lost)):
        def encoded(self, index):
            if getattr(self, "late", False) and index % 2:
                raise OSError("gone")
            return super().encoded(index)

    gone = Gone(**{name: getattr(lost, name) for name in lost.__dataclass_fields__})

    def told(stage, *_):
        if stage == "making":
            object.__setattr__(gone, "late", True)

    result = run(gone, small, tmp_path / "out", progress=told, config=replace(SETTINGS, report=False))
    assert result.manifest.totals.rejected[UNREADABLE] > 0
    assert result.planned == result.accepted + result.short


def test_photographs_are_not_held_decoded(dataset, wish, tmp_path, monkeypatch, module_quick):
    """One at a time is, however many attempts are computed together."""
    held, most = [], []
    decode = rerendering.decode_with_info

    def counted(*args, **given):
        pixels, info = decode(*args, **given)
        held.append(weakref.ref(pixels))
        most.append(sum(ref() is not None for ref in held))
        return pixels, info

    monkeypatch.setattr(rerendering, "decode_with_info", counted)
    small = plan(analyze(dataset, BY), "uniform", PlanLimits(max_total=3))
    candidates = []
    work = rerendering.RerenderEngine.make
    monkeypatch.setattr(
        rerendering.RerenderEngine, "make", lambda self, *job: candidates.append(work(self, *job)) or candidates[-1]
    )
    assert run(dataset, small, tmp_path / "out").accepted == 3
    assert max(most) <= 2  # the one before may live until the next has its name
    assert all(isinstance(found.image, bytes) for result in candidates for found in result.candidates)


def test_an_unknown_measurer_resumes_nothing(dataset, wish, tmp_path):
    """Two without a hash look alike, and the second would go on where the first began."""
    nameless = replace(nosy_estimator(), sha256="")
    with pytest.raises(UsageError, match="the measurer has no sha256"):
        balance(dataset, tmp_path / "out", plan=wish, estimator=nameless, config=SETTINGS, resume=True)
    assert not (tmp_path / "out").exists()


def test_both_engines_write_one_folder(dataset, tmp_path, module_quick):
    """Real faces first; what they leave short is the generator's, which knows no noses here."""
    small = plan(analyze(dataset, "yaw:-25/-10/10/25"), "uniform", PlanLimits(max_total=10))
    strict = replace(SETTINGS, max_uses=1, thresholds=replace(SETTINGS.thresholds, duplicate_bits=22), report=False)
    alone = run(dataset, small, tmp_path / "alone", config=strict)
    assert 0 < alone.accepted < alone.planned
    settings = replace(strict, engine="both", draws=256, tries=2, candidates=2, corrections=1)
    result = run(dataset, small, tmp_path / "both", config=settings, generator=ToyFaces())
    assert verify(tmp_path / "both").problems == ()
    held = columns(tmp_path / "both")
    turned = held["engine"] == BUILT_IN_ENGINES.index("rerender")
    # What the generator makes in one cell can be a near-copy of what the next would have been turned into.
    assert 0 < turned.sum() <= alone.accepted
    assert result.planned == result.accepted + result.short
    assert result.manifest.generator is not None


def test_what_the_table_says_wrongly_is_no_source(dataset, tmp_path, module_quick):
    wrong = replace(dataset, table=dataset.table.assign(yaw=dataset.table["yaw"] + 7))
    small = plan(analyze(wrong, "yaw:-30/-10/10/30"), "min:30", PlanLimits(max_total=5))
    result = run(wrong, small, tmp_path / "out")
    assert result.accepted == 0
    assert set(result.manifest.totals.rejected) == {OTHERWISE}
    short = next(cell for cell in result.manifest.cells if cell.short)
    assert "source measured as its table says" in short.note
    assert Path(tmp_path / "out" / "report.html").exists()


def test_what_cannot_be_is_refused_before_anything_is_written(dataset, wish, tmp_path):
    for more, said in (
        ({"directions": tmp_path / "any.safetensors"}, "edits no generator: leave out --directions, or"),
        ({"generator": "digiface"}, "edits no generator: leave out --generator, or"),
        ({"generator": ToyFaces()}, "edits no generator: leave out --generator, or"),
    ):
        with pytest.raises(UsageError, match=said):
            run(dataset, wish, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()
