"""Sampled images: repeatable latents, truncation of any generator, few images in memory at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import BlockGenerator

from faceaug.errors import GeneratorError
from faceaug.generators.sampling import iterate_images, sample_grid, sample_w


def test_samples_depend_on_seed_and_number_alone(small):
    w = sample_w(small, 5, seed=2)
    assert torch.equal(sample_w(small, 3, seed=2), w[:3])
    assert not torch.equal(sample_w(small, 5, seed=3), w)


@pytest.mark.parametrize("truncation_psi", [0.5, 1.5])
def test_truncation_goes_toward_the_mean(small, truncation_psi):
    for generator, centre in (
        (small, small.network.mapping.w_avg),
        (blocks := BlockGenerator(6), torch.from_numpy(blocks.w_mean).float()),
    ):
        whole, cut = sample_w(generator, 4), sample_w(generator, 4, truncation_psi=truncation_psi)
        torch.testing.assert_close(cut - centre, truncation_psi * (whole - centre))


def test_a_truncation_out_of_range_is_refused():
    with pytest.raises(GeneratorError, match="psi is -1"):
        sample_w(BlockGenerator(6), 1, truncation_psi=-1)


class LargeGenerator(BlockGenerator):
    """Claims a resolution of which only three images are synthesized at a time."""

    def __init__(self):
        super().__init__(6)
        self.resolution, self.batches, self._small = 1100, [], BlockGenerator(6)

    def synthesize(self, w):
        self.batches.append(len(w))
        return self._small.synthesize(w)


def test_few_images_are_in_memory_at_a_time():
    generator, progress = LargeGenerator(), []
    faces = list(iterate_images(generator, sample_w(generator, 7), side=8))
    assert generator.batches == [3, 3, 1]
    assert {face.shape for face in faces} == {(8, 8, 3)}
    assert sample_grid(generator, 7, side=16, progress=progress.append).shape == (48, 48, 3)
    assert sum(progress) == 7


def test_pixels_are_rounded_bytes(small):
    w = sample_w(small, 2)
    images = small.synthesize(w)
    for face, image in zip(iterate_images(small, w), images, strict=True):
        expected = (image.permute(1, 2, 0).numpy().astype(np.float64) + 1) * 127.5
        assert np.abs(face - expected).max() <= 0.5 + 1e-4


def test_only_stylegans_choose_their_precision():
    with pytest.raises(GeneratorError, match="float32 alone"):
        sample_grid(BlockGenerator(6), 1, precision="bfloat16")


def test_a_grid_applies_the_cutoff_with_its_own_truncation(small):
    generator = small.with_config(truncation_psi=0.5, truncation_cutoff=1)
    expected_generator = generator.with_config(truncation_psi=0.8)
    assert np.array_equal(sample_grid(generator, 4, truncation_psi=0.8), sample_grid(expected_generator, 4))
