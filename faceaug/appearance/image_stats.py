"""Image statistics: properties of images as files and signals, whoever they show.

Each image of a sample gives one row: its size, codec and JPEG quality, sharpness, noise, and statistics of its colour.
Rows are kept whole rather than averaged, so that properties that occur together (large and sharp, small and noisy) are
drawn together when generated images are harmonized.

Measures are taken on 8-bit luma Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), in units of 0 to 255:

- *sharpness*: log2 of the energy in the two finest bands of a Laplacian pyramid over that in the next two, after the
  part that noise of the measured strength has is subtracted. Contrast cancels; one unit less is half the fine
  energy. Bands are counted from the image's own pixels, so that an enlarged image measures as soft as it is.
- *noise*: the median, over the flattest quarter of 8 x 8 blocks (by smoothed gradient, saturated blocks left out), of
  the RMS of a second-difference mask that ignores planes and edges along the axes (Immerkær 1996).
- *colour*: mean and standard deviation inside the image of Y, Cb and Cr.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from faceaug.errors import DatasetError, UsageError
from faceaug.utils.images import LUMA_WEIGHTS, Codec, ImageInfo, Rgb, decode_with_info
from faceaug.utils.typing import Floats, Floats32

Weights = Sequence[float] | Floats

# RGB to Y, Cb, Cr (BT.601, full range, chroma centred on 0), one row a channel.
YCBCR = np.array([LUMA_WEIGHTS, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_SUMMARY_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_BLOCK = 8


class EncodedDataset(Protocol):
    """What image statistics need of a data set: the number of its images, and the bytes of each."""

    def __len__(self) -> int: ...

    def encoded(self, index: int, /) -> bytes: ...


@dataclass(frozen=True)
class ImageStats:
    """The statistics of one image.

    Attributes
    ----------
    height, width : int
        Pixels.
    codec : str or None
        "jpeg", "png" or "webp"; None for an image that was not read from a file.
    quality : int or None
        JPEG quality, 1 to 100.
    sharpness : float
        log2 of a ratio of energies (see the module).
    noise : float
        Standard deviation in grey levels of 255.
    mean, spread : tuple of 3 floats
        Mean and standard deviation of Y, Cb, Cr.
    """

    height: int
    width: int
    codec: Codec | None
    quality: int | None
    sharpness: float
    noise: float
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


@dataclass(frozen=True)
class ImageStatsSample:
    """The statistics of a sample of images: an empirical distribution.

    Attributes
    ----------
    stats : tuple of ImageStats
        One per image.
    weights : tuple of float
        Weight of each image in `colour`; they sum to 1.
    """

    stats: tuple[ImageStats, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.stats)

    @property
    def codec(self) -> Codec:
        """The most common codec (of equals the first by name; "png" where no image was read from a file)."""
        codecs = [one.codec for one in self.stats if one.codec]
        return max(sorted(set(codecs)), key=codecs.count) if codecs else "png"

    @property
    def aspect(self) -> float:
        """Median of width / height."""
        return float(np.median([one.width / one.height for one in self.stats]))

    def colour(self) -> tuple[Floats, Floats]:
        """Return mean [3] and RMS standard deviation inside images [3] of Y, Cb, Cr, weighted over images."""
        weights = np.asarray(self.weights)
        mean = weights @ np.array([one.mean for one in self.stats])
        spread = np.sqrt(weights @ np.square([one.spread for one in self.stats]))
        return mean, spread

    def summary(self) -> dict[str, Any]:
        """Return a summary as JSON values: number of images, most common codec, quantiles of each property, colour."""
        summary: dict[str, Any] = {"images": len(self), "codec": self.codec, "quantiles_at": list(_SUMMARY_QUANTILES)}
        for name in ("height", "width", "quality", "sharpness", "noise"):
            values = [value for one in self.stats if (value := getattr(one, name)) is not None]
            summary[name] = [round(float(q), 3) for q in np.quantile(values, _SUMMARY_QUANTILES)] if values else None
        mean, spread = self.colour()
        summary["colour"] = {
            channel: {"mean": round(float(m), 2), "spread": round(float(s), 2)}
            for channel, m, s in zip(("Y", "Cb", "Cr"), mean, spread, strict=True)
        }
        return summary

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, one list per property."""
        columns = {field.name: [getattr(one, field.name) for one in self.stats] for field in fields(ImageStats)}
        return {"stats": columns, "weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ImageStatsSample:
        """Return the sample that `to_dict` described."""
        columns = values["stats"]
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        stats = tuple(ImageStats(**{**row, "mean": tuple(row["mean"]), "spread": tuple(row["spread"])}) for row in rows)
        return cls(stats, tuple(values["weights"]))


def measure_image_stats(
    images: Iterable[tuple[Rgb, ImageInfo | None]], weights: Weights | None = None
) -> ImageStatsSample:
    """Measure images.

    Parameters
    ----------
    images : iterable of (uint8 [H, W, 3], ImageInfo or None)
        Each with the information of its file; None for an image of a generator.
    weights : sequence of float, optional
        Weight of each image in the statistics of colour, not negative; equal by default. With the inverse frequency of
        its group, the majority of an unbalanced data set does not determine the colour.

    Raises
    ------
    UsageError
        When there are no images, or the weights do not fit them.
    """
    stats = tuple(_measure(rgb, info) for rgb, info in images)
    if not stats:
        raise UsageError("there are no images to measure: give at least one")
    raw = np.ones(len(stats)) if weights is None else np.asarray(weights, dtype=np.float64)
    if raw.shape != (len(stats),) or not np.isfinite(raw).all() or (raw < 0).any() or raw.sum() <= 0:
        raise UsageError(f"the weights do not fit {len(stats)} images: give one per image, none negative, not all zero")
    return ImageStatsSample(stats, tuple(float(w) for w in raw / raw.sum()))


def dataset_image_stats(
    dataset: EncodedDataset, *, sample: int = 1000, seed: int = 0, weights: Weights | None = None
) -> ImageStatsSample:
    """Measure a random sample of the images of a data set, without repetition.

    Parameters
    ----------
    dataset : FaceDataset
        Anything with a length and `encoded(i) -> bytes`.
    sample : int
        Largest number of images.
    seed : int
        Of the choice of images; the same seed chooses the same ones.
    weights : sequence of float, optional
        One for each image of the *data set*, as in `measure_image_stats`.

    Raises
    ------
    DatasetError
        When the data set is empty.
    ImageError
        When an image cannot be decoded.
    """
    if not len(dataset):
        raise DatasetError("the data set has no images to measure: give one with at least one image")
    rows = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:sample])
    row_weights = None if weights is None else np.asarray(weights, dtype=np.float64)[rows]
    decoded = (decode_with_info(dataset.encoded(int(i)), name=f"image {int(i)} of the data set") for i in rows)
    return measure_image_stats(decoded, None if row_weights is None else list(row_weights))


