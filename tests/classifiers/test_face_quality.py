"""Sound faces and melted ones: how pictures are spoilt on purpose, and that the network learns the difference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import ToyFaces, as_bytes
from torch.nn import functional

from faceaug.classifiers import face_quality as soundness
from faceaug.classifiers.face_quality import FAR, MODERATE, blended, train_face_quality, warped
from faceaug.utils.tensors import as_tensor


def toys(n, stretch, seed):
    """Toy faces of 32 px at `stretch` times their distance from the mean."""
    generator = ToyFaces()
    w = torch.from_numpy(generator.draw(n, seed)) * stretch
    return as_bytes(functional.avg_pool2d(generator.synthesize(w), 2))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spoil", [warped, blended])
def test_spoiling_depends_on_its_generator_and_stays_in_range(spoil):
    x = as_tensor(toys(6, 1.0, 0))
    copy = x.clone()
    one = spoil(x, rng(1))
    torch.manual_seed(9)
    assert torch.equal(one, spoil(x, rng(1)))
    assert not torch.equal(one, spoil(x, rng(2)))
    assert torch.equal(x, copy)
    assert one.shape == x.shape
    assert one.abs().max() <= 1
    assert ((one - x).abs().mean((1, 2, 3)) > 0.02).all()  # each picture is changed, visibly


def test_warping_moves_pixels_and_makes_none_up():
    x = torch.zeros(4, 3, 32, 32)
    x[:, :, 8:24, 8:24] = 0.5
    bent = warped(x, rng())
    assert bent.min() >= 0
    assert bent.max() <= 0.5 + 1e-6
    flat = torch.full((4, 3, 32, 32), 0.3)
    torch.testing.assert_close(warped(flat, rng()), flat)


def test_blending_shows_both_faces_everywhere():
    x = torch.zeros(2, 3, 32, 32)
    x[0], x[1] = 1.0, -1.0
    ghost = blended(x, rng())
    assert (ghost[0] < 0.51).all()
    assert (ghost[0] > -0.51).all()
    torch.testing.assert_close(ghost[0, 0].mean() + ghost[1, 0].mean(), torch.tensor(0.0), atol=0.5, rtol=0)
    alone = blended(as_tensor(toys(1, 1.0, 0)), rng())  # with nobody else, its own mirror image
    assert not torch.equal(alone, as_tensor(toys(1, 1.0, 0)))


def test_the_network_tells_sound_from_melted(monkeypatch, small):
    monkeypatch.setattr(soundness, "steps_for", lambda n: 45)
    told = []
    before = torch.get_rng_state()
    probe = train_face_quality(
        toys(120, 1.0, 0), toys(100, MODERATE, 1), toys(100, FAR, 2), 0, progress=lambda *call: told.append(call)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert told == [(step, 45) for step in range(1, 46)]
    assert probe.semantics == ("face=melted", "face=sound")
    fresh = as_tensor(toys(80, MODERATE, 3))
    sound = probe.read(fresh)[0][:, 1]
    for spoilt in (warped(fresh, rng()), blended(fresh, rng()), as_tensor(toys(80, FAR, 4))):
        melted = probe.read(spoilt)[0][:, 1]
        right = (sound[:, None] > melted[None]).mean()  # how often a sound one is told from a melted one
        assert right > 0.8


def test_it_repeats_bit_for_bit(monkeypatch, small):
    monkeypatch.setattr(soundness, "steps_for", lambda n: 6)
    pictures = toys(20, 1.0, 0), toys(16, MODERATE, 1), toys(16, FAR, 2)
    x = as_tensor(pictures[0])
    one, two, other = (train_face_quality(*pictures, seed).read(x)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("n", "steps"), [(10, 120), (1600, 200), (6500, 500)])
def test_training_follows_the_size(n, steps):
    assert soundness.steps_for(n) == steps
