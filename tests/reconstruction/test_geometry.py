"""Geometry against closed forms: planes, spheres, single points, and the mirror."""

from __future__ import annotations

import math

import pytest
import torch

from faceaug.errors import FaceaugError
from faceaug.reconstruction import geometry
from faceaug.reconstruction.geometry import (
    FOCAL,
    mirror_light,
    mirror_view,
    move,
    move_back,
    normals,
    pixel_grid,
    project,
    rotation,
    sample_bilinear,
    shade,
    unproject,
)

torch.set_num_threads(1)

NOSE = torch.tensor([[[0.0, 0.0, 0.95]]], dtype=torch.float64)  # in front of the pivot


def turned(point: torch.Tensor, **changes: float) -> torch.Tensor:
    """Return where a point [1, 1, 3] goes under a view of the named parts, [3]."""
    names = ("pitch", "yaw", "roll", "tx", "ty", "tz")
    return move(point, torch.tensor([[changes.get(name, 0.0) for name in names]], dtype=point.dtype))[0, 0]


def random_depth(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return 0.9 + 0.2 * torch.rand(n, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_views(n: int, seed: int = 0) -> torch.Tensor:
    scale = torch.tensor([0.6, 1.0, 0.5, 0.05, 0.05, 0.05], dtype=torch.float64)
    return scale * torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plane(slope_x: float, slope_y: float, side: int = 12) -> torch.Tensor:
    """Depth of the plane z = 1 + slope_x x + slope_y y, [1, side, side]."""
    x, y = (pixel_grid(side, NOSE) / FOCAL).unbind(-1)
    return (1 / (1 - slope_x * x - slope_y * y))[None]


def test_pixels_lie_half_a_pixel_inside() -> None:
    grid = pixel_grid(4)
    assert grid.shape == (4, 4, 2)
    assert grid.dtype == torch.float32
    torch.testing.assert_close(grid[1, 2], torch.tensor([0.25, -0.25]))  # (x, y) of row 1, column 2
    torch.testing.assert_close(grid[0, 0], torch.tensor([-0.75, -0.75]))
    assert pixel_grid(3, NOSE).dtype == torch.float64
    fine = pixel_grid(8).view(4, 2, 4, 2, 2).mean((1, 3))
    torch.testing.assert_close(fine, grid, msg="the mean of 2 x 2 pixels lies at the centre of the larger one")


def test_sampling_at_the_pixels_gives_the_map_and_between_them_the_mean() -> None:
    maps = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    grid = pixel_grid(5)[None].expand(2, -1, -1, -1)
    torch.testing.assert_close(sample_bilinear(maps, grid), maps)
    halfway = (grid[:, :, :-1] + grid[:, :, 1:]) / 2
    torch.testing.assert_close(sample_bilinear(maps, halfway), (maps[..., :-1] + maps[..., 1:]) / 2)
    outside = torch.full((2, 1, 1, 2), 3.0)
    torch.testing.assert_close(sample_bilinear(maps, outside)[..., 0, 0], maps[..., -1, -1])
    assert not sample_bilinear(maps, outside, "zeros").any()


def test_field_of_view_is_ten_degrees() -> None:
    edge = math.tan(math.radians(5))
    seen = project(torch.tensor([[[edge, 0.0, 1.0], [0.0, -2 * edge, 2.0]]]))
    torch.testing.assert_close(seen, torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))


def test_projecting_what_was_unprojected_gives_the_pixels() -> None:
    depth = random_depth(3, 7)
    points = unproject(depth)
    torch.testing.assert_close(points[..., 2], depth)
    torch.testing.assert_close(project(points), pixel_grid(7, depth).expand(3, -1, -1, -1))


def test_signs_of_a_view() -> None:
    x, y, z = turned(NOSE, yaw=0.3)
    assert x > 0.01, "yaw > 0 turns the nose to the picture's right"
    assert y == 0
    assert z > NOSE[0, 0, 2], "and away from the viewer"
    x, y, z = turned(NOSE, pitch=0.3)
    assert y < -0.01, "pitch > 0 lifts the nose (y is down)"
    assert x == 0
    top = torch.tensor([[[0.0, -0.05, 1.0]]], dtype=torch.float64)
    x, y, z = turned(top, roll=0.3)
    assert x > 0.01, "roll > 0 turns the top to the right: clockwise as seen"
    assert y > -0.05
    assert z == 1
    torch.testing.assert_close(
        turned(NOSE, tx=0.01, ty=0.02, tz=0.03), NOSE[0, 0] + NOSE.new_tensor([0.01, 0.02, 0.03])
    )


def test_size_of_a_rotation() -> None:
    """Yaw and pitch are azimuth and elevation of the nose; roll turns the finished picture."""
    yaw, pitch, roll = 0.7, 0.4, 0.3
    x, y, z = turned(NOSE, yaw=yaw, pitch=pitch) - NOSE.new_tensor([0.0, 0.0, 1.0])
    assert math.atan2(x, -z) == pytest.approx(yaw)
    assert math.asin(-y / 0.05) == pytest.approx(pitch)
    before, after = turned(NOSE, yaw=yaw, pitch=pitch), turned(NOSE, yaw=yaw, pitch=pitch, roll=roll)
    assert math.atan2(after[1], after[0]) - math.atan2(before[1], before[0]) == pytest.approx(roll)


def test_rotations_are_rotations() -> None:
    matrices = rotation(random_views(20))
    identity = torch.eye(3, dtype=torch.float64).expand(20, -1, -1)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), identity)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(rotation(random_views(20)[:, :3]), matrices)


