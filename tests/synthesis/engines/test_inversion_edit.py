"""Runs that begin with real faces: labels kept, photographs named, what cannot be drawn refused, no bit by chance."""

from __future__ import annotations

import hashlib
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from finished_runs import columns, interrupt, same
from toy_found import toy_found

from faceaug.analysis.analyze import analyze
from faceaug.errors import DatasetError, IntegrityError, UsageError
from faceaug.inversion import encoder, inverter
from faceaug.planning.plan import Budget as PlanLimits
from faceaug.planning.plan import plan
from faceaug.reconstruction.semantics import NAMES
from faceaug.shards.columns import ENGINES
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis import balance as run
from faceaug.synthesis.acceptance.gates import DUPLICATE, AcceptanceThresholds
from faceaug.synthesis.accounting import USED_UP
from faceaug.synthesis.balance import RunConfig, balance
from faceaug.synthesis.engines import inversion_setup as learnt_originals
from faceaug.synthesis.engines.face_crops import FACELESS, UNREADABLE, FaceCropper
from faceaug.synthesis.engines.inversion_edit import TURNED, UNLIKE, UNMOVED, UNREAD, InversionEngine
from faceaug.synthesis.estimate import estimate
from faceaug.synthesis.sample_schema import ERROR

LOOSE = AcceptanceThresholds(
    drift=1.0, spill=5.0, realistic=1.0, face_quality=0.0, exposure=0.0, duplicate_bits=2, plausible=1.0
)
SETTINGS = RunConfig(
    draws=256, workers=1, thresholds=LOOSE, report=False, corrections=3, harmonize=False, image_format="png", from_real=True,
    max_uses=2,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _small():
    """Learn little, invert in a few steps, and find the toys' own directions."""
    with pytest.MonkeyPatch.context() as patched:
        for name, small in (("POOL", 200), ("STEPS", 8), ("BATCH", 16)):
            patched.setattr(encoder, name, small)
        patched.setattr(inverter, "STEPS", 40)
        patched.setattr(learnt_originals, "LOOKED_AT", 40)
        patched.setattr(learnt_originals, "TRIED", 4)
        patched.setattr("faceaug.synthesis.engines.inversion_edit.BLOCK", 8)
        patched.setattr(run, "_found", lambda *_: toy_found())
        yield


@pytest.fixture(scope="module")
def dataset(toy_dataset):
    """Toy faces with a number that nobody asks for, and measured yaw."""
    table = toy_dataset.table.rename(columns={"spot": "yaw"})
    return replace(toy_dataset, table=table.assign(weight=np.arange(len(table)) % 7 + 0.5))


def wished(dataset, by="bar", most=12):
    return plan(analyze(dataset, by), "min:200", PlanLimits(max_total=most))


def made(dataset, out, by="bar", most=12, **changes):
    given = {key: changes.pop(key) for key in ("resume", "progress", "generator") if key in changes}
    settings = replace(SETTINGS, **changes)
    return balance(dataset, out, plan=wished(dataset, by, most), config=settings, **{"generator": ToyFaces(), **given})


@pytest.fixture(scope="module")
def base(dataset, tmp_path_factory, module_quick):
    out = tmp_path_factory.mktemp("runs") / "base"
    return out, made(dataset, out)


def of(dataset):
    """Row of the dataset by the SHA-256 of its file."""
    return {hashlib.sha256(dataset.encoded(k)).digest(): k for k in range(len(dataset))}


def test_samples_are_turned_photographs_with_their_labels(base, dataset):
    out, result = base
    assert result.planned == 12 == result.accepted + result.short
    assert result.accepted > 6
    assert verify(out).problems == ()
    held, rows, wish = columns(out), of(dataset), wished(dataset)
    assert (held["engine"] == ENGINES.index("generator")).all()
    generator = ToyFaces()
    for k, cell in enumerate(held["cell"]):
        row = dataset.table.iloc[rows[held["source_sha256"][k].tobytes()]]
        assert wish.axes[0].levels[held["attr/bar"][k]] == row["bar"] == wish.cells[cell].levels["bar"]
        assert held["attr/weight"][k] == row["weight"]
        photograph = torch.from_numpy(dataset.image(rows[held["source_sha256"][k].tobytes()])).permute(2, 0, 1)
        origin = generator.synthesize(torch.from_numpy(held["origin_w"][k : k + 1]))[0]
        assert (origin - (photograph.float() / 127.5 - 1)).abs().mean() < 0.1
    assert (held[f"semantic/{ERROR}"] <= LOOSE.inversion).all()
    _, counts = np.unique([source.tobytes() for source in held["source_sha256"]], return_counts=True)
    assert counts.max() <= SETTINGS.max_uses
    moved = (held["w"] - held["origin_w"])[:, [ToyFaces.SPOT, 4]]
    assert (np.abs(moved).max(0) > 0.5).all()  # some are turned, some are relit
    assert (held["w"] != held["origin_w"]).any(1).all()  # none is a mere copy


def test_the_account_and_the_folder_say_what_was_done(base):
    out, _ = base
    manifest = read_manifest(out)
    known = {
        UNLIKE,
        UNMOVED,
        FACELESS,
        UNREADABLE,
        DUPLICATE,
        USED_UP,
        "judge agrees",
        "attribute reached",
        "scene kept",
    }
    known |= {"plausible", "judge agrees once finished", "natural colour", "well exposed"}
    assert set(manifest.totals.rejected) <= known
    assert {"models/encoder.safetensors", "models/inversion.json"} <= {file.name for file in manifest.files}
    figures = manifest.measured["inversion"]
    assert figures["photographs"][1] < 0.5 * figures["photographs_by_the_mean_face"][1]
    assert figures["draws"][1] < 0.5
    assert "begin with real ones" in (out / "README.md").read_text()
    assert any(column.name == ERROR for column in manifest.columns)


def test_workers_and_interruptions_do_not_change_a_bit(base, dataset, tmp_path, module_quick):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        made(dataset, out, workers=2, batch_size=7, progress=interrupt("making", 2))
    assert verify(out).problems == ()
    learnt = (out / "models" / "encoder.safetensors").read_bytes()
    result = made(dataset, out, workers=2, batch_size=7, resume=True, progress=lambda stage, *_: stage != "inversion")
    assert (out / "models" / "encoder.safetensors").read_bytes() == learnt
    assert result.accepted == base[1].accepted
    same(base[0], out)


def test_bins_of_yaw_are_reached_from_faces_of_their_labels(dataset, tmp_path, module_quick):
    result = made(dataset, tmp_path / "out", by="bar,yaw:-3/0/3")
    assert result.accepted > 3
    held, rows = columns(tmp_path / "out"), of(dataset)
    wish, yaw = wished(dataset, "bar,yaw:-3/0/3"), NAMES.index("yaw")
    for k, cell in enumerate(held["cell"]):
        levels = wish.cells[cell].levels
        assert dataset.table.iloc[rows[held["source_sha256"][k].tobytes()]]["bar"] == levels["bar"]
        code = wish.axes[1].levels.index(levels["yaw"])
        assert wish.axes[1].edges[code] <= held["attr/yaw"][k] < wish.axes[1].edges[code + 1]
        assert held["semantic/yaw"][k] == pytest.approx(held["attr/yaw"][k], abs=0.3)
    assert yaw == 0


def test_what_the_generator_cannot_draw_is_refused(dataset, tmp_path, module_quick):
    strict = replace(LOOSE, inversion=0.0)
    result = made(dataset, tmp_path / "out", most=4, thresholds=strict, max_uses=1)
    assert result.accepted == 0
    assert set(result.manifest.totals.rejected) == {UNLIKE}
    assert all("photograph drawn alike" in cell.note for cell in result.manifest.cells if cell.short)


def test_photographs_in_which_the_judge_does_not_find_their_label_are_refused(dataset, tmp_path, module_quick):
    """Nothing could tell whether it was lost: of the wrongly labelled half, none becomes a sample."""
    wrong = np.arange(len(dataset)) % 2 == 0
    other = dataset.table["bar"].map({"yes": "no", "no": "yes"})
    misled = replace(dataset, table=dataset.table.assign(bar=other.where(wrong, dataset.table["bar"])))
    result = made(misled, tmp_path / "out", most=4)
    assert result.manifest.totals.rejected[UNREAD] > 0
    rows = of(misled)
    sources = [rows[mark.tobytes()] for mark in columns(tmp_path / "out")["source_sha256"]]
    assert result.accepted == len(sources) > 0
    assert not wrong[sources].any()


def test_a_cell_without_a_real_face_says_so(dataset, tmp_path, module_quick):
    table = dataset.table.assign(hat=np.where(np.arange(len(dataset)) % 2 == 0, "on", "off"))
    table.loc[(table["bar"] == "yes") & (table["hat"] == "on"), "hat"] = "off"
    bare = replace(dataset, table=table)
    result = made(bare, tmp_path / "out", by="bar,hat", most=4, max_uses=1)
    (cell,) = [cell for cell in result.manifest.cells if cell.attributes == {"bar": "yes", "hat": "on"}]
    assert cell.real == 0 < cell.planned == cell.short
    assert cell.note == "there is no real face of (bar=yes, hat=on) to begin with"


def test_photographs_without_a_face_and_unreadable_ones_are_told(dataset):
    class Gone(type(dataset)):
        def encoded(self, index):
            if index == 1:
                raise OSError("gone")
            return super().encoded(index)

        def image(self, index):
            return super().image(index)

    gone = Gone(**{name: getattr(dataset, name) for name in dataset.__dataclass_fields__})
    found = toy_found()
    looks = FaceCropper(gone, _whole(), 1.0, found.instrument)
    taken = looks.take([0, 1, 2])
    assert taken.refused == ("", UNREADABLE, "")
    assert taken.sha256[0] == hashlib.sha256(dataset.encoded(0)).digest()
    assert taken.sha256[1] == bytes(32)
    assert np.isfinite(taken.measured[[0, 2]]).all()
    assert not taken.images[1].any()
    torch.testing.assert_close(looks.take([2]).images[0], taken.images[2], rtol=0, atol=0)
    plain = FaceCropper(gone, _whole(), 1.0).take([0, 2])  # nothing finds faces: they are taken as they are
    assert plain.refused == ("", "")
    assert (plain.images - taken.images[[0, 2]]).abs().mean() < 0.05
    assert np.isnan(plain.measured).all()


def _whole():
    from faceaug.appearance.framing import Framing

    return Framing()


def test_what_cannot_be_is_refused_in_a_sentence(dataset, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="--engine rerender has none"):
        RunConfig(from_real=True, engine="rerender")
    with pytest.raises(UsageError, match=r"candidates is 3, which does nothing with from_real: leave it out$"):
        RunConfig(from_real=True, candidates=3)
    with pytest.raises(UsageError, match="the limit inversion is -1"):
        AcceptanceThresholds(inversion=-1)
    monkeypatch.setattr(run, "_found", lambda *_: None)
    with pytest.raises(UsageError, match="no directions of view and light are known in 'toy-faces-20'"):
        made(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_photographs_are_refused_before_anything_is_learnt(dataset, tmp_path, monkeypatch, module_quick):
    few = dataset.select(range(6))
    said = "of 6 photographs of images 6 can be inverted, and at least 8 are needed: leave out --from-real"
    with pytest.raises(DatasetError, match=said):
        made(few, tmp_path / "out")
    with pytest.raises(DatasetError, match=said):
        estimate(few, wished(few), ToyFaces(), SETTINGS)
    assert not (tmp_path / "out").exists()


def test_a_target_without_faces_is_refused_with_the_reason(dataset, tmp_path, monkeypatch, module_quick):
    take = FaceCropper.take

    def faceless(self, rows):
        taken = take(self, rows)
        return replace(taken, refused=tuple("" if k < 5 else FACELESS for k in range(len(taken.refused))))

    monkeypatch.setattr(FaceCropper, "take", faceless)
    with pytest.raises(DatasetError, match=rf"of 40 photographs of images 5 can be inverted \({FACELESS} 35\), and"):
        made(dataset, tmp_path / "out")


def test_a_number_that_is_counted_by_is_the_photographs_own(dataset, tmp_path, module_quick):
    """Also where somebody's table has a confidence beside it, as tables of measurements have."""
    table = dataset.table.assign(weight_confidence=0.9)
    result = made(replace(dataset, table=table), tmp_path / "out", by="weight:2", most=4)
    assert result.accepted + result.short == 4
    held, rows = columns(tmp_path / "out"), of(dataset)
    assert len(held["cell"]) == result.accepted > 0
    for source, weight in zip(held["source_sha256"], held["attr/weight"], strict=True):
        assert weight == table.iloc[rows[source.tobytes()]]["weight"]


def test_damaged_figures_are_told_in_a_sentence(base, dataset, tmp_path, module_quick):
    out = shutil.copytree(base[0], tmp_path / "out")
    (out / "models" / "inversion.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"inversion.json is damaged; start again in another folder"):
        _learnt_from(out, dataset)


def _learnt_from(out, dataset):
    reader = SimpleNamespace(framing=_whole(), view=lambda images: images)
    guide = SimpleNamespace(reader=reader, found=toy_found(), figures={})
    learnt_originals.prepare_inversion(
        dataset, wished(dataset), SimpleNamespace(models=guide, generator=ToyFaces()), out / "models", SETTINGS, print
    )


def test_view_that_nobody_can_measure_is_refused(dataset, tmp_path, monkeypatch, module_quick):
    blind = toy_found()
    monkeypatch.setattr(type(blind.pose_light), "__call__", _blind(type(blind.pose_light).__call__))
    with pytest.raises(DatasetError, match="measured on none of 40 photographs"):
        made(dataset, tmp_path / "out")


def _blind(call):
    """Read nothing off photographs, which come a few at a time, and all off draws."""

    def blinded(self, images):
        values = call(self, images)
        return np.full_like(values, np.nan) if len(images) == 8 else values

    return blinded


def test_what_faces_are_given_is_what_is_measured():
    assert set(TURNED) <= set(NAMES)


def test_of_few_photographs_the_good_ones_are_turned_again():
    engine, bad = InversionEngine.__new__(InversionEngine), {5}
    engine._all, engine._tries, engine._uses = threading.Lock(), 8, 3
    engine._rows_of = lambda cell: np.array([4, 5, 6])
    engine._inverted = lambda rows: {row: SimpleNamespace(refused="no face" if row in bad else "") for row in rows}
    assert engine._sources_of(None, (), range(2)) == [4, 5]
    assert engine._sources_of(None, (), range(8)) == [4, 5, 6, 4, 6, 4, 6, 4]
    assert engine._sources_of(None, (), range(8, 11)) == [6, 4, 6]
    attempts = {planned: engine._attempts(SimpleNamespace(planned=planned)) for planned in (1, 6, 1000)}
    assert attempts == {1: 2 * 8, 6: 48, 1000: 3 * 3 * 8}, "three photographs give nine faces at most"
    bad |= {4, 6}
    assert engine._sources_of(None, (), range(8)) == [4, 5, 6]
    assert engine._sources_of(None, (), range(8, 11)) == []
