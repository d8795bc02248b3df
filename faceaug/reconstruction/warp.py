"""Real faces turned and relit: a photograph is bent by the geometry that was read off it, and keeps its own pixels.

Nothing is drawn from the 32 or 64 pixels of a canonical albedo. For every place of the picture to be made, depth and
view say which point of the face is seen there, and where the photograph shows that point; the photograph is read there
at its full resolution, and multiplied by the ratio of new to old shading. Where the turn uncovers what the photograph
does not show, the other half of the same face is taken, for faces are nearly symmetric. Beside the face depth runs out
to that of the axis it turns about, and the bending fades to nothing, so that hair and background flow along without an
edge.

Places are those of the window (`windows.py`) that frames the face, [-1, 1] edge to edge, and reach beyond it to
`WIDE` times its half side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.errors import FaceaugError
from faceaug.reconstruction.factors import FaceFactors
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

WIDE = 1.5
"""Half side of what is bent, in those of the window."""
GRID = 96
"""Cells across in which the bending is computed."""
SMOOTH = 1.2  # cells of the depth's smoothing, standard deviation
BEHIND = 0.012  # a point this much farther than what the photograph shows there is hidden by it
DARKEST, BRIGHTEST = 0.4, 2.2  # of the ratio of shadings
POOR, FINE = 0.2, 0.45  # source pixels a pixel: below, a place is a hole; from here on, it is as good as any
LARGEST = 4.0  # the same the other way: a place that is squeezed so is not recognised either
_FACE = (0.62, 0.9)  # half axes of the face in the canonical picture
_HEAD, _AWAY = 0.8, 1.3  # from here on bending fades, and here it is gone; in half axes of `_FIELD`
_FIELD = (1.05, 1.1)
_GIVE = 0.6  # share of the way to the photograph's border that a place may be taken from farther out


@dataclass(frozen=True, eq=False)
class Warp:
    """How N pictures are to be made from their photographs; all on the grid of places, G cells across.

    Attributes
    ----------
    own, other : Tensor [N, G, G, 2]
        By how much the place in the photograph is off, and off the place of the mirrored point.
    gain, other_gain : Tensor [N, 1, G, G]
        What the photograph's brightness is multiplied by, for both.
    share : Tensor [N, 1, G, G]
        How much is taken of the other half, 0 to 1.
    holes : Tensor [N]
        Share of the face that neither half of the photograph shows.
    folds : Tensor [N]
        Share of the face where the bending turns over, or stretches or squeezes the picture out of recognition.
    """

    own: Tensor
    other: Tensor
    gain: Tensor
    other_gain: Tensor
    share: Tensor
    holes: Tensor
    folds: Tensor

    def __getitem__(self, rows: slice) -> Warp:
        return Warp(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def compute_warp(reading: FaceFactors, view: Tensor, light: Tensor) -> Warp:
    """Work out how faces are turned from their own view and light to others.

    Parameters
    ----------
    reading : FaceFactors
        Of the photographs, as the network gave it.
    view, light : Tensor [N, 6], [N, 4]
        What is to be seen; the canonical face stays.
    """
    if view.shape != reading.view.shape or light.shape != reading.light.shape:
        raise FaceaugError(
            f"views {tuple(view.shape)} and lights {tuple(light.shape)} do not go with {len(reading)} readings"
        )
    depth = _widened(reading.depth)
    old, new = _scaled(reading.view), _scaled(view)
    grid = pixel_grid(GRID, depth)
    seen, mask = rasterize(depth, new)
    canonical = inverse_warp(seen, new)  # [N, G, G, 2]
    mirrored = canonical * canonical.new_tensor([-1.0, 1.0])
    shown = rasterize(depth, old)
    facing = normals(depth)
    # Far from the pivot nothing is known of a surface: shading there is that of the smooth dome that was made up.
    before, after = shade(facing, reading.light), shade(facing, light)
    lit = sample_bilinear(after, canonical)

    inside = _bump(canonical * WIDE / canonical.new_tensor(_FACE), 0.95, 1.45)[:, None]  # [N, 1, G, G]
    fade = _bump(grid * WIDE / grid.new_tensor(_FIELD), _HEAD, _AWAY)[None]
    offsets, gains, qualities = [], [], []
    for places in (canonical, mirrored):
        source, quality = _source(depth, shown, old, places)
        offset = torch.where(mask[..., None], source - grid, torch.zeros_like(source)) * WIDE
        ratio = (lit / sample_bilinear(before, places)).clamp(DARKEST, BRIGHTEST)
        offsets.append(offset)
        gains.append(1 + (ratio - 1) * inside)
        qualities.append(quality)
    own = offsets[0] * fade[..., None]
    quality, spare = qualities
    face = (inside > 0.5) & mask[:, None]
    wanted = ((FINE - quality) / (FINE - POOR)).clamp(0, 1) * (spare / FINE).clamp(0, 1) * inside
    share = _blurred(wanted, 1.0)
    hole = face & (quality < POOR) & (spare < POOR)
    return Warp(
        own=own, other=offsets[1], gain=gains[0], other_gain=gains[1], share=share,
        holes=_part(hole, face), folds=_part(_torn(own, grid * WIDE)[:, None] & face & (share < 0.5), face),
    )  # fmt: skip


def apply_warp(photographs: Tensor, bent: Warp, extents: Tensor, windows: Tensor) -> Tensor:
    """Make the pictures.

    Parameters
    ----------
    photographs : Tensor [N, 3, H, W] in [-1, 1]
    bent : Warp
        Of the same N.
    extents : Tensor [N, 4]
        Where the photographs lie on their canvases: centre (x, y) and half width and height.
    windows : Tensor [N, 4]
        Which window of the canvas the reading is of.

    Returns
    -------
    Tensor [N, 3, H, W] in [-1, 1]
        Unchanged away from the face.
    """
    height, width = photographs.shape[2:]
    ys, xs = ((2 * torch.arange(size, device=photographs.device) + 1) / size - 1 for size in (height, width))
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1).to(photographs.dtype)  # [H, W, 2], (x, y)
    middle, half = extents[:, None, None, :2], extents[:, None, None, 2:]
    places = _unplaced(grid * half + middle, windows)  # [N, H, W, 2]

    def read(offset: Tensor, gain: Tensor) -> Tensor:
        found = F.grid_sample(
            torch.cat([offset.permute(0, 3, 1, 2), gain - 1], 1), places / WIDE, mode="bicubic", padding_mode="zeros",
            align_corners=False,
        )  # fmt: skip
        moved = _placed(places + found[:, :2].permute(0, 2, 3, 1), windows)
        there = _kept_inside((moved - middle) / half, grid)
        picture = F.grid_sample(photographs, there, mode="bicubic", padding_mode="border", align_corners=False)
        return (picture + 1) * (1 + found[:, 2:]) - 1

    made = read(bent.own, bent.gain)
    if bool((bent.share > 0).any()):
        share = sample_bilinear(bent.share, places / WIDE, "zeros")
        made = made.lerp(read(bent.other, bent.other_gain), share)
    return made.clamp(-1, 1)


def _widened(depth: Tensor) -> Tensor:
    """Return canonical depths [N, S, S] on the wide grid [N, G, G], smooth, running out to the pivot's depth.

    The scene is made smaller about the pivot by `WIDE`, so that the camera sees all of it.
    """
    grid = pixel_grid(GRID, depth) * WIDE
    fine = F.grid_sample(
        depth[:, None], grid.expand(len(depth), -1, -1, -1), mode="bicubic", padding_mode="border", align_corners=False
    )  # [N, 1, G, G]
    relief = PIVOT_DEPTH - fine
    relief = F.softplus(relief, beta=120.0)  # nothing lies beyond the axis
    relief = relief * _bump(grid / grid.new_tensor([0.95, 1.15]), 0.7, 1.2)
    return PIVOT_DEPTH - _blurred(relief, SMOOTH)[:, 0] / WIDE


def _scaled(view: Tensor) -> Tensor:
    return torch.cat([view[:, :3], view[:, 3:] / WIDE], 1)


def _source(depth: Tensor, shown: tuple[Tensor, Tensor], old: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the photographs show canonical places [N, G, G, 2], and how well: [N, G, G, 2], [N, 1, G, G].

    The quality is the number of the photograph's pixels there for each of the canonical picture, 0 where hidden.
    """
    z = sample_bilinear(depth[:, None], places)[:, 0]
    points = torch.cat([places / FOCAL * z[..., None], z[..., None]], -1)
    moved = move(points, old)
    source = project(moved)
    depths = sample_bilinear(shown[0][:, None], source)[:, 0]
    hidden = moved[..., 2] > depths + BEHIND / WIDE
    # How large the canonical grid's own cells are in the photograph, found at their corners and read at the places.
    spread = _areas(project(move(unproject(depth), old)))
    quality = sample_bilinear(spread[:, None], places) * (~hidden)[:, None]
    return source, quality


