"""Skin tone as the individual typology angle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceaug.measurement.skin_tone import SkinTones, skin_tone, skin_tone_confidence, to_lab
from faceaug.reconstruction.factors import FaceFactors


def faces(*colours: tuple[float, float, float], side: int = 32) -> FaceFactors:
    """Flat faces of one colour each, evenly lit."""
    albedo = torch.tensor(colours)[:, :, None, None].expand(-1, 3, side, side)
    count = len(colours)
    light = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).expand(count, 4)
    return FaceFactors(torch.ones(count, side, side), albedo, light, torch.zeros(count, 6))


def test_colours_are_converted_to_cielab():
    """The values of the sRGB primaries and of grey that colour libraries give (D65)."""
    found = to_lab(np.array([[1.0, 1, 1], [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0.5]]))
    assert found == pytest.approx(
        np.array([[100, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [53.39, 0, 0]]), abs=0.03
    )


def test_lighter_skin_has_a_larger_angle():
    light, tan, dark = skin_tone(faces((0.93, 0.80, 0.72), (0.76, 0.57, 0.44), (0.35, 0.22, 0.16)))
    assert 41 < light < 90
    assert 10 < tan < 41
    assert dark < -30


def test_view_and_direction_of_light_have_no_part_in_it():
    plain = faces((0.76, 0.57, 0.44))
    lit = replace(plain, light=torch.tensor([[0.5, 0.5, 0.8, -0.4]]), view=torch.full((1, 6), 0.2))
    assert skin_tone(lit) == pytest.approx(skin_tone(plain))
    tones = SkinTones.of(lit, plain)
    assert tones.mirror_disagreement == pytest.approx(0)


def test_its_confidence_comes_with_faceaug():
    assert skin_tone_confidence().spread.shape == (1,)
