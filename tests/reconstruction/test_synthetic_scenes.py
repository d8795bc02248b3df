"""Scenes: their truth is what their pictures show, through another renderer and by points followed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from faceaug.errors import FaceaugError, GeneratorError
from faceaug.generators.base import Generator, sample_z
from faceaug.reconstruction import geometry
from faceaug.reconstruction.renderer import render
from faceaug.reconstruction.synthetic_scenes import SEMANTICS, Observation, Scenes, Truth, _Head

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes(32)


@pytest.fixture(scope="module")
def sampled() -> tuple[Truth, Observation]:
    w = latents(24)
    return Scenes().truth(w), Scenes().observe(w)


def latents(n: int, seed: int = 5) -> Tensor:
    return torch.from_numpy(np.stack([sample_z(len(SEMANTICS), (seed, k)) for k in range(n)]))


def latent_of(scenes: Scenes, **semantics: float) -> Tensor:
    """Return the latent [1, 40] of given semantics, in standard deviations, the others 0."""
    values = np.array([semantics.get(name, 0.0) for name in SEMANTICS])
    return torch.from_numpy(values @ scenes.mixing).float()[None]


def test_it_is_a_generator(scenes: Scenes) -> None:
    assert isinstance(scenes, Generator)
    w = scenes.map(latents(10))
    pictures = scenes.synthesize(w)
    assert pictures.shape == (10, 3, 32, 32)
    assert pictures.dtype == torch.float32
    assert pictures.abs().max() <= 1
    assert pictures.std() > 0.2
    assert scenes.synthesize(w[:0]).shape == (0, 3, 32, 32)
    again = torch.cat([Scenes(32).synthesize(part) for part in w.split(7)])
    assert torch.equal(again, pictures), "the same from a new one, and in any company"
    assert torch.equal(scenes.observe(w).image, pictures)
    assert scenes.sha256 == Scenes(32).sha256 != Scenes().sha256
    np.testing.assert_allclose(scenes.mixing @ scenes.mixing.T, np.eye(40), atol=1e-12)
    assert np.abs(scenes.mixing).max() < 0.8, "no coordinate is a semantic"


def test_pictures_follow_the_latent_smoothly(scenes: Scenes) -> None:
    w = latents(2).requires_grad_()
    pictures = scenes.synthesize(w)
    pictures.square().mean().backward()
    assert w.grad is not None
    assert w.grad.isfinite().all()
    assert (w.grad.abs() > 0).all()
    # Along what leaves the shape and the view alone, a derivative is a difference.
    toward = latent_of(scenes, tone=1.0, light_x=1.0)
    weight = torch.linspace(0, 1, 32)
    with torch.no_grad():
        ahead, behind = scenes.synthesize(torch.cat([latents(2) + 0.01 * toward, latents(2) - 0.01 * toward])).split(2)
    (gradient,) = torch.autograd.grad((scenes.synthesize(w) * weight).sum(), w)
    expected = ((ahead - behind) / 0.02 * weight).sum((1, 2, 3))
    torch.testing.assert_close((gradient * toward).sum(1), expected, rtol=0.02, atol=0.5)


def test_truth_has_the_ranges_of_faces(sampled: tuple[Truth, Observation]) -> None:
    truth = sampled[0]
    assert 0.9 < truth.depth.min() < truth.depth[truth.mask].max() < 1.1
    assert truth.albedo.min() >= 0
    assert truth.albedo.max() <= 1
    assert 0.35 < truth.mask.float().mean() < 0.7
    nearest = truth.depth.flatten(1).argmin(1)
    nose = geometry.pixel_grid(64).view(-1, 2)[nearest]
    assert (nose - torch.tensor([0.0, 0.2])).abs().max() < 0.15, "the nose is nearest"
    # Mostly, not strictly, symmetric.
    albedo_odd = (truth.albedo - truth.albedo.flip(-1))[
        (truth.mask & truth.mask.flip(-1))[:, None].expand(-1, 3, -1, -1)
    ]
    assert 1e-4 < albedo_odd.abs().mean() < 0.02
    depth_odd = (truth.depth - truth.depth.flip(-1))[truth.mask & truth.mask.flip(-1)]
    assert 1e-5 < depth_odd.abs().mean() < 1e-3


def test_views_and_lights_are_nearly_linear_in_the_latent(scenes: Scenes) -> None:
    w = torch.randn(4000, 40, generator=torch.Generator().manual_seed(0))
    truth = Scenes(8).truth(w)
    degrees = torch.rad2deg(truth.view[:, :3]).std(0)
    torch.testing.assert_close(degrees, torch.tensor([8.0, 20.0, 5.0]), rtol=0.12, atol=0)
    assert torch.rad2deg(truth.view[:, 1]).abs().max() < 60
    design = torch.cat([torch.ones(len(w), 1), w], 1)
    values = torch.cat([truth.view, truth.light], 1)
    fit = design @ torch.linalg.lstsq(design, values).solution
    explained = 1 - (values - fit).var(0) / values.var(0)
    assert explained.min() > 0.9
    row = SEMANTICS.index("yaw")
    found = torch.linalg.lstsq(design, truth.view[:, 1:2]).solution[1:, 0].numpy()
    assert found @ scenes.mixing[row] / np.linalg.norm(found) > 0.99


def test_light_is_seen_where_it_comes_from(scenes: Scenes) -> None:
    lights = [dict(light_x=2.0), dict(light_x=-2.0), dict(light_y=2.0), dict(light_y=-2.0)]
    right, left, above, below = scenes.synthesize(torch.cat([latent_of(scenes, **light) for light in lights])).mean(1)
    ramp = torch.linspace(-1, 1, 32)
    assert ((right - left) * ramp).sum() > 25
    assert ((above - below) * ramp[:, None]).sum() < -12


def test_the_mole_is_seen_where_the_truth_puts_it() -> None:
    """Follow one point: unprojected, moved and projected by the formulas, it must be where the picture changes."""
    scenes = Scenes()
    turns = [dict(), dict(yaw=1.2), dict(yaw=-1.0, pitch=1.5, roll=1.0), dict(tx=2.0, ty=-2.0, tz=2.0)]
    w = torch.cat([latent_of(scenes, mole=tone, **turn) for tone in (-4.0, 4.0) for turn in turns])
    truth, pictures = scenes.truth(w[:4]), scenes.synthesize(w)
    at = torch.tensor([[0.30, 0.38]])  # the mole's place
    depth = geometry.sample_bilinear(truth.depth[:, None], at.expand(4, 1, 1, 2)).view(4, 1, 1)
    points = torch.cat([at / geometry.FOCAL * depth, depth], -1)
    expected = geometry.project(geometry.move(points, truth.view))[:, 0]
    change = (pictures[4:] - pictures[:4]).abs().sum(1)[..., None]
    found = (change * geometry.pixel_grid(64)).sum((1, 2)) / change.sum((1, 2))
    assert (found - expected).abs().max() < 0.4 * 2 / 64, "within 0.4 pixels"
    assert (expected[1:] - expected[0]).abs().amax(1).min() > 0.05, "they do lie elsewhere"


def test_normals_of_the_closed_form_are_those_of_its_depth(scenes: Scenes) -> None:
    head = _Head(scenes._semantics(latents(4)))
    depth, mask = head.surface(128)
    slopes = torch.stack(head.normals(128), 1)
    inner = mask.clone()
    inner[:, 1:-1, 1:-1] &= mask[:, 2:, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 1:-1, 2:] & mask[:, 1:-1, :-2]
    found = geometry.normals(depth.double()).float()
    degrees = torch.rad2deg(torch.acos((found * slopes).sum(1).clamp(max=1)))[inner]
    assert degrees.max() < 5, "differences, where the rim curves within a pixel"
    assert degrees.median() < 0.1


def test_the_renderer_shows_the_truth_as_the_scenes_do(sampled: tuple[Truth, Observation]) -> None:
    """Two renderers that share no method, triangles and splats, on 24 heads in all views."""
    truth, seen = sampled
    rendering = render(truth.albedo, truth.depth, truth.light, truth.view)
    on_head = geometry.sample_bilinear(truth.mask[:, None].float(), rendering.uv, "zeros")[:, 0] > 0.99
    both = seen.mask & rendering.mask & on_head
    assert both.sum() > 0.93 * seen.mask.sum(), "the rim lies between pixels of the truth"
    error = (rendering.view_depth - seen.depth)[both].abs()
    assert error.mean() < 3e-4, "of a face 0.1 deep"
    assert error.median() < 1e-4
    assert (error < 2e-3).float().mean() > 0.99
    colours = (rendering.image - seen.image)[both[:, None].expand(-1, 3, -1, -1)].abs()
    assert colours.mean() < 0.015
    # The check can fail: another sign of yaw, or another light, is seen at once.
    turned = truth.view * truth.view.new_tensor([1, -1, 1, 1, 1, 1])
    other = render(truth.albedo, truth.depth, truth.light, turned)
    both = seen.mask & other.mask
    assert (other.view_depth - seen.depth)[both].abs().mean() > 3e-3
    other = render(truth.albedo, truth.depth, geometry.mirror_light(truth.light), truth.view)
    both = (seen.mask & other.mask)[:, None].expand(-1, 3, -1, -1)
    assert (other.image - seen.image)[both].abs().mean() > 0.08


def test_a_turned_nose_hides_the_far_cheek_and_leaves_no_gaps() -> None:
    scenes = Scenes()
    w = torch.cat([latent_of(scenes, yaw=yaw, nose_tip=2.0) for yaw in (-2.5, 2.5)])
    seen = scenes.observe(w)
    for mask in seen.mask:
        for line in mask:
            columns = line.nonzero()[:, 0]
            gaps = (columns[1:] - columns[:-1] > 1).sum() if len(columns) else 0
            assert gaps <= 1, "one at most, between the tip of the nose and the cheek beyond"
    jumps = (seen.depth[:, :, 1:] - seen.depth[:, :, :-1])[seen.mask[:, :, 1:] & seen.mask[:, :, :-1]]
    assert jumps.abs().max() > 0.01, "from the nose to what it hides"


def test_beside_the_head(scenes: Scenes) -> None:
    w = latent_of(scenes, ground_tone=2.0)
    truth, both = scenes.truth(w), scenes.observe(torch.cat([w, latent_of(scenes, ground_tone=2.0, yaw=1.5)]))
    seen = Observation(*(part[:1] for part in both))
    corner = (slice(None), slice(0, 3), slice(0, 3))
    assert not seen.mask[corner].any()
    assert not truth.mask[corner].any()
    assert (seen.depth[corner] == truth.depth[corner]).all()
    assert seen.depth[corner].unique().tolist() == [pytest.approx(1.1)]
    torch.testing.assert_close(both.image[1:, :, :2, :2], seen.image[:, :, :2, :2], msg="the background stays")
    assert seen.image.shape == (1, 3, 32, 32)


def test_bad_input_is_refused() -> None:
    with pytest.raises(FaceaugError, match="at least 8"):
        Scenes(4)
    for call in (Scenes(8).synthesize, Scenes(8).truth, Scenes(8).observe, Scenes(8).map):
        with pytest.raises(GeneratorError, match="shape"):
            call(torch.zeros(2, 7))
    with pytest.raises(GeneratorError, match="not available"):
        Scenes(8, "nowhere")


def test_a_latent_is_read_as_latent_of(scenes: Scenes) -> None:
    truth = scenes.truth(latent_of(scenes, yaw=0.5, light_x=1.0))
    assert math.degrees(truth.view[0, 1]) == pytest.approx(10, abs=0.1)
    assert truth.view[0, [0, 2, 3, 4, 5]].abs().max() < 1e-6
    assert truth.light[0, 2] == pytest.approx(0.6, abs=1e-5)
