"""Adaptive augmentation of what the discriminator sees, for a few thousand images.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila, "Training Generative Adversarial Networks with Limited Data", NeurIPS
2020 (arXiv 2006.06676). Real and drawn images alike are transformed before the discriminator sees them, each kind of
transformation with the probability p (the strength). As long as p stays below about 0.8 the generator cannot tell a
transformed world from an untransformed one, so what it draws stays untransformed (section 2.2). p follows the
overfitting (section 3). The kinds are those that the paper keeps (pixel blitting, geometry, colour; appendix B); where
it resamples by an oversampled wavelet filter, here is bicubic interpolation.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EVERY = 4  # steps between corrections of the strength, as in the paper
_KEPT = 0.9  # how slowly the running means of scores move, a probe each
_LUMA = 1 / math.sqrt(3)


def augment(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Transform images float32 [N, 3, S, S], each kind with the probability `strength`; at 0 they are returned as is.

    What is drawn from `rng` does not depend on the strength, unless that is 0. Gradients flow through.
    """
    if strength == 0:
        return images
    n, side = len(images), images.shape[-1]
    place = geometry(n, side, strength, rng)
    colour = colours(n, strength, rng)
    grid = F.affine_grid(place[:, :2], list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    mixed = colour[:, :3, :3] @ moved.flatten(2) + colour[:, :3, 3:]
    return mixed.view_as(images)


def geometry(n: int, side: int, strength: float, rng: torch.Generator) -> Tensor:
    """Return matrices [N, 3, 3] from places in the transformed image to places in the given one, both in [-1, 1].

    In the order in which a picture undergoes them: mirror, quarter turns, shift by whole pixels (up to 1/8), scaling
    (standard deviation 0.2 octaves), rotation, stretching (0.2 octaves), rotation, shift (1/8).
    """
    one, device = torch.ones(n, device=rng.device), rng.device
    turn = 1 - math.sqrt(1 - strength)  # twice, so that a picture is rotated with the probability `strength`

    mirror = _some(strength, 1 - 2 * torch.randint(0, 2, (n,), generator=rng, device=device), one, rng)
    quarters = torch.randint(0, 4, (n,), generator=rng, device=device) * (math.pi / 2)
    whole = torch.round((torch.rand(n, 2, generator=rng, device=device) - 0.5) * (side / 4)) * (2 / side)
    scale = torch.exp2(_normal(n, 0.2, rng))
    first = (torch.rand(n, generator=rng, device=device) * 2 - 1) * math.pi
    stretch = torch.exp2(_normal(n, 0.2, rng))
    second = (torch.rand(n, generator=rng, device=device) * 2 - 1) * math.pi
    shift = torch.stack([_normal(n, 0.25, rng), _normal(n, 0.25, rng)], 1)  # 1/8 of a width of 2

    scale, stretch = _some(strength, scale, one, rng), _some(strength, stretch, one, rng)
    parts = (
        _scaling(mirror, one),
        _rotation(_some(strength, quarters, 0 * one, rng)),
        _shift(_some(strength, whole, torch.zeros_like(whole), rng)),
        _scaling(scale, scale),
        _rotation(_some(turn, first, 0 * one, rng)),
        _scaling(stretch, 1 / stretch),
        _rotation(_some(turn, second, 0 * one, rng)),
        _shift(_some(strength, shift, torch.zeros_like(shift), rng)),
    )
    return _product(parts)


def colours(n: int, strength: float, rng: torch.Generator) -> Tensor:
    """Return matrices [N, 4, 4] on (R, G, B, 1) in [-1, 1]: brightness, contrast, luma flip, hue, saturation."""
    one, device = torch.ones(n, device=rng.device), rng.device
    eye = torch.eye(4, device=device)
    luma = torch.tensor([_LUMA, _LUMA, _LUMA, 0.0], device=device)
    along = torch.outer(luma, luma)  # projects onto the axis of greys

    bright = _normal(n, 0.2, rng)
    contrast = torch.exp2(_normal(n, 0.5, rng))
    flip = torch.randint(0, 2, (n,), generator=rng, device=device).float()
    hue = (torch.rand(n, generator=rng, device=device) * 2 - 1) * math.pi
    saturation = torch.exp2(_normal(n, 1.0, rng))

    brightness = eye.repeat(n, 1, 1)
    brightness[:, :3, 3] = _some(strength, bright, 0 * one, rng)[:, None]
    contrast = _some(strength, contrast, one, rng)
    flip = _some(strength, flip, 0 * one, rng)
    hue = _some(strength, hue, 0 * one, rng)
    saturation = _some(strength, saturation, one, rng)
    grey = (along + torch.diag(torch.tensor([0.0, 0, 0, 1], device=device)))[None]  # what saturation leaves
    parts = (
        grey + (eye - grey) * saturation[:, None, None],
        _about_grey(hue),
        eye - 2 * along * flip[:, None, None],
        torch.diag_embed(torch.stack([contrast, contrast, contrast, one], 1)),
        brightness,
    )
    return _product(parts)


def _some(share: float, values: Tensor, neutral: Tensor, rng: torch.Generator) -> Tensor:
    """Return `values` for a share of the images, `neutral` for the others."""
    chosen = torch.rand(len(values), generator=rng, device=rng.device) < share
    return torch.where(chosen if values.ndim == 1 else chosen[:, None], values.to(neutral.dtype), neutral)


def _normal(n: int, sigma: float, rng: torch.Generator) -> Tensor:
    return torch.randn(n, generator=rng, device=rng.device) * sigma


def _product(parts: tuple[Tensor, ...]) -> Tensor:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole @ part
    return whole


def _square(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _square([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _rotation(angle: Tensor) -> Tensor:
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _square([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])


def _shift(by: Tensor) -> Tensor:
    zero, one = torch.zeros_like(by[:, 0]), torch.ones_like(by[:, 0])
    return _square([[one, zero, by[:, 0]], [zero, one, by[:, 1]], [zero, zero, one]])


def _about_grey(angle: Tensor) -> Tensor:
    """Rotate colours about the axis of greys (Rodrigues' formula): [N, 4, 4]."""
    device = angle.device
    cross = _LUMA * torch.tensor([[0.0, -1, 1, 0], [1, 0, -1, 0], [-1, 1, 0, 0], [0, 0, 0, 0]], device=device)
    eye = torch.eye(4, device=device)
    sin, cos = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    return eye + sin * cross + (1 - cos) * (cross @ cross)


class AdaptiveAugmentation(nn.Module):
    """How strongly images are augmented, and how far the discriminator has learnt its images by heart.

    All of it is kept in buffers, so that a run that is resumed goes on with it. Two measures (section 3 of the paper):
    r_t, the mean sign of the scores of real images, steers the strength; r_v, how far from real toward drawn images it
    scores real ones that it was never shown, tells of learning by heart: 0 not at all, 1 entirely.
    """

    strength: Tensor
    ada_target: Tensor
    signs: Tensor
    counted: Tensor
    scores: Tensor
    probes: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("strength", "overfit", "signs", "counted", "probes"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("scores", torch.zeros(3, dtype=torch.float64))  # running means: real, drawn, held out

    def observe(self, signs: float, count: int) -> None:
        """Take in the sum of the signs of `count` scores of real images."""
        self.signs += signs
        self.counted += count

    def adapt(self, images: int, target: float, span: int, limit: float) -> None:
        """Move the strength by images / span, up where more overfitting than `target` was observed, else down."""
        if self.counted == 0:
            return
        self.ada_target.copy_(self.signs / self.counted)
        change = math.copysign(images / span, float(self.ada_target) - target)
        self.strength.copy_((self.strength + change).clamp(0, limit))
        self.signs.zero_()
        self.counted.zero_()

    def probe(self, real: float, drawn: float, held_out: float) -> None:
        """Take in mean scores of a batch of each kind."""
        share = max(1 - _KEPT, 1 / (float(self.probes) + 1))
        self.scores.lerp_(torch.tensor([real, drawn, held_out], dtype=torch.float64), share)
        self.probes += 1

    @property
    def memorised(self) -> float | None:
        """r_v, or None before enough was probed to tell."""
        real, drawn, held_out = self.scores.tolist()
        if self.probes < 10 or real - drawn < 1e-3:
            return None
        return float(min(max((real - held_out) / (real - drawn), 0.0), 1.0))
