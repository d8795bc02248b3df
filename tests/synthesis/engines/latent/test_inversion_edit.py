"""Runs that begin with real faces: labels kept, photographs named, no bit by chance."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from finished_runs import assert_same_samples, columns, interrupt
from quick_runs import LOOSE, QUICK, changed, make_inversion_small, small_plan
from toy_directions import toy_directions

from faceaug.appearance.framing import Framing
from faceaug.errors import DatasetError, IntegrityError, UsageError
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import BUILT_IN_ENGINES
from faceaug.shards.manifest import read_manifest
from faceaug.shards.verify import verify
from faceaug.synthesis.acceptance.gates import DUPLICATE
from faceaug.synthesis.accounting import USED_UP
from faceaug.synthesis.balance import balance
from faceaug.synthesis.engines.latent import latent_edit
from faceaug.synthesis.engines.latent.face_crops import FACELESS, UNREADABLE, FaceCropper
from faceaug.synthesis.engines.latent.fitted_inversion import MOST_TURNED, fit_inversion
from faceaug.synthesis.engines.latent.harmonized_samples import LOST
from faceaug.synthesis.engines.latent.inversion_edit import UNLIKE, UNMOVED, UNREAD, InversionEngine
from faceaug.synthesis.estimate import estimate
from faceaug.synthesis.request import check_request
from faceaug.synthesis.sample_columns import INVERSION_ERROR

pytestmark = pytest.mark.slow
THRESHOLDS = changed(LOOSE, duplicate_bits=2, plausible=1.0)
CONFIG = changed(
    QUICK,
    generator=ToyFaces(),
    thresholds=THRESHOLDS,
    corrections=3,
    origins=16,
    harmonize=False,
    image_format="png",
    from_real=True,
    max_uses=2,
)


@pytest.fixture(scope="module", autouse=True)
def _small(module_cache):
    with pytest.MonkeyPatch.context() as patched:
        make_inversion_small(patched)
        yield


@pytest.fixture(scope="module")
def dataset(toy_dataset):
    """Toy faces with a number that is not requested, and measured yaw."""
    table = toy_dataset.table.rename(columns={"spot": "yaw"})
    return replace(toy_dataset, table=table.assign(weight=np.arange(len(table)) % 7 + 0.5))


def balanced(dataset, out, by="bar", most=12, **changes):
    given = {key: changes.pop(key) for key in ("resume", "progress") if key in changes}
    return balance(dataset, out, plan=small_plan(dataset, by, most), config=changed(CONFIG, **changes), **given)


@pytest.fixture(scope="module")
def base(dataset, tmp_path_factory, module_quick):
    out = tmp_path_factory.mktemp("runs") / "base"
    return out, balanced(dataset, out)


def rows_by_hash(dataset):
    """Return the row of the data set by the SHA-256 of its file."""
    return {hashlib.sha256(dataset.encoded(k)).digest(): k for k in range(len(dataset))}


def test_samples_are_turned_photographs_with_their_labels(base, dataset):
    out, result = base
    assert result.planned == 12 == result.accepted + result.short
    assert result.accepted > 6
    assert verify(out).problems == ()
    samples, rows, plan = columns(out), rows_by_hash(dataset), small_plan(dataset, "bar", 12)
    assert (samples["engine"] == BUILT_IN_ENGINES.index("generator")).all()
    generator = ToyFaces()
    for k, cell in enumerate(samples["cell"]):
        row = dataset.table.iloc[rows[samples["source_sha256"][k].tobytes()]]
        assert plan.axes[0].levels[samples["attr/bar"][k]] == row["bar"] == plan.cells[cell].levels["bar"]
        assert samples["attr/weight"][k] == row["weight"]
        photograph = torch.from_numpy(dataset.image(rows[samples["source_sha256"][k].tobytes()])).permute(2, 0, 1)
        origin = generator.synthesize(torch.from_numpy(samples["origin_w"][k : k + 1]))[0]
        assert (origin - (photograph.float() / 127.5 - 1)).abs().mean() < 0.1
    assert (samples[f"semantic/{INVERSION_ERROR}"] <= THRESHOLDS.inversion).all()
    _, counts = np.unique([source.tobytes() for source in samples["source_sha256"]], return_counts=True)
    assert counts.max() <= CONFIG.max_uses
    moved = (samples["w"] - samples["origin_w"])[:, [ToyFaces.SPOT, 4]]
    assert (np.abs(moved).max(0) > 0.5).all()  # some are turned, some are relit
    assert (samples["w"] != samples["origin_w"]).any(1).all()  # none is a mere copy


def test_the_manifest_and_the_folder_say_what_was_done(base):
    out, _ = base
    manifest = read_manifest(out)
    known = {
        UNLIKE,
        UNMOVED,
        FACELESS,
        UNREADABLE,
        DUPLICATE,
        USED_UP,
        LOST,
        "held-out classifier agrees",
        "attribute reached",
        "scene kept",
        "plausible",
        "natural colour",
        "well exposed",
    }
    assert set(manifest.totals.rejected) <= known
    assert {"models/encoder.safetensors", "models/inversion.json"} <= {file.name for file in manifest.files}
    metrics = manifest.measured["inversion"]
    assert metrics["photographs"][1] < 0.5 * metrics["photographs_by_the_mean_face"][1]
    assert metrics["generated"][1] < 0.5
    card = (out / "README.md").read_text()
    assert "was made from that photograph and shows, or may resemble, its person" in card
    assert any(column.name == INVERSION_ERROR for column in manifest.columns)


def test_workers_and_interruptions_do_not_change_a_bit(base, dataset, tmp_path, module_quick):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        balanced(dataset, out, workers=2, batch_size=7, progress=interrupt("synthesis", 2))
    assert verify(out).problems == ()
    trained = (out / "models" / "encoder.safetensors").read_bytes()
    stages = []
    result = balanced(
        dataset, out, workers=2, batch_size=7, resume=True, progress=lambda stage, *_: stages.append(stage)
    )
    assert "inversion" not in stages
    assert (out / "models" / "encoder.safetensors").read_bytes() == trained
    assert result.accepted == base[1].accepted
    assert_same_samples(base[0], out)


def test_bins_of_yaw_are_reached_from_faces_of_their_labels(dataset, tmp_path, module_quick):
    result = balanced(dataset, tmp_path / "out", by="bar,yaw:-3/0/3")
    assert result.accepted > 3
    samples, rows = columns(tmp_path / "out"), rows_by_hash(dataset)
    plan = small_plan(dataset, "bar,yaw:-3/0/3", 12)
    for k, cell in enumerate(samples["cell"]):
        levels = plan.cells[cell].levels
        assert dataset.table.iloc[rows[samples["source_sha256"][k].tobytes()]]["bar"] == levels["bar"]
        code = plan.axes[1].levels.index(levels["yaw"])
        assert plan.axes[1].edges[code] <= samples["attr/yaw"][k] < plan.axes[1].edges[code + 1]
        assert samples["semantic/yaw"][k] == pytest.approx(samples["attr/yaw"][k], abs=0.3)


def test_photographs_that_the_generator_cannot_show_are_refused(dataset, tmp_path, module_quick):
    strict = changed(THRESHOLDS, inversion=0.0)
    result = balanced(dataset, tmp_path / "out", most=4, thresholds=strict, max_uses=1)
    assert result.accepted == 0
    assert set(result.manifest.totals.rejected) == {UNLIKE}
    assert all(UNLIKE in cell.note for cell in result.manifest.cells if cell.short)


def test_photographs_whose_label_the_held_out_classifier_does_not_find_are_refused(dataset, tmp_path, module_quick):
    """Nothing could tell whether it was lost: of the wrongly labelled half, none becomes a sample."""
    wrong = np.arange(len(dataset)) % 2 == 0
    other = dataset.table["bar"].map({"yes": "no", "no": "yes"})
    misled = replace(dataset, table=dataset.table.assign(bar=other.where(wrong, dataset.table["bar"])))
    result = balanced(misled, tmp_path / "out", most=4)
    assert result.manifest.totals.rejected[UNREAD] > 0
    rows = rows_by_hash(misled)
    sources = [rows[value.tobytes()] for value in columns(tmp_path / "out")["source_sha256"]]
    assert result.accepted == len(sources) > 0
    assert not wrong[sources].any()


def test_a_cell_without_a_real_face_says_so(dataset, tmp_path, module_quick):
    table = dataset.table.assign(hat=np.where(np.arange(len(dataset)) % 2 == 0, "on", "off"))
    table.loc[(table["bar"] == "yes") & (table["hat"] == "on"), "hat"] = "off"
    bare = replace(dataset, table=table)
    result = balanced(bare, tmp_path / "out", by="bar,hat", most=4, max_uses=1)
    (cell,) = [cell for cell in result.manifest.cells if cell.attributes == {"bar": "yes", "hat": "on"}]
    assert cell.real == 0 < cell.planned == cell.short
    assert cell.note == "there is no real face of (bar=yes, hat=on) to begin with"


def test_photographs_without_a_face_and_unreadable_ones_are_refused(dataset):
    class Gone(type(dataset)):
        def encoded(self, index):
            if index == 1:
                raise OSError("gone")
            return super().encoded(index)

        def image(self, index):
            return super().image(index)

    gone = Gone(**{name: getattr(dataset, name) for name in dataset.__dataclass_fields__})
    cropper = FaceCropper(gone, Framing(), 1.0, toy_directions().instrument)
    taken = cropper.take([0, 1, 2])
    assert taken.refused == ("", UNREADABLE, "")
    assert taken.sha256[0] == hashlib.sha256(dataset.encoded(0)).digest()
    assert taken.sha256[1] == bytes(32)
    assert np.isfinite(taken.measured[[0, 2]]).all()
    assert not taken.images[1].any()
    torch.testing.assert_close(cropper.take([2]).images[0], taken.images[2], rtol=0, atol=0)
    plain = FaceCropper(gone, Framing(), 1.0).take([0, 2])  # no estimator finds faces: they are taken as they are
    assert plain.refused == ("", "")
    assert (plain.images - taken.images[[0, 2]]).abs().mean() < 0.05
    assert np.isnan(plain.measured).all()


def test_impossible_requests_are_refused_in_a_sentence(dataset, tmp_path, monkeypatch):
    for given, message in (
        ({"engine": "rerender", "generator": "embedded"}, "does nothing with the engine rerender"),
        (
            {"origins": 3},
            "origins is 3, which does nothing with the engine generator and from_real: leave it out$",
        ),
        ({"truncation_psi": 0.5}, "truncation_psi is 0.5, which does nothing with the engine generator and from_real"),
    ):
        with pytest.raises(UsageError, match=message):
            balanced(dataset, tmp_path / "out", **given)
    monkeypatch.setattr(latent_edit, "_learned_directions", lambda *_: None)
    with pytest.raises(UsageError, match="no directions of view and light are known in 'toy-faces-20'"):
        balanced(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_photographs_are_refused_before_anything_is_fitted(dataset, tmp_path, module_quick):
    few = dataset.select(range(6))
    message = "of 6 photographs of images 6 can be inverted, and at least 8 are needed: leave out --from-real"
    with pytest.raises(DatasetError, match=message):
        balanced(few, tmp_path / "out")
    with pytest.raises(DatasetError, match=message):
        estimate(few, small_plan(few, "bar", 12), CONFIG)
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_faces_is_refused_with_the_reason(dataset, tmp_path, monkeypatch, module_quick):
    take = FaceCropper.take

    def faceless(self, rows):
        crops = take(self, rows)
        return replace(crops, refused=tuple("" if k < 5 else FACELESS for k in range(len(crops.refused))))

    monkeypatch.setattr(FaceCropper, "take", faceless)
    with pytest.raises(DatasetError, match=rf"of 40 photographs of images 5 can be inverted \({FACELESS} 35\), and"):
        balanced(dataset, tmp_path / "out")


def test_a_number_that_is_counted_by_is_the_photographs_own(dataset, tmp_path, module_quick):
    """Also where somebody's table has a confidence beside it, as tables of measurements have."""
    table = dataset.table.assign(weight_confidence=0.9)
    result = balanced(replace(dataset, table=table), tmp_path / "out", by="weight:2", most=4)
    assert result.accepted + result.short == 4
    samples, rows = columns(tmp_path / "out"), rows_by_hash(dataset)
    assert len(samples["cell"]) == result.accepted > 0
    for source, weight in zip(samples["source_sha256"], samples["attr/weight"], strict=True):
        assert weight == table.iloc[rows[source.tobytes()]]["weight"]


