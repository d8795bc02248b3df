"""Harmonization: images get the statistics of the data set, by their seed alone, and colour keeps skin tones apart."""

from __future__ import annotations

import hashlib
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from forked import run_forked
from PIL import Image, ImageFilter

from faceaug.appearance.harmonize import (
    HARMONIZATION_PARAMETERS,
    MAX_UNSHARP_AMOUNT,
    ColourMatch,
    Harmonizer,
    match_colour,
)
from faceaug.appearance.image_stats import ImageStatsSample, luma, measure_image_stats
from faceaug.errors import UsageError
from faceaug.utils.images import ImageInfo, Rgb, decode_with_info, encode
from faceaug.utils.tensors import as_tensor, to_uint8

torch.set_num_threads(1)


def picture(seed: int, side: int, *, blur: float, noise: float, gain: float = 1.0, height: int | None = None) -> Rgb:
    """Draw discs on a slope, blurred, dimmed by `gain` and with noise: uint8 [height or side, side, 3]."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, height or side))
    colours = np.repeat((90 + 50 * across)[..., None], 3, axis=2) * [1.1, 0.95, 0.85]
    for _ in range(30):
        x, y, r = rng.uniform(0, 1, 3)
        inside = (across - x) ** 2 + (down - y) ** 2 < (0.12 * r) ** 2
        colours = np.where(inside[..., None], rng.uniform(50, 190) * np.array([1.1, 0.95, 0.85]), colours)
    soft = np.asarray(Image.fromarray(colours.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur)))
    grain = rng.normal(0, noise, (*soft.shape[:2], 1))
    return (soft * gain + grain).round().clip(0, 255).astype(np.uint8)


def photographs(count: int, **options: float) -> list[tuple[Rgb, ImageInfo]]:
    files = [encode(picture(k, 96, **options), "jpeg", 85 + k % 10) for k in range(count)]  # type: ignore[arg-type]
    return [decode_with_info(data) for data in files]


def generated(count: int, **options: float) -> list[Rgb]:
    return [picture(1000 + k, 48, **options) for k in range(count)]  # type: ignore[arg-type]


def recoloured(colour: ColourMatch, rgb: Rgb) -> Rgb:
    return to_uint8(colour.apply(as_tensor(rgb)[None]))[0]


def harmonized_files(harmonizer: Harmonizer, pictures: list[Rgb]) -> ImageStatsSample:
    """Harmonize, write and read back: what is measured is what a training reads."""
    results = [harmonizer(rgb, seed) for seed, rgb in enumerate(pictures)]
    return measure_image_stats(decode_with_info(encode(rgb, harmonizer.output_codec, q or 90)) for rgb, _, q in results)


def median(sample: ImageStatsSample, name: str) -> float:
    return float(np.median([getattr(one, name) for one in sample.stats]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("synthetic", "photographed"),
    [
        ({"blur": 1.2, "noise": 0.0, "gain": 0.6}, {"blur": 0.9, "noise": 4.0}),  # too soft, too clean, too dark
        ({"blur": 0.0, "noise": 0.0, "gain": 1.0}, {"blur": 3.0, "noise": 0.0, "gain": 0.6}),  # too sharp, too bright
    ],
)
def test_the_distance_to_the_dataset_at_least_halves(
    synthetic: dict[str, float], photographed: dict[str, float]
) -> None:
    real = measure_image_stats(photographs(40, **photographed))
    pictures = generated(40, **synthetic)
    colour = match_colour(measure_image_stats((rgb, None) for rgb in pictures), real)
    plain = measure_image_stats(  # resized only
        decode_with_info(encode(np.asarray(Image.fromarray(rgb).resize((96, 96), Image.Resampling.LANCZOS)), "jpeg"))
        for rgb in pictures
    )
    harmonized = harmonized_files(Harmonizer(real), [recoloured(colour, rgb) for rgb in pictures])
    for name, enough in (("sharpness", 0.0), ("noise", 0.1)):
        before = abs(median(plain, name) - median(real, name))
        after = abs(median(harmonized, name) - median(real, name))
        assert after <= max(before / 2, enough), (name, before, after)
    assert abs(median(plain, "sharpness") - median(real, "sharpness")) > 0.6  # there was something to correct
    wanted, before_colour, after_colour = real.colour(), plain.colour(), harmonized.colour()
    assert abs(after_colour[0][0] - wanted[0][0]) <= 0.5 * abs(before_colour[0][0] - wanted[0][0])
    assert abs(after_colour[1][0] - wanted[1][0]) <= 0.5 * abs(before_colour[1][0] - wanted[1][0]) + 1


@pytest.fixture(scope="module")
def harmonizer() -> Harmonizer:
    return Harmonizer(measure_image_stats(photographs(20, blur=0.9, noise=4.0)))


def test_the_seed_alone_decides(harmonizer: Harmonizer) -> None:
    rgb = generated(1, blur=0.5, noise=0.0)[0]
    np.random.seed(3)  # noqa: NPY002 - global states must not matter
    random.seed(3)
    first = [harmonizer(rgb, seed) for seed in range(6)]
    np.random.seed(4)  # noqa: NPY002
    copy = pickle.loads(pickle.dumps(harmonizer))
    again = {seed: copy(rgb, seed) for seed in (5, 2, 0, 3, 4, 1)}
    for seed, (image, parameters, quality) in enumerate(first):
        assert np.array_equal(image, again[seed][0])
        assert (parameters, quality) == again[seed][1:]
        assert tuple(parameters) == HARMONIZATION_PARAMETERS
        assert all(isinstance(value, float) and np.isfinite(value) for value in parameters.values())
    assert len({image.tobytes() for image, _, _ in first}) == 6
    harmonizer(rgb, 2**64 - 1)  # the largest seed


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(harmonizer: Harmonizer, tmp_path: Path) -> None:
    rgb = generated(1, blur=0.5, noise=0.0)[0]
    (tmp_path / "given").write_bytes(pickle.dumps((harmonizer, rgb)))
    code = (
        "import hashlib, pickle, sys; harmonizer, rgb = pickle.load(open(sys.argv[1], 'rb'));"
        "print(hashlib.sha256(harmonizer(rgb, 7)[0].tobytes()).hexdigest())"
    )
    there = run_forked(code, tmp_path / "given")
    assert there.stdout.strip() == hashlib.sha256(harmonizer(rgb, 7)[0].tobytes()).hexdigest()


def test_size_codec_and_quality_are_drawn_together_from_the_dataset() -> None:
    files = []
    for k in range(12):
        rgb = picture(k, 60 + 4 * k, blur=0.8, noise=1.0, height=80)
        files.append(decode_with_info(encode(rgb, "jpeg", 70 + k)))
    files.append(decode_with_info(encode(picture(99, 30, blur=0.8, noise=1.0), "png")))  # a stray one
    harmonizer = Harmonizer(measure_image_stats(files))
    assert harmonizer.output_codec == "jpeg"
    drawn = [harmonizer(generated(1, blur=0.5, noise=0.0)[0], seed) for seed in range(40)]
    stored = {(info.height, info.width, info.quality) for _, info in files[:-1]}
    used = {(image.shape[0], image.shape[1], quality) for image, _, quality in drawn}
    assert used <= stored
    assert len(used) > 6
    as_png = Harmonizer(measure_image_stats(files), codec="png")
    assert (as_png.output_codec, as_png(generated(1, blur=0.5, noise=0.0)[0], 0)[2]) == ("png", None)


def test_the_aspect_of_faces_is_kept() -> None:
    """A circle stays a circle in a data set of tall images, whether the framing was square or already tall."""
    steps = np.linspace(-1, 1, 64)
    tall = measure_image_stats([(np.zeros((100, 80, 3), np.uint8), ImageInfo("png", 80, 100, None))])
    for aspect in (1.0, 0.8):
        inside = (steps[None, :] * aspect) ** 2 + steps[:, None] ** 2 < 0.25  # squeezed if the framing was tall
        disc = np.repeat(np.where(inside, 220, 30)[..., None], 3, axis=2).astype(np.uint8)
        image, _, _ = Harmonizer(tall, aspect=aspect)(disc, 0)
        assert image.shape == (100, 80, 3)
        bright = image[..., 0] > 125
        assert bright.any(0).sum() == pytest.approx(bright.any(1).sum(), abs=2)


def test_sharpening_stops_at_its_limit_and_blank_images_pass(harmonizer: Harmonizer) -> None:
    sharp = Harmonizer(measure_image_stats(photographs(5, blur=0.0, noise=0.0)))
    amounts = [sharp(rgb, 0)[1]["unsharp_amount"] for rgb in generated(5, blur=3.0, noise=0.0)]
    assert max(amounts) == MAX_UNSHARP_AMOUNT
    image, parameters, _ = harmonizer(np.full((48, 48, 3), 255, np.uint8), 0)
    assert image.mean() > 235
    assert np.isfinite(list(parameters.values())).all()


def stats_of(mean: float, spread: float) -> ImageStatsSample:
    rng = np.random.default_rng(0)
    noise: npt.NDArray[np.float64] = rng.normal(mean, spread, (64, 64, 1)).repeat(3, axis=2)
    return measure_image_stats([(noise.clip(0, 255).astype(np.uint8), None)])


def test_colour_is_one_mapping_for_all_images_and_keeps_their_order() -> None:
    """Dark and light skin stay as far apart as before, up to the gain, whoever else is in the image."""
    colour = match_colour(stats_of(80, 35), stats_of(135, 45))
    skins = [np.full((8, 8, 3), tone, np.uint8) for tone in ([60, 40, 30], [120, 85, 65], [190, 150, 130])]
    mapped = [recoloured(colour, skin) for skin in skins]
    lumas = [float(luma(rgb).mean()) for rgb in mapped]
    assert lumas[0] < lumas[1] < lumas[2]
    gap = float(luma(skins[1]).mean() - luma(skins[0]).mean())
    assert gap <= lumas[1] - lumas[0] <= 1.4 * gap
    both = np.concatenate([skins[0], skins[2]])
    assert np.array_equal(recoloured(colour, both), np.concatenate([mapped[0], mapped[2]]))


def test_colour_mapping_on_tensors_is_batched_monotone_in_range_and_the_identity_undamped() -> None:
    colour = match_colour(stats_of(80, 35), stats_of(135, 45))
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mapped = colour.apply(images)
    assert mapped.abs().max() <= 1
    assert all(torch.equal(colour.apply(images[k : k + 1])[0], mapped[k]) for k in range(5))
    greys = (torch.arange(256) / 127.5 - 1).expand(1, 3, 1, 256)
    assert (colour.apply(greys)[0, :, 0].diff(dim=1) > -1e-6).all()
    backwards = match_colour(stats_of(135, 45), stats_of(80, 35))
    assert (backwards.apply(greys)[0, :, 0].diff(dim=1) > -1e-6).all()
    nothing = match_colour(stats_of(80, 35), stats_of(135, 45), damping=0.0)
    torch.testing.assert_close(nothing.apply(images), images, atol=1e-4, rtol=0)
    images.requires_grad_()
    colour.apply(images).sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    with pytest.raises(UsageError, match="damping of"):
        match_colour(stats_of(80, 35), stats_of(135, 45), damping=1.5)


def test_weights_keep_an_unbalanced_dataset_from_brightening_everything() -> None:
    light = [(picture(k, 48, blur=1, noise=0, gain=1.4), None) for k in range(9)]
    dark = [(picture(k, 48, blur=1, noise=0, gain=0.6), None) for k in range(9)]
    generator = measure_image_stats([*light, *dark])  # shows both equally often
    unbalanced = [*light, dark[0]]
    naive = match_colour(generator, measure_image_stats(unbalanced))
    fair = match_colour(generator, measure_image_stats(unbalanced, [1 / 9] * 9 + [1]))
    grey = np.full((4, 4, 3), 110, np.uint8)
    assert recoloured(naive, grey).mean() > 120
    assert recoloured(fair, grey).mean() == pytest.approx(110, abs=2)


THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from faceaug.appearance.harmonize import _effects

start = Barrier(8)
def load(_):
    start.wait()
    return _effects()
with ThreadPoolExecutor(8) as pool:
    assert len({id(effects) for effects in pool.map(load, range(8))}) == 1
"""


@pytest.mark.slow
def test_threads_that_harmonize_at_once_load_the_filters_once():
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
