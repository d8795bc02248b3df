"""What belongs to the photograph: colour outside the face, the side of the light, and what an edit spills."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.appearance import scene
from faceaug.appearance.scene import (
    FaceEllipse,
    luminance,
    measure_exposure,
    measure_scene,
    measure_spill,
    measure_tints,
)

ELLIPSE = FaceEllipse()


def grid(side):
    steps = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x, y


def inside(side, radius=1.0):
    """The face as the ellipse draws it, bool [side, side]."""
    x, y = grid(side)
    return ((x - ELLIPSE.x) / ELLIPSE.width) ** 2 + ((y - ELLIPSE.y) / ELLIPSE.height) ** 2 <= radius**2


def pictures(n=3, side=64, seed=0):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.6


@pytest.mark.parametrize("side", [32, 64, 100])
def test_light_from_the_pictures_right_is_positive(side):
    x, _ = grid(side)
    right = torch.where(x > 0.5, 0.4, -0.2).expand(1, 3, -1, -1)
    values = measure_scene(torch.cat([right, right.flip(-1), torch.zeros_like(right)]), ELLIPSE)
    side_of_light = values[:, scene.NAMES.index("light_side")]
    torch.testing.assert_close(side_of_light, torch.tensor([0.6, -0.6, 0.0]), atol=1e-3, rtol=0)


def test_a_mirror_turns_the_light_and_nothing_else():
    images = pictures()
    one, two = measure_scene(images, ELLIPSE), measure_scene(images.flip(-1), ELLIPSE)
    torch.testing.assert_close(one[:, 3], -two[:, 3], atol=1e-5, rtol=0)
    torch.testing.assert_close(one[:, :3], two[:, :3], atol=1e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1, 1), st.sampled_from([33, 64]))
def test_painting_the_face_leaves_the_outside_as_it_was(paint, side):
    images = pictures(side=side)
    painted = torch.where(inside(side, ELLIPSE.margin - 0.01), torch.full_like(images, paint), images)
    assert torch.equal(measure_scene(painted, ELLIPSE)[:, :3], measure_scene(images, ELLIPSE)[:, :3])


def test_each_channel_is_measured_on_its_own():
    images = torch.zeros(1, 3, 64, 64)
    images[0, 0], images[0, 1], images[0, 2] = 0.5, -0.25, 0.75
    torch.testing.assert_close(
        measure_scene(images, ELLIPSE)[0], torch.tensor([0.5, -0.25, 0.75, 0.0]), atol=1e-5, rtol=0
    )
    assert scene.NAMES[:3] == ("outside_red", "outside_green", "outside_blue")
    assert set(scene.MEANINGS) == {*scene.NAMES, scene.EXPOSURE, scene.FACE_QUALITY}


def test_painting_the_outside_leaves_the_light_as_it_was():
    images = pictures()
    painted = torch.where(inside(64), images, torch.full_like(images, 0.9))
    torch.testing.assert_close(measure_scene(painted, ELLIPSE)[:, 3], measure_scene(images, ELLIPSE)[:, 3])


def test_luminance_weighs_green_most():
    colours = torch.eye(3)[:, :, None, None]
    torch.testing.assert_close(luminance(colours)[:, 0, 0], torch.tensor([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("change", [0.1, -0.3])
def test_spill_of_a_change_of_everything_is_one(change):
    images = pictures()
    torch.testing.assert_close(measure_spill(images, images + change, ELLIPSE), torch.ones(3), atol=1e-4, rtol=0)


def test_spill_of_a_change_of_the_face_is_none():
    images = pictures()
    edited = torch.where(inside(64), images - 0.3, images)
    assert (measure_spill(images, edited, ELLIPSE) == 0).all()
    hair = torch.where(inside(64, ELLIPSE.margin - 0.01), images - 0.3, images)  # neither face nor outside
    assert (measure_spill(images, hair, ELLIPSE) == 0).all()


def test_spill_of_a_repainted_scene_is_large():
    images = pictures()
    edited = torch.where(inside(64), images, images + 0.3)
    assert (measure_spill(images, edited, ELLIPSE) > 5).all()
    both = torch.where(inside(64), images + 0.1, images + 0.3)
    torch.testing.assert_close(measure_spill(images, both, ELLIPSE), torch.full((3,), 3.0), atol=1e-3, rtol=0)


def test_a_change_too_faint_to_see_spills_nothing():
    images = pictures()
    assert (measure_spill(images, images, ELLIPSE) == 0).all()
    assert (measure_spill(images, images + 0.03, ELLIPSE) == 0).all()
    assert (measure_spill(images, images + 0.05, ELLIPSE) > 0.9).all()


def test_the_ellipse_is_where_it_is_said_to_be():
    """A small ellipse in a corner: the colour there is not the outside's."""
    corner = FaceEllipse(x=0.2, y=0.2, width=0.1, height=0.1)
    x, y = grid(64)
    spot = ((x - 0.2).abs() < 0.12) & ((y - 0.2).abs() < 0.12)
    images = torch.where(spot, 0.8, 0.0).expand(1, 3, 64, 64)
    assert measure_scene(images, corner)[0, 0] < 0.005
    assert measure_scene(images, FaceEllipse())[0, 0] > 0.05
    assert measure_spill(torch.zeros_like(images), images, corner)[0] < 0.01


def test_exposure_is_the_luminance_of_the_middle():
    views = torch.full((2, 3, 64, 64), 0.9)
    views[:, :, 16:48, 16:48] = 0.2
    torch.testing.assert_close(measure_exposure(views), torch.tensor([[0.2, 0.0]] * 2), atol=1e-6, rtol=0)


def test_what_is_burnt_out_or_drowned_is_counted():
    """One channel at the top end is lost detail; at the bottom all three must be."""
    views = torch.zeros(4, 3, 64, 64)
    views[0, 0, :32] = 1.0  # upper half: red is burnt out
    views[1, :, :32] = -1.0
    views[2, 0, :32] = -1.0
    views[3, :, :16] = 1.0  # outside the middle
    assert measure_exposure(views)[:, 1].tolist() == [0.5, 0.5, 0.0, 0.0]


def test_tints_are_of_the_coldest_tenth_of_the_middle():
    views = torch.zeros(4, 3, 64, 64)
    views[0, 2, 16:20, 16:48] = 0.6  # an eighth of the middle is blue
    views[1, 2, 16:19, 16:48] = 0.6  # less than a tenth
    views[2, 1] = 0.3
    views[2, 2] = 0.1  # green, and a little blue
    views[3, 2, :16] = 1.0  # outside the middle
    torch.testing.assert_close(measure_tints(views), torch.tensor([[0.6, 0.0], [0, 0], [0.1, 0.2], [0, 0]]))
