"""Warps that turn and relight real faces: the photograph is resampled by the geometry that was estimated from it.

No pixel comes from the canonical albedo, which has a side of 32 or 64 pixels. For every position of the new image,
depth and view determine the point of the face that is visible there and where the photograph shows that point. The
photograph is sampled there at its full resolution and multiplied by the ratio of new to old shading. Where the turn
uncovers what the photograph does not show, the mirrored point of the same face is sampled, since faces are nearly
symmetric. Beside the face, depth runs out to that of the axis of rotation and the warp fades to the identity, so that
hair and background follow without an edge.

Positions are those of the window (`faceaug.measurement.crops`) that frames the face, [-1, 1] edge to edge, and reach
beyond it to `WIDE` times its half side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.reconstruction.factors import LIGHT_NAMES, VIEW_NAMES, FaceFactors
from faceaug.reconstruction.geometry import (
    FOCAL,
    PIVOT_DEPTH,
    move,
    normals,
    pixel_grid,
    project,
    sample_bilinear,
    shade,
    unproject,
)
from faceaug.reconstruction.renderer import inverse_warp, rasterize
from faceaug.utils.typing import Floats

WIDE = 1.5
"""Half side of the warped square, in half sides of the window."""
GRID = 96
"""Side of the grid on which the warp is computed, in cells."""
SMOOTHING = 1.2  # standard deviation of the Gaussian that smooths the depth, in cells
OCCLUSION_MARGIN = 0.012  # a point this much farther than the surface that the photograph shows there is hidden
MIN_GAIN, MAX_GAIN = 0.4, 2.2  # of the ratio of shadings
MIN_DENSITY, FULL_DENSITY = 0.2, 0.45
"""Source pixels per pixel below which a position is a hole, and from which it is as good as any."""
MAX_DENSITY = 4.0  # source pixels per pixel above which a position is squeezed beyond recognition
_FACE = (0.62, 0.9)  # half axes of the face in the canonical maps
_FADE_START, _FADE_END = 0.8, 1.3  # the warp fades between these distances, in half axes of `_FIELD`
_FIELD = (1.05, 1.1)
_STEEPEST_LIGHT = 1.1  # radians
_BORDER_SHARE = 0.6  # share of the way to the photograph's border by which a sampled position may move outwards


@dataclass(frozen=True, eq=False)
class Warp:
    """How N photographs are resampled, on a grid of G x G positions.

    Attributes
    ----------
    offset, mirror_offset : float32 [N, G, G, 2]
        From a position to where the photograph shows its point of the face, and to where it shows the mirrored point.
    gain, mirror_gain : float32 [N, 1, G, G]
        Factors on the photograph's brightness for both, 1 away from the face.
    mirror_share : float32 [N, 1, G, G] in [0, 1]
        Share of the mirrored point in the mixture of both.
    holes : float32 [N] in [0, 1]
        Share of the face that neither half of the photograph shows.
    folds : float32 [N] in [0, 1]
        Share of the face where the warp folds over, or stretches or squeezes the photograph beyond recognition.
    movement : float32 [N, 2]
        Of the middle of the face, in half windows to the right and down.
    """

    offset: Tensor
    mirror_offset: Tensor
    gain: Tensor
    mirror_gain: Tensor
    mirror_share: Tensor
    holes: Tensor
    folds: Tensor
    movement: Tensor

    def __getitem__(self, rows: slice) -> Warp:
        return Warp(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class PhotographedFaces:
    """The faces of N photographs on the grid of warps: what all warps of a photograph begin with.

    Attributes
    ----------
    factors : FaceFactors
        Of the photographs.
    depth : float32 [N, G, G]
        Canonical depth, widened.
    shown : float32 [N, G, G]
        Depth of what each photograph shows.
    normals, shading : float32 [N, 3, G, G], [N, 1, G, G]
        Of the canonical face, in the light of the photograph.
    areas : float32 [N, G, G]
        Pixels of the photograph per pixel of the canonical maps.
    """

    factors: FaceFactors
    depth: Tensor
    shown: Tensor
    normals: Tensor
    shading: Tensor
    areas: Tensor

    @classmethod
    def of(cls, factors: FaceFactors) -> PhotographedFaces:
        """Return the faces that have these factors."""
        depth, view = widened_depth(factors.depth), scaled_view(factors.view)
        facing = normals(depth)
        shown, _ = rasterize(depth, view)
        return cls(factors, depth, shown, facing, shade(facing, factors.light), shown_areas(depth, view))

    def __getitem__(self, rows: Tensor) -> PhotographedFaces:
        return PhotographedFaces(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def to(self, view: Tensor, light: Tensor) -> Warp:
        """Return the warp to another view and light; see `compute_warp`."""
        factors = self.factors
        if view.shape != factors.view.shape or light.shape != factors.light.shape:
            raise FaceaugError(
                f"views {tuple(view.shape)} and lights {tuple(light.shape)} do not fit {len(factors)} photographs: "
                f"expected the shapes ({len(factors)}, 6) and ({len(factors)}, 4)"
            )
        depth, old_view, new_view = self.depth, scaled_view(factors.view), scaled_view(view)
        grid = pixel_grid(GRID, depth)
        new_depth, mask = rasterize(depth, new_view)
        canonical = inverse_warp(new_depth, new_view)  # [N, G, G, 2]
        mirrored = canonical * canonical.new_tensor([-1.0, 1.0])
        # Far from the pivot the surface is unknown: shading there is that of the smooth dome of `widened_depth`.
        lit = sample_bilinear(shade(self.normals, light), canonical)

        inside = smooth_bump(canonical * WIDE / canonical.new_tensor(_FACE), 0.95, 1.45)[:, None]  # [N, 1, G, G]
        fade = smooth_bump(grid * WIDE / grid.new_tensor(_FIELD), _FADE_START, _FADE_END)[None]
        offsets, gains, qualities = [], [], []
        for points in (canonical, mirrored):
            source, quality = source_positions(depth, self.shown, old_view, points, self.areas)
            offset = torch.where(mask[..., None], source - grid, torch.zeros_like(source)) * WIDE
            ratio = (lit / sample_bilinear(self.shading, points)).clamp(MIN_GAIN, MAX_GAIN)
            offsets.append(offset)
            gains.append(1 + (ratio - 1) * inside)
            qualities.append(quality)
        offset = offsets[0] * fade[..., None]
        quality, mirror_quality = qualities
        face = (inside > 0.5) & mask[:, None]
        missing = ((FULL_DENSITY - quality) / (FULL_DENSITY - MIN_DENSITY)).clamp(0, 1)
        mirror_share = _blurred(missing * (mirror_quality / FULL_DENSITY).clamp(0, 1) * inside, 1.0)
        hole = face & (quality < MIN_DENSITY) & (mirror_quality < MIN_DENSITY)
        fold = _is_folded(offset, grid * WIDE)[:, None] & face & (mirror_share < 0.5)
        return Warp(
            offset,
            offsets[1],
            gains[0],
            gains[1],
            mirror_share,
            holes=_share(hole, face),
            folds=_share(fold, face),
            movement=_movement(factors.depth, factors.view, view),
        )

    def changed(self, names: Sequence[str], change: Floats) -> Warp:
        """Return the warp that changes what is measured; see `compute_changed_warp`."""
        view, light = self.factors.view.clone(), self.factors.light.clone()
        for name, column in zip(names, torch.from_numpy(change).to(view).unbind(1), strict=True):
            if name in VIEW_NAMES:
                view[:, VIEW_NAMES.index(name)] += torch.deg2rad(column)
            elif name != "light":
                row = LIGHT_NAMES.index(name)
                light[:, row] = turn_light(light[:, row], torch.deg2rad(column))
            else:  # the share of directed light; the sum of both stays as it is
                total = light[:, :2].sum(1)
                share = (light[:, 1] / total + column).clamp(0.05, 0.95)
                light[:, 0], light[:, 1] = total * (1 - share), total * share
        return self.to(view, light)


def compute_warp(factors: FaceFactors, view: Tensor, light: Tensor) -> Warp:
    """Compute the warp from the view and light of photographs to others.

    Parameters
    ----------
    factors : FaceFactors
        Of N photographs.
    view, light : float32 [N, 6], [N, 4]
        View and light of the new images; the canonical face stays.

    Raises
    ------
    FaceaugError
        When there is not one view and light for each photograph.
    """
    return PhotographedFaces.of(factors).to(view, light)


def compute_changed_warp(factors: FaceFactors, names: Sequence[str], change: Floats) -> Warp:
    """Compute the warp that changes what is measured of faces by so much.

    Parameters
    ----------
    factors : FaceFactors
        Of N photographs.
    names : sequence of str, length K
        Among `FACTOR_NAMES`; the others stay.
    change : float64 [N, K]
        In the units of the measurements.
    """
    return PhotographedFaces.of(factors).changed(names, change)


def turn_light(direction: Tensor, angle: Tensor) -> Tensor:
    """Return coordinates of the light's direction (x or y of `FaceFactors.light`), turned by angles in radians."""
    turned: Tensor = torch.tan((torch.atan(direction) + angle).clamp(-_STEEPEST_LIGHT, _STEEPEST_LIGHT))
    return turned


