"""Framing: the window that was really cut is found again, and cutting is exact, batched and differentiable."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from faceaug.appearance.framing import Framing, apply_framing, measure_framing
from faceaug.errors import UsageError

torch.set_num_threads(1)


def drawn_faces(
    count: int, seed: int, scale: float | tuple[float, float] = 1.0, dx: float = 0.0, dy: float = 0.0
) -> np.ndarray:
    """Draw cartoon faces on busy backgrounds, seen through the window (scale, dx, dy). uint8 [count, 64, 64, 3]."""
    wide, high = scale if isinstance(scale, tuple) else (scale, scale)
    rng = np.random.default_rng(seed)
    steps = (np.arange(64) + 0.5) / 64 - 0.5
    pictures = np.empty((count, 64, 64, 3), np.uint8)
    for k in range(count):
        x = (steps * wide + dx)[None, :] + rng.normal(0, 0.01)
        y = (steps * high + dy)[:, None] + rng.normal(0, 0.01)
        face = (x / 0.27) ** 2 + ((y - 0.05) / 0.36) ** 2 < 1
        skin = rng.uniform(0.25, 0.9)
        picture = np.where(face, skin, rng.uniform(0, 1) + 0.1 * np.sin(40 * (x + y) + rng.uniform(0, 6)))
        for eye in (-0.11, 0.11):
            picture = np.where((x - eye) ** 2 / 0.04**2 + (y + 0.03) ** 2 / 0.02**2 < 1, skin * 0.3, picture)
        picture = np.where((x / 0.09) ** 2 + ((y - 0.22) / 0.02) ** 2 < 1, skin * 0.5, picture)
        picture = np.where((x / 0.03) ** 2 + ((y - 0.1) / 0.03) ** 2 < 1, skin * 0.8, picture)
        tint = np.array([1.0, 0.85, 0.75]) * 255 * picture[..., None] + rng.normal(0, 6, (64, 64, 3))
        pictures[k] = tint.clip(0, 255)
    return pictures


@pytest.mark.parametrize(("scale", "dx", "dy"), [(0.8, 0.0, 0.1), (0.7, -0.1, 0.03), (0.9, 0.04, -0.05)])
def test_finds_the_window_that_the_dataset_was_cut_with(scale: float, dx: float, dy: float) -> None:
    framing = measure_framing(drawn_faces(80, 1, scale, dx, dy), drawn_faces(80, 2))
    assert framing.scale == pytest.approx(scale, abs=0.03)
    assert framing.dx == pytest.approx(dx, abs=0.02)
    assert framing.dy == pytest.approx(dy, abs=0.02)
    assert framing.match > 0.9 > framing.match_before


def test_equal_and_looser_datasets_need_no_window() -> None:
    generated = drawn_faces(60, 3, 0.8)
    for scale in (0.8, 1.0):  # the same framing, and a looser one, which no window can give
        framing = measure_framing(drawn_faces(60, 4, scale), generated)
        assert framing.scale > 0.97, framing


def test_is_deterministic_and_survives_json() -> None:
    real, generated = drawn_faces(30, 5, 0.75), drawn_faces(30, 6)
    framing = measure_framing(real, generated)
    assert measure_framing(real, generated) == framing
    assert Framing.from_dict(json.loads(json.dumps(framing.to_dict()))) == framing
    unmeasured = Framing.from_dict(json.loads(json.dumps(Framing(0.8).to_dict())))
    assert (unmeasured.scale, np.isnan(unmeasured.match)) == (0.8, True)


@pytest.mark.parametrize(
    "pictures", [np.zeros((2, 32, 32, 3), np.uint8), np.zeros((0, 64, 64, 3), np.uint8), np.zeros((2, 64, 64, 3))]
)
def test_refuses_what_it_cannot_measure(pictures: np.ndarray) -> None:
    with pytest.raises(UsageError, match="framing is measured on"):
        measure_framing(pictures, drawn_faces(2, 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1.2, 0, 0), "must be in"),
        ((0.0, 0, 0), "must be in"),
        ((0.8, 0, 0, 0.0), "must be in"),
        ((0.8, 0.2, 0), "reaches out of the image"),
        ((0.8, 0, -0.11), "reaches out of the image"),
        ((0.8, 0, 0.31, 2.0), "reaches out of the image"),
    ],
)
def test_refuses_a_window_that_leaves_the_image(fields: tuple[float, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Framing(*fields)


def test_a_dataset_of_tall_images_gets_a_tall_window() -> None:
    # Tall pictures, 0.64 of the generator's width by 0.8 of its height, squeezed into squares.
    tall = drawn_faces(80, 1, (0.64, 0.8), 0.05, 0.08)
    framing = measure_framing(tall, drawn_faces(80, 2), aspect=0.8)
    assert framing.scale == pytest.approx(0.8, abs=0.03)
    assert framing.dx == pytest.approx(0.05, abs=0.02)
    assert framing.dy == pytest.approx(0.08, abs=0.02)
    ramp = (torch.linspace(-1, 1, 65)[:-1] + 1 / 64).expand(1, 3, 64, 64)
    across = apply_framing(ramp, Framing(0.8, 0.05, 0.08, 0.8))[0, 0, 0]
    assert across[-1] - across[0] == pytest.approx(0.64 * (2 - 1 / 32), abs=4e-3)


def test_cuts_exactly_the_window() -> None:
    ramp = torch.linspace(-1, 1, 65)[:-1] + 1 / 64  # at pixel centres: value = position
    images = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)])[None]
    framed = apply_framing(images, Framing(0.5, 0.1, -0.2))
    # A pixel is 0.031 wide; bicubic interpolation bends a ramp by a twentieth of that.
    torch.testing.assert_close(framed[0, 0], (0.5 * ramp + 0.2).expand(64, 64), atol=2e-3, rtol=0)
    torch.testing.assert_close(framed[0, 1], (0.5 * ramp - 0.4)[:, None].expand(64, 64), atol=2e-3, rtol=0)


def test_cutting_is_the_same_in_any_batch_in_range_and_differentiable() -> None:
    images = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    framing = Framing(0.75, 0.02, 0.1)
    framed = apply_framing(images, framing)
    assert framed.shape == images.shape
    assert framed.abs().max() <= 1
    for k in range(9):
        assert torch.equal(apply_framing(images[k : k + 1], framing)[0], framed[k])
    assert apply_framing(images, Framing()) is images
    inside = (images * 0.5).requires_grad_()
    apply_framing(inside, framing).sum().backward()  # type: ignore[no-untyped-call]
    assert inside.grad is not None
    assert inside.grad[0, 0, 24, 16] > 0  # inside of the window
    assert inside.grad[0, 0, 0, 0] == 0  # outside


def test_real_faces_are_found_where_they_were_cut() -> None:
    folder = os.environ.get("FACEAUG_UTKFACE")
    if not folder:
        pytest.skip("FACEAUG_UTKFACE is not set")
    with open(Path(folder) / "labels.csv", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    random.Random(0).shuffle(names)

    def load(name: str, box: tuple[float, float, float, float]) -> np.ndarray:
        with Image.open(Path(folder) / "images" / name) as picture:
            return np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS, box=box))

    whole = np.stack([load(name, (0, 0, 200, 200)) for name in names[:200]])
    tighter = np.stack([load(name, (16, 32, 176, 192)) for name in names[200:400]])  # scale 0.8, dx -0.02, dy 0.06
    framing = measure_framing(tighter, whole)
    assert framing.scale == pytest.approx(0.8, abs=0.03)
    assert framing.dx == pytest.approx(-0.02, abs=0.02)
    assert framing.dy == pytest.approx(0.06, abs=0.02)
