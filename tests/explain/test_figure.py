"""The figure of explanations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bundles import small_bundle
from explainable import as_dataset, measured_table

from faceaug.explain import figure
from faceaug.explain.explain import ExplainConfig, explain
from faceaug.explain.explanation import Explanation
from faceaug.explain.figure import draw_explanations


@pytest.fixture(scope="module")
def age() -> Explanation:
    config = ExplainConfig(resamples=2, shuffles=2)
    return explain(as_dataset(measured_table()), "age", small_bundle(), config)[0]


def tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    top = row * (figure._HEAD + figure._TILE + figure._GAP) + figure._HEAD
    left = figure._GAP + column * (figure._TILE + figure._GAP)
    return picture[top : top + figure._TILE, left : left + figure._TILE].astype(int)


def test_parts_light_up_where_they_are(age):
    bundle = small_bundle()
    change = np.zeros((4, 16, 16))
    change[0, 4:6, 4:6] = -0.01  # comes nearer
    change[1:, 12:14, 8:10] = -0.2  # gets darker
    plain = replace(age, change=np.zeros((4, 16, 16)))
    picture = draw_explanations([replace(age, change=change), plain], bundle)
    ten = figure._TILE // 16
    spot = np.s_[4 * ten + 5 : 6 * ten - 5, 4 * ten + 5 : 6 * ten - 5]
    other = np.s_[12 * ten + 5 : 14 * ten - 5, 8 * ten + 5 : 10 * ten - 5]
    np.testing.assert_allclose(tile(picture, 0, 1)[spot].mean((0, 1)), figure._MORE, atol=35)
    np.testing.assert_allclose(tile(picture, 0, 2)[other].mean((0, 1)), figure._LESS, atol=35)
    np.testing.assert_array_equal(tile(picture, 0, 1)[other], tile(picture, 1, 1)[other])
    less, more = tile(picture, 0, 3), tile(picture, 0, 4)
    assert (less[other] > more[other] + 50).all()
    np.testing.assert_array_equal(less[spot], more[spot])
    np.testing.assert_array_equal(tile(picture, 1, 3), tile(picture, 1, 4))


def test_a_row_for_each(age):
    one, three = (draw_explanations([age] * n, small_bundle()) for n in (1, 3))
    assert three.shape[0] - one.shape[0] == 2 * (figure._HEAD + figure._TILE + figure._GAP)
    assert one.dtype == np.uint8
