"""A morph has the scene of its host and features of both faces."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from demo_faces import faces

from faceaug.morphing.blend import mixed_part, plan_morph, render_morph
from faceaug.morphing.pixels import PixelBox, pixel_positions
from faceaug.morphing.prediction import predicted_descriptor
from faceaug.reconstruction.warp import WIDE


@pytest.fixture(scope="module")
def pair():
    (host, its_picture), (donor, other_picture) = faces()[0], faces()[3]
    return host, donor, [its_picture, other_picture]


def test_without_a_share_of_the_donor_the_host_stays_as_it_is(pair):
    host, donor, pictures = pair
    image, _ = render_morph(plan_morph(host, [donor], [0.0]), pictures)
    difference = np.abs(image.astype(int) - pictures[0].astype(int))
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def test_a_face_mixed_with_itself_stays_as_it_is(pair):
    host, _, pictures = pair
    plan = plan_morph(host, [host], [0.6])
    image, light = render_morph(plan, [pictures[0], pictures[0]])
    assert np.abs(image.astype(int) - pictures[0].astype(int)).mean() < 1.5
    assert light < 0.01
    assert plan.faults.residual < 0.02
    assert plan.faults.unregistered < 0.02


def test_the_face_changes_toward_the_donor_and_the_surroundings_do_not(pair):
    host, donor, pictures = pair
    image, _ = render_morph(plan_morph(host, [donor], [0.8]), pictures)
    change = np.abs(image.astype(int) - pictures[0].astype(int)).mean(2)
    assert image.shape == pictures[0].shape
    border = np.ones(change.shape, bool)
    border[3:-3, 3:-3] = False
    assert change[border].max() == 0
    assert change[24:56, 20:44].mean() > 3


def test_the_broad_light_is_the_hosts(pair):
    host, donor, pictures = pair
    dark = (pictures[1] * 0.5).astype(np.uint8)
    image, _ = render_morph(plan_morph(host, [donor], [0.7]), [pictures[0], dark])
    mean = image[20:56, 18:46].mean() / pictures[0][20:56, 18:46].mean()
    assert 0.85 < mean < 1.15


def test_nothing_of_a_face_is_kept_after_its_morph(pair):
    host, donor = (replace(face) for face in pair[:2])
    kept = [weakref.ref(host), weakref.ref(donor)]
    plan = plan_morph(host, [donor], [0.8])
    predicted_descriptor(plan)
    render_morph(plan, pair[2])
    del host, donor, plan
    gc.collect()
    assert [face() for face in kept] == [None, None]


def test_both_sides_of_a_face_are_of_one_person(pair):
    host, donor, _ = pair
    detail = donor.detail.copy()
    detail[52:70, 30:60] = 20  # one eye of the donor is covered
    plan = plan_morph(host, [replace(donor, detail=detail)], [0.9])
    whole = plan_morph(host, [donor], [0.9])
    place, _ = mixed_part(host)
    beside = (place[0, ..., 0] > 0.1) & (place[0, ..., 0] < 0.5) & ((place[0, ..., 1] + 0.05).abs() < 0.12)  # the other
    assert float(plan.maps.alike[0][0, 0][beside].mean()) < 0.5 * float(whole.maps.alike[0][0, 0][beside].mean())


def test_a_blurred_host_gets_no_sharp_features(pair):
    host, donor, pictures = pair
    blurred = cv2.GaussianBlur(pictures[0], (0, 0), 2.5)
    image, _ = render_morph(plan_morph(host, [donor], [0.9]), [blurred, pictures[1]])
    sharpness = [float(cv2.Laplacian(p[20:56, 18:46].mean(2), cv2.CV_64F).std()) for p in (image, blurred, pictures[1])]
    assert sharpness[0] < sharpness[1] + 0.5 * (sharpness[2] - sharpness[1])


def test_nothing_becomes_brighter_than_the_hosts_face(pair):
    host, donor, pictures = pair
    shining = pictures[1].copy()
    shining[30:38, 28:36] = 255
    image, _ = render_morph(plan_morph(host, [donor], [0.9]), [pictures[0], shining])
    face = (slice(16, 56), slice(16, 48))
    assert (image[face].max((0, 1)) <= pictures[0][face].max((0, 1)) + 1).all()


@pytest.mark.parametrize("part", [(slice(0, 64), slice(0, 64)), (slice(40, 64), slice(0, 30))])
def test_positions_of_a_part_of_the_pixels_are_those_of_all(pair, part):
    host, _, _ = pair
    rows, columns = part
    whole = pixel_positions(host, 64, 64)
    torch.testing.assert_close(pixel_positions(host, 64, 64, PixelBox(rows, columns)), whole[:, rows, columns])


def test_only_pixels_around_the_mask_are_computed(pair):
    host, donor, _ = pair
    mask = plan_morph(host, [donor], [0.7]).maps.mask
    box = PixelBox.around(host, mask, 400, 400, 0.0)
    inside = F.grid_sample(mask, pixel_positions(host, 400, 400) / WIDE, align_corners=False)[0, 0] > 0
    covered = torch.zeros_like(inside)
    covered[box.rows, box.columns] = True
    assert bool(covered[inside].all())
    assert float(covered.float().mean()) < 0.95


def test_a_morph_has_the_size_of_its_host_and_uses_its_resolution(pair):
    host, donor, pictures = pair
    large = cv2.resize(pictures[0], (256, 256), interpolation=cv2.INTER_CUBIC)
    plan = plan_morph(host, [donor], [0.7])
    image, _ = render_morph(plan, [large, pictures[1]])
    assert image.shape == (256, 256, 3)
    small, _ = render_morph(plan, pictures)
    reduced = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - small.astype(int)).mean() < 6


def test_three_donors_share_a_face(pair):
    host, _, pictures = pair
    donors = [faces()[k] for k in (2, 4, 6)]
    plan = plan_morph(host, [donor for donor, _ in donors], [0.2, 0.3, 0.25])
    image, _ = render_morph(plan, [pictures[0], *(picture for _, picture in donors)])
    assert image.dtype == np.uint8
    assert len(plan.maps.places) == 3


def test_faults_are_shares_and_the_same_each_time(pair):
    host, donor, _ = pair
    faults, again = (plan_morph(host, [donor], [0.6]).faults for _ in range(2))
    assert faults == again
    for name in ("holes", "folds", "unregistered", "mixed"):
        assert 0 <= getattr(faults, name) <= 1
    assert faults.residual > 0
