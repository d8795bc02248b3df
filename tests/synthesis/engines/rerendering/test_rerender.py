"""Whole runs on real faces alone: accounted for, the same however they are run, labels kept, no generator at all."""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import replace

import numpy as np
import pytest
from fakes import ToyFaces
from finished_runs import assert_same_samples, columns, interrupt
from nosy_faces import nosy_dataset, nosy_estimator
from quick_runs import changed, make_rerender_small

from faceaug.analysis.analyze import analyze
from faceaug.errors import OutputError, UsageError
from faceaug.planning.plan import Budget
from faceaug.planning.plan import plan as plan_samples
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import BUILT_IN_ENGINES
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.acceptance.gates import DUPLICATE
from faceaug.synthesis.accounting import USED_UP
from faceaug.synthesis.balance import balance
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig
from faceaug.synthesis.engines.rerendering import rerender
from faceaug.synthesis.engines.rerendering.rerender import (
    COVERED,
    DISTORTED,
    EXPOSED,
    FACE,
    OTHERWISE,
    REACHED,
    UNREADABLE,
)

pytestmark = pytest.mark.slow
BY = "shape,yaw:-25/-10/10/25"
CONFIG = RunConfig(
    engine="rerender",
    reconstruction=nosy_estimator(),
    aligned=True,
    workers=1,
    max_uses=2,
    thresholds=AcceptanceThresholds(duplicate_bits=2, distorted=0.1),
)


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patched:
        make_rerender_small(patched)
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return nosy_dataset(tmp_path_factory.mktemp("faces") / "images", 40)


def planned(dataset, total, by=BY, strategy="uniform"):
    return plan_samples(analyze(dataset, by), strategy, Budget(max_total=total))


@pytest.fixture(scope="module")
def plan(dataset):
    return planned(dataset, 14)


@pytest.fixture(scope="module")
def base(dataset, plan, tmp_path_factory, module_quick):
    out = tmp_path_factory.mktemp("runs") / "base"
    return out, balance(dataset, out, plan=plan, config=CONFIG)


def test_planned_is_accepted_and_short_and_the_folder_is_clean(base, plan):
    out, result = base
    assert result.planned == plan.total == result.accepted + result.short
    assert result.accepted > plan.total / 2
    assert verify(out).problems == ()
    manifest = read_manifest(out)
    assert manifest.generator is None
    assert [record.sha256 for record in manifest.classifiers] == ["ab" * 32]
    known = {DUPLICATE, USED_UP, EXPOSED, FACE, OTHERWISE, REACHED, UNREADABLE, COVERED, DISTORTED}
    for cell in manifest.cells:
        assert cell.planned == cell.accepted + cell.short
        assert set(cell.rejected) <= known
        assert bool(cell.note) == bool(cell.short)
    assert not (out / "models").exists()
    assert "real people" in (out / "README.md").read_text()
    assert "made from real faces" in (out / "report.html").read_text()


def test_samples_are_measured_in_their_cells_and_keep_their_labels(base, dataset, plan):
    out, _ = base
    samples = columns(out)
    assert "w" not in samples
    assert (samples["engine"] == BUILT_IN_ENGINES.index("rerender")).all()
    rows = {hashlib.sha256(dataset.encoded(k)).digest(): k for k in range(len(dataset))}
    for k, cell in enumerate(samples["cell"]):
        levels = plan.cells[cell].levels
        row = dataset.table.iloc[rows[samples["source_sha256"][k].tobytes()]]
        assert row["shape"] == levels["shape"]
        assert plan.axes[0].levels[samples["attr/shape"][k]] == row["shape"]
        assert samples["attr/weight"][k] == row["weight"]  # not requested, and kept all the same
        code = plan.axes[1].levels.index(levels["yaw"])
        assert plan.axes[1].edges[code] <= samples["attr/yaw"][k] < plan.axes[1].edges[code + 1]
        assert not plan.axes[1].edges[code] <= row["yaw"] < plan.axes[1].edges[code + 1]
        assert samples["semantic/yaw"][k] == pytest.approx(samples["attr/yaw"][k], abs=1e-4)
    _, counts = np.unique([source.tobytes() for source in samples["source_sha256"]], return_counts=True)
    assert counts.max() <= CONFIG.max_uses
    assert np.isnan(samples["attr_confidence/shape"]).all()
    assert (samples["attr_confidence/yaw"] > 0.5).all()


def test_workers_and_interruptions_do_not_change_a_bit(base, dataset, plan, tmp_path, module_quick):
    out = tmp_path / "out"
    two = changed(CONFIG, workers=2)
    with pytest.raises(KeyboardInterrupt):
        balance(dataset, out, plan=plan, config=two, progress=interrupt("synthesis", 3))
    assert verify(out).problems == ()
    assert 0 < read_manifest(out).totals.accepted < base[1].accepted
    edited = changed(two, engine="generator", generator=ToyFaces(), max_uses=None)
    with pytest.raises(OutputError, match="another configuration"):
        balance(dataset, out, plan=plan, config=edited, resume=True)
    result = balance(dataset, out, plan=plan, config=two, resume=True)
    assert result.accepted == base[1].accepted
    assert_same_samples(base[0], out)


