"""Finishing: accepted faces get the dataset's size, sharpness, noise, codec quality and overall colour.

A classifier trained on real and made pictures together must not be able to tell them apart by how they were saved.
Each finished picture draws one row of the dataset's photometry, whole, and is brought as near to it as honest means go:

- *size*: resized; cut first where the proportions differ.
- *sharpness*: blurred, or sharpened by an unsharp mask up to a limit. What a generator of 64 pixels never drew cannot
  be brought back: beside a dataset of larger, sharp pictures the finished ones stay softer (measure them to see).
- *noise*: grey noise, as strong as leaves the wanted noise after encoding at the drawn quality.
- *colour*: one fixed mapping for all pictures, never one a picture. Matching each to a drawn colour would lighten
  dark skin and darken light skin; so only the difference between the generator's pictures as a whole and the
  dataset's is corrected, and only in part (`damping`).

Random choices depend on the sample's seed alone, so that order, batches and workers make no difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, cast

import numpy as np
import torch

from faceaug.appearance.image_stats import (
    YCBCR,
    Float,
    ImageStats,
    ImageStatsSample,
    band_energies,
    luma,
    noise_level,
    sharpness,
    sharpness_of,
)
from faceaug.errors import UsageError
from faceaug.utils.images import Codec, Rgb, decode, encode, resize

PARAMETERS = ("sharpness_wanted", "blur_sigma", "unsharp_amount", "noise_wanted", "noise_sigma")
DEFAULT_QUALITY = 90  # of a JPEG or WebP whose dataset says nothing of quality
MOST_UNSHARP = 1.5  # halos show beyond
MOST_BLUR = 4.0  # pixels
MOST_NOISE = 32.0  # grey levels
GAIN_LIMITS = (0.7, 1.4)
_SHOULDER = 80.0  # grey levels at each end into which the colour mapping eases, where it would clip
_ASPECT_TOLERANCE = 0.02
_SHARPNESS_TOLERANCE = 0.2
_DRAW = 0xF1A15  # keeps these draws apart from others made with the same seed
_NOISE_LADDER = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, MOST_NOISE)


class Effects:
    """The only place that touches albumentations (2.0.8).

    Its functional layer is used: strengths are given and noise is drawn here, so no random state of the library (nor
    of OpenCV, which its noise transforms seed with 16 bits) is involved. Pictures are float32 in [0, 1], [H, W, 3] or
    [H, W].
    """

    def __init__(self) -> None:
        # It takes seconds to import, and asks the network for news of itself unless told not to.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        from albumentations.augmentations.blur import functional as blurs
        from albumentations.augmentations.pixel import functional as pixels

        self._kernel = blurs.create_gaussian_kernel_1d
        self._convolve = pixels.separable_convolve
        self._unsharp_mask = pixels.unsharp_mask
        self._add_noise = pixels.add_noise

    def blur(self, image: Float, sigma: float) -> Float:
        """Gaussian blur; `sigma` in pixels."""
        return cast("Float", self._convolve(image, kernel=self._kernel(sigma, 2 * int(3.5 * sigma + 0.5) + 1)))

    def unsharp(self, image: Float, sigma: float, amount: float) -> Float:
        """Add `amount` times what a Gaussian blur of `sigma` pixels takes away."""
        sharp = self._unsharp_mask(image, ksize=2 * int(3.5 * sigma + 0.5) + 1, sigma=sigma, alpha=amount, threshold=0)
        return cast("Float", sharp)

    def noise(self, image: Float, noise: Float) -> Float:
        """Add `noise` [H, W] to every channel."""
        spread = np.broadcast_to(noise[..., None], image.shape) if image.ndim == 3 else noise
        return cast("Float", self._add_noise(image, spread))


@lru_cache(maxsize=1)
def _effects() -> Effects:
    return Effects()


@dataclass(frozen=True)
class ColourMatch:
    """A fixed affine mapping of RGB, the same for every picture: rgb' = matrix @ rgb + offset, in 0 to 255.

    Attributes
    ----------
    matrix : tuple of 9 floats
        Row by row.
    offset : tuple of 3 floats
        In grey levels.
    """

    matrix: tuple[float, ...]
    offset: tuple[float, ...]

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Map pictures, batched and differentiable, each alike in any batch.

        What would lie beyond black and white is eased in, not cut off, so that bright skin keeps its modelling.

        Parameters
        ----------
        images : tensor of float32, shape [N, 3, R, R]
            In [-1, 1].

        Returns
        -------
        tensor of float32, shape [N, 3, R, R]
            In [-1, 1].
        """
        before = (images + 1) * 127.5
        red, green, blue = before[:, 0], before[:, 1], before[:, 2]
        m, c = self.matrix, self.offset
        # Written out rather than as a matrix product, which may round differently for other batch sizes.
        mapped = torch.stack([m[3 * k] * red + m[3 * k + 1] * green + m[3 * k + 2] * blue + c[k] for k in range(3)], 1)
        # Ease in from the shoulder, or from where a value was before if that is further out: identity stays identity.
        top, bottom = before.clamp(255 - _SHOULDER, 255 - 1e-3), before.clamp(1e-3, _SHOULDER)
        mapped = torch.where(mapped > top, top + (255 - top) * torch.tanh((mapped - top) / (255 - top)), mapped)
        mapped = torch.where(mapped < bottom, bottom - bottom * torch.tanh((bottom - mapped) / bottom), mapped)
        return mapped / 127.5 - 1

    def apply_rgb(self, rgb: Rgb) -> Rgb:
        """Map one picture, uint8 [H, W, 3]."""
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 127.5 - 1
        mapped = (self.apply(image)[0].permute(1, 2, 0) + 1) * 127.5
        return cast("Rgb", mapped.round().clamp(0, 255).to(torch.uint8).numpy())