def apply_warp(photographs: Tensor, warp: Warp, extents: Tensor, windows: Tensor, *, in_place: bool = False) -> Tensor:
    """Resample photographs.

    Parameters
    ----------
    photographs : float32 [N, 3, H, W] in [-1, 1]
    warp : Warp
        Of the same N photographs.
    extents : float32 [N, 4]
        Where the photographs lie on their canvases (`faceaug.measurement.alignment.canvas_extent`): centre (x, y), half
        width and half height.
    windows : float32 [N, 4]
        The window of the canvas from which the factors were estimated.
    in_place : bool
        Keep the face where it is, and move what is behind it, as where faces are framed by their landmarks. Otherwise
        the head turns about its axis, and the face moves before a background that stays.

    Returns
    -------
    float32 [N, 3, H, W] in [-1, 1]
        Unchanged away from the face, but for what moves with `in_place`: there the background is stretched up to the
        border that it moves away from.
    """
    height, width = photographs.shape[2:]
    ys, xs = ((2 * torch.arange(size, device=photographs.device) + 1) / size - 1 for size in (height, width))
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1).to(photographs.dtype)  # [H, W, 2], (x, y)
    centre, half_size = extents[:, None, None, :2], extents[:, None, None, 2:]
    shown = grid * half_size + centre
    if in_place:
        back = (_rotation(windows) @ warp.movement[:, :, None])[..., 0] * windows[:, 2].exp()[:, None]
        shown = shown + back[:, None, None]
    positions = positions_in_window(shown, windows)  # [N, H, W, 2]

    def resample(offset: Tensor, gain: Tensor) -> Tensor:
        maps = torch.cat([offset.permute(0, 3, 1, 2), gain - 1], 1)
        fine = F.grid_sample(maps, positions / WIDE, mode="bicubic", padding_mode="zeros", align_corners=False)
        on_canvas = positions_on_canvas(positions + fine[:, :2].permute(0, 2, 3, 1), windows)
        source = _limit_outward((on_canvas - centre) / half_size, grid)
        image = F.grid_sample(photographs, source, mode="bicubic", padding_mode="border", align_corners=False)
        return (image + 1) * (1 + fine[:, 2:]) - 1

    warped = resample(warp.offset, warp.gain)
    if bool((warp.mirror_share > 0).any()):
        share = sample_bilinear(warp.mirror_share, positions / WIDE, "zeros")
        warped = warped.lerp(resample(warp.mirror_offset, warp.mirror_gain), share)
    return warped.clamp(-1, 1)


