"""Framing: which window of a generated picture shows the face as large, and where, as the dataset's pictures do.

Data sets differ in how tightly they crop a face. A probe trained on tight crops misreads loose ones, and a classifier
trained on both together learns the crop. So the window is measured once per generator and dataset, from two sets of
pictures without any label or landmark, and every generated picture is cut to it before anything else looks at it.

The measure compares mean faces. Averaged over many pictures, what differs from person to person fades, and the eyes,
brows, nose and mouth remain where the crop puts them. Three maps are averaged: luminance (standardised per picture and
band-passed, so that skin, exposure and background do not count) and the strength of its gradient across and down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from faceaug.errors import UsageError

SIDE = 64  # thumbnails are measured at this side
SMALLEST_WINDOW = 0.6  # of the picture's side; a tighter crop than this leaves too few generated pixels
LEAST_GAIN = 0.02  # of correlation; below it the picture is left as it is
_SCALE_STEP = 0.02  # of the coarse search
_SHIFT_STEP = 1 / SIDE
_CHUNK = 256
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Framing:
    """A window of a square picture, in fractions of the picture's side.

    Attributes
    ----------
    scale : float
        Longer side of the window, 0 < scale <= 1.
    dx, dy : float
        Shift of the window's centre from the picture's centre, to the picture's right and downwards.
    aspect : float
        Width over height of the window: that of the dataset's pictures. What is cut is squeezed into a square, as the
        dataset's thumbnails are, and gets its proportions back when it is resized to the dataset's size.
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
                f"the framing scale={self.scale}, dx={self.dx}, dy={self.dy} reaches out of the picture; |dx| and |dy| "
                "are at most half of what the window leaves free"
            )

    @property
    def whole(self) -> bool:
        """Whether the window is the whole picture, so that nothing is to be done."""
        return self.scale == 1.0 and self.aspect == 1.0

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields as JSON-able numbers (None for what was not measured)."""
        return {name: None if np.isnan(value) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Framing:
        """Return the framing that `to_dict` described."""
        return cls(**{name: float("nan") if value is None else float(value) for name, value in fields.items()})


def measure_framing(target_thumbs: np.ndarray, generated: np.ndarray, aspect: float = 1.0) -> Framing:
    """Find the window of generated pictures whose mean face agrees best with the dataset's.

    The search is a full grid (scales 0.6 to 1, shifts that keep the window inside the picture), then a finer one round
    the best. It has no randomness. A dataset that is cropped *looser* than the generator cannot be matched by a window:
    the result is then the whole picture.

    Parameters
    ----------
    target_thumbs : ndarray of uint8, shape [N, 64, 64, 3]
        Target pictures, RGB, each squeezed into the square whole; a few hundred are enough.
    generated : ndarray of uint8, shape [M, 64, 64, 3]
        Draws of the generator, RGB.
    aspect : float
        Width over height of the dataset's pictures before they were squeezed.

    Returns
    -------
    Framing
        The window, with the correlation before and after.

    Raises
    ------
    UsageError
        When an array has another shape or type, or no pictures.
    """
    target = _mean_maps(_checked(target_thumbs, "target"))
    maps = _mean_maps(_checked(generated, "generated"))
    sides = _sides(aspect)
    best = torch.tensor([1.0, 0.0, 0.0])
    before = match = float(_matches(maps, best[None], sides, target, SIDE)[0])
    for finer in (1, 2, 4):
        windows = _coarse_windows(sides) if finer == 1 else _fine_windows(best, sides, finer)
        side = SIDE // 2 if finer == 1 else SIDE  # every other pixel is enough to find the neighbourhood
        scores = torch.cat([_matches(maps, part, sides, target, side) for part in torch.split(windows, _CHUNK)])
        # The first of equals wins, and wide windows come first: between equals, cut less.
        best, match = windows[int(torch.argmax(scores))], float(scores.max())
    if match < before + LEAST_GAIN:
        return Framing(aspect=aspect, match=before, match_before=before)
    scale, dx, dy = (round(float(value), 6) for value in best)
    return Framing(scale, dx, dy, aspect, match=match, match_before=before)


def apply_framing(images: torch.Tensor, framing: Framing) -> torch.Tensor:
    """Cut pictures to the window and bring them back to their own size (bicubic).

    Differentiable, and each picture's result is independent of the others in the batch.

    Parameters
    ----------
    images : tensor of float32, shape [N, 3, R, R]
        In [-1, 1].
    framing : Framing
        The window.

    Returns
    -------
    tensor of float32, shape [N, 3, R, R]
        In [-1, 1]; `images` itself when the window is the whole picture.
    """
    if framing.whole or not len(images):
        return images
    window = torch.tensor([[framing.scale, framing.dx, framing.dy]], device=images.device, dtype=images.dtype)
    grid = _grid(window, _sides(framing.aspect), images.shape[-1]).expand(len(images), -1, -1, -1)
    # Bicubic keeps more of the little detail there is than bilinear; its overshoot is cut off.
    framed = functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return framed.clamp(-1.0, 1.0)


def _sides(aspect: float) -> tuple[float, float]:
    """Return width and height of a window of this aspect whose longer side is 1."""
    return min(1.0, aspect), min(1.0, 1.0 / aspect)


def _checked(pictures: np.ndarray, role: str) -> np.ndarray:
    if pictures.ndim != 4 or pictures.shape[1:] != (SIDE, SIDE, 3) or pictures.dtype != np.uint8 or not len(pictures):
        raise UsageError(
            f"the {role} pictures have shape {list(pictures.shape)} and type {pictures.dtype}; framing is measured on "
            f"uint8 [N, {SIDE}, {SIDE}, 3] with at least one picture: resize them first"
        )
    return pictures


def _mean_maps(pictures: np.ndarray) -> torch.Tensor:
    """Return the averaged maps: band-passed luminance, gradient across, gradient down. float32 [3, 64, 64]."""
    total = torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
    for start in range(0, len(pictures), _CHUNK):
        rgb = torch.from_numpy(np.ascontiguousarray(pictures[start : start + _CHUNK])).float() / 255
        luma = rgb @ torch.tensor(_LUMA)  # [B, S, S]
        luma = luma - luma.mean((1, 2), keepdim=True)
        luma = luma / luma.std((1, 2), keepdim=True).clamp_min(0.02)  # a blank picture must not turn into noise
        smooth = functional.pad(_blur(luma, 1.0)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        across = (smooth[:, 1:-1, 2:] - smooth[:, 1:-1, :-2]).abs()
        down = (smooth[:, 2:, 1:-1] - smooth[:, :-2, 1:-1]).abs()
        total += torch.stack([luma, across, down], dim=1).sum(0, dtype=torch.float64)
    mean = (total / len(pictures)).float()
    return torch.cat([mean[:1] - _blur(mean[:1], SIDE / 10), mean[1:]])


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


def _matches(
    maps: torch.Tensor, windows: torch.Tensor, sides: tuple[float, float], target: torch.Tensor, side: int
) -> torch.Tensor:
    """Return, for each window [K, 3], its correlation with the dataset's maps over side x side points. [K]

    The mean over the three maps, weighted so that features of the face count and the border hardly does.
    """
    steps = (torch.arange(side).float() * 2 + 1) / side - 1
    weight = torch.exp(-(steps[:, None] ** 2 + steps[None, :] ** 2) / (2 * 0.6**2))
    weight = weight / weight.sum()
    wanted = _centred(_sampled(target, torch.tensor([[1.0, 0.0, 0.0]]), (1.0, 1.0), side), weight)
    cut = _centred(_sampled(maps, windows, sides, side), weight)
    product = (cut * wanted * weight).sum((-2, -1))  # [K, 3]
    norms = (cut.square() * weight).sum((-2, -1)) * (wanted.square() * weight).sum((-2, -1))
    return (product / norms.clamp_min(1e-20).sqrt()).mean(1)


def _sampled(maps: torch.Tensor, windows: torch.Tensor, sides: tuple[float, float], side: int) -> torch.Tensor:
    """Sample maps [3, 64, 64] through windows [K, 3] at side x side points. [K, 3, side, side]"""
    repeated = maps[None].expand(len(windows), -1, -1, -1)
    return functional.grid_sample(repeated, _grid(windows, sides, side), padding_mode="border", align_corners=False)


def _centred(maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return maps - (maps * weight).sum((-2, -1), keepdim=True)


def _coarse_windows(sides: tuple[float, float]) -> torch.Tensor:
    scales = np.arange(1.0, SMALLEST_WINDOW - 1e-9, -_SCALE_STEP)  # wide first
    reach = np.arange(-(SIDE // 5), SIDE // 5 + 1) * _SHIFT_STEP
    return torch.tensor(list(_windows(scales, sides, reach, reach)))


def _fine_windows(best: torch.Tensor, sides: tuple[float, float], finer: int) -> torch.Tensor:
    """Return the best window so far and its neighbours at steps `finer` times smaller than the coarse ones."""
    scale, dx, dy = (float(value) for value in best)
    steps = np.arange(-2, 3) / finer
    scales = np.clip(scale - steps * _SCALE_STEP, SMALLEST_WINDOW, 1.0)
    around = list(_windows(scales, sides, dx + steps * _SHIFT_STEP, dy + steps * _SHIFT_STEP))
    return torch.tensor([[scale, dx, dy], *around])


def _windows(
    scales: np.ndarray, sides: tuple[float, float], across: np.ndarray, down: np.ndarray
) -> Iterator[list[float]]:
    """Yield [scale, dx, dy] of the windows that lie inside the picture; a shift too far is pulled back to the edge."""
    for scale in scales:
        free_across, free_down = (1 - scale * sides[0]) / 2, (1 - scale * sides[1]) / 2
        for dy in np.unique(np.clip(down, -free_down, free_down)):
            for dx in np.unique(np.clip(across, -free_across, free_across)):
                yield [float(scale), float(dx), float(dy)]