def match_colour(generated: ImageStatsSample, target: ImageStatsSample, damping: float = 0.6) -> ColourMatch:
    """Find the mapping that moves the generator's overall colour toward the dataset's.

    In Y, Cb, Cr each channel gets one gain (the ratio of the spreads inside pictures, to the power of `damping`, within
    0.7 to 1.4) and one shift (so that the overall mean covers `damping` of the way). Use weights in both photometries
    so that an unbalanced dataset does not brighten or darken everything.

    Parameters
    ----------
    generated, target : ImageStatsSample
        Measured on pictures framed alike.
    damping : float
        0 leaves colour alone, 1 matches fully.

    Raises
    ------
    UsageError
        When `damping` is not in [0, 1].
    """
    if not 0 <= damping <= 1:
        raise UsageError(f"a colour damping of {damping} was asked for: give a number from 0 (leave) to 1 (match)")
    (mean, spread), (wanted_mean, wanted_spread) = generated.colour(), target.colour()
    gain = np.clip((np.maximum(wanted_spread, 1) / np.maximum(spread, 1)) ** damping, *GAIN_LIMITS)
    shift = mean + damping * (wanted_mean - mean) - gain * mean
    back = np.linalg.inv(YCBCR)
    matrix, offset = back @ np.diag(gain) @ YCBCR, back @ shift
    return ColourMatch(tuple(float(v) for v in matrix.ravel()), tuple(float(v) for v in offset))


