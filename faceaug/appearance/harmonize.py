"""Harmonization: accepted faces get the size, sharpness, noise and codec quality of the images of the data set.

A classifier that is trained on real and synthetic images must not be able to separate them by how they were stored.
Each sample draws the statistics of one image of the data set and is brought as near to them as its content allows:

- *size*: resized; cropped first where the aspect differs.
- *sharpness*: blurred, or sharpened by an unsharp mask up to a limit. Detail that a generator of 64 pixels never had
  cannot be added: in a data set of larger, sharp images the samples stay softer (measure them to see).
- *noise*: grey noise, of the strength that leaves the wanted noise after encoding with the drawn quality.

Colour is not drawn per image: that would lighten dark skin and darken light skin. One fixed mapping for all images
corrects only the difference between the generator's images as a whole and the data set, and only in part
(`match_colour`). Random choices depend on the seed of the sample alone, so that order, batches and workers do not
change the result (docs/method.md, section 7).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import NamedTuple, cast

import numpy as np
import torch

from faceaug.appearance.image_stats import (
    YCBCR,
    ImageStats,
    ImageStatsSample,
    band_energies,
    detail_bands,
    luma,
    noise_level,
    sharpness,
    sharpness_of,
)
from faceaug.errors import UsageError
from faceaug.utils.images import DEFAULT_QUALITY, Codec, Rgb, decode, encode, resize
from faceaug.utils.typing import Floats32

HARMONIZATION_PARAMETERS = ("sharpness_wanted", "blur_sigma", "unsharp_amount", "noise_wanted", "noise_sigma")
MAX_UNSHARP_AMOUNT = 1.5  # more makes halos visible
MAX_BLUR_SIGMA = 4.0  # pixels
MAX_NOISE_SIGMA = 32.0  # grey levels
_GAIN_RANGE = (0.7, 1.4)
_SHOULDER = 80.0  # grey levels at each end in which the colour mapping is compressed instead of clipped
_ASPECT_TOLERANCE = 0.02
_SHARPNESS_TOLERANCE = 0.2
_LOADING = threading.Lock()
_STREAM = 0xF1A15  # separates these random numbers from others with the same seed
_NOISE_SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, MAX_NOISE_SIGMA)


class Effects:
    """Image filters of albumentations 2.0.8, the only place that uses it.

    Its functional layer takes strengths and noise as arguments, so that no random state of the library, nor of OpenCV,
    is involved. Images are float32 [H, W, 3] or [H, W] in [0, 1].
    """

    def __init__(self) -> None:
        # The import takes seconds, and asks the network for updates unless told not to.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        from albumentations.augmentations.blur import functional as blurs
        from albumentations.augmentations.pixel import functional as pixels

        self._kernel = blurs.create_gaussian_kernel_1d
        self._convolve = pixels.separable_convolve
        self._unsharp_mask = pixels.unsharp_mask
        self._add_noise = pixels.add_noise

    def blur(self, image: Floats32, sigma: float) -> Floats32:
        """Apply a Gaussian blur of `sigma` pixels."""
        return cast("Floats32", self._convolve(image, kernel=self._kernel(sigma, 2 * int(3.5 * sigma + 0.5) + 1)))

    def unsharp(self, image: Floats32, sigma: float, amount: float) -> Floats32:
        """Add `amount` times what a Gaussian blur of `sigma` pixels removes."""
        sharp = self._unsharp_mask(image, ksize=2 * int(3.5 * sigma + 0.5) + 1, sigma=sigma, alpha=amount, threshold=0)
        return cast("Floats32", sharp)

    def noise(self, image: Floats32, noise: Floats32) -> Floats32:
        """Add `noise` [H, W] to every channel."""
        spread = np.broadcast_to(noise[..., None], image.shape) if image.ndim == 3 else noise
        return cast("Floats32", self._add_noise(image, spread))


@lru_cache(maxsize=1)
def _load_effects() -> Effects:
    return Effects()


def _effects() -> Effects:
    """Return the filters. One thread imports them: two that import the library at a time can wait for each other."""
    with _LOADING:
        return _load_effects()


@dataclass(frozen=True)
class ColourMatch:
    """A fixed affine mapping of RGB, the same for every image: rgb' = matrix @ rgb + offset, in 0 to 255.

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
        """Map the colours of images.

        Differentiable; the result of an image does not depend on the others of the batch. Near black and white values
        are compressed and not clipped, so that bright skin keeps its shading.

        Parameters
        ----------
        images : Tensor of float32 [N, 3, R, R]
            In [-1, 1].

        Returns
        -------
        Tensor of float32 [N, 3, R, R]
            In [-1, 1].
        """
        before = (images + 1) * 127.5
        red, green, blue = before[:, 0], before[:, 1], before[:, 2]
        m, c = self.matrix, self.offset
        # Written out rather than as a matrix product, which may round differently for other batch sizes.
        mapped = torch.stack([m[3 * k] * red + m[3 * k + 1] * green + m[3 * k + 2] * blue + c[k] for k in range(3)], 1)
        # Compress from the shoulder, or from where a value was before if that is further out: identity stays identity.
        top, bottom = before.clamp(255 - _SHOULDER, 255 - 1e-3), before.clamp(1e-3, _SHOULDER)
        mapped = torch.where(mapped > top, top + (255 - top) * torch.tanh((mapped - top) / (255 - top)), mapped)
        mapped = torch.where(mapped < bottom, bottom - bottom * torch.tanh((bottom - mapped) / bottom), mapped)
        return mapped / 127.5 - 1


