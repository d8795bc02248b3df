"""Images as uint8 arrays and as float32 tensors of networks, and files of tensors that are not trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from faceaug.utils.files import parse_json, require_regular


@contextmanager
def open_safetensors(path: Path, framework: Literal["np", "pt"]) -> Iterator[tuple[Any, Any]]:
    """Open a file of tensors that is not trusted, and yield it with its metadata entry ``faceaug``, parsed.

    Parameters
    ----------
    path : Path
    framework : "np" or "pt"
        Whether tensors are read as arrays or as torch tensors.

    Yields
    ------
    (safetensors.safe_open, JSON value)
        The value is an empty mapping where the file has no such entry.

    Raises
    ------
    OSError, SafetensorError, ValueError
        When it is no regular file, no such file, or its metadata is no JSON.
    """
    require_regular(path)
    with safe_open(str(path), framework) as file:
        yield file, parse_json((file.metadata() or {}).get("faceaug", "{}"))


def normalize_pixels(pixels: Tensor) -> Tensor:
    """Map pixel values to the range of networks: x / 127.5 - 1.

    Parameters
    ----------
    pixels : Tensor of uint8, any shape
        0 to 255.

    Returns
    -------
    Tensor of float32, the same shape, on the same device
        In [-1, 1].
    """
    return pixels.float() / 127.5 - 1


def quantize_pixels(images: Tensor) -> Tensor:
    """Map values of networks to pixel values: round((x + 1) * 127.5), halves to the even number.

    Parameters
    ----------
    images : Tensor of float32, any shape
        In [-1, 1]; what lies outside is clipped.

    Returns
    -------
    Tensor of uint8, the same shape, on the same device
        0 to 255.
    """
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte()


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Return stored images as networks take them.

    Parameters
    ----------
    images : uint8 [..., H, W, 3]
        RGB, 0 to 255.

    Returns
    -------
    Tensor of float32 [..., 3, H, W]
        In [-1, 1], on the CPU.
    """
    return normalize_pixels(torch.from_numpy(images).movedim(-1, -3))


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Return images of networks as they are stored.

    Parameters
    ----------
    images : Tensor of float32 [..., 3, H, W]
        In [-1, 1], on any device; what lies outside is clipped.

    Returns
    -------
    uint8 [..., H, W, 3]
        RGB, 0 to 255.
    """
    pixels: NDArray[np.uint8] = quantize_pixels(images).movedim(-3, -1).contiguous().cpu().numpy()
    return pixels


def resize_tensor(images: Tensor, side: int) -> Tensor:
    """Resize images: averaged over areas where they get smaller, bilinear where they get larger.

    Parameters
    ----------
    images : Tensor of float32 [N, C, R, R]
    side : int
        In pixels.

    Returns
    -------
    Tensor of float32 [N, C, side, side]
        `images` itself where it has this size.
    """
    if images.shape[-1] == side:
        return images
    if images.shape[-1] > side:
        return F.interpolate(images, size=(side, side), mode="area")
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def thumbnails(images: Tensor, side: int = 64) -> NDArray[np.uint8]:
    """Return small copies of images, by antialiased bilinear interpolation.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, R, R]
        In [-1, 1].
    side : int
        In pixels.

    Returns
    -------
    uint8 [N, side, side, 3]
    """
    if images.shape[-1] != side:
        images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return to_uint8(images)
