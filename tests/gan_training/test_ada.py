"""Augmentation: its effect on an image, how often, and how p is controlled by overfitting."""

from __future__ import annotations

import math

import pytest
import torch

from faceaug.gan_training.ada import (
    AdaptiveAugmentation,
    augment,
    sample_colour_transforms,
    sample_geometric_transforms,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(n=4, side=16):
    return torch.rand(n, 3, side, side, generator=rng(9)) * 2 - 1


def test_nothing_changes_at_p_zero():
    x = picture()
    assert augment(x, 0.0, rng()) is x


def test_the_share_of_unchanged_images_falls_with_p():
    """With p for each of eight geometric and five colour transformations, (1 - p)^k of the images stay unchanged."""
    x = picture(512, 8)
    still = (augment(x, 0.05, rng()) - x).flatten(1).abs().amax(1) < 1e-4
    # Half of the mirrors and flips, and a quarter of the turns, change nothing though they are chosen.
    expected = 0.95**9 * (1 - 0.025) ** 2 * (1 - 0.05 * 0.75)
    assert float(still.float().mean()) == pytest.approx(expected, abs=0.06)
    assert float(((augment(x, 0.8, rng()) - x).flatten(1).abs().amax(1) < 1e-4).float().mean()) < 0.02


def test_random_numbers_do_not_depend_on_p():
    one, other = rng(), rng()
    augment(picture(), 0.1, one)
    augment(picture(), 0.7, other)
    assert torch.equal(one.get_state(), other.get_state())


@pytest.fixture
def only(monkeypatch):
    """Apply one of the eight geometric transformations to all images and the others to none."""
    from faceaug.gan_training import ada

    kinds = ("mirror", "scale", "stretch", "quarters", "whole", "first", "second", "shift")

    def choose(kind):
        order = iter((*kinds, *["colour"] * 5))

        def select(p, values, neutral, rng):
            return values.to(neutral.dtype) if next(order) == kind else neutral

        monkeypatch.setattr(ada, "_select", select)

    return choose


def test_half_of_the_mirrored_are_the_mirror_image(only):
    x = picture(64)
    only("mirror")
    moved = augment(x, 0.5, rng())
    mirrored, still = ((moved - to).flatten(1).abs().amax(1) < 1e-4 for to in (x.flip(3), x))
    assert (mirrored ^ still).all()
    assert 16 < int(mirrored.sum()) < 48


def test_a_quarter_turn_is_exact(only):
    x = picture(64)
    only("quarters")
    moved = augment(x, 0.5, rng())
    turned = [(moved - x.rot90(k, (2, 3))).flatten(1).abs().amax(1) < 1e-4 for k in range(4)]
    assert (torch.stack(turned).sum(0) == 1).all()
    assert all(one.any() for one in turned)


def test_a_shift_by_whole_pixels_resamples_nothing(only):
    ramp = torch.arange(16.0).expand(32, 3, 16, 16).contiguous()
    only("whole")
    change = (augment(ramp, 0.5, rng()) - ramp)[:, :, 4:-4, 4:-4]
    steps = change[:, :1, :1, :1]
    assert torch.allclose(change, steps.expand_as(change), atol=1e-3)
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert {int(step) for step in steps.flatten().round()} == {-2, -1, 0, 1, 2}


def test_places_are_as_spread_as_the_paper_says():
    """At p = 1 everything is applied: the area changes as the scaling, whatever is rotated, stretched or mirrored."""
    m = sample_geometric_transforms(20_000, 64, 1.0, rng())
    area = torch.log2(m[:, :2, :2].det().abs()) / 2
    assert float(area.std()) == pytest.approx(0.2, rel=0.03)
    assert float(area.mean()) == pytest.approx(0.0, abs=0.01)
    assert float((m[:, :2, :2].det() < 0).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_rotations_hit_a_share_of_pictures_even_though_there_are_two():
    m = sample_geometric_transforms(20_000, 64, 0.5, rng())[:, :2, :2]
    square = m / m.det().abs().sqrt()[:, None, None]
    angle = torch.atan2(square[:, 1, 0], square[:, 0, 0]) / (math.pi / 2)
    turned = (angle - angle.round()).abs() > 1e-3  # other than by quarters; a stretch alone turns nothing
    assert float(turned.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_colours_keep_what_they_must():
    m = sample_colour_transforms(5000, 1.0, rng())
    grey = torch.tensor([0.5, 0.5, 0.5, 1.0])
    seen = (m @ grey)[:, :3]
    assert torch.allclose(seen, seen.mean(1, keepdim=True).expand(-1, 3), atol=1e-4), "grey stays grey"
    assert torch.equal(m[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(5000, 4))
    at_zero = m[:, :3, 3].mean(1)  # mid-grey becomes the brightness that was added, or its negative
    assert float(at_zero.abs().median()) > 0.1


def test_gradients_flow():
    x = picture().requires_grad_(True)
    augment(x, 0.7, rng()).square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


def test_p_is_controlled_by_overfitting():
    ada = AdaptiveAugmentation()
    control = {"target": 0.6, "kimg": 1, "max_p": 0.8}
    ada.adapt(100, **control)
    assert float(ada.p) == 0, "nothing was observed"
    for _ in range(3):
        ada.observe_signs(90, 100)
        ada.adapt(100, **control)
    assert float(ada.p) == pytest.approx(0.3)
    assert float(ada.r_t) == pytest.approx(0.9)
    ada.observe_signs(10, 100)
    ada.adapt(100, **control)
    assert float(ada.p) == pytest.approx(0.2)
    for _ in range(20):
        ada.observe_signs(100, 100)
        ada.adapt(100, **control)
    assert float(ada.p) == pytest.approx(0.8), "the limit"


def test_r_v_compares_scores_of_training_held_out_and_generated_images():
    ada = AdaptiveAugmentation()
    for _ in range(9):
        ada.observe_scores(1.0, -1.0, 0.8)
    assert ada.r_v is None, "too few batches"
    ada.observe_scores(1.0, -1.0, 0.8)
    assert ada.r_v == pytest.approx(0.1)
    for _ in range(60):
        ada.observe_scores(2.0, -2.0, -2.0)
    assert ada.r_v == pytest.approx(1.0, abs=0.01)
    resumed = AdaptiveAugmentation()
    resumed.load_state_dict(ada.state_dict())
    assert resumed.r_v == ada.r_v
