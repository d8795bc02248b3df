"""Training data of the alignment: steps that lead to the framing, and images without a face."""

from __future__ import annotations

import torch
from fakes import ToyFaces

from faceaug.measurement.alignment_data import (
    MAX_STEP,
    NEAR_SHARE,
    alignment_batch,
    crop_with_surroundings,
    random_backgrounds,
    scramble_phases,
    shuffle_tiles,
)
from faceaug.measurement.crops import CanvasPyramid, undo_steps


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int = 64) -> torch.Tensor:
    generator = ToyFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(n)))


def test_a_batch_depends_on_its_seed_alone():
    x = faces(16)
    copy = x.clone()
    one, two, other = alignment_batch(x, rng(1)), alignment_batch(x, rng(1)), alignment_batch(x, rng(2))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.steps, two.steps)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(x, copy)


def test_shapes_ranges_and_shares():
    batches = [alignment_batch(faces(), rng(seed)) for seed in range(4)]
    images = torch.cat([batch.images for batch in batches])
    face = torch.cat([batch.face for batch in batches])
    steps = torch.cat([batch.steps for batch in batches])
    assert images.shape == (256, 3, 64, 64)
    assert images.abs().max() <= 1
    assert torch.isfinite(images).all()
    assert 0.55 < face.mean() < 0.75
    bound = torch.tensor(MAX_STEP)
    near = (steps[face == 1].abs() < bound / 3).all(1).float().mean()
    assert NEAR_SHARE - 0.12 < near < NEAR_SHARE + 0.15
    assert (steps[face == 1].abs() <= bound + 0.05).float().mean() > 0.99


def test_the_step_leads_to_the_framing_of_the_generator():
    """The crop at the end of a step is the generated face, wherever the photograph shows it."""
    x = faces(32)
    steps = (torch.rand(32, 4, generator=rng(3)) * 2 - 1) * torch.tensor([0.2, 0.2, 0.3, 0.3])
    canvases = crop_with_surroundings(x, undo_steps(torch.zeros(32, 4), steps), rng(4), 192)
    moved, unmoved = CanvasPyramid(canvases).crop(steps), CanvasPyramid(canvases).crop(torch.zeros(32, 4))
    inner = slice(20, 44)  # shown by every photograph

    def error(images):
        return (images - x)[..., inner, inner].abs().mean((1, 2, 3))

    assert error(moved).max() < 0.03
    assert error(unmoved).median() > 3 * error(moved).median()


def test_tiles_are_shuffled_and_stay_whole():
    x = torch.arange(4 * 3 * 64 * 64.0).view(4, 3, 64, 64)
    for seed in range(3):
        changed = shuffle_tiles(x, rng(seed))
        assert not torch.equal(changed, x)
        assert torch.equal(changed.flatten(1).sort(1)[0], x.flatten(1).sort(1)[0])
        rows = changed.view(4, 3, 64, 8, 8)
        assert (rows.diff(dim=-1) == 1).all()  # whole rows of tiles


def test_scrambling_keeps_only_colour_and_spectrum():
    x = faces(16) * 0.5
    changed = scramble_phases(x, rng())
    torch.testing.assert_close(changed.mean((2, 3)), x.mean((2, 3)), atol=0.02, rtol=0)
    spectrum, after = (torch.fft.rfft2(images).abs()[..., 1:20, 1:20] for images in (x, changed))
    assert ((after - spectrum).abs().mean() / spectrum.mean()) < 0.25  # except for clamping
    flat = [(part - part.mean((2, 3), keepdim=True)).flatten(1) for part in (x, changed)]
    alike = torch.cosine_similarity(*flat)
    assert alike.abs().mean() < 0.4


def test_backgrounds_differ_and_stay_in_range():
    x = random_backgrounds(40, 64, rng())
    assert x.shape == (40, 3, 64, 64)
    assert x.abs().max() <= 1
    assert x.flatten(1).std(0).min() > 0.1
