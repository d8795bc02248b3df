"""Registration finds the displacement between two canonical pictures, and says where it fails."""

from __future__ import annotations

import cv2
import numpy as np
from demo_faces import faces

from faceaug.morphing.registration import normalize_contrast, register

CORE = np.s_[40:110, 36:92]  # eyes, nose and mouth


def shifted(picture: np.ndarray, across: float, down: float) -> np.ndarray:
    moved = np.array([[1, 0, across], [0, 1, down]], np.float64)
    return cv2.warpAffine(picture, moved, picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def test_a_picture_lies_on_itself():
    detail = faces()[0][0].detail
    found = register(detail, detail)
    assert np.abs(found.flow).max() < 1e-3
    assert found.residual.max() < 1e-3
    assert found.confidence[CORE].min() > 0.9


def test_a_known_shift_is_found():
    detail = faces()[0][0].detail
    found = register(detail, shifted(detail, 3.0, -2.0))
    pixels = found.flow[CORE].reshape(-1, 2) * 64  # of half sides of 128 pixels
    np.testing.assert_allclose(np.median(pixels, axis=0), [3.0, -2.0], atol=0.4)
    assert found.residual[CORE].mean() < 0.15


def test_the_flow_is_the_same_each_time_and_in_any_order():
    details = [face.detail for face, _ in faces()[:3]]
    first = register(details[0], details[1])
    register(details[1], details[2])
    again = register(details[0], details[1])
    np.testing.assert_array_equal(first.flow, again.flow)
    np.testing.assert_array_equal(first.residual, again.residual)


def test_what_only_one_of_two_faces_has_is_left_as_residual():
    detail = faces()[0][0].detail
    covered = detail.copy()
    covered[60:80, 40:90] = np.random.default_rng(0).integers(0, 255, (20, 50))
    found = register(detail, covered)
    inside, outside = found.residual[62:78, 44:86].mean(), found.residual[90:108, 44:86].mean()
    assert inside > 3 * outside


def test_contrast_is_normalized_whatever_light_and_colour():
    picture = np.random.default_rng(0).integers(60, 120, (128, 128, 3)).astype(np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 2)
    brighter = np.clip(picture.astype(int) + 70, 0, 255).astype(np.uint8)
    difference = normalize_contrast(picture).astype(int) - normalize_contrast(brighter).astype(int)
    assert np.abs(difference).max() <= 3
