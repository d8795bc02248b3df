"""Windows on a canvas: squares of any position, size and angle that are moved and cropped.

A window is (x, y, logarithm of the half side, angle) in the coordinates of a square canvas: [-1, 1] edge to edge, y
down, the angle in radians, clockwise as seen. The window (0, 0, 0, 0) is the whole canvas. A step between windows is
given in the coordinates of the first window: shift in half windows, logarithm of scale, angle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.reconstruction.geometry import pixel_grid, sample_bilinear

CROP_SIDE = 64
"""Side of a crop in pixels."""
_MAX_LEVEL = 3  # halvings of the canvas that a window is sampled from, at most
_MAX_LOG_SIZE = 8.0  # of the half side, either way: such a window is a point, or shows hardly more than the border


class CanvasPyramid:
    """Canvases [N, 3, C, C] and their halvings, each computed when it is first needed, for many crops of each."""

    def __init__(self, canvases: Tensor) -> None:
        self.canvases, self._levels = canvases, [canvases]

    def crop(self, windows: Tensor, side: int = CROP_SIDE, rows: Tensor | None = None) -> Tensor:
        """Crop a window out of each canvas, or of some, averaging where that reduces it.

        Outside the canvas its border is repeated. Half sides are clamped to [e^-8, e^8].

        Parameters
        ----------
        windows : float32 [N, 4]
        side
            Side of the crops in pixels.
        rows : int64 [N], optional
            The canvases of the windows; all of them, in order, when None.

        Returns
        -------
        float32 [N, 3, side, side]
            Zeros, plain grey without a face, where a number of the window is not finite.
        """
        canvases = self.canvases
        finite = windows.isfinite().all(1)
        x, y, size, angle = torch.where(finite[:, None], windows, torch.zeros_like(windows)).unbind(1)
        windows = torch.stack([x, y, size.clamp(-_MAX_LOG_SIZE, _MAX_LOG_SIZE), angle], 1)
        grid = window_to_canvas(pixel_grid(side, canvases), windows)
        reduction = windows[:, 2].exp() * canvases.shape[-1] / side  # pixels of the canvas per pixel of the crop
        powers = reduction.clamp(min=1).log2().round().long().clamp(0, _MAX_LEVEL)
        images = canvases.new_zeros(len(windows), canvases.shape[1], side, side)
        numbers = range(len(canvases)) if rows is None else rows.tolist()
        # One by one, as views: to gather canvases by their level costs more than to sample them.
        for k, (row, power, is_finite) in enumerate(zip(numbers, powers.tolist(), finite.tolist(), strict=True)):
            if is_finite:
                images[k] = sample_bilinear(self._level(power)[row : row + 1], grid[k : k + 1])[0]
        return images

    def _level(self, power: int) -> Tensor:
        while len(self._levels) <= power:
            self._levels.append(halved(self._levels[-1]))
        return self._levels[power]


def halved(images: Tensor) -> Tensor:
    """Return the means [N, 3, S // 2, S // 2] of 2 x 2 pixels of images [N, 3, S, S], with channels last in memory."""
    # As average pooling does, in a third of its time.
    images = images.contiguous(memory_format=torch.channels_last)
    return F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)


def window_to_canvas(points: Tensor, windows: Tensor) -> Tensor:
    """Return points [..., 2] of windows [N, 4] in coordinates of the canvas, [N, ..., 2]."""
    matrix = _rotation(windows[:, 3]) * windows[:, 2].exp()[:, None, None]
    flat = points.reshape(-1, 2) @ matrix.transpose(1, 2) + windows[:, None, :2]
    return flat.view(len(windows), *points.shape)


def apply_steps(windows: Tensor, steps: Tensor) -> Tensor:
    """Return the windows [N, 4] after steps [N, 4] in their own coordinates."""
    shift = (_rotation(windows[:, 3]) @ steps[:, :2, None])[..., 0] * windows[:, 2].exp()[:, None]
    return torch.cat([windows[:, :2] + shift, windows[:, 2:] + steps[:, 2:]], 1)


def undo_steps(windows: Tensor, steps: Tensor) -> Tensor:
    """Return the windows [N, 4] from which `steps` lead to `windows`: the inverse of `apply_steps`."""
    size_angle = windows[:, 2:] - steps[:, 2:]
    shift = (_rotation(size_angle[:, 1]) @ steps[:, :2, None])[..., 0] * size_angle[:, 0].exp()[:, None]
    return torch.cat([windows[:, :2] - shift, size_angle], 1)


def _rotation(angle: Tensor) -> Tensor:
    """Return rotations [N, 2, 2], clockwise as seen."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
