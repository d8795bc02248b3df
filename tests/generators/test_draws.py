"""Draws: the same numbers give the same ones, white coordinates are white, and a kept pool is read again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import BlockGenerator, FakeGenerator

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators import draws
from faceaug.generators.draws import latents, pictures, sample_pool
from faceaug.latents.whitening import whitening
from faceaug.utils.tensors import at_side


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(draws, "BLOCK", 8)


def test_a_stream_has_its_own_latents():
    generator = BlockGenerator()
    first = latents(generator, 5, (3, 1))
    assert torch.equal(first, latents(generator, 5, (3, 1)))
    assert not torch.isclose(first, latents(generator, 5, (3, 2))).any()


def test_white_coordinates_are_uncorrelated_with_variance_one():
    generator = BlockGenerator(seed=2)
    white = whitening(generator)
    u = white.white(latents(generator, 20_000, (0,)))
    assert torch.allclose(u.mean(0), torch.zeros(8), atol=0.03)
    assert torch.allclose(torch.cov(u.T), torch.eye(8), atol=0.05)


def test_a_deficient_covariance_gives_fewer_coordinates_and_back():
    mixing = np.random.default_rng(0).normal(size=(6, 3))
    generator = FakeGenerator("flat", 8, np.arange(6.0), mixing)
    white = whitening(generator)
    assert white.width == 3
    w = latents(generator, 50, (0,))
    assert torch.allclose(white.latent(white.white(w)), w, atol=1e-4)


@pytest.mark.parametrize(
    ("mean", "covariance", "said"),
    [
        (np.zeros(2), None, r"shapes are \(2,\) and \(0,\)"),
        (np.zeros(3), np.eye(2), "shapes are"),
        (np.zeros(2), np.array([[1, np.nan], [np.nan, 1]]), "NaN"),
        (np.zeros(2), np.zeros((2, 2)), "variances run from 0 to 0"),
        (np.zeros(2), np.diag([1.0, -0.5]), "variances run from -0.5 to 1"),
    ],
)
def test_a_generator_without_statistics_is_refused(mean, covariance, said):
    generator = FakeGenerator("bare", 8, np.zeros(2), np.eye(2))
    generator.w_mean, generator.w_covariance = mean, covariance
    with pytest.raises(GeneratorError, match=f"'bare' has no usable mean and covariance of w.*{said}"):
        whitening(generator)


def test_a_pool_holds_the_pictures_of_its_latents():
    generator = BlockGenerator(resolution=16)
    pool = sample_pool(generator, 20, 1, side=8)
    assert (len(pool), pool.side) == (20, 8)
    assert torch.allclose(pool.pictures(slice(3, 9)), pictures(generator, pool.w[3:9], 8), atol=0.5 / 127)
    longer = sample_pool(generator, 30, 1, side=8)
    assert torch.equal(longer.images[:20], pool.images)


def test_a_kept_pool_is_read_again_and_damage_drawn_again(tmp_path):
    generator = BlockGenerator(resolution=8)
    told = []
    whole = sample_pool(generator, 20, 1, 8, tmp_path, told.append)
    assert told == [8, 8, 4]
    first, second, third = sorted(tmp_path.iterdir())
    second.write_bytes(second.read_bytes()[:100])
    third.unlink()
    # What is there is used: a block that another hand has changed shows.
    changed = np.load(first)
    changed[0] = 7
    np.save(first, changed)
    again = sample_pool(generator, 20, 1, 8, tmp_path)
    assert torch.equal(again.images[1:], whole.images[1:])
    assert (again.images[0] == 7).all()
    assert len(list(tmp_path.iterdir())) == 3
    # Another seed or generator has blocks of its own.
    assert not torch.equal(sample_pool(generator, 20, 2, 8, tmp_path).images, whole.images)


class Counting(BlockGenerator):
    """Notes how many pictures it was asked for."""

    def synthesize(self, w):
        self.asked = [*getattr(self, "asked", []), len(w)]
        return super().synthesize(w)


def test_few_large_pictures_are_held_at_a_time(monkeypatch):
    generator = Counting(resolution=16)
    w = latents(generator, 40, (0,))
    whole = pictures(generator, w, 8)
    monkeypatch.setattr(draws, "FULL_SIZE", 12 * 16**2 * 20)
    assert draws.at_once(generator) == 16  # a power of two
    assert torch.equal(pictures(generator, w, 8), whole)
    assert generator.asked == [40, 16, 16, 8]
    monkeypatch.setattr(draws, "FULL_SIZE", 1)
    assert draws.at_once(generator) == 8  # a tile is drawn as a whole anyhow


def test_large_pictures_are_kept_in_small_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "BLOCK", 40)
    generator, told = Counting(resolution=16), []
    whole = sample_pool(generator, 50, 1, 8)
    monkeypatch.setattr(draws, "FULL_SIZE", 1)

    def stop(n):
        told.append(n)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_pool(generator, 50, 1, 8, tmp_path, stop)
    generator.asked = []
    again = sample_pool(generator, 50, 1, 8, tmp_path, told.append)
    assert generator.asked == [8, 8, 8, 2]  # of seven parts three were there
    assert told == [8, 8, 8, 8, 8, 8, 8, 8, 8, 2]
    assert torch.equal(again.images, whole.images)
    assert torch.equal(again.w, whole.w)
    held = sample_pool(generator, 50, 1, 8, tmp_path, stream=draws.HELD_OUT)
    assert not torch.isclose(held.w, whole.w).any()


def test_too_few_draws_are_refused():
    with pytest.raises(FaceaugError, match="1 draws are too few"):
        sample_pool(BlockGenerator(), 1, 0)


def test_smaller_sides_are_means_and_larger_ones_in_between():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(at_side(images, 2)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert at_side(images, 4) is images
    assert at_side(images, 8).shape == (1, 1, 8, 8)