def _areas(places: Tensor) -> Tensor:
    """Return by how much a map of places [N, G, G, 2] over the grid enlarges areas; negative where it turns over."""
    padded = F.pad(places.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    step = 4 / places.shape[1]
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / step
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / step
    return across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]


def _torn(offset: Tensor, grid: Tensor) -> Tensor:
    """Return where a bending turns over or changes areas beyond recognition, bool [N, G, G]."""
    area = _areas((grid + offset) / WIDE)
    return torch.logical_or(area < POOR, area > LARGEST)


def _bump(places: Tensor, full: float, gone: float) -> Tensor:
    """Return 1 up to a distance `full` from the middle, 0 from `gone` on, smoothly between; places [..., 2]."""
    t = ((gone - places.norm(dim=-1)) / (gone - full)).clamp(0, 1)
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


def _part(some: Tensor, whole: Tensor) -> Tensor:
    return some.flatten(1).sum(1) / whole.flatten(1).sum(1).clamp(min=1)


def _placed(points: Tensor, windows: Tensor) -> Tensor:
    """Return where points [N, H, W, 2] of windows [N, 4], each with points of its own, lie on the canvas."""
    flat = points.flatten(1, 2) @ _turn(windows).transpose(1, 2) * windows[:, 2].exp()[:, None, None]
    return (flat + windows[:, None, :2]).view(points.shape)


def _unplaced(points: Tensor, windows: Tensor) -> Tensor:
    """Return where points of the canvas [N, H, W, 2] lie in windows; undoes `_placed`."""
    flat = (points.flatten(1, 2) - windows[:, None, :2]) @ _turn(windows)
    return (flat / windows[:, 2].exp()[:, None, None]).view(points.shape)


def _turn(windows: Tensor) -> Tensor:
    cos, sin = torch.cos(windows[:, 3]), torch.sin(windows[:, 3])
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _kept_inside(there: Tensor, here: Tensor) -> Tensor:
    """Hold places [N, H, W, 2] in the photograph: the nearer to its border, the less farther out than `here`."""
    return torch.minimum(torch.maximum(there, here - (1 + here) * _GIVE), here + (1 - here) * _GIVE)
