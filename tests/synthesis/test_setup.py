"""What is known before the first sample: learnt once, read back exactly, and refused where it does not fit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from fakes import ToyFaces

from faceaug.analysis.axes import Axis, build_axis, parse_by
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.errors import FaceaugError, GeneratorError, IntegrityError
from faceaug.synthesis import setup as guides
from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.setup import FILES, FittedModels, cell_weights, fit_models
from faceaug.utils.tensors import thumbnails, to_uint8


@pytest.fixture(scope="module")
def arrays(toy_dataset):
    return load_thumbnails(toy_dataset, 64)[0]


def prepared(dataset, arrays, folder, *, by="bar,spot:-3/0/3", generator=None, finish=False, **changes) -> FittedModels:
    axes = [build_axis(dataset.table, spec) for spec in parse_by(by)]
    settings = dict(seed=0, keep=(), draws=256, thresholds=AcceptanceThresholds(), harmonize=finish, codec="jpeg", workers=2,
                    batch_size=64, device="cpu", progress=lambda *_: None)  # fmt: skip
    return fit_models(dataset, arrays, axes, generator or ToyFaces(), folder, **{**settings, **changes})


@pytest.fixture(scope="module")
def made(toy_dataset, arrays, tmp_path_factory, module_quick):
    """A guide and its folder; with a finisher."""
    folder = tmp_path_factory.mktemp("models")
    return prepared(toy_dataset, arrays, folder, harmonize=True), folder


def test_everything_is_there(made):
    guide, folder = made
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert [task.name for task in guide.tasks] == [axis.name for axis in guide.axes] == ["bar", "spot"]
    assert guide.directions.names == ("bar=no", "bar=yes", "spot", *SCENE)
    assert guide.directions.generator == ToyFaces().sha256
    assert guide.kept() == ()
    assert guide.harmonizer is not None
    assert guide.harmonizer.output_codec == "jpeg"
    assert guide.reader.framing.whole  # the dataset is the generator's own pictures
    np.testing.assert_array_equal(guide.real.hashes.shape, (200,))
    inside = (guide.survey.distance <= guide.reach).mean()
    assert inside == pytest.approx(AcceptanceThresholds().plausible, abs=0.005)


def test_directions_point_at_what_was_labelled(made):
    guide, _ = made
    b = guide.directions.B
    assert np.abs(b[1]).argmax() == ToyFaces.BAR
    assert b[1, ToyFaces.BAR] > 0 > b[0, ToyFaces.BAR]
    assert np.abs(b[2]).argmax() == ToyFaces.SPOT
    assert b[2, ToyFaces.SPOT] == pytest.approx(1, abs=0.1)  # in the label's unit
    assert (guide.directions.r2[:3] > 0.9).all()


def test_figures_are_json(made):
    import json

    guide, _ = made
    figures = json.loads(json.dumps(guide.figures))
    assert set(figures["r2"]) == set(guide.directions.names)
    assert figures["draws"] == len(guide.survey.w)
    assert figures["photometry"]
    assert set(figures["probes"]) == {"steering", "judge"}


def equal(one, two) -> bool:
    if isinstance(one, np.ndarray | torch.Tensor):
        return bool((np.asarray(one) == np.asarray(two)).all())
    return one == two


def test_what_is_read_back_is_what_was_made(made, toy_dataset, arrays, module_quick, monkeypatch):
    guide, folder = made

    def never(*args, **kwargs):
        raise AssertionError("it was learnt already")

    for name in ("learn", "survey", "train_soundness", "measure_framing"):
        monkeypatch.setattr(guides, name, never)
    again = prepared(toy_dataset, arrays, folder, harmonize=True)
    assert again.directions.sha256() == guide.directions.sha256()
    for part in ("survey", "real"):
        one, two = getattr(guide, part), getattr(again, part)
        assert all(equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(one) if f.name != "directions")
    assert (again.reach, again.figures, again.axes, again.tasks) == (
        guide.reach,
        guide.figures,
        guide.axes,
        guide.tasks,
    )
    assert (again.reader.framing.to_dict(), again.reader.colour) == (
        guide.reader.framing.to_dict(),
        guide.reader.colour,
    )
    assert again.harmonizer.image_stats.to_dict() == guide.harmonizer.image_stats.to_dict()
    x = ToyFaces().synthesize(torch.from_numpy(guide.survey.w[:4]))
    np.testing.assert_array_equal(again.reader(x), guide.reader(x))
    np.testing.assert_array_equal(again.held_out.read(x)[0], guide.held_out.read(x)[0])


def test_probes_are_not_learnt_again_after_an_interruption(toy_dataset, arrays, tmp_path, module_quick, monkeypatch):
    def stop(stage, done, total):
        if stage == "directions":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(toy_dataset, arrays, tmp_path, progress=stop)
    monkeypatch.setattr(guides, "learn", None)
    guide = prepared(toy_dataset, arrays, tmp_path)
    assert guide.directions.names[:2] == ("bar=no", "bar=yes")
    assert guide.harmonizer is None
    assert guide.reader.colour is None


def test_kept_attributes_are_learnt_and_not_asked(toy_dataset, arrays, tmp_path, module_quick):
    keep = [build_axis(toy_dataset.table, parse_by("spot:q4")[0])]
    guide = prepared(toy_dataset, arrays, tmp_path, by="bar", keep=keep)
    assert guide.kept() == ("spot",)
    assert [axis.name for axis in guide.axes] == ["bar"]
    assert [task.name for task in guide.tasks] == ["bar", "spot"]


def test_another_generators_models_are_refused(made, toy_dataset, arrays, module_quick):
    other = ToyFaces()
    other.sha256 = "0" * 64
    with pytest.raises(GeneratorError, match="not for 000000000000"):
        prepared(toy_dataset, arrays, made[1], generator=other)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_in_a_sentence(made, name, toy_dataset, arrays, tmp_path, module_quick):
    for file in made[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes((made[1] / name).read_bytes()[:40])
    if name == "probes.json":  # of no more use once all is learnt
        assert prepared(toy_dataset, arrays, tmp_path).figures == made[0].figures
        return
    with pytest.raises(FaceaugError) as error:
        prepared(toy_dataset, arrays, tmp_path)
    assert isinstance(error.value, IntegrityError)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_workers_and_batches_do_not_matter(made, toy_dataset, arrays, tmp_path, module_quick):
    prepared(toy_dataset, arrays, tmp_path, harmonize=True, workers=1, batch_size=7)
    for name in set(FILES) - {"guide.json"}:
        assert (tmp_path / name).read_bytes() == (made[1] / name).read_bytes(), name


# --- small parts ---


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


def test_weights_of_cells_without_pictures(toy_dataset):
    axes = [Axis("bar", "categorical", ("maybe",))]
    assert (cell_weights(toy_dataset, axes) == 0).all()


def test_bytes_of_pictures():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5).expand(1, 3, 2, 5)
    assert to_uint8(x)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(x).shape == (1, 2, 5, 3)
    levels = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 127.5 - 1
    np.testing.assert_array_equal(to_uint8(levels)[0, :, :, 0].ravel(), np.arange(256))


def test_thumbnails_have_one_size():
    x = torch.zeros(2, 3, 128, 128)
    x[:, :, :, 64:] = 1.0
    small = thumbnails(x)
    assert small.shape == (2, 64, 64, 3)
    assert (small[:, :, :31] == 128).all()
    assert (small[:, :, 33:] == 255).all()