def widened_depth(depth: Tensor) -> Tensor:
    """Return canonical depths [N, S, S] on the wide grid [N, G, G], smoothed, running out to the pivot's depth.

    The scene is scaled down about the pivot by `WIDE`, so that the camera sees all of it.
    """
    grid = pixel_grid(GRID, depth) * WIDE
    fine = F.grid_sample(
        depth[:, None], grid.expand(len(depth), -1, -1, -1), mode="bicubic", padding_mode="border", align_corners=False
    )  # [N, 1, G, G]
    relief = PIVOT_DEPTH - fine
    relief = F.softplus(relief, beta=120.0)  # no point lies beyond the axis
    relief = relief * smooth_bump(grid / grid.new_tensor([0.95, 1.15]), 0.7, 1.2)
    return PIVOT_DEPTH - _blurred(relief, SMOOTHING)[:, 0] / WIDE


def _movement(depth: Tensor, old_view: Tensor, new_view: Tensor) -> Tensor:
    """Return by how much the middle half of canonical faces [N, S, S] moves in the image between two views, [N, 2]."""
    side = depth.shape[-1]
    middle = slice(side // 4, side - side // 4)
    points = unproject(depth)[:, middle, middle]
    moved: Tensor = (project(move(points, new_view)) - project(move(points, old_view))).mean((1, 2))
    return moved


def scaled_view(view: Tensor) -> Tensor:
    """Return views [N, 6] for the scene that is scaled down by `WIDE`."""
    return torch.cat([view[:, :3], view[:, 3:] / WIDE], 1)


def source_positions(
    depth: Tensor, old_depth: Tensor, old_view: Tensor, canonical: Tensor, areas: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where the photographs show canonical positions [N, G, G, 2], and how well: [N, G, G, 2], [N, 1, G, G].

    The quality is the number of the photograph's pixels per pixel of the canonical maps, 0 where the point is hidden;
    `areas` [N, G, G] are from `shown_areas`.
    """
    moved = moved_points(depth, old_view, canonical)
    source = project(moved)
    visible_depth = sample_bilinear(old_depth[:, None], source)[:, 0]
    hidden = moved[..., 2] > visible_depth + OCCLUSION_MARGIN / WIDE
    quality = sample_bilinear(areas[:, None], canonical) * (~hidden)[:, None]
    return source, quality


def moved_points(depth: Tensor, view: Tensor, canonical: Tensor) -> Tensor:
    """Return the points [N, G, G, 3] of the faces at canonical positions [N, G, G, 2], moved to their views."""
    z = sample_bilinear(depth[:, None], canonical)[:, 0]
    return move(torch.cat([canonical / FOCAL * z[..., None], z[..., None]], -1), view)


def shown_areas(depth: Tensor, view: Tensor) -> Tensor:
    """Return the areas in photographs of the cells of the canonical grid, computed at their corners: [N, G, G]."""
    return _areas(project(move(unproject(depth), view)))


def _areas(positions: Tensor) -> Tensor:
    """Return by how much a map of positions [N, G, G, 2] on the grid enlarges areas, [N, G, G]; negative in folds."""
    padded = F.pad(positions.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    step = 4 / positions.shape[1]
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / step
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / step
    return across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]


def _is_folded(offset: Tensor, grid: Tensor) -> Tensor:
    """Return where a warp folds over or changes areas beyond recognition, bool [N, G, G]."""
    area = _areas((grid + offset) / WIDE)
    return torch.logical_or(area < MIN_DENSITY, area > MAX_DENSITY)


def smooth_bump(positions: Tensor, inner: float, outer: float) -> Tensor:
    """Return weights of positions [..., 2]: 1 up to the radius `inner`, 0 from `outer` on, a smoothstep between."""
    t = ((outer - positions.norm(dim=-1)) / (outer - inner)).clamp(0, 1)
    smooth: Tensor = t * t * (3 - 2 * t)
    return smooth


def _blurred(maps: Tensor, sigma: float) -> Tensor:
    """Return maps [N, 1, G, G] smoothed by a Gaussian of `sigma` cells."""
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    weights = torch.exp(-0.5 * (steps / sigma).square())
    weights = weights / weights.sum()
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))


def _share(subset: Tensor, whole: Tensor) -> Tensor:
    return subset.flatten(1).sum(1) / whole.flatten(1).sum(1).clamp(min=1)


def positions_on_canvas(points: Tensor, windows: Tensor) -> Tensor:
    """Return points [N, H, W, 2] of windows [N, 4], each with points of its own, in coordinates of the canvas."""
    flat = points.flatten(1, 2) @ _rotation(windows).transpose(1, 2) * windows[:, 2].exp()[:, None, None]
    return (flat + windows[:, None, :2]).view(points.shape)


def positions_in_window(points: Tensor, windows: Tensor) -> Tensor:
    """Return points [N, H, W, 2] of the canvas in those of windows [N, 4]: the inverse of `positions_on_canvas`."""
    flat = (points.flatten(1, 2) - windows[:, None, :2]) @ _rotation(windows)
    return (flat / windows[:, 2].exp()[:, None, None]).view(points.shape)


def _rotation(windows: Tensor) -> Tensor:
    """Return the rotations [N, 2, 2] of windows [N, 4]."""
    cos, sin = torch.cos(windows[:, 3]), torch.sin(windows[:, 3])
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _limit_outward(source: Tensor, grid: Tensor) -> Tensor:
    """Keep sampled positions [N, H, W, 2] in the photograph: near its border, the step outwards is small."""
    return torch.minimum(torch.maximum(source, grid - (1 + grid) * _BORDER_SHARE), grid + (1 - grid) * _BORDER_SHARE)
