"""A differentiable renderer of depth maps in plain PyTorch, on CPU and GPU alike (after Unsup3D, CVPR 2020).

Only depth is rasterized: the S x S depths are the corners of 2 (S-1)² triangles, which are moved to the view and
entered into a z-buffer. Colour is then fetched from the canonical maps by the inverse warp, which has smooth gradients.

Which triangle is visible at a pixel is determined without gradients, on whole arrays. Only the S x S visible triangles
are interpolated again with gradients, so the autograd graph holds a few values per pixel, however many triangles were
tested. Visibility therefore has no gradient: at a silhouette, the gradient ignores that moving the nearer surface
uncovers more of the farther one. Inside every visible triangle the gradient is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.reconstruction.geometry import (
    check_depth,
    move,
    move_back,
    normals,
    project,
    sample_bilinear,
    shade,
    unproject,
)

FILL_DEPTH = 1.1  # the far end of canonical depths: the value of `rasterize` where nothing is visible
MIN_DEPTH = 0.1  # triangles that reach nearer to the pinhole are not drawn
MAX_CANDIDATES = 1 << 20
"""Pixels in the bounding boxes of triangles that are tested at a time; bounds the memory."""
_SLACK = 1e-3  # of a triangle: a centre this far outside still counts, or rounding would uncover the border
_MIN_AREA = 1e-5  # twice the area in pixels²: smaller triangles, seen edge on, are not drawn, as rounding decides there


class Rendering(NamedTuple):
    """The images of N faces and what they were made from.

    Attributes
    ----------
    image
        [N, 3, S, S], about [-1, 1] (not clamped, so that gradients stay); meaningless where the mask is False.
    mask
        Where the face is visible, bool [N, S, S].
    view_depth
        [N, S, S]; `FILL_DEPTH` where the mask is False.
    uv
        Position in the canonical maps of each pixel of the image, [N, S, S, 2].
    shading
        Of the canonical face, [N, 1, S, S].
    """

    image: Tensor
    mask: Tensor
    view_depth: Tensor
    uv: Tensor
    shading: Tensor


def render(albedo: Tensor, depth: Tensor, light: Tensor, view: Tensor) -> Rendering:
    """Shade canonical faces and warp them to their views: warp(albedo · shading, depth, view).

    Parameters
    ----------
    albedo
        [N, C, S, S] in [0, 1].
    depth
        Canonical depths [N, S, S].
    light
        (ambient, diffuse, x, y), [N, 4].
    view
        (pitch, yaw, roll, tx, ty, tz), [N, 6].

    Raises
    ------
    FaceaugError
        When shapes do not fit together.
    """
    check_depth(depth)
    if albedo.ndim != 4 or albedo.shape[0] != len(depth) or albedo.shape[2:] != depth.shape[1:]:
        raise FaceaugError(
            f"albedo of the shape {tuple(albedo.shape)} does not fit depth of the shape {tuple(depth.shape)}: "
            "expected (N, C, S, S) and (N, S, S)"
        )
    shading = shade(normals(depth), light)
    view_depth, mask = rasterize(depth, view)
    uv = inverse_warp(view_depth, view)
    return Rendering(sample_bilinear(albedo * shading, uv) * 2 - 1, mask, view_depth, uv, shading)


def inverse_warp(view_depth: Tensor, view: Tensor) -> Tensor:
    """Return the positions in the canonical maps of the pixels of images with depths [N, S, S] in views [N, 6].

    The positions (x, y) [N, S, S, 2] are those of `geometry.sample_bilinear`; they leave [-1, 1] beyond the border of
    the canonical face.
    """
    return project(move_back(unproject(view_depth), view))


def rasterize(depth: Tensor, view: Tensor, *, max_candidates: int = MAX_CANDIDATES) -> tuple[Tensor, Tensor]:
    """Return the visible depths of canonical depth maps that are moved to their views.

    Nearer triangles hide farther ones. A pixel is covered when the nearest triangle there shows its front: where a ray
    enters from beyond the border and meets the face from behind, nothing is known of the surface. Inverse depth is
    interpolated inside the triangle, which is exact on planes. Differentiable in depth and view, not in visibility.

    Parameters
    ----------
    depth
        Canonical depths, [N, S, S], S at least 2.
    view
        (pitch, yaw, roll, tx, ty, tz), [N, 6].
    max_candidates
        Pixels in bounding boxes that are tested at a time; has no influence on the result.

    Returns
    -------
    view_depth, mask
        [N, S, S] and bool [N, S, S]; the depth is `FILL_DEPTH` where the mask is False. A map with numbers that are
        not finite has holes around them.

    Raises
    ------
    FaceaugError
        When shapes do not fit together or a map has one pixel.
    """
    corners = _project_corners(depth, view)
    n, side = depth.shape[0], depth.shape[-1]
    triangles = _triangles(side, depth.device)
    with torch.no_grad():
        winner = _visible_triangles(corners.detach(), triangles, side, max_candidates)
        covered = (winner >= 0).nonzero()[:, 0]
        pixel = covered % (side * side)
        rows = triangles[winner[covered]] + (covered - pixel)[:, None]
    inverse = _interpolate(corners, rows, pixel % side, pixel // side)[2]
    flat = depth.new_full((n * side * side,), FILL_DEPTH).index_put((covered,), inverse.reciprocal())
    return flat.view(n, side, side), (winner >= 0).view(n, side, side)


def _project_corners(depth: Tensor, view: Tensor) -> Tensor:
    """Return the corners of the triangles in the image: (column, row, 1 / z) in pixels, [N, S·S, 3]."""
    check_depth(depth)
    side = depth.shape[-1]
    if side < 2:
        raise FaceaugError("a depth map of one pixel cannot be rasterized: the side must be at least 2")
    points = move(unproject(depth), view).flatten(1, 2)
    inverse = points[..., 2:].reciprocal()
    # A pixel's centre is a whole number here.
    return torch.cat([(project(points) + 1) * (side / 2) - 0.5, inverse], -1)


@lru_cache(maxsize=8)
def _triangles(side: int, device: torch.device) -> Tensor:
    """Return the corners of the triangles, int64 [2 (side-1)², 3], clockwise as seen from the front.

    The diagonals of the right half mirror those of the left, so that a mirrored face is rendered as the mirrored
    image (but for the second order of the depth in the middle column of an even side, which has no mirror).
    """
    index = torch.arange(side * side, device=device).view(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    falling = torch.stack([torch.stack([a, b, d], -1), torch.stack([a, d, c], -1)], 2)  # split from a to d
    rising = torch.stack([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)], 2)  # split from b to c
    middle = (side - 1) // 2
    return torch.cat([falling[:, :middle], rising[:, middle:]], 1).reshape(-1, 3)


def _visible_triangles(corners: Tensor, triangles: Tensor, side: int, max_candidates: int) -> Tensor:
    """Return the nearest triangle at each pixel, int64 [N·S·S]: -1 where there is none or it shows its back."""
    pixels = side * side
    # One integer holds nearness and index: the bits of a positive float32 are ordered like its value, so the largest
    # integer is the nearest triangle, and ties are broken in the same way on every device.
    best = torch.zeros(len(corners) * pixels, dtype=torch.int64, device=corners.device)
    for image, name, column, row in _candidates(corners, triangles, side, max_candidates):
        weights, area, inverse = _interpolate(corners, triangles[name] + (image * pixels)[:, None], column, row)
        least = torch.minimum(torch.minimum(weights[0], weights[1]), weights[2])
        hit = ((least >= -_SLACK) & (area.abs() > _MIN_AREA)).nonzero()[:, 0]
        key = (inverse[hit].float().view(torch.int32).long() << 32) | (name[hit] << 1) | (area[hit] > 0)
        best.scatter_reduce_(0, (image * pixels + row * side + column)[hit], key, "amax")
    return torch.where((best & 1) == 1, (best & 0xFFFFFFFF) >> 1, -1)


def _interpolate(corners: Tensor, rows: Tensor, column: Tensor, row: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return barycentric coordinates (3 times [C]) of pixels [C] in triangles, twice their area, and 1 / z there.

    `rows` [C, 3] are indices of corners among those of all images. The area is positive when a triangle shows its
    front.
    """
    vertices = corners.view(-1, 3).index_select(0, rows.view(-1)).view(-1, 9)
    ax, ay, aq, bx, by, bq, cx, cy, cq = vertices.unbind(1)
    ax, bx, cx = ax - column, bx - column, cx - column
    ay, by, cy = ay - row, by - row, cy - row
    doubled = [bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay]
    area = doubled[0] + doubled[1] + doubled[2]
    a, b, c = (sub_area / area for sub_area in doubled)
    return [a, b, c], area, a * aq + b * bq + c * cq