def test_moving_back_undoes_moving_and_the_pivot_stays() -> None:
    points, views = unproject(random_depth(4, 5)), random_views(4)
    torch.testing.assert_close(move_back(move(points, views), views), points)
    torch.testing.assert_close(move(points, torch.zeros_like(views)), points)
    views[:, 3:] = 0
    pivot = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(4, 1, 3)
    torch.testing.assert_close(move(pivot, views), pivot)
    assert move(points[:0], views[:0]).shape == (0, 5, 5, 3)


@pytest.mark.parametrize(("slope_x", "slope_y"), [(0.0, 0.0), (0.8, 0.0), (0.0, -0.5), (-1.5, 0.7)])
def test_normals_of_planes(slope_x: float, slope_y: float) -> None:
    expected = torch.tensor([slope_x, slope_y, -1.0], dtype=torch.float64)
    expected = (expected / expected.norm())[None, :, None, None].expand(1, 3, 12, 12)
    torch.testing.assert_close(normals(plane(slope_x, slope_y)), expected)


def test_normals_of_a_sphere() -> None:
    side, radius, centre = 64, 0.13, 1.03
    rays = torch.cat([pixel_grid(side, NOSE) / FOCAL, torch.ones(side, side, 1, dtype=torch.float64)], -1)
    # |t ray - centre| = radius, the nearer root; the sphere fills the whole picture.
    a, b, c = (rays**2).sum(-1), -2 * centre, centre**2 - radius**2
    points = unproject(((-b - (b**2 - 4 * a * c).sqrt()) / (2 * a))[None])
    expected = (points - points.new_tensor([0, 0, centre]))[0].permute(2, 0, 1) / radius
    found = normals(points[..., 2])[0]
    degrees = torch.rad2deg(torch.acos((found * expected).sum(0).clamp(max=1)))
    assert degrees[1:-1, 1:-1].max() < 0.3
    assert degrees.max() < 3, "one-sided at the border"
    assert found[2].max() < 0
    assert found[0, :, -5].min() > 0, "the right flank looks right"
    assert found[1, -5].min() > 0, "the lower flank looks down"


def test_light_comes_from_where_it_says() -> None:
    faces = torch.tensor([[0.6, 0, -0.8], [-0.6, 0, -0.8], [0, -0.6, -0.8], [0, 0.6, -0.8], [0, 0, -1]])
    right, left, up, down, front = range(5)
    looking = faces.T[None, :, None].expand(2, -1, -1, -1)  # [2, 3, 1, 5]
    lit = shade(looking, torch.tensor([[0.3, 0.5, 1.0, 0.0], [0.3, 0.5, 0.0, 1.0]]))[:, 0, 0]
    assert lit.shape == (2, 5)
    assert lit[0, right] > lit[0, front] > lit[0, left]
    assert lit[1, up] > lit[1, front] > lit[1, down]
    assert lit[0, right] == pytest.approx(0.3 + 0.5 * 1.4 / math.sqrt(2))
    behind = torch.tensor([[[[-1.0]], [[0.0]], [[0.0]]]])
    assert shade(behind, torch.tensor([[0.3, 0.5, 1.0, 0.0]])).item() == pytest.approx(0.3), "no light is negative"


def test_the_mirror_commutes_with_light_and_motion() -> None:
    depth, views = random_depth(3, 9), random_views(3)
    light = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.4
    seen, mirrored = move(unproject(depth), views), move(unproject(depth.flip(-1)), mirror_view(views))
    sign = seen.new_tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, seen.flip(2) * sign)
    torch.testing.assert_close(
        shade(normals(depth.flip(-1)), mirror_light(light)), shade(normals(depth), light).flip(-1)
    )
    assert (mirror_view(views) != views).any(0).tolist() == [False, True, True, True, False, False]
    assert (mirror_light(light) != light).any(0).tolist() == [False, False, True, False]


def test_gradients() -> None:
    depth, views = random_depth(2, 4).requires_grad_(), random_views(2).requires_grad_()
    light = torch.tensor([[0.4, 0.5, 0.3, 0.2]] * 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, v: project(move(unproject(d), v)), (depth, views))
    assert torch.autograd.gradcheck(lambda d, v: move_back(unproject(d), v), (depth, views))
    smooth = (1 + 0.02 * (depth.detach() - 1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, light: shade(normals(d), light), (smooth, light))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unproject(torch.ones(2, 3, 4)), "(2, 3, 4)"),
        (lambda: unproject(torch.ones(2, 3, 3, dtype=torch.int64)), "int64"),
        (lambda: normals(torch.ones(2, 1, 1)), "at least 2"),
        (lambda: rotation(torch.zeros(6)), "(6,)"),
        (lambda: move(torch.ones(2, 5, 3), torch.zeros(3, 6)), "(3, 6)"),
        (lambda: move_back(torch.ones(2, 5, 2), torch.zeros(2, 6)), "(2, 5, 2)"),
        (lambda: shade(torch.ones(2, 3, 4, 4), torch.zeros(2, 3)), "(2, 3)"),
        (lambda: sample_bilinear(torch.ones(2, 3, 4, 4), torch.zeros(1, 4, 4, 2)), "(1, 4, 4, 2)"),
        (lambda: geometry.pixel_grid(0), "at least 1"),
    ],
)
def test_wrong_shapes_are_refused(call, message: str) -> None:
    with pytest.raises(FaceaugError) as caught:
        call()
    assert message in str(caught.value)
