"""Regions: found where a drawn face has its parts, by proportion where it has none, and always a partition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from faceaug.errors import UsageError
from faceaug.latents.face_regions import (
    REGIONS,
    Landmarks,
    face_grid,
    face_regions,
    face_weight,
    find_landmarks,
    region_shares,
)


def drawn(side=64, eye_x=0.17, eye_y=0.42, nose_y=0.64, mouth_y=0.80, noise=0.0):
    """Return depth and albedo of a face with dark eyes, red lips and a nose."""
    x, y = face_grid(side)
    bump = lambda cx, cy, w, h: np.exp(-0.5 * (((np.abs(x) - cx) / w) ** 2 + ((y - cy) / h) ** 2))  # noqa: E731
    albedo = np.repeat(0.6 - 0.25 * bump(eye_x, eye_y, 0.06, 0.02)[None], 3, 0)
    albedo[1:] -= 0.15 * bump(0, mouth_y, 0.08, 0.02)
    albedo += np.random.default_rng(0).normal(0, 1, albedo.shape) * noise
    depth = 1.0 + 0.2 * (x**2 + (y - 0.5) ** 2) - 0.04 * bump(0, nose_y, 0.04, 0.05)
    return depth, albedo


@pytest.mark.parametrize("eyes", [(0.14, 0.40), (0.17, 0.42), (0.19, 0.36)])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_parts_of_a_drawn_face_are_found(eyes, noise):
    eye_x, eye_y = eyes
    truth = dict(eye_x=eye_x, eye_y=eye_y, nose_y=eye_y + 1.4 * eye_x, mouth_y=eye_y + 2.2 * eye_x)
    found = find_landmarks(*drawn(**truth, noise=noise))
    assert set(found.detected) == {"eyes", "mouth", "nose"}
    for name, value in truth.items():
        assert getattr(found, name) == pytest.approx(value, abs=0.03), name


def test_brows_are_not_taken_for_eyes():
    x, y = face_grid(64)
    depth, albedo = drawn()
    for darkness in (0.1, 0.3, 0.5):  # fainter and darker than the eyes
        brows = np.exp(-0.5 * (((np.abs(x) - 0.17) / 0.07) ** 2 + ((y - 0.31) / 0.015) ** 2))
        found = find_landmarks(depth, albedo - darkness * brows)
        assert found.eye_y == pytest.approx(0.42, abs=0.03)
        assert found.eye_x == pytest.approx(0.17, abs=0.03)


def test_each_part_lies_in_its_region():
    depth, albedo = drawn()
    labels = face_regions(64, find_landmarks(depth, albedo))
    at = lambda x, y: REGIONS[labels[int(y * 64), int((0.5 + x) * 64)]]  # noqa: E731
    expected = {
        (0.17, 0.42): "eyes", (-0.17, 0.42): "eyes", (0.17, 0.305): "brows", (0, 0.64): "nose", (0, 0.80): "mouth",
        (0.22, 0.6): "cheeks", (0, 0.95): "jaw", (0, 0.2): "forehead", (0.48, 0.02): "outside", (-0.48, 0.5): "outside",
    }  # fmt: skip
    assert {place: at(*place) for place in expected} == expected


def test_a_flat_face_has_the_typical_proportions():
    found = find_landmarks(np.ones((64, 64)), np.full((3, 64, 64), 0.5))
    assert found.detected == ()
    assert found == find_landmarks(None, np.full((3, 64, 64), 0.5))
    assert set(np.unique(face_regions(64, found))) == set(range(len(REGIONS)))


def test_a_nose_without_eyes_is_found():
    depth, _ = drawn(nose_y=0.66)
    found = find_landmarks(depth, np.full((3, 64, 64), 0.5))
    assert found.detected == ("nose",)
    assert found.nose_y == pytest.approx(0.66, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 70), st.floats(0.11, 0.21), st.floats(0.25, 0.55), st.floats(0.5, 0.75), st.floats(1.6, 2.8))
def test_regions_are_symmetric_and_all_there(side, eye_x, eye_y, nose, ratio):
    mouth_y = eye_y + ratio * eye_x
    assume(mouth_y < 0.95)  # of a mouth below the picture nothing is there
    labels = face_regions(side, Landmarks(eye_x, eye_y, eye_y + nose * (mouth_y - eye_y), mouth_y))
    np.testing.assert_array_equal(labels, labels[:, ::-1])
    assert labels.dtype == np.uint8
    present = {REGIONS[k] for k in np.unique(labels)}
    assert {"eyes", "nose", "mouth", "cheeks", "outside"} <= present


def test_the_face_weighs_more_than_what_is_around_it():
    labels = face_regions(32, find_landmarks(None, np.full((3, 32, 32), 0.5)))
    weight = face_weight(labels)
    assert set(weight[labels != REGIONS.index("outside")]) == {1.0}
    assert 0 < weight[labels == REGIONS.index("outside")].max() < 1


def test_shares_are_of_the_whole():
    labels = face_regions(32, find_landmarks(None, np.full((3, 32, 32), 0.5)))
    energy = np.stack([labels == REGIONS.index("mouth"), np.ones((32, 32)), np.zeros((32, 32))]).astype(float)
    found = region_shares(energy, labels)
    assert found.shape == (3, len(REGIONS))
    assert found[0, REGIONS.index("mouth")] == 1
    np.testing.assert_allclose(found.sum(1), [1, 1, 0])
    np.testing.assert_allclose(found[1], [(labels == k).mean() for k in range(len(REGIONS))])


@pytest.mark.parametrize(
    ("depth", "albedo"),
    [
        (None, np.zeros((3, 64, 32))),
        (None, np.zeros((64, 64))),
        (None, np.zeros((3, 8, 8))),
        (np.zeros((32, 32)), np.zeros((3, 64, 64))),
        (np.full((64, 64), np.nan), np.zeros((3, 64, 64))),
    ],
)
def test_maps_that_do_not_fit_are_refused(depth, albedo):
    with pytest.raises(UsageError, match="regions need finite maps"):
        find_landmarks(depth, albedo)
    with pytest.raises(UsageError, match="at least 16"):
        face_regions(8, find_landmarks(None, np.zeros((3, 16, 16))))
