"""Adaptive discriminator augmentation (ADA), for training on a few thousand images.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila, "Training Generative Adversarial Networks with Limited Data", NeurIPS
2020 (arXiv 2006.06676). Real and generated images alike are transformed before the discriminator scores them, each kind
of transformation with the probability p. As long as p stays below about 0.8 the generator cannot produce transformed
images without loss, so its images stay untransformed (section 2.2). p is controlled by overfitting (section 3). The
kinds are those that the paper keeps (pixel blitting, geometry, colour; appendix B); where it resamples by an
oversampled wavelet filter, here is bicubic interpolation.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SCORE_DECAY = 0.9  # decay of the running means of scores, per batch
_MIN_SCORE_BATCHES = 10  # batches before r_v is defined
_LUMA = 1 / math.sqrt(3)  # components of the unit vector along grey


def augment(images: Tensor, p: float, rng: torch.Generator) -> Tensor:
    """Transform images float32 [N, 3, S, S], each kind with the probability `p`; at 0 they are returned unchanged.

    The numbers taken from `rng` do not depend on p, unless that is 0. Gradients flow through.
    """
    if p == 0:
        return images
    n, side = len(images), images.shape[-1]
    geometric = sample_geometric_transforms(n, side, p, rng)
    colour = sample_colour_transforms(n, p, rng)
    grid = F.affine_grid(geometric[:, :2], list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    mixed = colour[:, :3, :3] @ moved.flatten(2) + colour[:, :3, 3:]
    return mixed.view_as(images)


def sample_geometric_transforms(n: int, side: int, p: float, rng: torch.Generator) -> Tensor:
    """Return matrices [N, 3, 3] from positions in the transformed image to positions in the input, both in [-1, 1].

    In the order of their application to an image: mirror, quarter turns, shift by whole pixels (up to 1/8), scaling
    (standard deviation 0.2 octaves), rotation, stretching (0.2 octaves), rotation, shift (1/8).
    """
    one, device = torch.ones(n, device=rng.device), rng.device
    rotation_p = 1 - math.sqrt(1 - p)  # applied twice, so that an image is rotated with the probability p

    mirror = _select(p, 1 - 2 * torch.randint(0, 2, (n,), generator=rng, device=device), one, rng)
    quarters = torch.randint(0, 4, (n,), generator=rng, device=device) * (math.pi / 2)
    pixel_shift = torch.round((torch.rand(n, 2, generator=rng, device=device) - 0.5) * (side / 4)) * (2 / side)
    scale = torch.exp2(_normal(n, 0.2, rng))
    first = (torch.rand(n, generator=rng, device=device) * 2 - 1) * math.pi
    stretch = torch.exp2(_normal(n, 0.2, rng))
    second = (torch.rand(n, generator=rng, device=device) * 2 - 1) * math.pi
    shift = torch.stack([_normal(n, 0.25, rng), _normal(n, 0.25, rng)], 1)  # 1/8 of a width of 2

    scale, stretch = _select(p, scale, one, rng), _select(p, stretch, one, rng)
    matrices = (
        _scaling(mirror, one),
        _rotation(_select(p, quarters, 0 * one, rng)),
        _shift(_select(p, pixel_shift, torch.zeros_like(pixel_shift), rng)),
        _scaling(scale, scale),
        _rotation(_select(rotation_p, first, 0 * one, rng)),
        _scaling(stretch, 1 / stretch),
        _rotation(_select(rotation_p, second, 0 * one, rng)),
        _shift(_select(p, shift, torch.zeros_like(shift), rng)),
    )
    return _product(matrices)


def sample_colour_transforms(n: int, p: float, rng: torch.Generator) -> Tensor:
    """Return matrices [N, 4, 4] on (R, G, B, 1) in [-1, 1]: brightness, contrast, luma flip, hue, saturation."""
    one, device = torch.ones(n, device=rng.device), rng.device
    identity = torch.eye(4, device=device)
    luma = torch.tensor([_LUMA, _LUMA, _LUMA, 0.0], device=device)
    projection = torch.outer(luma, luma)  # onto the axis of greys

    bright = _normal(n, 0.2, rng)
    contrast = torch.exp2(_normal(n, 0.5, rng))
    flip = torch.randint(0, 2, (n,), generator=rng, device=device).float()
    hue = (torch.rand(n, generator=rng, device=device) * 2 - 1) * math.pi
    saturation = torch.exp2(_normal(n, 1.0, rng))

    brightness = identity.repeat(n, 1, 1)
    brightness[:, :3, 3] = _select(p, bright, 0 * one, rng)[:, None]
    contrast = _select(p, contrast, one, rng)
    flip = _select(p, flip, 0 * one, rng)
    hue = _select(p, hue, 0 * one, rng)
    saturation = _select(p, saturation, one, rng)
    grey = (projection + torch.diag(torch.tensor([0.0, 0, 0, 1], device=device)))[None]  # is not changed by saturation
    matrices = (
        grey + (identity - grey) * saturation[:, None, None],
        _about_grey(hue),
        identity - 2 * projection * flip[:, None, None],
        torch.diag_embed(torch.stack([contrast, contrast, contrast, one], 1)),
        brightness,
    )
    return _product(matrices)


def _select(p: float, values: Tensor, neutral: Tensor, rng: torch.Generator) -> Tensor:
    """Return `values` with the probability `p` per image, `neutral` otherwise."""
    selected = torch.rand(len(values), generator=rng, device=rng.device) < p
    return torch.where(selected if values.ndim == 1 else selected[:, None], values.to(neutral.dtype), neutral)


def _normal(n: int, sigma: float, rng: torch.Generator) -> Tensor:
    return torch.randn(n, generator=rng, device=rng.device) * sigma


def _product(matrices: tuple[Tensor, ...]) -> Tensor:
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return product


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
    identity = torch.eye(4, device=device)
    sin, cos = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    return identity + sin * cross + (1 - cos) * (cross @ cross)


class AdaptiveAugmentation(nn.Module):
    """The probability p of augmentations, controlled by the overfitting of the discriminator (section 3 of the paper).

    The state is held in buffers, so that a resumed run continues with it. Two heuristics measure overfitting: r_t, the
    mean sign of the discriminator's scores of training images, controls p. r_v compares scores of training images,
    held-out images and generated images: 0 is no overfitting, 1 means that held-out images are scored like generated
    ones.

    Attributes
    ----------
    p, r_t : Tensor, float64 []
        Probability, and the last value of the heuristic.
    """

    p: Tensor
    r_t: Tensor
    sign_sum: Tensor
    sign_count: Tensor
    mean_scores: Tensor
    score_batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("p", "r_t", "sign_sum", "sign_count", "score_batches"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean_scores", torch.zeros(3, dtype=torch.float64))  # training, generated, held out

    def observe_signs(self, sign_sum: float, count: int) -> None:
        """Add the sum of the signs of `count` scores of training images."""
        self.sign_sum += sign_sum
        self.sign_count += count

    def adapt(self, images: int, *, target: float, kimg: float, max_p: float) -> None:
        """Move p by ``images / (1000 kimg)``: up when r_t is above `target`, else down."""
        if self.sign_count == 0:
            return
        self.r_t.copy_(self.sign_sum / self.sign_count)
        change = math.copysign(images / (kimg * 1000), float(self.r_t) - target)
        self.p.copy_((self.p + change).clamp(0, max_p))
        self.sign_sum.zero_()
        self.sign_count.zero_()

    def observe_scores(self, training: float, generated: float, held_out: float) -> None:
        """Add the mean scores of a batch of each kind to the running means."""
        weight = max(1 - _SCORE_DECAY, 1 / (float(self.score_batches) + 1))
        self.mean_scores.lerp_(torch.tensor([training, generated, held_out], dtype=torch.float64), weight)
        self.score_batches += 1

    @property
    def r_v(self) -> float | None:
        """(training - held out) / (training - generated), in [0, 1]; None before enough batches were scored."""
        training, generated, held_out = self.mean_scores.tolist()
        if self.score_batches < _MIN_SCORE_BATCHES or training - generated < 1e-3:
            return None
        return float(min(max((training - held_out) / (training - generated), 0.0), 1.0))
