"""Lessons: the way home is right, and a picture without a face has none."""

from __future__ import annotations

import torch
from fakes import ToyFaces

from faceaug.measurement.alignment_data import NEAR, WIDE, alignment_batch, around, backgrounds, exchanged, scrambled
from faceaug.measurement.crops import before, cut


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int = 64) -> torch.Tensor:
    generator = ToyFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(n)))


def test_it_depends_on_its_generator_alone():
    x = faces(16)
    copy = x.clone()
    one, two, other = alignment_batch(x, rng(1)), alignment_batch(x, rng(1)), alignment_batch(x, rng(2))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.steps, two.steps)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(x, copy)


def test_shapes_ranges_and_shares():
    alignment_batches = [alignment_batch(faces(), rng(seed)) for seed in range(4)]
    images = torch.cat([part.images for part in alignment_batches])
    face = torch.cat([part.face for part in alignment_batches])
    steps = torch.cat([part.steps for part in alignment_batches])
    assert images.shape == (256, 3, 64, 64)
    assert images.abs().max() <= 1
    assert torch.isfinite(images).all()
    assert 0.55 < face.mean() < 0.75
    bound = torch.tensor(WIDE)
    near = (steps[face == 1].abs() < bound / 3).all(1).float().mean()
    assert NEAR - 0.12 < near < NEAR + 0.15
    assert (steps[face == 1].abs() <= bound + 0.05).float().mean() > 0.99


def test_the_way_home_leads_home():
    """What is cut where a lesson's step leads is the face as it was drawn, wherever the photograph shows it."""
    x = faces(32)
    steps = (torch.rand(32, 4, generator=rng(3)) * 2 - 1) * torch.tensor([0.2, 0.2, 0.3, 0.3])
    canvases = around(x, before(torch.zeros(32, 4), steps), rng(4), 192)
    home, stay = cut(canvases, steps), cut(canvases, torch.zeros(32, 4))
    inner = slice(20, 44)  # what every photograph shows

    def off(images):
        return (images - x)[..., inner, inner].abs().mean((1, 2, 3))

    assert off(home).max() < 0.03
    assert off(stay).median() > 3 * off(home).median()


def test_tiles_change_places_and_stay_whole():
    x = torch.arange(4 * 3 * 64 * 64.0).view(4, 3, 64, 64)
    for seed in range(3):
        changed = exchanged(x, rng(seed))
        assert not torch.equal(changed, x)
        assert torch.equal(changed.flatten(1).sort(1)[0], x.flatten(1).sort(1)[0])
        rows = changed.view(4, 3, 64, 8, 8)
        assert (rows.diff(dim=-1) == 1).all()  # whole rows of tiles


def test_scrambling_keeps_colour_and_spectrum_and_nothing_else():
    x = faces(16) * 0.5
    changed = scrambled(x, rng())
    torch.testing.assert_close(changed.mean((2, 3)), x.mean((2, 3)), atol=0.02, rtol=0)
    before_, after = (torch.fft.rfft2(part).abs()[..., 1:20, 1:20] for part in (x, changed))
    assert ((after - before_).abs().mean() / before_.mean()) < 0.25  # but for what was cut off at the range's ends
    flat = [(part - part.mean((2, 3), keepdim=True)).flatten(1) for part in (x, changed)]
    alike = torch.cosine_similarity(*flat)
    assert alike.abs().mean() < 0.4


def test_backgrounds_differ_and_stay_in_range():
    x = backgrounds(40, 64, rng())
    assert x.shape == (40, 3, 64, 64)
    assert x.abs().max() <= 1
    assert x.flatten(1).std(0).min() > 0.1
