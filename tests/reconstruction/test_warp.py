"""Warps: right where the truth is known, the identity away from the face, and measured where they tear."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceaug.errors import FaceaugError
from faceaug.measurement.alignment import canvas_extent, lay_on_canvas
from faceaug.measurement.crops import CanvasPyramid
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.geometry import pixel_grid
from faceaug.reconstruction.synthetic_scenes import SEMANTICS, Scenes
from faceaug.reconstruction.warp import apply_warp, compute_warp
from faceaug.utils.images import resize

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
HERE = torch.zeros(1, 4)


def scene(**semantics: float) -> tuple[torch.Tensor, FaceFactors]:
    """Return a scene's image [1, 3, 64, 64] and its true factors; semantics in standard deviations."""
    scenes = Scenes(64)
    values = torch.zeros(1, len(SEMANTICS))
    for name, value in semantics.items():
        values[0, SEMANTICS.index(name)] = value
    w = values @ torch.from_numpy(np.array(scenes.mixing)).float()
    truth = scenes.truth(w)
    return scenes.synthesize(w), FaceFactors(truth.depth, truth.albedo, truth.light, truth.view)


def turned(image: torch.Tensor, factors: FaceFactors, **by: float) -> torch.Tensor:
    """Return the image with its view turned by so many radians."""
    view = factors.view.clone()
    for name, angle in by.items():
        view[:, ("pitch", "yaw", "roll").index(name)] += angle
    return apply_warp(image, compute_warp(factors, view, factors.light), WHOLE, HERE)


FACE = (slice(None), slice(None), slice(18, 46), slice(18, 46))


def off(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two)[FACE].abs().mean())


def test_the_same_view_changes_nothing():
    image, factors = scene(yaw=0.7, light_x=1.0)
    again = turned(image, factors)
    assert float((again - image).abs().max()) < 2 / 255


@pytest.mark.parametrize(("begin", "end"), [(0.0, 0.8), (-0.5, 0.5), (0.8, 0.0)])
def test_a_turn_gives_what_the_scene_shows_from_there(begin, end):
    before, factors = scene(yaw=begin)
    after, true = scene(yaw=end)
    warped = turned(before, factors, yaw=float(true.view[0, 1] - factors.view[0, 1]))
    assert off(warped, after) < 0.5 * off(before, after)


def test_a_lifted_face_is_what_the_scene_shows():
    before, factors = scene()
    after, true = scene(pitch=1.2)
    warped = turned(before, factors, pitch=float(true.view[0, 0] - factors.view[0, 0]))
    assert off(warped, after) < 0.6 * off(before, after)


def test_a_face_that_is_kept_in_place_is_turned_alike_and_its_background_moves():
    image, factors = scene()
    view = factors.view.clone()
    view[:, 1] += 0.3
    warp = compute_warp(factors, view, factors.light)
    across, down = warp.movement[0].tolist()
    assert 0.1 < abs(across) < 0.3
    assert abs(down) < 0.02
    moved = apply_warp(image, warp, WHOLE, HERE)
    kept = apply_warp(image, warp, WHOLE, HERE, in_place=True)
    grid = pixel_grid(64, image)[None] + warp.movement
    back = F.grid_sample(moved, grid, mode="bicubic", padding_mode="border", align_corners=False)
    assert off(kept, back) < 0.03 < off(kept, moved)


def test_light_gives_what_the_scene_shows_under_it():
    before, factors = scene(light_x=-1.0)
    after, true = scene(light_x=1.0)
    warped = apply_warp(before, compute_warp(factors, factors.view, true.light), WHOLE, HERE)
    assert off(warped, after) < 0.5 * off(before, after)


def test_the_mirrored_face_is_turned_the_mirrored_way():
    image, factors = scene(yaw=0.3)
    one = turned(image, factors, yaw=0.2)
    other = turned(image.flip(-1), factors.mirrored(), yaw=-0.2).flip(-1)
    assert off(one, other) < 0.02


def test_corners_stay():
    image, factors = scene()
    warped = turned(image, factors, yaw=0.3, pitch=0.1)
    for rows in (slice(0, 3), slice(61, 64)):
        for columns in (slice(0, 3), slice(61, 64)):
            torch.testing.assert_close(warped[..., rows, columns], image[..., rows, columns], atol=0.02, rtol=0)


def test_a_small_turn_is_whole_and_a_huge_one_is_not():
    _, factors = scene()

    def after(yaw: float):
        view = factors.view.clone()
        view[:, 1] += yaw
        return compute_warp(factors, view, factors.light)

    small = after(math.radians(12))
    assert float(small.holes) == 0
    assert float(small.folds) < 0.02
    assert float(after(math.radians(75)).folds) > 0.05
    wide = scene(yaw=2.8)[1]  # 56 degrees
    away = wide.view.clone()
    away[:, 1] = -away[:, 1]
    torn = compute_warp(wide, away, wide.light)
    assert float(torn.holes + torn.folds) > float(small.holes + small.folds)


def test_the_hidden_half_of_a_profile_is_taken_from_the_other_half():
    _, factors = scene(yaw=2.2)
    frontal = factors.view.clone()
    frontal[:, 1] = 0
    warp = compute_warp(factors, frontal, factors.light)
    shares = warp.mirror_share[0, 0]
    half = shares.shape[-1] // 2
    assert float(shares[:, :half].sum() + shares[:, half:].sum()) > 0
    assert abs(float(shares[:, :half].sum() - shares[:, half:].sum())) > 0.5 * float(shares.sum())


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50), (30, 90)])
def test_a_photograph_is_warped_as_its_canvas_is(size):
    """Warping a photograph and laying it on a canvas is laying it and warping the canvas."""
    rng = np.random.default_rng(3)
    photograph = resize(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8), size)
    canvas, shorter = lay_on_canvas(photograph)
    window = torch.tensor([[0.05, -0.1, math.log(shorter * 0.9), 0.1]])
    _, factors = scene()
    view = factors.view.clone()
    view[:, 1] += 0.25
    warp = compute_warp(factors, view, factors.light)

    def as_tensor(image):
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1

    warped = apply_warp(as_tensor(photograph), warp, torch.tensor([canvas_extent(*size)]), window)
    laid = as_tensor(lay_on_canvas(((warped[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())[0])
    direct = apply_warp(as_tensor(canvas), warp, WHOLE, window)
    one, other, plain = (
        CanvasPyramid(canvas).crop(window)[..., 16:48, 16:48] for canvas in (laid, direct, as_tensor(canvas))
    )
    assert float((one - other).abs().mean()) < 0.25 * float((one - plain).abs().mean())


def test_another_number_of_views_is_refused():
    _, factors = scene()
    with pytest.raises(FaceaugError, match="do not fit 1 photographs"):
        compute_warp(factors, torch.zeros(2, 6), torch.zeros(2, 4))
