"""Photographs that are bent: right where the truth is known, untouched away from the face, refused where torn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from faceaug.errors import FaceaugError
from faceaug.measurement.alignment import canvas_extent, lay_on_canvas
from faceaug.measurement.crops import cut
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.synthetic_scenes import SEMANTICS, Scenes
from faceaug.reconstruction.warp import apply_warp, compute_warp
from faceaug.utils.images import resize

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
HERE = torch.zeros(1, 4)


def scene(**semantics: float) -> tuple[torch.Tensor, FaceFactors]:
    """A scene's picture [1, 3, 64, 64] and its true reading; semantics in standard deviations."""
    scenes = Scenes(64)
    asked = torch.zeros(1, len(SEMANTICS))
    for name, value in semantics.items():
        asked[0, SEMANTICS.index(name)] = value
    w = asked @ torch.from_numpy(np.array(scenes.mixing)).float()
    truth = scenes.truth(w)
    return scenes.synthesize(w), FaceFactors(truth.depth, truth.albedo, truth.light, truth.view)


def turned(picture: torch.Tensor, reading: FaceFactors, **by: float) -> torch.Tensor:
    """The picture rendered with its view turned by so many radians."""
    view = reading.view.clone()
    for name, angle in by.items():
        view[:, ("pitch", "yaw", "roll").index(name)] += angle
    return apply_warp(picture, compute_warp(reading, view, reading.light), WHOLE, HERE)


FACE = (slice(None), slice(None), slice(18, 46), slice(18, 46))


def off(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two)[FACE].abs().mean())


def test_nothing_asked_changes_nothing():
    picture, reading = scene(yaw=0.7, light_x=1.0)
    again = turned(picture, reading)
    assert float((again - picture).abs().max()) < 2 / 255


@pytest.mark.parametrize(("begin", "end"), [(0.0, 0.8), (-0.5, 0.5), (0.8, 0.0)])
def test_a_turn_gives_what_the_scene_shows_from_there(begin, end):
    before, reading = scene(yaw=begin)
    after, wanted = scene(yaw=end)
    made = turned(before, reading, yaw=float(wanted.view[0, 1] - reading.view[0, 1]))
    assert off(made, after) < 0.5 * off(before, after)


def test_a_lifted_face_too():
    before, reading = scene()
    after, wanted = scene(pitch=1.2)
    made = turned(before, reading, pitch=float(wanted.view[0, 0] - reading.view[0, 0]))
    assert off(made, after) < 0.6 * off(before, after)


def test_light_gives_what_the_scene_shows_under_it():
    before, reading = scene(light_x=-1.0)
    after, wanted = scene(light_x=1.0)
    made = apply_warp(before, compute_warp(reading, reading.view, wanted.light), WHOLE, HERE)
    assert off(made, after) < 0.5 * off(before, after)


def test_the_mirrored_face_is_turned_the_mirrored_way():
    picture, reading = scene(yaw=0.3)
    one = turned(picture, reading, yaw=0.2)
    other = turned(picture.flip(-1), reading.mirrored(), yaw=-0.2).flip(-1)
    assert off(one, other) < 0.02


def test_corners_stay():
    picture, reading = scene()
    made = turned(picture, reading, yaw=0.3, pitch=0.1)
    for rows in (slice(0, 3), slice(61, 64)):
        for columns in (slice(0, 3), slice(61, 64)):
            torch.testing.assert_close(made[..., rows, columns], picture[..., rows, columns], atol=0.02, rtol=0)


def test_a_small_turn_is_whole_and_a_huge_one_is_not():
    _, reading = scene()

    def after(yaw: float):
        view = reading.view.clone()
        view[:, 1] += yaw
        return compute_warp(reading, view, reading.light)

    small = after(math.radians(12))
    assert float(small.holes) == 0
    assert float(small.folds) < 0.02
    assert float(after(math.radians(75)).folds) > 0.05
    wide = scene(yaw=2.8)[1]  # 56 degrees
    away = wide.view.clone()
    away[:, 1] = -away[:, 1]
    torn = compute_warp(wide, away, wide.light)
    assert float(torn.holes + torn.folds) > float(small.holes + small.folds)


def test_what_a_profile_hides_comes_from_the_other_half():
    """Cheeks of different colour: of the hidden one nothing is known, and it takes the seen one's."""
    _, reading = scene(yaw=2.2)
    frontal = reading.view.clone()
    frontal[:, 1] = 0
    bent = compute_warp(reading, frontal, reading.light)
    shares = bent.share[0, 0]
    half = shares.shape[-1] // 2
    assert float(shares[:, :half].sum() + shares[:, half:].sum()) > 0
    assert abs(float(shares[:, :half].sum() - shares[:, half:].sum())) > 0.5 * float(shares.sum())


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50), (30, 90)])
def test_a_photograph_is_bent_as_its_canvas_is(size):
    """Placing by extent: bending the photograph and laying it, or laying it and bending the canvas, are one."""
    rng = np.random.default_rng(3)
    photograph = resize(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8), size)
    canvas, shorter = lay_on_canvas(photograph)
    window = torch.tensor([[0.05, -0.1, math.log(shorter * 0.9), 0.1]])
    _, reading = scene()
    view = reading.view.clone()
    view[:, 1] += 0.25
    bent = compute_warp(reading, view, reading.light)

    def as_tensor(image):
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1

    made = apply_warp(as_tensor(photograph), bent, torch.tensor([canvas_extent(*size)]), window)
    laid = as_tensor(lay_on_canvas(((made[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())[0])
    direct = apply_warp(as_tensor(canvas), bent, WHOLE, window)
    one, other, plain = (cut(part, window)[..., 16:48, 16:48] for part in (laid, direct, as_tensor(canvas)))
    assert float((one - other).abs().mean()) < 0.25 * float((one - plain).abs().mean())


def test_views_of_another_number_are_refused():
    _, reading = scene()
    with pytest.raises(FaceaugError, match="do not go with 1 readings"):
        compute_warp(reading, torch.zeros(2, 6), torch.zeros(2, 4))
