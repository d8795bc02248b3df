"""Framing: the window of a generated image in which the face is as large, and where, as in the images of a data set.

Data sets differ in how tightly they crop a face. A classifier trained on tight crops misreads loose ones, and one that
is trained on both together learns the crop. So the window is measured once per generator and data set, from two sets of
images without any label or landmark, and every generated image is cut to it before anything else reads it.

The measure compares mean faces. Averaged over many images, differences between persons vanish, and eyes, brows, nose
and mouth remain where the crop puts them. Three maps are averaged: luminance (standardized per image and band-passed,
so that skin, exposure and background do not count) and the magnitude of its gradient in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from faceaug.errors import UsageError
from faceaug.utils.images import LUMA_WEIGHTS, Rgb

_SIDE = 64  # of the thumbnails that framing is measured on
_MIN_SCALE = 0.6  # of the image's side; a tighter crop leaves too few generated pixels
_MIN_GAIN = 0.02  # of correlation; below it the image is left as it is
_SCALE_STEP = 0.02  # of the coarse search
_SHIFT_STEP = 1 / _SIDE
_BATCH = 256


@dataclass(frozen=True)
class Framing:
    """A window of a square image, in fractions of the image's side.

    Attributes
    ----------
    scale : float
        Longer side of the window, 0 < scale <= 1.
    dx, dy : float
        Shift of the window's centre from the image's centre, to the right and downwards.
    aspect : float
        Width over height of the window, that of the images of the data set. The cut is squeezed into a square, as the
        thumbnails of the data set are, and gets its aspect back when it is resized to the size of the data set.
    match, match_before : float
        Correlation in [-1, 1] of the mean faces with and without the window (NaN when not measured).
    """

    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    aspect: float = 1.0
    match: float = float("nan")
    match_before: float = float("nan")

    def __post_init__(self) -> None:
        if not (0.0 < self.scale <= 1.0 and self.aspect > 0.0):
            raise UsageError(
                f"a framing of scale {self.scale} and aspect {self.aspect} was asked for; scale must be in (0, 1] and "
                "aspect above 0"
            )
        wide, high = _sides(self.aspect)
        if 2 * abs(self.dx) > 1 - self.scale * wide + 1e-6 or 2 * abs(self.dy) > 1 - self.scale * high + 1e-6:
            raise UsageError(
                f"the framing scale={self.scale}, dx={self.dx}, dy={self.dy} reaches out of the image; |dx| and |dy| "
                "are at most half of what the window leaves free"
            )

    @property
    def whole(self) -> bool:
        """Whether the window is the whole image, so that there is nothing to cut."""
        return self.scale == 1.0 and self.aspect == 1.0

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields as JSON values; None for a correlation that was not measured."""
        return {name: None if np.isnan(value) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Framing:
        """Return the framing that `to_dict` described."""
        return cls(**{name: float("nan") if value is None else float(value) for name, value in fields.items()})


def measure_framing(real: Rgb, generated: Rgb, aspect: float = 1.0) -> Framing:
    """Find the window of generated images whose mean face agrees best with that of the data set.

    The search is a full grid (scales 0.6 to 1, shifts that keep the window inside the image), then finer ones around
    the best. It has no randomness. No window matches a data set that is cropped *looser* than the generator: the result
    is then the whole image.

    Parameters
    ----------
    real : uint8 [N, 64, 64, 3]
        Images of the data set, RGB, each squeezed whole into the square; a few hundred are enough.
    generated : uint8 [M, 64, 64, 3]
        Samples of the generator, RGB.
    aspect : float
        Width over height of the images of the data set before they were squeezed.

    Returns
    -------
    Framing
        The window, with the correlation before and after.

    Raises
    ------
    UsageError
        When an array has another shape or type, or no images.
    """
    reference = _mean_maps(_checked(real, "real"))
    maps = _mean_maps(_checked(generated, "generated"))
    sides = _sides(aspect)
    best = torch.tensor([1.0, 0.0, 0.0])
    before = match = float(_correlations(maps, best[None], sides, reference, _SIDE)[0])
    for finer in (1, 2, 4):
        windows = _coarse_windows(sides) if finer == 1 else _fine_windows(best, sides, finer)
        side = _SIDE // 2 if finer == 1 else _SIDE  # the coarse search needs only every other pixel
        scores = torch.cat(
            [_correlations(maps, batch, sides, reference, side) for batch in torch.split(windows, _BATCH)]
        )
        # The first of equals is taken, and wide windows come first: of equals, the one that cuts less.
        best, match = windows[int(torch.argmax(scores))], float(scores.max())
    if match < before + _MIN_GAIN:
        return Framing(aspect=aspect, match=before, match_before=before)
    scale, dx, dy = (round(float(value), 6) for value in best)
    return Framing(scale, dx, dy, aspect, match=match, match_before=before)


def apply_framing(images: torch.Tensor, framing: Framing) -> torch.Tensor:
    """Cut images to the window and resize them to their own size (bicubic).

    Differentiable; the result of an image does not depend on the others of the batch.

    Parameters
    ----------
    images : Tensor of float32 [N, 3, R, R]
        In [-1, 1].
    framing : Framing

    Returns
    -------
    Tensor of float32 [N, 3, R, R]
        In [-1, 1]; `images` itself when the window is the whole image.
    """
    if framing.whole or not len(images):
        return images
    window = torch.tensor([[framing.scale, framing.dx, framing.dy]], device=images.device, dtype=images.dtype)
    grid = _grid(window, _sides(framing.aspect), images.shape[-1]).expand(len(images), -1, -1, -1)
    # Bicubic interpolation keeps more detail than bilinear; its overshoot is clipped.
    framed = functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return framed.clamp(-1.0, 1.0)


def _sides(aspect: float) -> tuple[float, float]:
    """Return width and height of a window of this aspect whose longer side is 1."""
    return min(1.0, aspect), min(1.0, 1.0 / aspect)


def _checked(images: Rgb, role: str) -> Rgb:
    if images.ndim != 4 or images.shape[1:] != (_SIDE, _SIDE, 3) or images.dtype != np.uint8 or not len(images):
        raise UsageError(
            f"the {role} images have shape {list(images.shape)} and type {images.dtype}; framing is measured on "
            f"uint8 [N, {_SIDE}, {_SIDE}, 3] with at least one image: resize them first"
        )
    return images


def _mean_maps(images: Rgb) -> torch.Tensor:
    """Return the averaged maps: band-passed luminance, gradient across, gradient down. float32 [3, 64, 64]."""
    total = torch.zeros(3, _SIDE, _SIDE, dtype=torch.float64)
    for start in range(0, len(images), _BATCH):
        rgb = torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH])).float() / 255
        luma = rgb @ torch.tensor(LUMA_WEIGHTS)  # [B, S, S]
        luma = luma - luma.mean((1, 2), keepdim=True)
        luma = luma / luma.std((1, 2), keepdim=True).clamp_min(0.02)  # a blank image must not become noise
        smooth = functional.pad(_blur(luma, 1.0)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        across = (smooth[:, 1:-1, 2:] - smooth[:, 1:-1, :-2]).abs()
        down = (smooth[:, 2:, 1:-1] - smooth[:, :-2, 1:-1]).abs()
        total += torch.stack([luma, across, down], dim=1).sum(0, dtype=torch.float64)
    mean = (total / len(images)).float()
    return torch.cat([mean[:1] - _blur(mean[:1], _SIDE / 10), mean[1:]])


def _blur(planes: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of planes [N, S, S], reflected at the border."""
    reach = int(3 * sigma + 0.5)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(planes[:, None], (reach,) * 4, mode="reflect")
    rows = functional.conv2d(padded, kernel[None, None, :, None])
    return functional.conv2d(rows, kernel[None, None, None, :])[:, 0]


def _grid(windows: torch.Tensor, sides: tuple[float, float], side: int) -> torch.Tensor:
    """Return sampling grids [K, side, side, 2] for windows [K, 3] of (scale, dx, dy); `sides`: those at scale 1."""
    steps = (torch.arange(side, device=windows.device, dtype=windows.dtype) * 2 + 1) / side - 1  # pixel centres
    columns = windows[:, 0, None] * sides[0] * steps + 2 * windows[:, 1, None]  # [K, side]
    rows = windows[:, 0, None] * sides[1] * steps + 2 * windows[:, 2, None]
    shape = (len(windows), side, side)
    return torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)


def _correlations(
    maps: torch.Tensor, windows: torch.Tensor, sides: tuple[float, float], reference: torch.Tensor, side: int
) -> torch.Tensor:
    """Return, for each window [K, 3], its correlation with the reference maps over side x side points. [K]

    The mean over the three maps; points are weighted by a Gaussian, so that the face counts more than the border.
    """
    steps = (torch.arange(side).float() * 2 + 1) / side - 1
    weight = torch.exp(-(steps[:, None] ** 2 + steps[None, :] ** 2) / (2 * 0.6**2))
    weight = weight / weight.sum()
    expected = _centred(_sampled(reference, torch.tensor([[1.0, 0.0, 0.0]]), (1.0, 1.0), side), weight)
    cut = _centred(_sampled(maps, windows, sides, side), weight)
    product = (cut * expected * weight).sum((-2, -1))  # [K, 3]
    norms = (cut.square() * weight).sum((-2, -1)) * (expected.square() * weight).sum((-2, -1))
    return (product / norms.clamp_min(1e-20).sqrt()).mean(1)


def _sampled(maps: torch.Tensor, windows: torch.Tensor, sides: tuple[float, float], side: int) -> torch.Tensor:
    """Sample maps [3, 64, 64] through windows [K, 3] at side x side points. [K, 3, side, side]"""
    repeated = maps[None].expand(len(windows), -1, -1, -1)
    return functional.grid_sample(repeated, _grid(windows, sides, side), padding_mode="border", align_corners=False)


def _centred(maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return maps - (maps * weight).sum((-2, -1), keepdim=True)


def _coarse_windows(sides: tuple[float, float]) -> torch.Tensor:
    scales = np.arange(1.0, _MIN_SCALE - 1e-9, -_SCALE_STEP)  # wide first
    reach = np.arange(-(_SIDE // 5), _SIDE // 5 + 1) * _SHIFT_STEP
    return torch.tensor(list(_windows(scales, sides, reach, reach)))


def _fine_windows(best: torch.Tensor, sides: tuple[float, float], finer: int) -> torch.Tensor:
    """Return the best window so far and its neighbours at steps `finer` times smaller than the coarse ones."""
    scale, dx, dy = (float(value) for value in best)
    steps = np.arange(-2, 3) / finer
    scales = np.clip(scale - steps * _SCALE_STEP, _MIN_SCALE, 1.0)
    around = list(_windows(scales, sides, dx + steps * _SHIFT_STEP, dy + steps * _SHIFT_STEP))
    return torch.tensor([[scale, dx, dy], *around])


def _windows(
    scales: np.ndarray, sides: tuple[float, float], across: np.ndarray, down: np.ndarray
) -> Iterator[list[float]]:
    """Yield [scale, dx, dy] of windows inside the image; a shift too far is reduced to the edge."""
    for scale in scales:
        free_across, free_down = (1 - scale * sides[0]) / 2, (1 - scale * sides[1]) / 2
        for dy in np.unique(np.clip(down, -free_down, free_down)):
            for dx in np.unique(np.clip(across, -free_across, free_across)):
                yield [float(scale), float(dx), float(dy)]
