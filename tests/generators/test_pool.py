"""Pools of samples: the same stream gives the same samples, and a cached pool is read again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import BlockGenerator

from faceaug.errors import FaceaugError
from faceaug.generators.pool import HELD_OUT_STREAM, full_size_batch, sample_pool, sample_stream, synthesize_at

LARGE = 4096  # a resolution of which a single image exceeds the memory for full-size images


class CountingGenerator(BlockGenerator):
    """Counts the images of each call, and claims any resolution, by which batches are planned."""

    def __init__(self, resolution=16):
        super().__init__(resolution=16)
        self.resolution, self.batches, self._small = resolution, [], BlockGenerator(resolution=16)

    def synthesize(self, w):
        self.batches.append(len(w))
        return self._small.synthesize(w)


def test_a_stream_has_its_own_latents():
    generator = BlockGenerator()
    first = sample_stream(generator, 5, (3, 1))
    assert torch.equal(first, sample_stream(generator, 5, (3, 1)))
    assert not torch.isclose(first, sample_stream(generator, 5, (3, 2))).any()


def test_a_pool_holds_the_images_of_its_latents():
    generator = BlockGenerator(resolution=16)
    pool = sample_pool(generator, 20, 1, side=8)
    assert (len(pool), pool.side) == (20, 8)
    images = synthesize_at(generator, pool.w[3:9], 8)
    assert torch.allclose(pool.float_images(slice(3, 9)), images, atol=0.5 / 127)


def test_a_longer_pool_begins_like_a_shorter_one():
    generator = BlockGenerator(resolution=8)
    short, long = (sample_pool(generator, n, 1, side=8) for n in (510, 1010))
    assert torch.equal(long.w[:510], short.w)
    assert torch.equal(long.images[:510], short.images)


def test_a_cached_pool_is_read_again_and_damaged_files_are_written_anew(tmp_path):
    generator = BlockGenerator(resolution=8)
    progress = []
    pool = sample_pool(generator, 1200, 1, 8, tmp_path, progress.append)
    assert progress == [500, 500, 200]
    first, second, third = sorted(tmp_path.iterdir())
    second.write_bytes(second.read_bytes()[:100])
    third.unlink()
    # A cached file is used: a change of its content is visible.
    changed = np.load(first)
    changed[0] = 7
    np.save(first, changed)
    again = sample_pool(generator, 1200, 1, 8, tmp_path)
    assert torch.equal(again.images[1:], pool.images[1:])
    assert (again.images[0] == 7).all()
    assert len(list(tmp_path.iterdir())) == 3
    # Another seed has files of its own.
    assert not torch.equal(sample_pool(generator, 1200, 2, 8, tmp_path).images, pool.images)


def test_few_large_images_are_in_memory_at_a_time():
    generator = CountingGenerator(resolution=740)
    w = sample_stream(generator, 40, (0,))
    images = synthesize_at(CountingGenerator(), w, 8)
    assert full_size_batch(generator) == 16  # a power of two
    assert torch.equal(synthesize_at(generator, w, 8), images)
    assert generator.batches == [16, 16, 8]
    assert full_size_batch(CountingGenerator(LARGE)) == 8  # a tile is always synthesized as a whole


def test_large_images_are_cached_in_small_files(tmp_path):
    generator, progress = CountingGenerator(LARGE), []
    pool = sample_pool(CountingGenerator(), 50, 1, 8)

    def stop(n):
        progress.append(n)
        if len(progress) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_pool(generator, 50, 1, 8, tmp_path, stop)
    generator.batches = []
    again = sample_pool(generator, 50, 1, 8, tmp_path, progress.append)
    assert generator.batches == [8, 8, 8, 2]  # of seven files three were cached
    assert progress == [8, 8, 8, 8, 8, 8, 8, 8, 8, 2]
    assert torch.equal(again.images, pool.images)
    assert torch.equal(again.w, pool.w)


def test_the_held_out_pool_has_other_samples():
    generator = BlockGenerator(resolution=8)
    training, held_out = (sample_pool(generator, 50, 1, 8), sample_pool(generator, 50, 1, 8, stream=HELD_OUT_STREAM))
    assert not torch.isclose(training.w, held_out.w).any()


def test_too_few_samples_are_refused():
    with pytest.raises(FaceaugError, match="1 samples are too few"):
        sample_pool(BlockGenerator(), 1, 0)
