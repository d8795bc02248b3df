"""Regions of the canonical face: brows, eyes, nose, cheeks, mouth, jaw, forehead, and what lies outside.

The canonical face is frontal and symmetric, so simple rules suffice: the eyes are where the mean face is dark beside
its axis, the mouth where it is dark or red on the axis below them, the tip of the nose where the axis is nearest
between both. All other regions follow from the mean proportions of an adult face (Farkas, "Anthropometry of the Head
and Face", 1994), measured in half distances between the pupils. Landmarks that are not detected follow from the
proportions too. Nothing here is random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceaug.errors import UsageError
from faceaug.utils.typing import Floats

REGIONS = ("brows", "eyes", "nose", "cheeks", "mouth", "jaw", "forehead", "outside")
"""In the order of the numbers in a map of regions; "outside" is hair, ears, neck and background."""

_MIN_CONTRAST = 0.01  # of a dark spot, on [0, 1], to be an eye or a mouth and not noise
_FLAT = 2e-6  # 2% of the smallest range of depth that counts as relief
_OUTSIDE_WEIGHT = 0.1  # of a change of hair, neck or background, relative to one of the face
_MIN_SIDE = 16  # of a map; on a smaller one an eye is less than a pixel


@dataclass(frozen=True)
class Landmarks:
    """Positions on the mean face, in fractions of the map's side; x from the axis, y from the top.

    Attributes
    ----------
    eye_x, eye_y : float
        Of the right eye's pupil; the left one is its mirror.
    nose_y, mouth_y : float
        Tip of the nose, line between the lips.
    detected : tuple of str
        Which of "eyes", "nose" and "mouth" were detected; the others follow from the proportions.
    """

    eye_x: float
    eye_y: float
    nose_y: float
    mouth_y: float
    detected: tuple[str, ...] = ()


# Half a distance between pupils is 31 mm; all lengths below are in that unit.
TYPICAL_LANDMARKS = Landmarks(eye_x=0.165, eye_y=0.44, nose_y=0.66, mouth_y=0.80)
_EYES_TO_MOUTH, _EYES_TO_NOSE = 2.2, 0.62  # 68 mm; the tip of the nose at 0.62 of the way
_HAIRLINE, _CHIN, _HALF_WIDTH = 2.4, 1.35, 2.15  # above the eyes; below the mouth; at the cheekbones


def find_landmarks(depth: Floats | None, albedo: Floats) -> Landmarks:
    """Detect eyes, nose and mouth of a mean canonical face.

    Parameters
    ----------
    depth : float [S, S] or None
        Mean canonical depth, nearer is smaller; without it (or where it is flat) the nose follows from the proportions.
    albedo : float [3, S, S] in [0, 1]
        Mean canonical albedo, or a mean image.

    Raises
    ------
    UsageError
        When the maps are not finite maps of one size, 16 pixels a side or more.
    """
    depth, albedo = _checked(depth, albedo)
    side = albedo.shape[-1]
    albedo = (albedo + albedo[..., ::-1]) / 2
    x, y = face_grid(side)
    rows = y[:, 0]
    grey = albedo.mean(0)
    # Brows, nostrils and the hair line are dark as well, so eyes and mouth are detected together, in proportion.
    best = -np.inf
    eye_x, eye_y, mouth_y = TYPICAL_LANDMARKS.eye_x, TYPICAL_LANDMARKS.eye_y, TYPICAL_LANDMARKS.mouth_y
    for across in np.arange(0.11, 0.215, 0.5 / side):
        eye_contrast = _bar_contrast(grey, np.abs(x) - across, 0.5 * across, 0.2 * across)
        mouth_contrast = _bar_contrast(grey - (albedo[0] - albedo[1:].mean(0)), x, 0.7 * across, 0.14 * across)
        ratio = (rows[None, :] - rows[:, None]) / across  # [eyes, mouth]
        score = eye_contrast[:, None] + mouth_contrast[None, :] - 0.02 * ((ratio - _EYES_TO_MOUTH) / 0.4) ** 2
        score = (
            score - 0.5 * (rows - TYPICAL_LANDMARKS.eye_y)[:, None] ** 2 - 2.0 * (across - TYPICAL_LANDMARKS.eye_x) ** 2
        )
        row, low = (int(k) for k in np.unravel_index(np.argmax(score), score.shape))
        if score[row, low] > best and min(eye_contrast[row], mouth_contrast[low]) > _MIN_CONTRAST:
            best = float(score[row, low])
            eye_row = _below_brows(eye_contrast, rows, row, across)
            eye_x, eye_y, mouth_y = float(across), float(rows[eye_row]), float(rows[low])
    detected = ["eyes", "mouth"] if best > -np.inf else []
    nose_y = eye_y + _EYES_TO_NOSE * (mouth_y - eye_y)
    if depth is not None:
        relief = _blurred(depth + depth[:, ::-1], 0.3) - _blurred(depth + depth[:, ::-1], 0.06)
        ridge = relief[:, np.abs(x[0]) < 0.5 * eye_x].mean(1)  # how far the axis is in front of its surroundings
        between = (rows > eye_y + 0.3 * (mouth_y - eye_y)) & (rows < eye_y + 0.85 * (mouth_y - eye_y))
        tip = int(np.argmax(np.where(between, ridge, -np.inf)))
        if between.any() and ridge[tip] > 0.02 * np.ptp(depth) > _FLAT:
            detected.append("nose")
            nose_y = float(rows[tip])
    return Landmarks(eye_x, eye_y, nose_y, mouth_y, tuple(detected))


def face_regions(side: int, landmarks: Landmarks) -> NDArray[np.uint8]:
    """Return the map of regions of the canonical face.

    Parameters
    ----------
    side : int
        S, at least 16.
    landmarks : Landmarks

    Returns
    -------
    uint8 [S, S]
        The region of each pixel, as an index into `REGIONS`.

    Raises
    ------
    UsageError
        When the side is too small.
    """
    if side < _MIN_SIDE:
        raise UsageError(f"regions of a face on {side} pixels were asked for: at least {_MIN_SIDE} are needed")
    x, y = face_grid(side)
    x = np.abs(x)
    unit, eyes, mouth = landmarks.eye_x, landmarks.eye_y, landmarks.mouth_y
    top, bottom = eyes - _HAIRLINE * unit, mouth + _CHIN * unit
    middle, half = (top + bottom) / 2, (bottom - top) / 2
    face = np.hypot(x / (_HALF_WIDTH * unit), (y - middle) / half) <= 1
    brow_y = eyes - 0.68 * unit
    labels = np.full((side, side), REGIONS.index("outside"), np.uint8)

    def paint(name: str, where: NDArray[np.bool_]) -> None:
        labels[where & face] = REGIONS.index(name)

    paint("forehead", y < eyes - 0.40 * unit)
    paint("cheeks", (y >= eyes - 0.40 * unit) & (y < mouth - 0.25 * unit))
    paint("jaw", y >= mouth - 0.25 * unit)
    base = landmarks.nose_y + 0.32 * unit  # where the nose meets the lip
    along = np.clip((y - eyes + 0.3 * unit) / max(base - eyes + 0.3 * unit, 1e-6), 0, 1)
    paint("mouth", (y > base) & (y < mouth) & (x < 0.6 * unit))
    paint("mouth", np.hypot(x / (1.0 * unit), (y - mouth) / (0.52 * unit)) <= 1)
    paint("nose", (y > eyes - 0.3 * unit) & (y <= base) & (x < (0.30 + 0.36 * along) * unit))
    paint("eyes", np.hypot((x - unit) / (0.66 * unit), (y - eyes) / (0.42 * unit)) <= 1)
    paint("brows", (np.abs(y - brow_y) < 0.28 * unit) & (np.abs(x - 1.05 * unit) < 0.85 * unit))
    return labels


def face_weight(regions: NDArray[np.uint8]) -> Floats:
    """Return the weight [S, S] of each pixel when atoms are localized: 1 in the face, 0.1 outside."""
    return np.where(regions == REGIONS.index("outside"), _OUTSIDE_WEIGHT, 1.0)


def region_shares(energy: Floats, regions: NDArray[np.uint8]) -> Floats:
    """Return the share of energy in each region.

    Parameters
    ----------
    energy : float [..., S, S], not negative
        Of maps; a map without energy has the share 0 everywhere.
    regions : uint8 [S, S]
        As `face_regions` gives them.

    Returns
    -------
    float64 [..., len(REGIONS)]
    """
    inside = np.stack([(regions == k) for k in range(len(REGIONS))]).astype(np.float64)  # [R, S, S]
    total = energy.sum((-2, -1))[..., None]
    energies = np.einsum("...yx,ryx->...r", energy, inside)
    return np.asarray(np.divide(energies, total, out=np.zeros_like(energies), where=total > 0), np.float64)


def face_grid(side: int) -> tuple[Floats, Floats]:
    """Return x [S, S] from the axis, positive to the right, and y [S, S] from the top, in sides of the map."""
    steps = (np.arange(side) + 0.5) / side
    y, x = np.meshgrid(steps, steps - 0.5, indexing="ij")
    return x, y


def _bar_contrast(map_: Floats, x: Floats, wide: float, high: float) -> Floats:
    """Return how much darker a bar around x = 0 is than what is above and below it, for each row: [S]."""
    side = len(map_)
    inside = np.exp(-0.5 * (x / wide) ** 2)
    profile = (map_ * inside).sum(1) / inside.sum(1)  # [S]
    steps = (np.arange(side)[:, None] - np.arange(side)) / side
    near, far = (np.exp(-0.5 * (steps / scale) ** 2) for scale in (high, 3 * high))
    return np.asarray((far / far.sum(1, keepdims=True) - near / near.sum(1, keepdims=True)) @ profile, np.float64)


def _below_brows(contrast: Floats, rows: Floats, row: int, across: float) -> int:
    """Return `row`, or that of a second dark bar a brow's distance below it; `row` is then that of the brows."""
    below = (rows > rows[row] + 0.35 * across) & (rows < rows[row] + 0.9 * across)
    second = int(np.argmax(np.where(below, contrast, -np.inf)))
    peak = 0 < second < len(contrast) - 1 and contrast[second] >= max(contrast[second - 1], contrast[second + 1])
    return second if peak and below[second] and contrast[second] > max(_MIN_CONTRAST, 0.3 * contrast[row]) else row


def _blurred(map_: Floats, scale: float) -> Floats:
    """Return a map smoothed by a Gaussian that is normalized at the border."""
    side = len(map_)
    offsets = (np.arange(side)[:, None] - np.arange(side)) / (scale * side)
    kernel = np.exp(-0.5 * offsets**2)
    kernel /= kernel.sum(1, keepdims=True)
    return np.asarray(kernel @ map_ @ kernel.T, np.float64)


def _checked(depth: Floats | None, albedo: Floats) -> tuple[Floats | None, Floats]:
    albedo = np.asarray(albedo, np.float64)
    side = albedo.shape[-1] if albedo.ndim == 3 else 0
    fits = albedo.shape == (3, side, side) and side >= _MIN_SIDE and np.isfinite(albedo).all()
    if depth is not None:
        depth = np.asarray(depth, np.float64)
        fits = fits and depth.shape == (side, side) and bool(np.isfinite(depth).all())
    if not fits:
        shapes = f"depth {None if depth is None else depth.shape} and albedo {albedo.shape}"
        raise UsageError(
            f"regions need finite maps, depth (S, S) and albedo (3, S, S) with S at least {_MIN_SIDE}; got {shapes}"
        )
    return depth, albedo
