"""Conversions between pictures as bytes and as tensors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from faceaug.utils.images import Rgb, resize


def at_side(images: Tensor, side: int) -> Tensor:
    """Return pictures [N, C, R, R] at `side` pixels: averaged over areas when smaller, bilinear when larger."""
    if images.shape[-1] == side:
        return images
    if images.shape[-1] > side:
        return F.interpolate(images, size=(side, side), mode="area")
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def as_bytes(images: Tensor) -> Tensor:
    """Return pictures in [-1, 1] as uint8 on the CPU."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().byte().cpu()


def as_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return uint8 pictures [N, H, W, 3] as a float32 tensor [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Return pictures [N, 3, H, W] in [-1, 1] as uint8 [N, H, W, 3]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def thumbnails(images: Tensor, side: int = 64) -> NDArray[np.uint8]:
    """Return pictures [N, 3, R, R] in [-1, 1] as uint8 [N, side, side, 3]."""
    if images.shape[-1] != side:
        images = torch.nn.functional.interpolate(
            images, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
    return to_uint8(images)


def unsqueezed(picture: NDArray[np.uint8], aspect: float) -> NDArray[np.uint8]:
    """Return a square picture in the dataset's proportions, its longer side as it was."""
    side = len(picture)
    shape = (round(side * min(1, 1 / aspect)), round(side * min(1, aspect)))
    return picture.copy() if shape == (side, side) else resize(picture, shape)


def cut_to(image: Rgb, aspect: float) -> Rgb:
    """Return the largest middle part of uint8 [H, W, 3] that is `aspect` times as wide as high."""
    height, width = image.shape[:2]
    wide, high = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    top, left = (height - high) // 2, (width - wide) // 2
    return image[top : top + high, left : left + wide]