def test_a_damaged_state_of_the_inversion_is_refused_in_a_sentence(base, dataset, tmp_path):
    out = shutil.copytree(base[0], tmp_path / "out")
    (out / "models" / "inversion.json").write_text("{}")
    request = check_request(dataset, small_plan(dataset, "bar", 12), CONFIG)
    models = SimpleNamespace(reader=SimpleNamespace(view=lambda images: images))
    editor = SimpleNamespace(models=models, generator=ToyFaces())
    with pytest.raises(IntegrityError, match=r"inversion.json is damaged; start again in another folder"):
        fit_inversion(request, editor, None, out / "models", print)


def test_view_that_cannot_be_measured_is_refused(dataset, tmp_path, monkeypatch, module_quick):
    reader = type(toy_directions().pose_light)
    monkeypatch.setattr(reader, "__call__", blind_to_photographs(reader.__call__))
    with pytest.raises(DatasetError, match="measured on none of 40 photographs"):
        balanced(dataset, tmp_path / "out")


def blind_to_photographs(call):
    """Read nothing off photographs, which come eight at a time, and all off generated faces."""

    def blinded(self, images):
        values = call(self, images)
        return np.full_like(values, np.nan) if len(images) == 8 else values

    return blinded


def test_what_faces_take_from_other_photographs_is_measured():
    assert set(MOST_TURNED) <= set(FACTOR_NAMES)


def test_of_few_photographs_the_good_ones_are_turned_again(dataset, monkeypatch):
    request = check_request(dataset, small_plan(dataset, "bar", 12), changed(CONFIG, tries=8, max_uses=3))
    engine, bad = InversionEngine(request, ToyFaces(), toy_directions()), {5}
    monkeypatch.setattr(engine, "_rows_of", lambda cell: np.array([4, 5, 6]))
    monkeypatch.setattr(
        engine,
        "_invert",
        lambda rows: {row: SimpleNamespace(refused="no face" if row in bad else "") for row in rows},
    )
    assert engine._sources_of(None, (), range(2)) == [4, 5]
    assert engine._sources_of(None, (), range(8)) == [4, 5, 6, 4, 6, 4, 6, 4]
    assert engine._sources_of(None, (), range(8, 11)) == [6, 4, 6]
    blocks = {planned: engine.blocks(SimpleNamespace(planned=planned)) for planned in (1, 6, 1000)}
    assert blocks == {1: 2, 6: 6, 1000: 9}, "three photographs give nine samples at most, and blocks are of eight"
    bad |= {4, 6}
    assert engine._sources_of(None, (), range(8)) == [4, 5, 6]
    assert engine._sources_of(None, (), range(8, 11)) == []
