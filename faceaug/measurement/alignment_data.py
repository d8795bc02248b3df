"""Training data of the alignment: generated faces in random frames and surroundings, and images without a face.

Photographs are framed in any way: tighter than the generator's images, so that the border is repeated outside, or
wider, so that something else surrounds the face. Images without a face are made from the same generated images, so that
only the face, and not the texture of the generator, distinguishes them: windows far beside the face or inside it, faces
rotated to the side or upside down, shuffled tiles, scrambled phases; and shapes that do not come from the generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from faceaug.appearance.augmentations import photometric_jitter
from faceaug.measurement.crops import undo_steps, window_to_canvas
from faceaug.reconstruction.geometry import pixel_grid, sample_bilinear

Jitter = Callable[[Tensor, torch.Generator], Tensor]
"""Random photometric change of images [N, 3, S, S] in [-1, 1]."""
FACE_SHARE = 0.65
"""Share of images with a face; the other kinds have equal parts of the rest."""
NEAR_SHARE = 0.45
"""Share of windows that are nearly right."""
MAX_STEP = (0.55, 0.55, 0.72, 0.6)
"""Largest step of a window, in each direction: half windows, half windows, logarithm of scale, radians."""
_NEAR_SPREAD = (0.08, 0.08, 0.07, 0.07)  # standard deviations of the steps of windows that are nearly right
_FACE, _BESIDE, _INSIDE, _ROTATED, _TILES, _PHASES, _SHAPES = range(7)


@dataclass(frozen=True, eq=False)
class AlignmentBatch:
    """A batch of training data.

    Attributes
    ----------
    images : float32 [N, 3, S, S] in [-1, 1]
    steps : float32 [N, 4]
        Step from each window to the framing of the generator; meaningless without a face.
    face : float32 [N]
        1 where there is a face, else 0.
    """

    images: Tensor
    steps: Tensor
    face: Tensor


def alignment_batch(
    faces: Tensor, rng: torch.Generator, side: int = 64, jitter: Jitter = photometric_jitter
) -> AlignmentBatch:
    """Return training data of generated faces.

    Parameters
    ----------
    faces : float32 [N, 3, R, R] in [-1, 1]
    rng
        The only source of randomness.
    side
        Side S of the images in pixels.
    jitter : callable
        Photometric change of the images.
    """
    n = len(faces)
    faces = torch.where((torch.rand(n, generator=rng) < 0.5)[:, None, None, None], faces.flip(-1), faces)
    kind = torch.where(torch.rand(n, generator=rng) < FACE_SHARE, 0, torch.randint(1, 7, (n,), generator=rng))
    steps = _sample_steps(kind, rng)
    windows = undo_steps(torch.zeros(n, 4), steps)
    images = crop_with_surroundings(faces, windows, rng, side)
    for rows, change in ((kind == _TILES, shuffle_tiles), (kind == _PHASES, scramble_phases)):
        if rows.any():
            images[rows] = change(images[rows], rng)
    if (shapes := kind == _SHAPES).any():
        images[shapes] = random_backgrounds(int(shapes.sum()), side, rng)
    return AlignmentBatch(jitter(images, rng), steps, (kind == _FACE).float())


def _sample_steps(kind: Tensor, rng: torch.Generator) -> Tensor:
    """Return steps [N, 4] for kinds of images [N]."""
    n = len(kind)
    wide = (torch.rand(n, 4, generator=rng) * 2 - 1) * torch.tensor(MAX_STEP)
    near = torch.randn(n, 4, generator=rng) * torch.tensor(_NEAR_SPREAD)
    steps = torch.where(torch.rand(n, 1, generator=rng) < NEAR_SHARE, near, wide)
    direction, distance = torch.rand(n, generator=rng) * 2 * math.pi, 1.2 + 0.8 * torch.rand(n, generator=rng)
    beside = torch.stack([torch.cos(direction), torch.sin(direction)], 1) * distance[:, None]
    steps[:, :2] = torch.where((kind == _BESIDE)[:, None], beside, steps[:, :2])
    inside = 1.2 + 0.7 * torch.rand(n, generator=rng)
    steps[:, 2] = torch.where(kind == _INSIDE, inside, steps[:, 2])
    rotation = math.radians(75) + torch.rand(n, generator=rng) * math.radians(210)
    steps[:, 3] = torch.where(kind == _ROTATED, rotation, steps[:, 3])
    return steps


def crop_with_surroundings(faces: Tensor, windows: Tensor, rng: torch.Generator, side: int) -> Tensor:
    """Crop windows out of photographs that show a random inner rectangle of each face.

    Outside the rectangle its border is repeated or reflected, or there is a random background.

    Parameters
    ----------
    faces : float32 [N, 3, R, R] in [-1, 1]
    windows : float32 [N, 4]
    rng
        The only source of randomness.
    side
        Side S of the crops in pixels.

    Returns
    -------
    float32 [N, 3, S, S] in [-1, 1]
    """
    n = len(faces)
    reduction = windows[:, 2].exp() * faces.shape[-1] / side
    soft = F.interpolate(F.avg_pool2d(faces, 2), size=faces.shape[-2:], mode="bilinear", align_corners=False)
    faces = torch.where((reduction > math.sqrt(2))[:, None, None, None], soft, faces)
    whole = torch.rand(n, 1, generator=rng) < 0.4
    low = -torch.where(whole, 1.0, 0.45 + 0.55 * torch.rand(n, 2, generator=rng))[:, None, None]
    high = torch.where(whole, 1.0, 0.45 + 0.55 * torch.rand(n, 2, generator=rng))[:, None, None]
    grid = window_to_canvas(pixel_grid(side), windows)  # [N, side, side, 2]
    repeated = torch.minimum(torch.maximum(grid, low), high)
    along, span = torch.remainder(grid - low, 2 * (high - low)), high - low
    reflected = low + torch.where(along > span, 2 * span - along, along)
    padding = torch.randint(0, 3, (n,), generator=rng)
    images = sample_bilinear(faces, torch.where((padding == 1)[:, None, None, None], reflected, repeated))
    if (rows := padding == 2).any():
        outside = ((grid - repeated)[rows].abs().amax(-1) * 40).clamp(max=1)[:, None]
        images[rows] = images[rows] * (1 - outside) + random_backgrounds(int(rows.sum()), side, rng) * outside
    return images


def random_backgrounds(n: int, side: int, rng: torch.Generator) -> Tensor:
    """Return n images [n, 3, side, side] in [-1, 1] of soft colours and of shapes with edges."""
    soft = sum(
        _smooth_noise(n, 3, cells, side, rng) * torch.rand(n, 1, 1, 1, generator=rng) * weight
        for cells, weight in ((2, 0.8), (5, 0.6), (12, 0.4), (32, 0.25))
    )
    cells = (3, 6, 10)[int(torch.randint(0, 3, (1,), generator=rng))]
    mask = (_smooth_noise(n, 1, cells, side, rng) * 12).sigmoid()
    colours = torch.rand(n, 3, 1, 1, generator=rng) * 1.6 - 0.8
    has_shapes = torch.rand(n, 1, 1, 1, generator=rng) < 0.6
    return torch.where(has_shapes, mask * colours + soft, soft + colours).clamp(-1, 1)


def _smooth_noise(n: int, channels: int, cells: int, side: int, rng: torch.Generator) -> Tensor:
    coarse = torch.randn(n, channels, cells, cells, generator=rng)
    return F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)


def shuffle_tiles(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images [N, 3, S, S] with shuffled tiles of a quarter or an eighth of the side."""
    n, _, side, _ = x.shape
    across = (4, 8)[int(torch.randint(0, 2, (1,), generator=rng))]
    tile = side // across
    tiles = x.view(n, 3, across, tile, across, tile).permute(0, 2, 4, 1, 3, 5).reshape(n, across**2, -1)
    order = torch.rand(n, across**2, generator=rng).argsort(1)
    tiles = tiles.gather(1, order[..., None].expand_as(tiles))
    return tiles.view(n, across, across, 3, tile, tile).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


def scramble_phases(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images [N, 3, S, S] with the same spectrum and the phases of noise: texture without shapes."""
    spectrum, noise = torch.fft.rfft2(x), torch.fft.rfft2(torch.randn(len(x), 1, *x.shape[2:], generator=rng))
    phase = noise / noise.abs().clamp(min=1e-12)
    phase[:, :, 0, 0] = 1  # the mean colour stays
    texture: Tensor = torch.fft.irfft2(spectrum * phase, s=x.shape[-2:])
    return texture.clamp(-1, 1)
