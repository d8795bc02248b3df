"""Draws to look at: repeatable latents, truncation of any generator, few pictures in memory at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import BlockGenerator

from faceaug.errors import GeneratorError
from faceaug.generators import sampling
from faceaug.generators.sampling import sample_faces, sample_grid, sample_w


def test_draws_depend_on_seed_and_number_alone(small):
    w = sample_w(small, 5, seed=2)
    assert torch.equal(sample_w(small, 3, seed=2), w[:3])
    assert not torch.equal(sample_w(small, 5, seed=3), w)


@pytest.mark.parametrize("psi", [0.5, 1.5])
def test_truncation_goes_toward_the_mean(small, psi):
    for generator, centre in (
        (small, small.network.mapping.w_avg),
        (blocks := BlockGenerator(6), torch.from_numpy(blocks.w_mean).float()),
    ):
        whole, cut = sample_w(generator, 4), sample_w(generator, 4, psi=psi)
        torch.testing.assert_close(cut - centre, psi * (whole - centre))


def test_a_truncation_that_cannot_be():
    with pytest.raises(GeneratorError, match="psi is -1"):
        sample_w(BlockGenerator(6), 1, psi=-1)


def test_faces_are_drawn_in_parts(monkeypatch):
    monkeypatch.setattr(sampling, "AT_ONCE", 3 * 16 * 16)
    sizes = []
    generator = BlockGenerator(6)
    draw = generator.synthesize
    generator.synthesize = lambda w: (sizes.append(len(w)), draw(w))[1]
    faces = list(sample_faces(generator, sample_w(generator, 7), side=8))
    assert sizes == [3, 3, 1]
    assert {face.shape for face in faces} == {(8, 8, 3)}
    counted = []
    assert sample_grid(generator, 7, progress=counted.append).shape == (48, 48, 3)
    assert sum(counted) == 7


def test_pixels_are_rounded_bytes(small):
    w = sample_w(small, 2)
    images = small.synthesize(w)
    for face, image in zip(sample_faces(small, w), images, strict=True):
        expected = (image.permute(1, 2, 0).numpy().astype(np.float64) + 1) * 127.5
        assert np.abs(face - expected).max() <= 0.5 + 1e-4


def test_only_stylegans_choose_their_precision():
    with pytest.raises(GeneratorError, match="float32 alone"):
        sample_grid(BlockGenerator(6), 1, precision="bfloat16")


def test_a_grid_cuts_off_with_the_psi_it_is_given(small):
    generator = small.with_settings(psi=0.5, cutoff=1)
    asked = generator.with_settings(psi=0.8)
    assert np.array_equal(sample_grid(generator, 4, psi=0.8), sample_grid(asked, 4))