def match_colour(generated: ImageStatsSample, real: ImageStatsSample, damping: float = 0.6) -> ColourMatch:
    """Return the mapping that moves the overall colour of the generator toward that of the data set.

    In Y, Cb, Cr each channel gets one gain (the ratio of the standard deviations inside images, to the power of
    `damping`, within 0.7 to 1.4) and one shift (so that the overall mean covers `damping` of the difference). Use
    weights in both samples, so that an unbalanced data set does not brighten or darken everything.

    Parameters
    ----------
    generated, real : ImageStatsSample
        Measured on images of the same framing.
    damping : float
        0 leaves colour alone, 1 matches it fully.

    Raises
    ------
    UsageError
        When `damping` is not in [0, 1].
    """
    if not 0 <= damping <= 1:
        raise UsageError(f"a colour damping of {damping} was asked for: give a number from 0 (leave) to 1 (match)")
    (mean, spread), (real_mean, real_spread) = generated.colour(), real.colour()
    gain = np.clip((np.maximum(real_spread, 1) / np.maximum(spread, 1)) ** damping, *_GAIN_RANGE)
    shift = mean + damping * (real_mean - mean) - gain * mean
    back = np.linalg.inv(YCBCR)
    matrix, offset = back @ np.diag(gain) @ YCBCR, back @ shift
    return ColourMatch(tuple(float(v) for v in matrix.ravel()), tuple(float(v) for v in offset))


class HarmonizedImage(NamedTuple):
    """A harmonized image.

    Attributes
    ----------
    image : uint8 [H, W, 3]
    parameters : dict of str to float
        A number for each of `HARMONIZATION_PARAMETERS`: what was wanted and what was done; noise in grey levels, sigma
        of the blur in pixels.
    quality : int or None
        Quality to encode the image with; None for the default of the codec.
    """

    image: Rgb
    parameters: dict[str, float]
    quality: int | None


@dataclass(frozen=True)
class Harmonizer:
    """Gives images the statistics of the images of a data set.

    Attributes
    ----------
    image_stats : ImageStatsSample
        Of the data set.
    aspect : float
        Width over height of what the square images show (the aspect of the framing).
    codec : str or None
        Codec that the images will be encoded with; None for the most common codec of the data set.
    """

    image_stats: ImageStatsSample
    aspect: float = 1.0
    codec: Codec | None = None

    @property
    def output_codec(self) -> Codec:
        """Codec that the harmonized images are to be encoded with."""
        return self.codec or self.image_stats.codec

    @cached_property
    def _candidates(self) -> tuple[ImageStats, ...]:
        """The statistics to draw from: those of images of the most common codec, whose qualities are comparable."""
        sample = self.image_stats
        return tuple(one for one in sample.stats if one.codec == sample.codec) or sample.stats

    def __call__(self, rgb: Rgb, seed: int) -> HarmonizedImage:
        """Harmonize one image.

        Parameters
        ----------
        rgb : uint8 [R, R, 3]
            As the generator made it, framed and with matched colour.
        seed : int
            Seed of the sample, not negative; it alone decides what is drawn.
        """
        rng = np.random.default_rng([seed, _STREAM])
        goal = self._candidates[int(rng.integers(len(self._candidates)))]
        quality = goal.quality if self.output_codec == "jpeg" else None
        cropped = _crop(rgb, self.aspect, goal.width / goal.height)
        image = resize(cropped, (goal.height, goal.width))
        # The finest detail that can be sharpened is a pixel of the generator: its size sets the reach of the mask.
        reach = max(0.6, 0.65 * goal.height / rgb.shape[0])
        grain = rng.standard_normal(image.shape[:2], dtype=np.float32)
        harmonized, (blur, amount, noise) = self._match_signal(image, goal, reach, grain)
        values = (goal.sharpness, blur, amount, goal.noise, noise)
        parameters = {name: float(value) for name, value in zip(HARMONIZATION_PARAMETERS, values, strict=True)}
        return HarmonizedImage(harmonized, parameters, quality)

    def _match_signal(
        self, image: Rgb, goal: ImageStats, reach: float, grain: Floats32
    ) -> tuple[Rgb, tuple[float, float, float]]:
        """Blur or sharpen, then add noise, so that the encoded image measures as `goal` does.

        Returns the image, and the sigma of the blur, the amount of the unsharp mask and the sigma of the noise.
        """
        quality, aim = goal.quality or DEFAULT_QUALITY, goal.sharpness
        for last in (False, True):
            shaped, blur, amount = _match_sharpness((image / 255).astype(np.float32), aim, reach)
            sigma = self._noise_to_add(shaped, goal.noise, quality)
            harmonized = _to_uint8(_effects().noise(shaped, grain * np.float32(sigma / 255)) if sigma > 0 else shaped)
            if last:
                break
            # Encoding and noise change the sharpness that is measured, and the data set was measured with both.
            error = sharpness(luma(self._encoded(harmonized, quality))) - goal.sharpness
            at_limit = amount == MAX_UNSHARP_AMOUNT if error < 0 else blur == MAX_BLUR_SIGMA
            if abs(error) < _SHARPNESS_TOLERANCE or at_limit:
                break
            aim -= error
        return harmonized, (blur, amount, sigma)

    def _noise_to_add(self, image: Floats32, wanted: float, quality: int) -> float:
        """Return the sigma, in grey levels, with which the encoded image measures the wanted noise."""
        present = noise_level(luma(self._encoded(_to_uint8(image), quality)))
        missing = np.sqrt(max(0.0, wanted**2 - present**2))
        return float(np.interp(missing, _noise_after_encoding(self.output_codec, quality), _NOISE_SIGMAS))

    def _encoded(self, image: Rgb, quality: int) -> Rgb:
        return decode(encode(image, self.output_codec, quality))