def _candidates(
    corners: Tensor, triangles: Tensor, side: int, max_candidates: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield every pixel in the bounding box of every triangle: image, triangle, column, row; int64, in batches.

    Boxes are as large as the triangles, so that stretched triangles are whole; most hold a pixel or two.
    """
    columns, rows, inverse = corners.unbind(-1)
    left, right = _span(columns, triangles)
    top, bottom = _span(rows, triangles)
    far, near = _span(inverse, triangles)
    left, top = ((low - _SLACK).ceil().clamp(min=0) for low in (left, top))
    right, bottom = ((high + _SLACK).floor().clamp(max=side - 1) for high in (right, bottom))
    boxes = (right - left + 1).clamp(min=0) * (bottom - top + 1).clamp(min=0)
    tested = (far > 0) & (near < 1 / MIN_DEPTH) & (boxes > 0)  # False for NaN
    image, name = tested.nonzero(as_tuple=True)
    left, right, top, boxes = (edge[tested].long() for edge in (left, right, top, boxes))
    width, ends = right - left + 1, boxes.cumsum(0)
    begins = ends - boxes
    total = int(ends[-1]) if len(ends) else 0
    limits = torch.arange(max_candidates, total + max_candidates, max_candidates, device=ends.device)
    stops = sorted(set(torch.searchsorted(ends, limits).add(1).clamp(max=len(ends)).tolist()))
    for start, stop in zip([0, *stops], stops, strict=False):
        which = torch.repeat_interleave(boxes[start:stop]) + start
        step = torch.arange(len(which), device=which.device) + begins[start] - begins[which]
        wide = width[which]
        down = step.div(wide, rounding_mode="floor")
        yield image[which], name[which], left[which] + step - down * wide, top[which] + down


def _span(values: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest of the corners' values [N, S·S] in each triangle, [N, T]."""
    a, b, c = (values.index_select(1, triangles[:, k]) for k in range(3))
    return torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
