"""Near-copies: hashes that hold under small changes and tell images apart, and an index in which the first stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.synthesis.acceptance.near_duplicates import DuplicateIndex, differing_bits, hashes, map_hashes

NEAR = 6


@pytest.fixture(scope="module")
def faces():
    generator = ToyFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(60, seed=2)))


def test_identical_images_hash_alike_in_any_company(faces):
    values = hashes(faces)
    assert values.dtype == np.uint64
    assert values.shape == (60,)
    np.testing.assert_array_equal(hashes(faces[[7, 3]]), values[[7, 3]])
    np.testing.assert_array_equal(hashes(faces.clone()), values)


def test_maps_hash_as_grey_images_do():
    maps = np.random.default_rng(0).random((300, 32, 24), dtype=np.float32)
    grey = hashes(torch.from_numpy(maps)[:, None].expand(-1, 3, -1, -1))
    different = sum(bin(int(one) ^ int(other)).count("1") for one, other in zip(map_hashes(maps), grey, strict=True))
    assert different <= 3  # of 19,200 bits: products are rounded otherwise, and a value may be next to the median


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
        lambda x: 0.9 * x,
        lambda x: x + 0.05,
        lambda x: torch.nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    ],
    ids=["noise", "contrast", "brightness", "half size", "blur"],
)
def test_near_copies_hash_near(faces, change):
    pairs = zip(hashes(change(faces)), hashes(faces), strict=True)
    bits = np.array([differing_bits(a, np.array([b]))[0] for a, b in pairs])
    assert np.median(bits) <= 2
    assert (bits <= NEAR).mean() > 0.9


def test_unrelated_images_hash_far(faces):
    noise = torch.nn.functional.interpolate(
        torch.rand(80, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1, size=(64, 64), mode="bilinear"
    )
    values = hashes(noise)
    others = np.concatenate([differing_bits(a, np.delete(values, i)) for i, a in enumerate(values)])
    assert 28 < others.mean() < 36  # as random bits do
    assert (others > NEAR).all()


def test_half_of_the_bits_are_set(faces):
    ones = np.unpackbits(hashes(faces).view(np.uint8).reshape(-1, 8), axis=1).sum(1)
    assert ((ones >= 31) & (ones <= 33)).all()


def test_no_images_no_hashes():
    assert hashes(torch.empty(0, 3, 64, 64)).shape == (0,)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_differing_bits_are_counted(one, others):
    found = differing_bits(np.uint64(one), np.array(others, np.uint64))
    assert found.tolist() == [bin(one ^ other).count("1") for other in others]


def test_the_index_starts_with_the_real_faces():
    real = np.array([0b1111, 0xFF << 40], np.uint64)
    index = DuplicateIndex(real, 2)
    assert index.near(np.uint64(0b1111))
    assert index.near(np.uint64(0b0011))
    assert not index.near(np.uint64(0b0001))
    index.add(np.uint64(0b0001))
    assert index.near(np.uint64(0b0001))
    np.testing.assert_array_equal(real, [0b1111, 0xFF << 40])  # the caller's array is left alone


def test_an_empty_index_knows_nothing():
    index = DuplicateIndex(np.empty(0, np.uint64), 64)
    assert not index.near(np.uint64(5))
    index.add(np.uint64(0))
    assert index.near(np.uint64(5))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(0, 5))
def test_the_first_stays(seed, within, real_count):
    """What is taken in an order is what remembering everything and comparing one by one would take."""
    rng = np.random.default_rng(seed)
    values = [int(v) for v in rng.integers(0, 2**64, 8, dtype=np.uint64)]
    stream = [values[rng.integers(8)] ^ (1 << int(rng.integers(64))) * int(rng.integers(2)) for _ in range(40)]
    real, generated = stream[:real_count], stream[real_count:]
    index, taken = DuplicateIndex(np.array(real, np.uint64), within), []
    for value in generated:
        if not index.near(np.uint64(value)):
            index.add(np.uint64(value))
            taken.append(value)
    expected = []
    for value in generated:
        if all(bin(value ^ known).count("1") > within for known in [*real, *expected]):
            expected.append(value)
    assert taken == expected


def test_the_index_grows_and_forgets_nothing():
    values = np.random.default_rng(0).integers(0, 2**64, 2500, dtype=np.uint64)
    index = DuplicateIndex(values[:3], 0)
    for value in values[3:]:
        assert not index.near(value)
        index.add(value)
    assert all(index.near(value) for value in values)
    assert not index.near(values[0] ^ np.uint64(1))


def test_two_images_of_one_photograph_are_near_copies_of_each_other():
    """Only the photograph itself is passed over, not what was accepted with the same hash."""
    index = DuplicateIndex(np.array([0b1111, 0xFF << 40], np.uint64), 2)
    assert not index.near(np.uint64(0b1111), np.uint64(0b1111))
    index.add(np.uint64(0b1111))
    assert index.near(np.uint64(0b1111), np.uint64(0b1111))


@pytest.mark.slow
def test_a_large_index_decides_as_one_that_compares_all_hashes():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 2**64, 140_000, np.uint64)
    index = DuplicateIndex(real, 8)
    changes = [np.uint64(sum(1 << int(bit) for bit in rng.choice(64, count, replace=False))) for count in range(4, 12)]
    copies = [real[k] ^ change for k, change in enumerate(changes)]
    for value in [*copies, *rng.integers(0, 2**64, 8, np.uint64)]:
        assert index.near(value) == (differing_bits(value, real).min() <= 8)
    source = real[0]
    assert index.near(source)
    assert not index.near(source, but=source)
    index.add(copies[0])  # four bits from the source
    assert index.near(source, but=source)
    index.add(source)
    assert index.near(source, but=source)