def _to_uint8(image: Floats32) -> Rgb:
    """Return an image in [0, 1] as uint8."""
    return cast("Rgb", (image * 255).round().clip(0, 255).astype(np.uint8))


def _crop(rgb: Rgb, aspect: float, wanted: float) -> Rgb:
    """Crop a square image whose content has the given aspect (w / h) to content of the wanted aspect."""
    if abs(wanted / aspect - 1) <= _ASPECT_TOLERANCE:
        return rgb
    side = rgb.shape[0]
    keep = max(1, round(side * min(wanted / aspect, aspect / wanted)))
    start = (side - keep) // 2
    return rgb[start : start + keep] if wanted > aspect else rgb[:, start : start + keep]


def _match_sharpness(image: Floats32, wanted: float, reach: float) -> tuple[Floats32, float, float]:
    """Bring an image [H, W, 3] to the wanted sharpness within the limits.

    Returns the image, the sigma of the blur and the amount of the unsharp mask, one of which is 0.
    """
    y = luma(image * 255)
    blurred = partial(_effects().blur, (y / 255).astype(np.float32))
    bands, smooth = detail_bands(y)
    noise, plain = noise_level(y, smooth), band_energies(bands, bands)
    if sharpness_of(plain, noise) > wanted:
        sigma = _bisect(lambda s: sharpness(blurred(s) * 255) < wanted, 0.2, MAX_BLUR_SIGMA)
        return _effects().blur(image, sigma), sigma, 0.0
    # Unsharp masking is linear but for clipping: the energies of y + amount * (y - blurred y) are known beforehand.
    detail, _ = detail_bands(y - blurred(reach) * 255)
    crossed, lifted = band_energies(bands, detail), band_energies(detail, detail)
    amount = _bisect(
        lambda a: sharpness_of(plain + 2 * a * crossed + a * a * lifted, noise) > wanted, 0.0, MAX_UNSHARP_AMOUNT
    )
    return _effects().unsharp(image, reach, amount), 0.0, amount


def _bisect(reached: Callable[[float], bool], low: float, high: float) -> float:
    """Return the smallest strength in [low, high] that reaches the goal, to 1/128 of the range; `high` if none does."""
    if not reached(high):
        return high
    for _ in range(7):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


@lru_cache(maxsize=256)
def _noise_after_encoding(codec: Codec, quality: int) -> tuple[float, ...]:
    """Return the noise, in grey levels, that is measured after encoding with each of `_NOISE_SIGMAS`, ascending.

    Lossy codecs remove weak noise. The inverse of this function gives the noise to add.
    """
    steps = np.linspace(-1, 1, 128)
    smooth = 128 + 40 * np.sin(2 * steps[:, None] + 0.5) * np.cos(1.5 * steps[None, :])
    picture = np.repeat(smooth[..., None] / 255, 3, axis=2).astype(np.float32)
    grain = np.random.default_rng(0).standard_normal(picture.shape[:2], dtype=np.float32)
    measured = []
    for sigma in _NOISE_SIGMAS:
        noisy = _effects().noise(picture, grain * np.float32(sigma / 255))
        measured.append(noise_level(luma(decode(encode(_to_uint8(noisy), codec, quality)))))
    rising = np.maximum.accumulate(np.square(measured) - measured[0] ** 2)
    return tuple(float(level) for level in np.sqrt(rising) + 1e-6 * np.arange(len(rising)))
