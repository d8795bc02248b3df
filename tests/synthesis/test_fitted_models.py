"""What is fitted before the first sample: fitted once, read back exactly, and refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from quick_runs import QUICK, changed, fit_toys

from faceaug.analysis.axes import Axis, build_axis, parse_by
from faceaug.errors import FaceaugError, GeneratorError, IntegrityError
from faceaug.synthesis import fitted_models, label_classifiers
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.fitted_models import MODEL_FILES, STATE_FILE
from faceaug.synthesis.label_classifiers import METRICS_FILE
from faceaug.synthesis.request import cell_weights

HARMONIZED = changed(QUICK, workers=2)
RAW = changed(HARMONIZED, harmonize=False)


@pytest.fixture(scope="module")
def fitted(toy_dataset, tmp_path_factory, module_quick):
    """Fitted models with a harmonizer, and their folder."""
    folder = tmp_path_factory.mktemp("models")
    return fit_toys(toy_dataset, folder, config=HARMONIZED, codec="jpeg"), folder


def test_everything_is_fitted_and_kept_in_the_folder(fitted):
    models, folder = fitted
    assert {path.name for path in folder.iterdir()} == set(MODEL_FILES)
    assert [task.name for task in models.tasks] == [axis.name for axis in models.axes] == ["bar", "spot"]
    assert models.directions.names == ("bar=no", "bar=yes", "spot", *SCENE)
    assert models.directions.generator == ToyFaces().sha256
    assert models.kept() == ()
    assert models.harmonizer is not None
    assert models.harmonizer.output_codec == "jpeg"
    assert models.reader.framing.whole  # the data set is the generator's own images
    np.testing.assert_array_equal(models.real.hashes.shape, (200,))
    inside = (models.survey.distance <= models.reach).mean()
    assert inside == pytest.approx(HARMONIZED.thresholds.plausible, abs=0.005)


def test_directions_point_at_what_was_labelled(fitted):
    models, _ = fitted
    b = models.directions.B
    assert np.abs(b[1]).argmax() == ToyFaces.BAR
    assert b[1, ToyFaces.BAR] > 0 > b[0, ToyFaces.BAR]
    assert np.abs(b[2]).argmax() == ToyFaces.SPOT
    assert b[2, ToyFaces.SPOT] == pytest.approx(1, abs=0.1)  # in the label's unit
    assert (models.directions.r2[:3] > 0.9).all()


def test_metrics_are_json(fitted):
    models, _ = fitted
    metrics = json.loads(json.dumps(models.metrics))
    assert set(metrics["r2"]) == set(models.directions.names)
    assert metrics["survey_samples"] == len(models.survey.w)
    assert metrics["image_stats"]
    assert set(metrics["classifiers"]) == {"guidance", "held_out"}


def equal(one, two) -> bool:
    if isinstance(one, np.ndarray | torch.Tensor):
        return bool((np.asarray(one) == np.asarray(two)).all())
    return one == two


def test_what_is_read_back_is_what_was_fitted(fitted, toy_dataset, module_quick, monkeypatch):
    models, folder = fitted

    def never(*args, **kwargs):
        raise AssertionError("it was fitted already")

    monkeypatch.setattr(label_classifiers, "train_classifiers", never)
    for name in ("survey", "train_face_quality", "measure_framing"):
        monkeypatch.setattr(fitted_models, name, never)
    again = fit_toys(toy_dataset, folder, config=HARMONIZED, codec="jpeg")
    assert again.directions.sha256() == models.directions.sha256()
    for part in ("survey", "real"):
        one, two = getattr(models, part), getattr(again, part)
        assert all(equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(one) if f.name != "directions")
    for name in ("reach", "metrics", "axes", "tasks"):
        assert getattr(again, name) == getattr(models, name)
    assert again.reader.framing.to_dict() == models.reader.framing.to_dict()
    assert again.reader.colour == models.reader.colour
    assert again.harmonizer.image_stats.to_dict() == models.harmonizer.image_stats.to_dict()
    x = ToyFaces().synthesize(torch.from_numpy(models.survey.w[:4]))
    np.testing.assert_array_equal(again.reader(x), models.reader(x))
    np.testing.assert_array_equal(again.held_out.read(x)[0], models.held_out.read(x)[0])


def test_what_was_learnt_is_not_learnt_again_after_an_interruption(toy_dataset, tmp_path, module_quick, monkeypatch):
    def stop(stage, done, total):
        if stage == "directions":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_toys(toy_dataset, tmp_path, config=RAW, progress=stop)
    monkeypatch.setattr(label_classifiers, "train_classifiers", None)
    monkeypatch.setattr(fitted_models, "train_face_quality", None)
    models = fit_toys(toy_dataset, tmp_path, config=RAW)
    assert models.directions.names[:2] == ("bar=no", "bar=yes")
    assert models.harmonizer is None
    assert models.reader.colour is None


def test_another_run_on_the_same_faces_fits_nothing_again(fitted, toy_dataset, tmp_path, module_quick, monkeypatch):
    monkeypatch.setenv("FACEAUG_CACHE", str(tmp_path / "cache"))
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder in folders:
        folder.mkdir()
    models = fit_toys(toy_dataset, folders[0], config=HARMONIZED, codec="jpeg")
    for name in set(MODEL_FILES) - {STATE_FILE}:
        assert (folders[0] / name).read_bytes() == (fitted[1] / name).read_bytes()  # which were fitted without a cache
    for module, name in ((label_classifiers, "train_classifiers"), (fitted_models, "survey")):
        monkeypatch.setattr(module, name, None)
    again = fit_toys(toy_dataset, folders[1], config=changed(HARMONIZED, workers=1, tries=3), codec="jpeg")
    for name in MODEL_FILES:
        assert (folders[1] / name).read_bytes() == (folders[0] / name).read_bytes()
    assert all(equal(getattr(models.real, f.name), getattr(again.real, f.name)) for f in fields(models.real))
    with pytest.raises(TypeError):  # a setting that takes part: all is fitted anew
        fit_toys(toy_dataset, folders[2], config=changed(HARMONIZED, seed=1), codec="jpeg")


def test_kept_attributes_are_learnt_and_not_requested(toy_dataset, tmp_path, module_quick):
    models = fit_toys(toy_dataset, tmp_path, by="bar", config=changed(RAW, keep=("spot",)))
    assert models.kept() == ("spot",)
    assert [axis.name for axis in models.axes] == ["bar"]
    assert [task.name for task in models.tasks] == ["bar", "spot"]


def test_another_generators_models_are_refused(fitted, toy_dataset, module_quick):
    other = ToyFaces()
    other.sha256 = "0" * 64
    with pytest.raises(GeneratorError, match="not for 000000000000"):
        fit_toys(toy_dataset, fitted[1], config=HARMONIZED, generator=other)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_damaged_file_is_refused_in_a_sentence(fitted, name, toy_dataset, tmp_path, module_quick):
    for file in fitted[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes((fitted[1] / name).read_bytes()[:40])
    if name == METRICS_FILE:  # of no more use once all is fitted
        assert fit_toys(toy_dataset, tmp_path, config=HARMONIZED).metrics == fitted[0].metrics
        return
    with pytest.raises(FaceaugError) as error:
        fit_toys(toy_dataset, tmp_path, config=HARMONIZED)
    assert isinstance(error.value, IntegrityError)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_workers_and_batches_do_not_change_what_is_fitted(fitted, toy_dataset, tmp_path, module_quick):
    fit_toys(toy_dataset, tmp_path, config=changed(HARMONIZED, workers=1, batch_size=7), codec="jpeg")
    for name in set(MODEL_FILES) - {STATE_FILE}:  # which states the seconds that it took
        assert (tmp_path / name).read_bytes() == (fitted[1] / name).read_bytes(), name
    one, two = (json.loads((folder / STATE_FILE).read_text()) for folder in (tmp_path, fitted[1]))
    del one["metrics"]["seconds"], two["metrics"]["seconds"]
    assert one == two


def test_each_cell_weighs_the_same(toy_dataset):
    axes = [build_axis(toy_dataset.table, spec) for spec in parse_by("bar,spot:-1/0/1")]
    weights = cell_weights(toy_dataset, axes)
    bar, spot = toy_dataset.table["bar"], toy_dataset.table["spot"]
    outside = (spot < -1) | (spot > 1)
    assert (weights[outside] == 0).all()
    for level in ("yes", "no"):
        for low in (-1, 0):
            inside = (bar == level) & (spot >= low) & (spot < low + 1)
            assert weights[inside].sum() == pytest.approx(1)


def test_images_outside_all_cells_weigh_nothing(toy_dataset):
    axes = [Axis("bar", "categorical", ("maybe",))]
    assert (cell_weights(toy_dataset, axes) == 0).all()
