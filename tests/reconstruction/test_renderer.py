"""The rasterizer against closed forms, rays marched through the surface, and every triangle tried at every pixel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.reconstruction import renderer as module
from faceaug.reconstruction.geometry import (
    FOCAL,
    mirror_light,
    mirror_view,
    move,
    pixel_grid,
    project,
    rotation,
    unproject,
)
from faceaug.reconstruction.renderer import FILL_DEPTH, inverse_warp, rasterize, render

torch.set_num_threads(1)

DOUBLE = torch.zeros((), dtype=torch.float64)


def views(*rows: dict[str, float]) -> Tensor:
    names = ("pitch", "yaw", "roll", "tx", "ty", "tz")
    return torch.tensor([[row.get(name, 0.0) for name in names] for row in rows], dtype=torch.float64)


TURNS = views(
    dict(yaw=0.5),
    dict(yaw=-0.9, tx=0.02),
    dict(pitch=0.4, roll=0.3),
    dict(pitch=-0.3, yaw=0.4, roll=-0.5, tx=-0.02, ty=0.03, tz=0.05),
    dict(tz=-0.08),
)


def face(side: int, nose: float = 0.04, n: int = 1) -> Tensor:
    """Depth of a head with a nose that is one Gaussian, [n, side, side]."""
    return surface(pixel_grid(side, DOUBLE), nose)[None].repeat(n, 1, 1)


def surface(uv: Tensor, nose: float) -> Tensor:
    x, y = uv.unbind(-1)
    return 1.06 - 0.08 * torch.exp(-(x**2 / 0.8 + y**2)) - nose * torch.exp(-(x**2 + y**2) / 0.02)


def noisy(n: int, side: int, spread: float, seed: int = 0) -> Tensor:
    random = torch.rand(n, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 1 + spread * (random - 0.5)


def rays(side: int) -> Tensor:
    return torch.cat([pixel_grid(side, DOUBLE) / FOCAL, torch.ones(side, side, 1, dtype=torch.float64)], -1)


def test_straight_on_every_pixel_shows_its_own_depth() -> None:
    for depth in (face(64), face(64).float(), noisy(2, 9, 0.2)):
        seen, mask = rasterize(depth, torch.zeros(len(depth), 6, dtype=depth.dtype))
        assert mask.all()
        torch.testing.assert_close(seen, depth)
        assert seen.dtype == depth.dtype


@pytest.mark.parametrize("slopes", [(0.0, 0.0), (0.6, -0.4)])
def test_planes_are_exact(slopes: tuple[float, float]) -> None:
    side = 24
    level = torch.tensor([*slopes, -1.0], dtype=torch.float64)  # of the plane z = 1 + slopes · (x, y)
    ray = rays(side)
    depth = (-1 / (ray @ level))[None].expand(len(TURNS), -1, -1)
    seen, mask = rasterize(depth, TURNS)
    turned = rotation(TURNS) @ level  # the plane n · (p - pivot - t) = 0 after the turn
    through = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) + TURNS[:, 3:]
    expected = (turned * through).sum(1)[:, None, None] / torch.einsum("hwc,nc->nhw", ray, turned)
    torch.testing.assert_close(seen[mask], expected[mask])
    # Covered is exactly what lies between the outer centres of the canonical picture.
    uv = inverse_warp(expected, TURNS)
    within = uv.abs().amax(-1) * side / (side - 1)
    assert (mask == (within < 1)).flatten(1).float().mean(1).min() == 1
    assert 0.3 < mask.float().mean() < 0.9


def test_a_sphere_turned_is_a_sphere() -> None:
    side, radius = 64, 0.13
    centre = torch.tensor([0.0, 0.0, 1.03], dtype=torch.float64)
    ray = rays(side)

    def front(middle: Tensor) -> Tensor:
        a, b = (ray**2).sum(-1), (ray * middle).sum(-1)
        return (b - (b**2 - a * (middle @ middle - radius**2)).sqrt()) / a

    seen, mask = rasterize(front(centre)[None].expand(len(TURNS), -1, -1), TURNS)
    for k in range(len(TURNS)):
        expected = front(move(centre[None, None], TURNS[k : k + 1])[0, 0])
        sure = mask[k] & ~expected.isnan()
        assert sure.float().mean() > 0.4
        assert (seen[k] - expected)[sure].abs().max() < 1e-3, "flat triangles, where they are seen nearly edge on"
        assert (seen[k] - expected)[sure].abs().mean() < 2e-5


def march(side: int, nose: float, view: Tensor) -> tuple[Tensor, Tensor]:
    """Depth at each pixel where its ray first dives under the surface, by small steps; and where that is known."""
    steps = torch.linspace(0.85, 1.2, 3000, dtype=torch.float64)
    points = rays(side).view(-1, 1, 3) * steps[:, None]
    back = (points - points.new_tensor([0, 0, 1]) - view[3:]) @ rotation(view[None])[0] + points.new_tensor([0, 0, 1])
    uv = project(back)
    outside = uv.abs().amax(-1) > 1 - 1 / side
    under = (back[..., 2] > surface(uv, nose)) & ~outside
    hit = under.any(1)
    first = under.float().argmax(1)
    # Entered from the side, through the border: what is there is not known.
    known = hit & ~outside.gather(1, (first - 1).clamp(min=0)[:, None])[:, 0]
    return steps[first].view(side, side), known.view(side, side)


@pytest.mark.parametrize("view", [dict(yaw=0.9), dict(yaw=-0.6, pitch=0.3, roll=0.2), dict(pitch=-0.8, ty=0.02)])
def test_a_nose_in_profile_hides_the_cheek(view: dict[str, float]) -> None:
    side, nose, turn = 32, 0.09, views(view)
    expected, known = march(side, nose, turn[0])
    seen, mask = rasterize(face(side, nose), turn)
    both = known & mask[0]
    assert (known == mask[0]).float().mean() > 0.97
    error = (seen[0] - expected)[both].abs()
    # The outline of the nose may fall on the other side of a pixel's centre; everything else agrees.
    assert (error < 2e-3).float().mean() > 0.97
    assert error.median() < 1.5e-4
    # Without a z-buffer some other layer would win: several layers do lie over one another here.
    layers = torch.zeros(side * side)
    uv = project(move(unproject(face(side, nose)), turn))[0]
    cell = ((uv + 1) * side / 2).floor().long().clamp(0, side - 1)
    layers.index_put_(((cell[..., 1] * side + cell[..., 0]).flatten(),), torch.ones(side * side), accumulate=True)
    assert layers.max() >= 4


def every_triangle_everywhere(depth: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
    """The rasterizer without boxes: all triangles at all pixels of one image."""
    side = depth.shape[-1]
    corners = module._project_corners(depth[None], view[None])[0]
    a, b, c = corners[module._triangles(side, depth.device)].unbind(1)  # [T, 3] each
    pixel = torch.cartesian_prod(torch.arange(side), torch.arange(side)).flip(1)[:, None].double()

    def cross(p: Tensor, q: Tensor) -> Tensor:
        return (p[:, 0] - pixel[..., 0]) * (q[:, 1] - pixel[..., 1]) - (q[:, 0] - pixel[..., 0]) * (
            p[:, 1] - pixel[..., 1]
        )

    weights = torch.stack([cross(b, c), cross(c, a), cross(a, b)])
    area = weights.sum(0)
    weights = weights / area
    inverse = weights[0] * a[:, 2] + weights[1] * b[:, 2] + weights[2] * c[:, 2]
    inverse = torch.where((weights >= -module._SLACK).all(0), inverse, 0.0)
    best, which = inverse.max(1)
    front = area.gather(1, which[:, None])[:, 0] > 0
    mask = (best > 0) & front
    return torch.where(mask, 1 / best, FILL_DEPTH).view(side, side), mask.view(side, side)


def test_stretched_triangles_are_whole() -> None:
    """Depths without any smoothness: triangles many pixels long, most of them hidden, many seen from behind."""
    depth, turns = noisy(5, 12, 0.15, seed=3), TURNS
    corners = module._project_corners(depth, turns)[..., :2]
    assert (corners[:, 1:] - corners[:, :-1]).abs().max() > 8, "pixels from one corner to the next"
    seen, mask = rasterize(depth, turns)
    for k in range(len(depth)):
        expected, covered = every_triangle_everywhere(depth[k], turns[k])
        assert torch.equal(mask[k], covered)
        torch.testing.assert_close(seen[k], expected, rtol=1e-6, atol=0)
    assert 0.1 < mask.float().mean() < 0.9


def test_batches_do_not_matter() -> None:
    depth, turns = face(20, n=5).float(), TURNS.float()
    whole = rasterize(depth, turns)
    for k in range(len(depth)):
        alone = rasterize(depth[k : k + 1], turns[k : k + 1])
        assert torch.equal(alone[1][0], whole[1][k])
        torch.testing.assert_close(alone[0][0], whole[0][k])
    in_batches = rasterize(depth, turns, max_candidates=7)
    assert torch.equal(in_batches[0], whole[0])
    assert torch.equal(in_batches[1], whole[1])
    assert rasterize(depth[:0], turns[:0])[0].shape == (0, 20, 20)


@pytest.mark.parametrize("side", [33, 32])
def test_the_mirrored_face_is_rendered_as_the_mirrored_image(side: int) -> None:
    depth = face(side, n=5) + 0.01 * pixel_grid(side, DOUBLE)[..., 0].sin()
    albedo = torch.rand(5, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    light = torch.tensor([[0.4, 0.5, 0.6, 0.2]] * 5, dtype=torch.float64)
    rendering = render(albedo, depth, light, TURNS)
    other = render(albedo.flip(-1), depth.flip(-1), mirror_light(light), mirror_view(TURNS))
    same = rendering.mask == other.mask.flip(-1)
    assert same.float().mean() > 0.999, "centres on an edge may round either way"
    both = (rendering.mask & same)[:, None].expand(-1, 3, -1, -1)
    tolerance = 1e-6 if side % 2 else 0.02  # an even side has a middle column whose diagonals have no mirror
    assert (rendering.image - other.image.flip(-1))[both].abs().max() < tolerance


def test_colour_is_fetched_from_where_the_pixel_lies() -> None:
    """On a plane the canonical position is a closed form; a picture of positions must show it, lit as the plane is."""
    side, n = 24, len(TURNS)
    grid = pixel_grid(side, DOUBLE)
    positions = torch.stack([grid[..., 0], grid[..., 1], 0.5 + 0 * grid[..., 0]])[None].expand(n, -1, -1, -1)
    light = torch.tensor([[0.3, 0.5, 0.75, 0.0]] * n, dtype=torch.float64)
    rendering = render(positions, torch.ones(n, side, side, dtype=torch.float64), light, TURNS)
    lit = 0.3 + 0.5 / math.hypot(1, 0.75)  # the plane looks at the viewer
    torch.testing.assert_close(rendering.shading, torch.full((n, 1, side, side), lit, dtype=torch.float64))
    torch.testing.assert_close(rendering.view_depth, rasterize(torch.ones_like(rendering.view_depth), TURNS)[0])
    matrix = rotation(TURNS)
    origin = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    # The pinhole and the rays in canonical space, cut with z = 1.
    pinhole = torch.einsum("nji,nj->ni", matrix, -(origin + TURNS[:, 3:])) + origin
    ray = torch.einsum("nji,hwj->nhwi", matrix, rays(side))
    length = (1 - pinhole[:, 2])[:, None, None] / ray[..., 2]
    expected = (pinhole[:, None, None, :2] + length[..., None] * ray[..., :2]) * FOCAL
    torch.testing.assert_close(rendering.uv[rendering.mask], expected[rendering.mask])
    shown = (rendering.image.permute(0, 2, 3, 1)[rendering.mask] + 1) / 2 / lit
    torch.testing.assert_close(shown[:, :2], expected[rendering.mask])
    torch.testing.assert_close(shown[:, 2], torch.full_like(shown[:, 2], 0.5))


def test_signs_are_seen_in_the_picture() -> None:
    """A dark dot on the nose moves to the right with yaw, up with pitch; a dot above moves right with roll."""
    side = 48
    grid = pixel_grid(side, DOUBLE)

    def centre(y: float, **view: float) -> Tensor:
        dot = torch.exp(-((grid[..., 0] ** 2 + (grid[..., 1] - y) ** 2) / 0.01))
        albedo = dot.expand(1, 3, -1, -1)
        light = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
        rendering = render(albedo, face(side), light, views(view))
        weight = ((rendering.image[0, 0] + 1) / 2 * rendering.mask[0])[..., None]
        return (weight * grid).sum((0, 1)) / weight.sum()

    assert centre(0.0).abs().max() < 1e-6
    x, y = centre(0.0, yaw=0.4)
    assert x > 0.1
    assert abs(y) < 1e-3
    x, y = centre(0.0, pitch=0.4)
    assert abs(x) < 1e-3
    assert y < -0.1
    x, y = centre(-0.6, roll=0.4)
    assert x > 0.2
    assert -0.6 < y < -0.5


@pytest.mark.slow
def test_gradients_are_exact() -> None:
    side = 5
    depth, turns = (
        noisy(2, side, 0.02).requires_grad_(),
        views(dict(yaw=0.4, pitch=0.07, roll=0.04), dict(pitch=-0.2, yaw=-0.3, tx=0.003, tz=0.05)).requires_grad_(),
    )
    random = torch.rand(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    light = torch.tensor([[0.4, 0.5, 0.3, 0.2], [0.3, 0.6, -0.4, 0.1]], dtype=torch.float64)
    assert rasterize(depth, turns)[1].flatten(1).sum(1).min() > 8, "pixels are seen"
    assert torch.autograd.gradcheck(lambda d, v: rasterize(d, v)[0], (depth, turns))
    assert torch.autograd.gradcheck(inverse_warp, (depth, turns))
    inputs = (random.requires_grad_(), depth, light.requires_grad_(), turns)
    masked = rasterize(depth, turns)[1].detach()[:, None]
    assert torch.autograd.gradcheck(lambda *factors: render(*factors).image * masked, inputs)


@pytest.mark.slow
def test_a_view_is_found_again_from_the_picture_of_depth() -> None:
    depth, true_view = face(32), views(dict(yaw=0.3, pitch=-0.1, tx=0.01))
    expected, covered = rasterize(depth, true_view)
    guess = torch.zeros_like(true_view).requires_grad_()
    adam = torch.optim.Adam([guess], lr=0.02)
    for _ in range(120):
        seen, mask = rasterize(depth, guess)
        adam.zero_grad()
        (seen - expected)[mask & covered].abs().mean().backward()
        adam.step()
    assert (guess - true_view)[0, :3].abs().max() < math.radians(3)


def test_where_nothing_is_seen() -> None:
    depth, aside = face(16).requires_grad_(), views(dict(tx=0.5))
    seen, mask = rasterize(depth, aside)
    assert not mask.any()
    assert (seen == FILL_DEPTH).all()
    seen.sum().backward()
    assert not depth.grad.any()
    half, mask = rasterize(depth, views(dict(tx=1 / FOCAL)))
    assert not mask[0, :, :7].any(), "the right half of the picture shows the left half of the face"
    assert mask[0, 1:-1, 9:].all()
    assert (half[~mask] == FILL_DEPTH).all()


def test_the_back_of_a_face_is_not_shown() -> None:
    """A bowl, turned: over its near rim one looks at its outside, which no canonical picture shows."""
    side = 32
    bowl = 0.95 + 0.09 * torch.exp(-(pixel_grid(side, DOUBLE) ** 2).sum(-1) / 0.3)[None]
    turn = views(dict(yaw=1.2))
    seen, mask = rasterize(bowl, turn)
    uv = project(move(unproject(bowl), turn))[0]
    front = (uv[:-1, 1:] - uv[:-1, :-1])[..., 0] > 0
    assert not front.all(), "parts do show their backs"
    everything = every_triangle_everywhere(bowl[0], turn[0])
    assert torch.equal(mask[0], everything[1])
    torch.testing.assert_close(seen[0], everything[0])


def test_numbers_that_are_not_finite_leave_holes() -> None:
    depth = face(16, n=2).float()
    depth[0, 5, 5] = math.nan
    depth[0, 10, 10] = math.inf
    seen, mask = rasterize(depth, torch.zeros(2, 6))
    assert mask[1].all()
    assert not mask[0, 5, 5]
    assert not mask[0, 10, 10]
    assert mask[0].sum() == 16 * 16 - 2
    assert seen.isfinite().all()
    behind, mask = rasterize(depth[1:], torch.tensor([[0.0, 0, 0, 0, 0, -2]]))
    assert not mask.any(), "behind the pinhole"
    assert (behind == FILL_DEPTH).all()
    assert not rasterize(depth, torch.full((2, 6), math.nan))[1].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same() -> None:
    depth, turns = face(64, n=5).float(), TURNS.float()
    here, there = rasterize(depth, turns), rasterize(depth.cuda(), turns.cuda())
    same = here[1] == there[1].cpu()
    assert same.float().mean() > 0.999
    assert (here[0] - there[0].cpu())[same].abs().median() < 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rasterize(torch.ones(2, 3, 4), torch.zeros(2, 6)), "(2, 3, 4)"),
        (lambda: rasterize(torch.ones(2, 3, 3), torch.zeros(1, 6)), "(1, 6)"),
        (lambda: rasterize(torch.ones(2, 1, 1), torch.zeros(2, 6)), "at least 2"),
        (lambda: render(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 3), torch.zeros(2, 4), torch.zeros(2, 6)), "albedo"),
        (lambda: render(torch.ones(2, 3, 3, 3), torch.ones(2, 3, 3), torch.zeros(2, 3), torch.zeros(2, 6)), "(2, 3)"),
    ],
)
def test_wrong_shapes_are_refused(call: Any, message: str) -> None:
    with pytest.raises(FaceaugError) as caught:
        call()
    assert message in str(caught.value)
