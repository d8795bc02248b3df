"""Measures of what belongs to the photograph and not to the person: light, and colour outside the face.

They are measured on every image and kept in every edit of an attribute. The direction of a classifier for dark skin,
without them, darkens the whole photograph with its background, and a model that is trained on such samples learns the
exposure. Without a mask from a reconstruction, the face is a fixed ellipse in the generator's own framing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from faceaug.utils.images import LUMA_WEIGHTS

NAMES = ("outside_red", "outside_green", "outside_blue", "light_side")
"""Mean colour outside the face (three channels), and luminance of the right half of the face minus the left half."""
EXPOSURE = "face_luminance"
"""Mean luminance of the centre of the image, in framing and colour of the data set; it may vary as real faces do."""
FACE_QUALITY = "face_quality"
"""Log-odds of an intact face by `classifiers.face_quality`; edits return from latents where it gets low."""
MEANINGS = {
    FACE_QUALITY: "log-odds of an intact face, not a distorted one",
    **{f"outside_{c}": f"mean {c} outside the face, of the generator's own image" for c in ("red", "green", "blue")},
    EXPOSURE: "mean luminance of the centre of the image, as the data set would show it",
    "light_side": "luminance of the face's right half minus its left",
}
_CLIPPED_HIGHLIGHT, _CLIPPED_SHADOW = 0.96, -0.96  # 2% of the range from its ends
_FAINT = 0.04  # mean change below which an edit is not visible: 2% of the range


@dataclass(frozen=True)
class FaceEllipse:
    """The ellipse that all faces of a generator fill, in fractions of the image's side.

    Attributes
    ----------
    x, y : float
        Centre, from the left and from the top.
    width, height : float
        Half-axes.
    margin : float
        Pixels beyond `margin` times the radius are outside the face. Those between (hair, neck) are neither.
    """

    x: float = 0.5
    y: float = 0.55
    width: float = 0.30
    height: float = 0.42
    margin: float = 1.3


@lru_cache(maxsize=8)
def _masks(ellipse: FaceEllipse, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return float masks [side, side]: face, outside, and +1 or -1 on the face's right and left half."""
    steps = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    radius = (((x - ellipse.x) / ellipse.width) ** 2 + ((y - ellipse.y) / ellipse.height) ** 2).sqrt()
    face, outside = (radius <= 1).float(), (radius >= ellipse.margin).float()
    return face, outside, face * torch.sign(x - ellipse.x)


def measure_scene(images: Tensor, ellipse: FaceEllipse) -> Tensor:
    """Measure the colour outside the face and the side of the light.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, R, R]
        In [-1, 1], in the generator's own framing.
    ellipse : FaceEllipse

    Returns
    -------
    Tensor of float32 [N, 4]
        In the order of `NAMES`.
    """
    face, outside, side = (mask.to(images) for mask in _masks(ellipse, images.shape[-1]))
    colour = (images * outside).sum((2, 3)) / outside.sum()
    light = (luminance(images) * side).sum((1, 2)) / (face.sum() / 2)
    return torch.cat([colour, light[:, None]], 1)


def luminance(images: Tensor) -> Tensor:
    """Return the luminance [N, R, R] of images [N, 3, R, R], in the range of the images (ITU-R BT.601 weights)."""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA_WEIGHTS))


def measure_exposure(images: Tensor) -> Tensor:
    """Measure the exposure of the centre of images, where the face is.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, S, S]
        In [-1, 1], in the framing of the data set.

    Returns
    -------
    Tensor of float32 [N, 2]
        Mean luminance in [-1, 1], and share of clipped pixels in [0, 1]: clipped highlights (one channel within 2% of
        the upper end of the range) and clipped shadows (all channels within 2% of the lower end).
    """
    centre = _centre(images)
    brightest = centre.amax(1)
    clipped = (brightest > _CLIPPED_HIGHLIGHT) | (brightest < _CLIPPED_SHADOW)
    return torch.stack([luminance(centre).mean((1, 2)), clipped.float().mean((1, 2))], 1)


def measure_tints(images: Tensor) -> Tensor:
    """Measure how cold the colours of the centre of images are: faces are not blue or green, distorted colours are.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, S, S]
        In [-1, 1], in the framing of the data set.

    Returns
    -------
    Tensor of float32 [N, 2]
        The 90% quantile over pixels of blue minus red, and of green minus the larger of both others.
    """
    red, green, blue = _centre(images).unbind(1)
    cold = torch.stack([blue - red, green - torch.maximum(red, blue)], 1)
    return torch.quantile(cold.flatten(2), 0.9, dim=2)


def measure_spill(before: Tensor, after: Tensor, ellipse: FaceEllipse) -> Tensor:
    """Measure which part of an edit's change lies outside the face.

    Parameters
    ----------
    before, after : Tensor of float32 [N, 3, R, R]
        In [-1, 1], in the generator's own framing.
    ellipse : FaceEllipse

    Returns
    -------
    Tensor of float32 [N]
        Mean change per pixel outside the face over that inside: 0 for an edit of the face alone, 1 for an even change
        of the image, near or above 1 for another background. 0 also where the change is too faint to be visible.
    """
    face, outside, _ = (mask.to(before) for mask in _masks(ellipse, before.shape[-1]))
    change = (after - before).abs().mean(1)
    inner = (change * face).sum((1, 2)) / face.sum()
    outer = (change * outside).sum((1, 2)) / outside.sum()
    return torch.where(torch.maximum(inner, outer) < _FAINT, torch.zeros_like(inner), outer / inner.clamp_min(0.02))


def _centre(images: Tensor) -> Tensor:
    """Return the middle half of images in both directions: [N, 3, S, S] to [N, 3, S / 2, S / 2]."""
    quarter = images.shape[-1] // 4
    return images[:, :, quarter:-quarter, quarter:-quarter]
