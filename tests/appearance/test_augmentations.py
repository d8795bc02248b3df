"""Augmentations: the same for a seed, in range, and never mirrored where a side matters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.appearance.augmentations import _geometry, expose, jitter, photometric_jitter


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sided(n: int = 64, side: int = 32) -> torch.Tensor:
    """Pictures that are bright on their right third only."""
    x = torch.full((n, 3, side, side), -0.5)
    x[..., 2 * side // 3 :] = 0.5
    return x


def rightness(x: torch.Tensor) -> torch.Tensor:
    """Mean of the right half minus mean of the left, [N]."""
    half = x.shape[-1] // 2
    return x[..., half:].mean((1, 2, 3)) - x[..., :half].mean((1, 2, 3))


def test_it_depends_on_its_generator_alone():
    x = torch.rand(8, 3, 32, 32, generator=rng(0)) * 2 - 1
    torch.manual_seed(1)
    one = jitter(x, rng(5), mirror=True)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = jitter(x, rng(5), mirror=True)
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one, jitter(x, rng(6), mirror=True))


def test_it_leaves_its_input_alone():
    x = torch.rand(8, 3, 32, 32, generator=rng(0)) * 2 - 1
    copy = x.clone()
    jitter(x, rng(5), mirror=True)
    assert torch.equal(x, copy)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([-1.0, 0.0, 1.0, None]), st.booleans())
def test_it_stays_in_range(seed, level, mirror):
    x = torch.rand(4, 3, 24, 24, generator=rng(seed)) * 2 - 1 if level is None else torch.full((4, 3, 24, 24), level)
    changed = jitter(x, rng(seed), mirror=mirror)
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    assert torch.isfinite(changed).all()
    assert changed.abs().max() <= 1


def test_without_mirror_no_side_is_ever_changed():
    x = sided()
    for seed in range(8):
        assert (rightness(jitter(x, rng(seed), mirror=False)) > 0.05).all()


def test_with_mirror_half_of_the_images_are():
    changed = torch.cat([rightness(jitter(sided(), rng(seed), mirror=True)) < 0 for seed in range(4)]).float().mean()
    assert 0.4 < changed < 0.6


def test_every_image_is_changed_in_its_own_way():
    changed = jitter(sided(32), rng(1), mirror=False)
    assert len({tuple(c.flatten()[:50].tolist()) for c in changed}) == 32
    exposure = changed.mean((1, 2, 3))
    assert exposure.std() > 0.1  # exposure varies, by about a stop


def test_colour_and_sharpness_vary():
    grey = torch.zeros(64, 3, 32, 32)
    spread = jitter(grey, rng(0), mirror=False).mean((2, 3)).std(1)
    assert (spread > 0.005).float().mean() > 0.8  # a tint
    checker = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 1.0 - 0.5).expand(64, 3, 32, 32)
    detail = jitter(checker, rng(0), mirror=False).std((1, 2, 3))
    assert detail.min() < 0.3 * detail.max()  # some are softened until nothing is left of it


@pytest.mark.parametrize("stops", [-1.5, -1.0, 0.0, 0.5, 1.0])
def test_a_stop_is_a_factor_of_two_of_linear_light(stops):
    x = torch.linspace(-1, 0.1, 50).view(1, 1, 5, 10).expand(1, 3, 5, 10)

    def linear(image):
        return ((image + 1) / 2) ** 2.2

    torch.testing.assert_close(linear(expose(x, stops)), linear(x) * 2**stops, atol=1e-5, rtol=1e-4)


def test_exposure_is_cut_at_white_and_keeps_black():
    x = torch.tensor([-1.0, 0.9]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert expose(x, 3.0).flatten()[:2].tolist() == [-1.0, 1.0]


def test_each_image_may_have_its_own_stops():
    x = torch.zeros(3, 3, 4, 4)
    stops = torch.tensor([-1.0, 0.0, 1.0])
    together = expose(x, stops[:, None, None, None])
    for k in range(3):
        assert torch.equal(together[k], expose(x, float(stops[k]))[k])
    assert (together.mean((1, 2, 3)).diff() > 0).all()


def test_images_are_not_rotated_where_that_would_change_an_attribute():
    bars = torch.where(torch.arange(64) % 16 < 8, 0.8, -0.8)[None, None, :, None].expand(16, 3, 64, 64)

    def tilt(images):  # how much the rows differ along themselves
        return images[:, :, 24:40, 24:40].mean(1).std(2).mean().item()

    still = torch.cat([_geometry(bars, rng(seed), mirror=True, rotate=False) for seed in range(3)])
    changed = torch.cat([_geometry(bars, rng(seed), mirror=True, rotate=True) for seed in range(3)])
    assert tilt(still) < 1e-5
    assert tilt(changed) > 0.05


def halves() -> torch.Tensor:
    """Pictures whose left half has three quarters of the light that the right one has."""
    x = torch.full((64, 3, 32, 32), 0.5 * 0.6 - 1)
    x[..., :16] = 0.5 * 0.45 - 1
    return x


def brightness(x: torch.Tensor) -> torch.Tensor:
    """Mean light of the left and right quarter of images, above black: [N, 2]."""
    return torch.stack([x[..., :8].mean((1, 2, 3)), x[..., -8:].mean((1, 2, 3))], 1) + 1


def test_exposure_leaves_the_share_of_the_light_alone_and_contrast_does_not():
    shares = {}
    for contrast in (False, True):
        left, right = brightness(photometric_jitter(halves(), rng(0), contrast=contrast)).T
        shares[contrast] = left / right
    assert (shares[False] - 0.75).abs().max() < 0.02
    assert (shares[True] - 0.75).abs().max() > 0.05


def test_brightness_stays_where_exposure_and_contrast_are_left_out():
    before = brightness(halves())
    still = brightness(photometric_jitter(halves(), rng(0), exposure=False, contrast=False))
    varied = brightness(photometric_jitter(halves(), rng(0), contrast=False))
    assert ((still / before).log().std(0) < 0.06).all()  # of the tint
    assert ((varied / before).log().std(0) > 0.15).all()
