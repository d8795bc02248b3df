"""Faces in the canonical frame: a place of the canonical picture is the same place of every face.

The reconstruction estimates depth and view of a photograph. They say for every position of the photograph which place
of the canonical face it shows, and for every canonical place where the photograph shows it. Canonical pictures are read
from the photographs themselves and not from the albedo, which has a side of 32 or 64 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid, project
from faceaug.reconstruction.renderer import inverse_warp, rasterize
from faceaug.reconstruction.warp import (
    FULL_DENSITY,
    MIN_DENSITY,
    WIDE,
    moved_points,
    positions_on_canvas,
    scaled_view,
    shown_areas,
    source_positions,
    widened_depth,
)

CANONICAL_REACH = 0.68
"""Half side of the canonical square, in the coordinates of the wide scene of `faceaug.reconstruction.warp`."""
PICTURE_SIDE = 128
"""Side of canonical pictures in pixels."""
MAP_SIDE = 64
"""Side of the map from canonical places to the photograph, in cells."""


@dataclass(frozen=True, eq=False)
class CanonicalFrame:
    """Where N photographs show the places of the canonical face.

    Attributes
    ----------
    places : float32 [N, G, G, 2]
        The canonical place, [-1, 1] edge to edge of the canonical square, that is visible at each position of the grid
        of the window (`faceaug.reconstruction.warp`).
    covered : float32 [N, 1, G, G]
        1 where the surface is visible there.
    sources : float32 [N, M, M, 2]
        The position in the window, in half sides of the window, at which the photograph shows each canonical place.
    visible : float32 [N, 1, M, M] in [0, 1]
        How well it does: 0 where the place is hidden or turned away.
    """

    places: Tensor
    covered: Tensor
    sources: Tensor
    visible: Tensor

    def __len__(self) -> int:
        return len(self.places)


def canonical_frame(factors: FaceFactors) -> CanonicalFrame:
    """Return where photographs show the canonical places, from their factors."""
    depth, view = widened_depth(factors.depth), scaled_view(factors.view)
    surface, mask = rasterize(depth, view)
    places = inverse_warp(surface, view) / CANONICAL_REACH
    sources, quality = source_positions(depth, surface, view, _map_grid(depth), shown_areas(depth, view))
    visible = ((quality - MIN_DENSITY) / (FULL_DENSITY - MIN_DENSITY)).clamp(0, 1)
    return CanonicalFrame(places, mask[:, None].to(depth.dtype), sources * WIDE, visible)


def canonical_sources(factors: FaceFactors) -> Tensor:
    """Return the `sources` of `canonical_frame` alone, which need no rasterization."""
    depth, view = widened_depth(factors.depth), scaled_view(factors.view)
    return project(moved_points(depth, view, _map_grid(depth))) * WIDE


def _map_grid(depth: Tensor) -> Tensor:
    """Return the canonical places of the cells of `sources`, [N, M, M, 2], in the coordinates of depths [N, G, G]."""
    return (pixel_grid(MAP_SIDE, depth) * CANONICAL_REACH).expand(len(depth), -1, -1, -1)


def read_places(photographs: Tensor, positions: Tensor, windows: Tensor, extents: Tensor) -> Tensor:
    """Read photographs at positions of their windows.

    Parameters
    ----------
    photographs : float32 [N, C, H, W]
    positions : float32 [N, h, w, 2]
        In half sides of the window.
    windows, extents : float32 [N, 4]
        The windows on the canvases, and where the photographs lie on them.

    Returns
    -------
    float32 [N, C, h, w]
    """
    on_canvas = positions_on_canvas(positions, windows)
    there = (on_canvas - extents[:, None, None, :2]) / extents[:, None, None, 2:]
    return F.grid_sample(photographs, there, mode="bicubic", padding_mode="border", align_corners=False)


def canonical_pictures(photographs: Tensor, sources: Tensor, windows: Tensor, extents: Tensor) -> Tensor:
    """Return the canonical pictures float32 [N, 3, P, P] in [-1, 1] of photographs [N, 3, H, W] of one size.

    `sources` [N, M, M, 2] are those of their `CanonicalFrame`.
    """
    fine = F.interpolate(
        sources.permute(0, 3, 1, 2), size=(PICTURE_SIDE, PICTURE_SIDE), mode="bicubic", align_corners=False
    )
    return read_places(photographs, fine.permute(0, 2, 3, 1), windows, extents).clamp(-1, 1)
