"""The reader of view and light: what it learns, what it says of mirror images, and the weights that it stores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fake_estimator import reconstruct, slope, still_aligner

from faceaug.errors import IntegrityError
from faceaug.measurement.reader import MIRROR_SIGN, FactorReader
from faceaug.measurement.reader_training import FRONTAL, MAX_TURN, TurnedFaces, train_reader, turn_faces
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.utils.tensors import normalize_pixels

YAW, PITCH, ROLL = (FACTOR_NAMES.index(name) for name in ("yaw", "pitch", "roll"))


def slopes(count: int, seed: int) -> TurnedFaces:
    """Return images whose yaw is how much brighter they are to the right; nothing else varies."""
    strengths = np.random.default_rng(seed).uniform(-1, 1, count)
    images = torch.from_numpy(np.stack([slope(strength, 64) for strength in strengths])).permute(0, 3, 1, 2)
    values = torch.zeros(count, len(FACTOR_NAMES))
    values[:, YAW] = torch.from_numpy(40 * strengths).float()
    values[:, PITCH] = 5 + torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return TurnedFaces(images, values)


@pytest.fixture(scope="module")
def reader() -> FactorReader:
    return train_reader(slopes(256, 1), steps=60, batch_size=32, jitter=lambda images, rng: images)


@pytest.mark.slow
def test_it_learns_what_the_faces_say(reader):
    unseen = slopes(64, 2)
    read = reader.values(normalize_pixels(unseen.images))
    assert read.shape == (64, 6)
    assert np.corrcoef(read[:, YAW], unseen.values[:, YAW])[0, 1] > 0.9


@pytest.mark.slow
def test_mirror_images_have_mirrored_values(reader):
    images = normalize_pixels(slopes(8, 3).images)
    np.testing.assert_allclose(reader.values(images.flip(-1)), reader.values(images) * MIRROR_SIGN, atol=1e-4)
    one, other = reader.both(images)
    np.testing.assert_allclose((one + other) / 2, reader.values(images))


def test_the_same_seed_gives_the_same_reader():
    faces = slopes(32, 4)
    one, again, other = (train_reader(faces, steps=2, batch_size=8, seed=seed).state() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_its_state_restores_it(reader):
    images = normalize_pixels(slopes(4, 5).images)
    again = FactorReader.from_state(reader.state())
    np.testing.assert_array_equal(again.values(images), reader.values(images))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["lacking", "infinite", "no scale"])
def test_damaged_weights_are_refused(reader, damage):
    state = dict(reader.state())
    first = next(name for name in state if name.startswith("network."))
    if damage == "lacking":
        del state[first]
    elif damage == "infinite":
        state[first] = torch.full_like(state[first], math.inf)
    else:
        state["scale"] = torch.zeros(6)
    with pytest.raises(IntegrityError, match=r"of the reader .*: get the file again"):
        FactorReader.from_state(state)


def halves() -> np.ndarray:
    """Return an image that is black to the left and white to the right: a face turned by 14 degrees."""
    return np.repeat(np.where(np.arange(64) < 32, 0, 255), 3).reshape(1, 64, 3).repeat(64, 0).astype(np.uint8)


def turned(images: list[np.ndarray], count: int, **options: Any) -> TurnedFaces:
    faces = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return turn_faces(faces, reconstruct, still_aligner(), count, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_faces_are_turned_by_known_angles():
    """What the fake reconstruction reads as frontal is turned and framed; what it reads as turned is left out."""
    images = [slope(0.02, 64), slope(-0.02, 64), halves()]
    calls: list[tuple[int, int]] = []
    faces = turned(images, 60, seed=3, progress=lambda *call: calls.append(call))
    assert 20 < len(faces.images) <= 40  # every third is not frontal
    assert faces.images.shape[1:] == (3, 64, 64)
    assert faces.values.shape == (len(faces.images), 6)
    assert FRONTAL < faces.values[:, YAW].abs().max() <= MAX_TURN[1] + FRONTAL
    assert torch.equal(turned(images, 60, seed=3).images, faces.images)
    assert not torch.equal(turned(images, 60, seed=4).images, faces.images)
    assert calls == [(60, 60)]


def test_no_face_that_looks_ahead_gives_none():
    assert len(turned([halves()], 8).images) == 0
