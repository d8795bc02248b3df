"""Image statistics: each measure responds to what it names and to nothing else, and a sample survives JSON."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFilter

from faceaug.appearance.image_stats import (
    ImageStatsSample,
    dataset_image_stats,
    luma,
    measure_image_stats,
    noise_level,
    sharpness,
)
from faceaug.errors import DatasetError, ImageError, UsageError
from faceaug.utils.images import ImageInfo, Rgb, decode_with_info, encode


def scene(seed: int, side: int = 96) -> Rgb:
    """Draw a picture with edges, flats and fine texture: uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    picture = 110 + 40 * across
    for _ in range(25):
        x, y, r = rng.uniform(0, 1, 3)
        picture = np.where((across - x) ** 2 + (down - y) ** 2 < (0.15 * r) ** 2, rng.uniform(40, 210), picture)
    return np.repeat(picture[..., None], 3, axis=2).astype(np.uint8)


def blurred(rgb: Rgb, sigma: float) -> Rgb:
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma)))


@pytest.mark.parametrize("sigma", [1.0, 3.0, 8.0])
def test_noise_is_measured_and_not_mistaken_for_edges(sigma: float) -> None:
    rng = np.random.default_rng(1)
    clean = luma(blurred(scene(2), 0.7))
    assert noise_level(clean) < 0.5
    assert noise_level(clean + rng.normal(0, sigma, clean.shape).astype(np.float32)) == pytest.approx(sigma, rel=0.15)


def test_clipped_regions_do_not_count_as_free_of_noise() -> None:
    rng = np.random.default_rng(0)
    noisy = (128 + rng.normal(0, 6, (96, 96))).astype(np.float32)
    noisy[:60] = 255  # clipped highlights have no noise
    assert noise_level(noisy) == pytest.approx(6, rel=0.15)


def test_sharpness_falls_with_blur_and_does_not_move_with_contrast_or_noise() -> None:
    plain = luma(blurred(scene(3), 0.6))
    values = [sharpness(luma(blurred(scene(3), sigma))) for sigma in (0.6, 1.0, 1.6, 2.5)]
    assert all(a > b + 0.3 for a, b in pairwise(values))
    assert sharpness(plain * 0.5 + 40) == pytest.approx(values[0], abs=0.05)
    noisy = plain + np.random.default_rng(0).normal(0, 4, plain.shape).astype(np.float32)
    assert sharpness(noisy) == pytest.approx(values[0], abs=0.35)
    assert sharpness(noisy, noise=0.0) > values[0] + 0.35  # what taking the noise off is good for


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 200), (40, 40)])
def test_tiny_and_blank_pictures_have_finite_measures(shape: tuple[int, int]) -> None:
    one = measure_image_stats([(np.full((*shape, 3), 77, np.uint8), None)]).stats[0]
    assert np.isfinite([one.sharpness, one.noise, *one.mean, *one.spread]).all()
    assert one.sharpness < -5  # blank is soft, not sharp
    assert one.mean == pytest.approx((77, 0, 0), abs=0.01)


def test_colour_is_that_of_the_channels_and_obeys_weights() -> None:
    red, blue = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 200
    even = measure_image_stats([(red, None), (blue, None)]).colour()[0]
    np.testing.assert_allclose(even, [0.5 * (59.8 + 22.8), 0.5 * (100 - 33.75), 0.5 * (100 - 16.26)], atol=0.05)
    mostly_red = measure_image_stats([(red, None), (blue, None)], [3, 1]).colour()[0]
    np.testing.assert_allclose(mostly_red[0], 0.75 * 59.8 + 0.25 * 22.8, atol=0.05)


class Bytes:
    def __init__(self, images: list[bytes]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def encoded(self, index: int, /) -> bytes:
        return self.images[index]


def test_a_dataset_is_sampled_with_a_seed_and_its_files_give_codec_and_quality() -> None:
    files = [encode(scene(k, 40 + k), "jpeg" if k % 4 else "png", 60 + k) for k in range(20)]
    weights = [float(k) for k in range(20)]
    some = dataset_image_stats(Bytes(files), sample=8, seed=5, weights=weights)
    assert some == dataset_image_stats(Bytes(files), sample=8, seed=5, weights=weights)
    assert some != dataset_image_stats(Bytes(files), sample=8, seed=6, weights=weights)
    for one, weight in zip(some.stats, some.weights, strict=True):
        k = one.height - 40
        assert one.width == one.height
        assert (one.codec, one.quality) == (("jpeg", 60 + k) if k % 4 else ("png", None))
        assert weight == pytest.approx(k / sum(one.height - 40 for one in some.stats))
    everything = dataset_image_stats(Bytes(files), sample=1000)
    assert len(everything) == 20
    assert everything.codec == "jpeg"
    assert everything.summary()["quality"][2] == pytest.approx(70, abs=1)


def test_survives_json_whole() -> None:
    pictures = [decode_with_info(encode(scene(k), "jpeg", 80)) for k in range(3)]
    measured = measure_image_stats([*pictures, (scene(9), None)])
    assert ImageStatsSample.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured
    assert json.loads(json.dumps(measured.summary()))["images"] == 4


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="no images"):
        measure_image_stats([])
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(UsageError, match="do not fit 2 images"):
            measure_image_stats([(scene(0), None)] * 2, weights)
    with pytest.raises(DatasetError, match="no images"):
        dataset_image_stats(Bytes([]))
    with pytest.raises(ImageError, match="image 0 of the data set"):
        dataset_image_stats(Bytes([b"nothing"]))


def test_info_is_taken_as_given() -> None:
    one = measure_image_stats([(scene(0), ImageInfo("webp", 96, 96, None))]).stats[0]
    assert (one.codec, one.quality) == ("webp", None)