@dataclass(frozen=True)
class Harmonizer:
    """Gives pictures the look of a dataset.

    Attributes
    ----------
    photometry : ImageStatsSample
        Of the dataset.
    generator_photometry : ImageStatsSample or None
        Of the generator's pictures, framed as those that will be finished; None leaves colour alone.
    aspect : float
        Width over height of what the square pictures show (the framing's aspect).
    damping : float
        How much of the difference in overall colour is corrected, 0 to 1.
    codec : str or None
        What the pictures will be encoded as; None for the dataset's most common codec.
    """

    photometry: ImageStatsSample
    generator_photometry: ImageStatsSample | None = None
    aspect: float = 1.0
    damping: float = 0.6
    codec: Codec | None = None

    @property
    def output_codec(self) -> Codec:
        """What the finished pictures are meant to be encoded as."""
        return self.codec or self.photometry.codec

    @cached_property
    def colour(self) -> ColourMatch | None:
        """The colour mapping, or None."""
        if self.generator_photometry is None:
            return None
        return match_colour(self.generator_photometry, self.photometry, self.damping)

    @cached_property
    def _looks(self) -> tuple[ImageStats, ...]:
        """The rows to draw from: pictures of the most common codec, whose qualities mean the same."""
        common = self.photometry.codec
        return tuple(look for look in self.photometry.looks if look.codec == common) or self.photometry.looks

    def __call__(self, rgb: Rgb, seed: int) -> tuple[Rgb, dict[str, float], int | None]:
        """Finish one picture.

        Parameters
        ----------
        rgb : ndarray of uint8, shape [R, R, 3]
            As the generator made it, framed.
        seed : int
            The sample's own seed, not negative; it alone decides what is drawn.

        Returns
        -------
        image : ndarray of uint8, shape [H, W, 3]
        parameters : dict
            What was wanted and what was done, a float for each of `PARAMETERS`; noise in grey levels, sigmas in pixels.
        quality : int or None
            To encode the image with; None for the codec's default.
        """
        rng = np.random.default_rng([seed, _DRAW])
        look = self._looks[int(rng.integers(len(self._looks)))]
        quality = look.quality if self.output_codec == "jpeg" else None
        image = rgb if self.colour is None else self.colour.apply_rgb(rgb)
        image = resize(_cut(image, self.aspect, look.width / look.height), (look.height, look.width))
        # Detail of the generator's last pixel is what can be lifted: its size in output pixels sets the mask's reach.
        reach = max(0.6, 0.65 * look.height / rgb.shape[0])
        grain = rng.standard_normal(image.shape[:2], dtype=np.float32)
        finished, done = self._brought_near(image, look, reach, grain)
        parameters = (look.sharpness, *done[:2], look.noise, done[2])
        return finished, {name: float(value) for name, value in zip(PARAMETERS, parameters, strict=True)}, quality

    def _brought_near(
        self, image: Rgb, look: ImageStats, reach: float, grain: Float
    ) -> tuple[Rgb, tuple[float, float, float]]:
        """Blur or sharpen, then add noise, so that once encoded the image measures as `look` does.

        Returns the image and what was done: the blur's sigma, the unsharp mask's amount, the noise's sigma.
        """
        quality, goal = look.quality or DEFAULT_QUALITY, look.sharpness
        for last in (False, True):
            shaped, blurred, amount = _sharpened((image / 255).astype(np.float32), goal, reach)
            sigma = self._noise_to_add(shaped, look.noise, quality)
            finished = _bytes(_effects().noise(shaped, grain * np.float32(sigma / 255)) if sigma > 0 else shaped)
            if last:
                break
            # Encoding and noise change how sharp a picture measures; the dataset was measured with both, so aim again.
            missed = sharpness(luma(self._encoded(finished, quality))) - look.sharpness
            at_limit = amount == MOST_UNSHARP if missed < 0 else blurred == MOST_BLUR
            if abs(missed) < _SHARPNESS_TOLERANCE or at_limit:
                break
            goal -= missed
        return finished, (blurred, amount, sigma)

    def _noise_to_add(self, image: Float, wanted: float, quality: int) -> float:
        """Return the sigma, in grey levels, with which the encoded image measures the wanted noise."""
        there = noise_level(luma(self._encoded(_bytes(image), quality)))
        missing = np.sqrt(max(0.0, wanted**2 - there**2))
        return float(np.interp(missing, _noise_left(self.output_codec, quality), _NOISE_LADDER))

    def _encoded(self, image: Rgb, quality: int) -> Rgb:
        return decode(encode(image, self.output_codec, quality))

    def describe(self) -> dict[str, Any]:
        """Return what a manifest should say of the finishing, JSON-able."""
        colour = self.colour
        return {
            "codec": self.output_codec,
            "aspect": self.aspect,
            "target": self.photometry.summary(),
            "generator": self.generator_photometry.summary() if self.generator_photometry else None,
            "colour": {"damping": self.damping, "matrix": list(colour.matrix), "offset": list(colour.offset)}
            if colour
            else None,
            "limits": {"unsharp_amount": MOST_UNSHARP, "blur_sigma": MOST_BLUR, "noise_sigma": MOST_NOISE},
        }