def test_no_generator_is_loaded_and_nothing_is_trained(dataset, plan, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("not needed")

    for name in ("load_generator", "fit_models", "tasks_of"):
        monkeypatch.setattr(f"faceaug.synthesis.engines.latent.latent_edit.{name}", never)
    assert balance(dataset, tmp_path / "out", plan=planned(dataset, 2), config=CONFIG).planned == 2


def test_labels_alone_write_nothing(dataset, tmp_path):
    labels = planned(dataset, None, by="shape")
    with pytest.raises(UsageError, match="--engine rerender turns and relights"):
        balance(dataset, tmp_path / "out", plan=labels, config=CONFIG)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_gone_is_counted(tmp_path, module_quick):
    whole = nosy_dataset(tmp_path / "images", 30)
    small = planned(whole, 12, by="yaw:-25/-10/10/25", strategy="min:20")

    class Gone(type(whole)):
        def encoded(self, index):
            if getattr(self, "late", False) and index % 2:
                raise OSError("gone")
            return super().encoded(index)

    gone = Gone(**{name: getattr(whole, name) for name in whole.__dataclass_fields__})

    def lose(stage, *_):
        if stage == "synthesis":
            object.__setattr__(gone, "late", True)

    result = balance(gone, tmp_path / "out", plan=small, progress=lose, config=changed(CONFIG, report=False))
    assert result.manifest.totals.rejected[UNREADABLE] > 0
    assert result.planned == result.accepted + result.short


def test_photographs_are_not_held_decoded(dataset, plan, tmp_path, monkeypatch, module_quick):
    """One at a time is, however many attempts are computed together."""
    references, most = [], []
    decode = rerender.decode_with_info

    def counted(*args, **given):
        pixels, info = decode(*args, **given)
        references.append(weakref.ref(pixels))
        most.append(sum(reference() is not None for reference in references))
        return pixels, info

    monkeypatch.setattr(rerender, "decode_with_info", counted)
    results = []
    propose = rerender.RerenderEngine.propose
    monkeypatch.setattr(
        rerender.RerenderEngine, "propose", lambda self, *job: results.append(propose(self, *job)) or results[-1]
    )
    assert balance(dataset, tmp_path / "out", plan=planned(dataset, 3), config=CONFIG).accepted == 3
    assert max(most) <= 2  # the one before may live until the next has its name
    assert all(isinstance(found.image, bytes) for result in results for found in result.candidates)


def test_an_unknown_estimator_resumes_nothing(dataset, plan, tmp_path):
    """Two without a hash look alike, and the second would go on where the first began."""
    nameless = changed(CONFIG, reconstruction=replace(nosy_estimator(), sha256=""))
    with pytest.raises(UsageError, match="the estimator has no sha256"):
        balance(dataset, tmp_path / "out", plan=plan, config=nameless, resume=True)
    assert not (tmp_path / "out").exists()


def test_both_engines_write_one_folder(dataset, tmp_path, module_quick):
    """Real faces first; what they leave short is the generator's, which knows no noses here."""
    small = planned(dataset, 10, by="yaw:-25/-10/10/25")
    strict = changed(CONFIG, max_uses=1, thresholds=changed(CONFIG.thresholds, duplicate_bits=22), report=False)
    alone = balance(dataset, tmp_path / "alone", plan=small, config=strict)
    assert 0 < alone.accepted < alone.planned
    config = changed(strict, engine="both", generator=ToyFaces(), survey_samples=256, tries=2, origins=2, corrections=1)
    result = balance(dataset, tmp_path / "both", plan=small, config=config)
    assert verify(tmp_path / "both").problems == ()
    samples = columns(tmp_path / "both")
    rerendered = samples["engine"] == BUILT_IN_ENGINES.index("rerender")
    # A generated face of one cell can be a near-copy of what a photograph would be turned into in the next.
    assert 0 < rerendered.sum() <= alone.accepted
    assert result.planned == result.accepted + result.short
    assert result.manifest.generator is not None


def test_a_face_that_its_table_describes_wrongly_is_no_source(dataset, tmp_path, module_quick):
    wrong = replace(dataset, table=dataset.table.assign(yaw=dataset.table["yaw"] + 7))
    small = planned(wrong, 5, by="yaw:-30/-10/10/30", strategy="min:30")
    result = balance(wrong, tmp_path / "out", plan=small, config=CONFIG)
    assert result.accepted == 0
    assert set(result.manifest.totals.rejected) == {OTHERWISE}
    short = next(cell for cell in result.manifest.cells if cell.short)
    assert "source measured as its table says" in short.note
    assert (tmp_path / "out" / "report.html").exists()


def test_a_head_that_never_turns_far_enough_is_not_rendered(dataset, plan, tmp_path, monkeypatch, module_quick):
    def elsewhere(engine, attempts, active, warp):
        read = attempts.before.values[active].copy()
        read[:, FACTOR_NAMES.index("yaw")] = 500.0  # farther than any correction reaches
        return read

    monkeypatch.setattr(rerender.RerenderEngine, "_read_turned", elsewhere)
    monkeypatch.setattr(rerender.RerenderEngine, "_rerender", lambda *_: pytest.fail("it is rendered"))
    result = balance(dataset, tmp_path / "out", plan=plan, config=CONFIG)
    assert result.accepted == 0
    assert sum(cell.rejected.get(REACHED, 0) for cell in result.manifest.cells) > 0


def test_settings_of_generators_are_refused_before_anything_is_written(dataset, plan, tmp_path):
    for given in (
        {"directions": tmp_path / "any.safetensors"},
        {"generator": "digiface"},
        {"generator": ToyFaces()},
        {"survey_samples": 300},
        {"from_real": True},
    ):
        (name,) = given
        with pytest.raises(
            UsageError, match=f"{name} is .*does nothing with the engine rerender: leave it out, or use"
        ):
            balance(dataset, tmp_path / "out", plan=plan, config=changed(CONFIG, **given))
    assert not (tmp_path / "out").exists()
