"""Where the pixels of a photograph lie in the window of its face, and which of them a part of the window covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.morphing.face import CanonicalFace, window_and_extent
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.warp import WIDE, positions_in_window, positions_on_canvas
from faceaug.utils.images import Rgb


@dataclass(frozen=True)
class PixelBox:
    """Rows and columns of a photograph."""

    rows: slice
    columns: slice

    @classmethod
    def around(cls, face: CanonicalFace, mask: Tensor, height: int, width: int, margin: float) -> PixelBox:
        """Return the pixels in which a mask [1, 1, G, G] of the window of a face is not 0, and `margin` pixels more."""
        side = mask.shape[2]
        reach = F.max_pool2d(mask, 3, 1, 1)[0, 0] > 0  # interpolation reaches a cell further
        window, extent = window_and_extent(face)
        places = pixel_grid(side, mask)[reach][None, :, None] * WIDE
        if not places.numel():
            return cls(slice(0, height), slice(0, width))
        there = (positions_on_canvas(places, window) - extent[:, None, None, :2]) / extent[:, None, None, 2:]
        size = there.new_tensor([width, height])
        pixels = (there[0, :, 0] + 1) / 2 * size
        low = (pixels.amin(0) - margin).floor().clamp(min=0).int().tolist()
        high = torch.minimum(pixels.amax(0) + margin, size).ceil().int().tolist()
        return cls(slice(low[1], high[1]), slice(low[0], high[0]))


def pixel_positions(face: CanonicalFace, height: int, width: int, box: PixelBox | None = None) -> Tensor:
    """Return where the pixels of a photograph, or those in a box, lie in the window of its face, [1, H, W, 2]."""
    ys, xs = ((2 * torch.arange(size) + 1) / size - 1 for size in (height, width))
    if box is not None:
        ys, xs = ys[box.rows], xs[box.columns]
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1)[None]
    window, extent = window_and_extent(face)
    return positions_in_window(grid * extent[:, None, None, 2:] + extent[:, None, None, :2], window)


def as_unit(picture: Rgb) -> Tensor:
    """Return a picture uint8 [H, W, 3] as float32 [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def from_unit(picture: Tensor) -> Rgb:
    """Return a picture [1, 3, H, W] in [0, 1], beyond which it is clipped, as uint8 [H, W, 3]."""
    pixels = (picture[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.numpy())