def luma(rgb: npt.NDArray[Any]) -> Floats32:
    """Return Y of uint8 (or float in 0 to 255) [H, W, 3] as float32 [H, W]."""
    return cast("Floats32", rgb.astype(np.float32) @ YCBCR[0].astype(np.float32))


def noise_level(y: Floats32, smooth: Floats32 | None = None) -> float:
    """Return the standard deviation of the noise in luma [H, W]; 0 where no block is flat and unsaturated enough.

    `smooth` is what `detail_bands` returns beside the bands, and is computed when not given.
    """
    if min(y.shape) < _BLOCK + 2:
        return 0.0
    # [1 -2 1] across and down: blind to planes and to edges along the axes; its gain on white noise is 6.
    second = np.diff(np.diff(y, 2, axis=0), 2, axis=1) / 6
    smooth = _blur(y) if smooth is None else smooth
    slope = np.abs(smooth[1:-1, 2:] - smooth[1:-1, :-2]) + np.abs(smooth[2:, 1:-1] - smooth[:-2, 1:-1])
    inner = y[1:-1, 1:-1]
    usable = _blocks((inner > 4) & (inner < 251)).mean(1) > 0.9  # clipping changes noise
    squares, slopes = _blocks(second**2)[usable].mean(1), _blocks(slope)[usable].mean(1)
    if not len(squares):
        return 0.0
    flattest = np.argsort(slopes, kind="stable")[: max(1, len(slopes) // 4)]
    return float(np.sqrt(np.median(squares[flattest])))


def sharpness(y: Floats32, noise: float | None = None) -> float:
    """Return the sharpness of luma [H, W] (see the module); `noise` is measured when not given."""
    bands, smooth = detail_bands(y)
    return sharpness_of(band_energies(bands, bands), noise_level(y, smooth) if noise is None else noise)


def sharpness_of(energies: Floats, noise: float) -> float:
    """Return the sharpness of bands with the energies [4], finest first, after subtracting white noise."""
    clean = energies - noise**2 * _NOISE_GAIN
    # The floors, far below what 8 bits can show, keep the logarithm finite and make a blank image soft.
    return float(np.log2(max(clean[:2].sum(), 1e-4) / max(clean[2:].sum(), 0.1)))


def detail_bands(y: Floats32) -> tuple[tuple[Floats32, ...], Floats32]:
    """Return the Laplacian bands [4] of an image [H, W], finest first, and the image less the finest of them."""
    bands, lows = [], []
    for _ in range(4):
        lows.append(_blur(y))
        bands.append(y - lows[-1])
        y = lows[-1][::2, ::2]
    return tuple(bands), lows[0]


def band_energies(a: Sequence[Floats32], b: Sequence[Floats32]) -> Floats:
    """Return the mean products [4] of the bands of two images: energies if both are those of one image."""
    return np.array([float(np.mean(one * other, dtype=np.float64)) for one, other in zip(a, b, strict=True)])


def _measure(rgb: Rgb, info: ImageInfo | None) -> ImageStats:
    y = luma(rgb)
    noise = noise_level(y)
    channels = rgb.reshape(-1, 3).astype(np.float32) @ YCBCR.T.astype(np.float32)
    mean, spread = channels.mean(0, dtype=np.float64), channels.std(0, dtype=np.float64)
    return ImageStats(
        height=rgb.shape[0],
        width=rgb.shape[1],
        codec=info.codec if info else None,
        quality=info.quality if info else None,
        sharpness=round(sharpness(y, noise), 5),
        noise=round(noise, 5),
        mean=cast("tuple[float, float, float]", tuple(round(float(m), 4) for m in mean)),
        spread=cast("tuple[float, float, float]", tuple(round(float(s), 4) for s in spread)),
    )


def _blur(y: Floats32) -> Floats32:
    """Binomial blur, five taps each way, reflected at the border."""
    height, width = y.shape
    padded = y[_reflected(height)][:, _reflected(width)]
    rows = np.zeros((height, width + 4), y.dtype)
    for i, k in enumerate(_BINOMIAL):
        rows += k * padded[i : i + height]
    blurred = np.zeros_like(y)
    for j, k in enumerate(_BINOMIAL):
        blurred += k * rows[:, j : j + width]
    return blurred


@lru_cache(maxsize=256)
def _reflected(size: int) -> npt.NDArray[np.int64]:
    """Return the rows or columns of an image with two more at each end, which are those before them in reverse."""
    return np.pad(np.arange(size), 2, mode="reflect")  # for each image it would take as long as the blur


def _blocks(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut a plane into 8 x 8 blocks [blocks, 64]; incomplete ones at the right and the bottom are dropped."""
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    cut = plane[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    return cut.transpose(0, 2, 1, 3).reshape(rows * columns, _BLOCK * _BLOCK)


def _noise_gain() -> Floats:
    """Return the energy that white noise of variance 1 has in each band, from the impulse response. [4]"""
    kernel = np.outer(_BINOMIAL, _BINOMIAL)
    impulse = np.zeros((129, 129))
    impulse[64, 64] = 1
    gains, low = [], impulse
    for level in range(4):
        spread = np.zeros((129, 129))
        step = 2**level  # the same filters as on the halved image, without the halving
        for (i, j), k in np.ndenumerate(kernel):
            spread += k * np.roll(low, ((i - 2) * step, (j - 2) * step), axis=(0, 1))
        gains.append(float(np.square(low - spread).sum()))
        low = spread
    return np.array(gains)


_NOISE_GAIN = _noise_gain()
