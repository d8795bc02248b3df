"""Windows in a picture: placing, moving and cutting squares of any size and angle.

A window is (x, y, log of the half side, angle) in the coordinates of a square canvas: [-1, 1] edge to edge, y down,
the angle in radians, clockwise as seen. A window of (0, 0, 0, 0) is the whole canvas. A step is told in the window's
own coordinates: shift in half windows, log of scale, angle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.reconstruction.geometry import pixel_grid, sample_bilinear

CROP_SIDE = 64
"""Pixels of what is cut."""
_COARSEST = 3  # halvings of the canvas that a window is read from, at most
_LARGEST = 8.0  # log of the half side, either way: such a window is a point, or shows hardly more than the border


def cut(canvases: Tensor, windows: Tensor, side: int = CROP_SIDE) -> Tensor:
    """Cut windows [N, 4] out of canvases [N, 3, C, C]: [N, 3, side, side], averaged where that makes them smaller.

    What lies outside the canvas repeats its border. A window that is nowhere, one of its numbers not being finite,
    gives zeros: plain grey, in which no face is seen. Half sides are held between e^-8 and e^8.
    """
    somewhere = windows.isfinite().all(1)
    x, y, size, angle = torch.where(somewhere[:, None], windows, torch.zeros_like(windows)).unbind(1)
    windows = torch.stack([x, y, size.clamp(-_LARGEST, _LARGEST), angle], 1)
    grid = placed(pixel_grid(side, canvases), windows)
    shrink = windows[:, 2].exp() * canvases.shape[-1] / side  # canvas pixels a pixel
    level = shrink.clamp(min=1).log2().round().long().clamp(0, _COARSEST)
    images = canvases.new_zeros(len(canvases), canvases.shape[1], side, side)
    smaller = canvases
    for power in range(int(level.max()) + 1 if len(level) else 0):
        if power:
            smaller = F.avg_pool2d(smaller, 2)
        chosen = (level == power) & somewhere
        if chosen.any():
            images[chosen] = sample_bilinear(smaller[chosen], grid[chosen])
    return images


def placed(points: Tensor, windows: Tensor) -> Tensor:
    """Return where points [..., 2] of the windows [N, 4] lie on the canvas, [N, ..., 2]."""
    turn = _turn(windows[:, 3]) * windows[:, 2].exp()[:, None, None]
    flat = points.reshape(-1, 2) @ turn.transpose(1, 2) + windows[:, None, :2]
    return flat.view(len(windows), *points.shape)


def stepped(windows: Tensor, steps: Tensor) -> Tensor:
    """Return the windows [N, 4] after steps [N, 4] that are told in their own coordinates."""
    moved = (_turn(windows[:, 3]) @ steps[:, :2, None])[..., 0] * windows[:, 2].exp()[:, None]
    return torch.cat([windows[:, :2] + moved, windows[:, 2:] + steps[:, 2:]], 1)


def before(windows: Tensor, steps: Tensor) -> Tensor:
    """Return the windows from which `steps` lead to `windows`."""
    rest = windows[:, 2:] - steps[:, 2:]
    moved = (_turn(rest[:, 1]) @ steps[:, :2, None])[..., 0] * rest[:, 0].exp()[:, None]
    return torch.cat([windows[:, :2] - moved, rest], 1)


def _turn(angle: Tensor) -> Tensor:
    """Return rotations [N, 2, 2], clockwise as seen."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
