"""Face quality: faces that are distorted on purpose, and a classifier that learns the difference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from torch.nn import functional

from faceaug.classifiers.config import ClassifierConfig
from faceaug.classifiers.face_quality import (
    DISTORTED_TRUNCATION,
    INTACT_TRUNCATION,
    blend_faces,
    train_face_quality,
    warp_faces,
)
from faceaug.pretrained.efficientnet import EFFICIENTNET_INSTALL, efficientnet_weights_installed
from faceaug.utils.tensors import as_tensor, to_uint8


def toys(n, stretch, seed):
    """Toy faces of 32 px at `stretch` times their distance from the mean."""
    generator = ToyFaces()
    w = torch.from_numpy(generator.draw(n, seed)) * stretch
    return to_uint8(functional.avg_pool2d(generator.synthesize(w), 2))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("damage", [warp_faces, blend_faces])
def test_damage_depends_on_its_generator_and_stays_in_range(damage):
    x = as_tensor(toys(6, 1.0, 0))
    copy = x.clone()
    one = damage(x, rng(1))
    torch.manual_seed(9)
    assert torch.equal(one, damage(x, rng(1)))
    assert not torch.equal(one, damage(x, rng(2)))
    assert torch.equal(x, copy)
    assert one.shape == x.shape
    assert one.abs().max() <= 1
    assert ((one - x).abs().mean((1, 2, 3)) > 0.02).all()  # each picture is changed, visibly


def test_warping_moves_pixels_and_makes_none_up():
    x = torch.zeros(4, 3, 32, 32)
    x[:, :, 8:24, 8:24] = 0.5
    warped = warp_faces(x, rng())
    assert warped.min() >= 0
    assert warped.max() <= 0.5 + 1e-6
    flat = torch.full((4, 3, 32, 32), 0.3)
    torch.testing.assert_close(warp_faces(flat, rng()), flat)


def test_blending_shows_both_faces_everywhere():
    x = torch.zeros(2, 3, 32, 32)
    x[0], x[1] = 1.0, -1.0
    ghost = blend_faces(x, rng())
    assert (ghost[0] < 0.51).all()
    assert (ghost[0] > -0.51).all()
    torch.testing.assert_close(ghost[0, 0].mean() + ghost[1, 0].mean(), torch.tensor(0.0), atol=0.5, rtol=0)
    alone = blend_faces(as_tensor(toys(1, 1.0, 0)), rng())  # with nobody else, its own mirror image
    assert not torch.equal(alone, as_tensor(toys(1, 1.0, 0)))


@pytest.mark.slow
def test_the_classifier_tells_intact_from_distorted_faces():
    config, calls = ClassifierConfig(90, input_size=32), []
    before = torch.get_rng_state()
    classifier = train_face_quality(
        toys(120, 1.0, 0),
        toys(100, INTACT_TRUNCATION, 1),
        toys(100, DISTORTED_TRUNCATION, 2),
        0,
        config,
        lambda *call: calls.append(call),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert calls == [(step, 90) for step in range(1, 91)]
    assert classifier.semantics == ("face=distorted", "face=intact")
    fresh = as_tensor(toys(80, INTACT_TRUNCATION, 3))
    intact = classifier.read(fresh)[0][:, 1]
    for damaged in (warp_faces(fresh, rng()), blend_faces(fresh, rng()), as_tensor(toys(80, DISTORTED_TRUNCATION, 4))):
        distorted = classifier.read(damaged)[0][:, 1]
        # The area under the ROC curve was at least 0.975 over ten seeds; half as many steps left 0.66 to 1.
        assert (intact[:, None] > distorted[None]).mean() > 0.9


@pytest.mark.slow
def test_it_repeats_bit_for_bit():
    config = ClassifierConfig(6, input_size=32)
    pictures = toys(20, 1.0, 0), toys(16, INTACT_TRUNCATION, 1), toys(16, DISTORTED_TRUNCATION, 2)
    x = as_tensor(pictures[0])
    one, two, other = (train_face_quality(*pictures, seed, config).read(x)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("n", "steps"), [(10, 120), (1600, 200), (6500, 500)])
def test_training_from_nothing_follows_the_size(n, steps, monkeypatch):
    monkeypatch.setattr("faceaug.classifiers.config.efficientnet_weights_installed", lambda: False)
    assert ClassifierConfig.for_face_quality(n) == ClassifierConfig(steps)


@pytest.mark.parametrize(("n", "steps"), [(10, 250), (4000, 375), (6500, 500)])
def test_training_on_features_follows_the_size(n, steps, monkeypatch):
    monkeypatch.setattr("faceaug.classifiers.config.efficientnet_weights_installed", lambda: True)
    assert ClassifierConfig.for_face_quality(n) == ClassifierConfig(steps, batch_size=128, pretrained=True)


@pytest.mark.slow
@pytest.mark.skipif(not efficientnet_weights_installed(), reason=EFFICIENTNET_INSTALL)
def test_on_features_it_tells_damage_from_faces():
    config = ClassifierConfig(120, batch_size=64, pretrained=True)
    real, intact, distorted = (
        toys(n, stretch, seed) for n, stretch, seed in ((200, 1.0, 0), (150, 0.7, 1), (150, 1.7, 2))
    )
    classifier = train_face_quality(real, intact, distorted, 0, config)
    assert classifier.trunk == "lite0-stage3"
    fresh = as_tensor(toys(80, INTACT_TRUNCATION, 3))
    whole = classifier.read(fresh)[0][:, 1]
    for damaged in (warp_faces(fresh, rng()), blend_faces(fresh, rng())):
        assert (whole[:, None] > classifier.read(damaged)[0][:, 1][None]).mean() > 0.8
