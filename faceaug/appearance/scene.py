"""What belongs to the photograph and not to the person: light and colour outside the face, and the side of the light.

These are measured on every picture and are kept axes of every attribute edit. A probe's direction for dark skin, left
alone, darkens the whole photograph, background and all; a model taught with such samples learns that a skin is an
exposure. Until a reconstruction gives a mask, the face is a fixed ellipse in the generator's own framing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
NAMES = ("outside_red", "outside_green", "outside_blue", "light_side")
"""Mean colour outside the face (three channels) and the right half of the face minus the left, all on [-1, 1]."""
EXPOSURE = "face_luminance"
"""Mean luminance of the picture's middle in the dataset's framing and colour: free as far as real faces go."""
SOUNDNESS = "soundness"
"""Log-odds of one whole face, as the network of `soundness.py` reads it: edits are brought back from melting a face."""
MEANINGS = {
    SOUNDNESS: "log-odds of a sound face, not a melted one",
    **{f"outside_{c}": f"mean {c} outside the face, of the generator's own picture" for c in ("red", "green", "blue")},
    EXPOSURE: "mean luminance of the middle of the picture, as the dataset would show it",
    "light_side": "luminance of the face's right half minus its left",
}


@dataclass(frozen=True)
class FaceEllipse:
    """An ellipse in fractions of the picture's side: centre (x, y) and half-axes. Shared by all faces of a generator.

    Up to radius 1 is face; from `margin` times the radius on is outside; what lies between (hair, neck) is neither.
    """

    x: float = 0.5
    y: float = 0.55
    width: float = 0.30
    height: float = 0.42
    margin: float = 1.3


@lru_cache(maxsize=8)
def _masks(ellipse: FaceEllipse, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return float masks [side, side]: face, outside, and +-1 over the face's right and left half."""
    steps = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    radius = (((x - ellipse.x) / ellipse.width) ** 2 + ((y - ellipse.y) / ellipse.height) ** 2).sqrt()
    face, outside = (radius <= 1).float(), (radius >= ellipse.margin).float()
    return face, outside, face * torch.sign(x - ellipse.x)


def measure(images: Tensor, ellipse: FaceEllipse) -> Tensor:
    """Measure the scene of pictures.

    Parameters
    ----------
    images : Tensor [N, 3, R, R] in [-1, 1]
        In the generator's own framing.
    ellipse : FaceEllipse
        Where the face is.

    Returns
    -------
    Tensor [N, 4]
        In the order of `NAMES`.
    """
    face, outside, side = (m.to(images) for m in _masks(ellipse, images.shape[-1]))
    colour = (images * outside).sum((2, 3)) / outside.sum()
    light = (luminance(images) * side).sum((1, 2)) / (face.sum() / 2)
    return torch.cat([colour, light[:, None]], 1)


def luminance(images: Tensor) -> Tensor:
    """Return the luminance [N, R, R] of pictures [N, 3, R, R] (Rec. 601 weights)."""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))


def exposure(views: Tensor) -> Tensor:
    """Measure how the middle of pictures, where the face is, was exposed.

    Parameters
    ----------
    views : Tensor [N, 3, S, S] in [-1, 1]
        In the dataset's framing.

    Returns
    -------
    Tensor [N, 2]
        Mean luminance on [-1, 1], and share of pixels that are burnt out or drowned (a channel within 2% of the end
        of the range above, or all of them below).
    """
    quarter = views.shape[-1] // 4
    middle = views[:, :, quarter:-quarter, quarter:-quarter]
    lost = (middle.amax(1) > 0.96) | (middle.amax(1) < -0.96)
    return torch.stack([luminance(middle).mean((1, 2)), lost.float().mean((1, 2))], 1)


def tints(views: Tensor) -> Tensor:
    """Measure how cold the colours in the middle of pictures are: faces are not blue or green, melted colours are.

    Parameters
    ----------
    views : Tensor [N, 3, S, S] in [-1, 1]
        In the dataset's framing.

    Returns
    -------
    Tensor [N, 2]
        What the coldest tenth of the pixels has of blue above red, and of green above both others, at least.
    """
    quarter = views.shape[-1] // 4
    red, green, blue = views[:, :, quarter:-quarter, quarter:-quarter].unbind(1)
    cold = torch.stack([blue - red, green - torch.maximum(red, blue)], 1)
    return torch.quantile(cold.flatten(2), 0.9, dim=2)


def spill(before: Tensor, after: Tensor, ellipse: FaceEllipse) -> Tensor:
    """Return how much of an edit's change lies outside the face: mean change a pixel outside over that inside.

    0 is an edit of the face alone, 1 one that changes the picture evenly; a repainted scene is near or above 1.
    Changes too faint to see (under 2% of the range inside the face) have nothing to spill and give 0.

    Parameters
    ----------
    before, after : Tensor [N, 3, R, R] in [-1, 1]

    Returns
    -------
    Tensor [N]
    """
    face, outside, _ = (m.to(before) for m in _masks(ellipse, before.shape[-1]))
    change = (after - before).abs().mean(1)
    inner = (change * face).sum((1, 2)) / face.sum()
    outer = (change * outside).sum((1, 2)) / outside.sum()
    return torch.where(torch.maximum(inner, outer) < 0.04, torch.zeros_like(inner), outer / inner.clamp_min(0.02))
