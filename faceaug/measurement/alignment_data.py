"""What the alignment learns from: generated faces in other frames and surroundings, and pictures without a face.

Photographs are cut anywhere: tighter than the generator's pictures, so that what lies outside repeats the border, or
wider, so that something else is there. Pictures without a face are made of the same generated pictures, for then only
the face, and not the generator's own texture, can tell them apart: cut far beside the face or out of its middle, turned
on the side or on the head, with tiles exchanged, with scrambled phases; and shapes that no generator drew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.appearance.augmentations import photometric_jitter
from faceaug.measurement.crops import before, placed
from faceaug.reconstruction.geometry import pixel_grid, sample_bilinear

FACES = 0.65  # share of pictures with a face; the rest is of the other kinds in equal parts
NEAR = 0.45  # share of windows that are nearly right already
WIDE = (0.55, 0.55, 0.72, 0.6)
"""How far a window may be off, each way: in half windows, log of scale, radians."""
_CLOSE = (0.08, 0.08, 0.07, 0.07)  # standard deviations of those that are nearly right
_FACE, _BESIDE, _PART, _TURNED, _TILES, _PHASES, _SHAPES = range(7)


@dataclass(frozen=True, eq=False)
class AlignmentBatch:
    """A batch to learn from.

    Attributes
    ----------
    images : Tensor [N, 3, S, S] in [-1, 1]
    steps : Tensor [N, 4]
        The way home from each window; of no meaning without a face.
    face : Tensor [N]
        1 where there is a face, else 0.
    """

    images: Tensor
    steps: Tensor
    face: Tensor


def alignment_batch(faces: Tensor, rng: torch.Generator, side: int = 64) -> AlignmentBatch:
    """Make a lesson of generated pictures [N, 3, R, R] in [-1, 1]; `rng` is the only source of randomness."""
    n = len(faces)
    faces = torch.where((torch.rand(n, generator=rng) < 0.5)[:, None, None, None], faces.flip(-1), faces)
    kind = torch.where(torch.rand(n, generator=rng) < FACES, 0, torch.randint(1, 7, (n,), generator=rng))
    steps = _steps(kind, rng)
    windows = before(torch.zeros(n, 4), steps)
    images = around(faces, windows, rng, side)
    for chosen, change in ((kind == _TILES, exchanged), (kind == _PHASES, scrambled)):
        if chosen.any():
            images[chosen] = change(images[chosen], rng)
    if (shapes := kind == _SHAPES).any():
        images[shapes] = backgrounds(int(shapes.sum()), side, rng)
    return AlignmentBatch(photometric_jitter(images, rng), steps, (kind == _FACE).float())


def _steps(kind: Tensor, rng: torch.Generator) -> Tensor:
    n = len(kind)
    wide = (torch.rand(n, 4, generator=rng) * 2 - 1) * torch.tensor(WIDE)
    close = torch.randn(n, 4, generator=rng) * torch.tensor(_CLOSE)
    steps = torch.where(torch.rand(n, 1, generator=rng) < NEAR, close, wide)
    angle, far = torch.rand(n, generator=rng) * 2 * math.pi, 1.2 + 0.8 * torch.rand(n, generator=rng)
    beside = torch.stack([torch.cos(angle), torch.sin(angle)], 1) * far[:, None]
    steps[:, :2] = torch.where((kind == _BESIDE)[:, None], beside, steps[:, :2])
    part = 1.2 + 0.7 * torch.rand(n, generator=rng)
    steps[:, 2] = torch.where(kind == _PART, part, steps[:, 2])
    turn = math.radians(75) + torch.rand(n, generator=rng) * math.radians(210)
    steps[:, 3] = torch.where(kind == _TURNED, turn, steps[:, 3])
    return steps


def around(faces: Tensor, windows: Tensor, rng: torch.Generator, side: int) -> Tensor:
    """Cut windows [N, 4] out of faces [N, 3, R, R] and of what may surround them: [N, 3, side, side].

    Of each face a random inner part is the photograph. Outside, its border is repeated or reflected, or there is
    something else.
    """
    n = len(faces)
    shrink = windows[:, 2].exp() * faces.shape[-1] / side
    soft = F.interpolate(F.avg_pool2d(faces, 2), size=faces.shape[-2:], mode="bilinear", align_corners=False)
    faces = torch.where((shrink > math.sqrt(2))[:, None, None, None], soft, faces)
    whole = torch.rand(n, 1, generator=rng) < 0.4
    low = -torch.where(whole, 1.0, 0.45 + 0.55 * torch.rand(n, 2, generator=rng))[:, None, None]
    high = torch.where(whole, 1.0, 0.45 + 0.55 * torch.rand(n, 2, generator=rng))[:, None, None]
    grid = placed(pixel_grid(side), windows)  # [N, side, side, 2]
    repeated = torch.minimum(torch.maximum(grid, low), high)
    along, span = torch.remainder(grid - low, 2 * (high - low)), high - low
    reflected = low + torch.where(along > span, 2 * span - along, along)
    kind = torch.randint(0, 3, (n,), generator=rng)
    images = sample_bilinear(faces, torch.where((kind == 1)[:, None, None, None], reflected, repeated))
    if (other := kind == 2).any():
        outside = ((grid - repeated)[other].abs().amax(-1) * 40).clamp(max=1)[:, None]
        images[other] = images[other] * (1 - outside) + backgrounds(int(other.sum()), side, rng) * outside
    return images


def backgrounds(n: int, side: int, rng: torch.Generator) -> Tensor:
    """Return n pictures [n, 3, side, side] in [-1, 1] of soft colours and of shapes with edges."""
    soft = sum(
        _noise(n, 3, cells, side, rng) * torch.rand(n, 1, 1, 1, generator=rng) * weight
        for cells, weight in ((2, 0.8), (5, 0.6), (12, 0.4), (32, 0.25))
    )
    cells = (3, 6, 10)[int(torch.randint(0, 3, (1,), generator=rng))]
    mask = (_noise(n, 1, cells, side, rng) * 12).sigmoid()
    colours = torch.rand(n, 3, 1, 1, generator=rng) * 1.6 - 0.8
    return (torch.where(torch.rand(n, 1, 1, 1, generator=rng) < 0.6, mask * colours + soft, soft + colours)).clamp(
        -1, 1
    )


def _noise(n: int, channels: int, cells: int, side: int, rng: torch.Generator) -> Tensor:
    coarse = torch.randn(n, channels, cells, cells, generator=rng)
    return F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)


def exchanged(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures [N, 3, S, S] whose tiles, a quarter or an eighth of the side, changed places."""
    n, _, side, _ = x.shape
    across = (4, 8)[int(torch.randint(0, 2, (1,), generator=rng))]
    tile = side // across
    tiles = x.view(n, 3, across, tile, across, tile).permute(0, 2, 4, 1, 3, 5).reshape(n, across**2, -1)
    order = torch.rand(n, across**2, generator=rng).argsort(1)
    tiles = tiles.gather(1, order[..., None].expand_as(tiles))
    return tiles.view(n, across, across, 3, tile, tile).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def scrambled(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures [N, 3, S, S] of the same spectrum with the phases of noise: texture without shapes."""
    spectrum, noise = torch.fft.rfft2(x), torch.fft.rfft2(torch.randn(len(x), 1, *x.shape[2:], generator=rng))
    phase = noise / noise.abs().clamp(min=1e-12)
    phase[:, :, 0, 0] = 1  # the mean colour stays
    texture: Tensor = torch.fft.irfft2(spectrum * phase, s=x.shape[-2:])
    return texture.clamp(-1, 1)