def _bytes(image: Float) -> Rgb:
    """Return an image in [0, 1] as uint8."""
    return cast("Rgb", (image * 255).round().clip(0, 255).astype(np.uint8))


def _cut(rgb: Rgb, aspect: float, wanted: float) -> Rgb:
    """Cut the middle out of a square picture that shows proportions `aspect` so that it shows `attribute_goals` (w / h)."""
    if abs(wanted / aspect - 1) <= _ASPECT_TOLERANCE:
        return rgb
    side = rgb.shape[0]
    keep = max(1, round(side * min(wanted / aspect, aspect / wanted)))
    start = (side - keep) // 2
    return rgb[start : start + keep] if wanted > aspect else rgb[:, start : start + keep]


def _sharpened(image: Float, wanted: float, reach: float) -> tuple[Float, float, float]:
    """Bring an image [H, W, 3] to the wanted sharpness within the limits; return it, the blur's sigma, the amount."""
    y = luma(image * 255)
    blurred = partial(_effects().blur, (y / 255).astype(np.float32))
    noise = noise_level(y)
    plain = band_energies(y, y)
    if sharpness_of(plain, noise) > wanted:
        sigma = _bisect(lambda s: sharpness(blurred(s) * 255) < wanted, 0.2, MOST_BLUR)
        return _effects().blur(image, sigma), sigma, 0.0
    # Unsharp masking is linear but for clipping: the energies of y + amount * (y - blurred y) are known beforehand.
    lost = y - blurred(reach) * 255
    crossed, lifted = band_energies(y, lost), band_energies(lost, lost)
    amount = _bisect(
        lambda a: sharpness_of(plain + 2 * a * crossed + a * a * lifted, noise) > wanted, 0.0, MOST_UNSHARP
    )
    return _effects().unsharp(image, reach, amount), 0.0, amount


def _bisect(reached: Callable[[float], bool], low: float, high: float) -> float:
    """Return the least strength in [low, high] that reaches the goal, to 1/128 of the range; `high` if none does."""
    if not reached(high):
        return high
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def _noise_left(codec: Codec, quality: int) -> tuple[float, ...]:
    """Return how much noise encoding leaves of each strength of `_NOISE_LADDER`, in grey levels, rising from 0.

    Lossy codecs swallow weak noise; so what must be added is read from this, backwards.
    """
    steps = np.linspace(-1, 1, 128)
    smooth = 128 + 40 * np.sin(2 * steps[:, None] + 0.5) * np.cos(1.5 * steps[None, :])
    picture = np.repeat(smooth[..., None] / 255, 3, axis=2).astype(np.float32)
    grain = np.random.default_rng(0).standard_normal(picture.shape[:2], dtype=np.float32)
    measured = []
    for sigma in _NOISE_LADDER:
        noisy = _effects().noise(picture, grain * np.float32(sigma / 255))
        measured.append(noise_level(luma(decode(encode(_bytes(noisy), codec, quality)))))
    rising = np.maximum.accumulate(np.square(measured) - measured[0] ** 2)
    return tuple(float(level) for level in np.sqrt(rising) + 1e-6 * np.arange(len(rising)))
