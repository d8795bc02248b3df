"""Augmentation: what it does to a picture, how often, and how its strength follows the overfitting."""

from __future__ import annotations

import math

import pytest
import torch

from faceaug.gan_training.ada import AdaptiveAugmentation, augment, colours, geometry


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(n=4, side=16):
    return torch.rand(n, 3, side, side, generator=rng(9)) * 2 - 1


def test_nothing_at_strength_zero():
    x = picture()
    assert augment(x, 0.0, rng()) is x


def test_the_share_of_untouched_pictures_falls_with_the_strength():
    """With p for each of eight places and five colours, (1 - p)^k of the pictures stay as they are."""
    x = picture(512, 8)
    still = (augment(x, 0.05, rng()) - x).flatten(1).abs().amax(1) < 1e-4
    # Half of the mirrors and flips, and a quarter of the turns, change nothing though they are chosen.
    expected = 0.95**9 * (1 - 0.025) ** 2 * (1 - 0.05 * 0.75)
    assert float(still.float().mean()) == pytest.approx(expected, abs=0.06)
    assert float(((augment(x, 0.8, rng()) - x).flatten(1).abs().amax(1) < 1e-4).float().mean()) < 0.02


def test_what_is_drawn_does_not_depend_on_the_strength():
    one, other = rng(), rng()
    augment(picture(), 0.1, one)
    augment(picture(), 0.7, other)
    assert torch.equal(one.get_state(), other.get_state())


@pytest.fixture
def only(monkeypatch):
    """Let one of the eight kinds of places be applied to all pictures and the others to none."""
    from faceaug.gan_training import ada as augmentation

    kinds = ("mirror", "scale", "stretch", "quarters", "whole", "first", "second", "shift")

    def choose(kind):
        asked = iter((*kinds, *["colour"] * 5))

        def some(share, values, neutral, rng):
            return values.to(neutral.dtype) if next(asked) == kind else neutral

        monkeypatch.setattr(augmentation, "_some", some)

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
    m = geometry(20_000, 64, 1.0, rng())
    area = torch.log2(m[:, :2, :2].det().abs()) / 2
    assert float(area.std()) == pytest.approx(0.2, rel=0.03)
    assert float(area.mean()) == pytest.approx(0.0, abs=0.01)
    assert float((m[:, :2, :2].det() < 0).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_rotations_hit_a_share_of_pictures_even_though_there_are_two():
    m = geometry(20_000, 64, 0.5, rng())[:, :2, :2]
    square = m / m.det().abs().sqrt()[:, None, None]
    angle = torch.atan2(square[:, 1, 0], square[:, 0, 0]) / (math.pi / 2)
    turned = (angle - angle.round()).abs() > 1e-3  # other than by quarters; a stretch alone turns nothing
    assert float(turned.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_colours_keep_what_they_must():
    m = colours(5000, 1.0, rng())
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


def test_the_strength_follows_the_overfitting():
    one = AdaptiveAugmentation()
    one.adapt(100, 0.6, 1000, 0.8)
    assert float(one.strength) == 0, "nothing was observed"
    for _ in range(3):
        one.observe(90, 100)
        one.adapt(100, 0.6, 1000, 0.8)
    assert float(one.strength) == pytest.approx(0.3)
    assert float(one.ada_target) == pytest.approx(0.9)
    one.observe(10, 100)
    one.adapt(100, 0.6, 1000, 0.8)
    assert float(one.strength) == pytest.approx(0.2)
    for _ in range(20):
        one.observe(100, 100)
        one.adapt(100, 0.6, 1000, 0.8)
    assert float(one.strength) == pytest.approx(0.8), "the limit"


def test_learning_by_heart_is_told_from_held_out_scores():
    one = AdaptiveAugmentation()
    for _ in range(9):
        one.probe(1.0, -1.0, 0.8)
    assert one.memorised is None, "too early to tell"
    one.probe(1.0, -1.0, 0.8)
    assert one.memorised == pytest.approx(0.1)
    for _ in range(60):
        one.probe(2.0, -2.0, -2.0)
    assert one.memorised == pytest.approx(1.0, abs=0.01)
    again = AdaptiveAugmentation()
    again.load_state_dict(one.state_dict())
    assert again.memorised == one.memorised
