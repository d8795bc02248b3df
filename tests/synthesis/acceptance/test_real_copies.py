"""Copies of real images are found however they lie, and other people are not taken for copies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceaug import demo
from faceaug.datasets.dataset import LoadOptions, load_dataset
from faceaug.datasets.thumbnails import load_thumbnails
from faceaug.synthesis.acceptance.real_copies import RealCopies
from faceaug.utils.images import decode, encode

LIMIT, REAL, STRANGERS, COPIED = 0.94, 150, 30, 12


@pytest.fixture(scope="module")
def faces():
    dataset = load_dataset(demo.path(), options=LoadOptions(check="none"))
    return load_thumbnails(dataset.select(np.arange(REAL + STRANGERS)), 64)[0]


@pytest.fixture(scope="module")
def copies(faces):
    return RealCopies(faces[:REAL], [f"{row}".encode() for row in range(REAL)], 1.0, LIMIT)


def changed(image, degrees=0.0, zoom=1.0, right=0.0, mirrored=False):
    side = len(image)
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, zoom)
    turn[0, 2] += right
    moved = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(moved[:, ::-1]) if mirrored else moved


CHANGES = {
    "none": lambda x: x,
    "recompressed": lambda x: decode(encode(x, "jpeg", 40)),
    "darker": lambda x: (255 * (x / 255) ** 1.4).astype(np.uint8),
    "half the size": lambda x: cv2.resize(x, (32, 32), interpolation=cv2.INTER_AREA),
    "mirrored": lambda x: changed(x, mirrored=True),
    "shifted": lambda x: changed(x, right=3),
    "zoomed": lambda x: changed(x, zoom=1.2),
    "zoomed a little": lambda x: changed(x, zoom=1.07),
    "shrunk": lambda x: changed(x, zoom=0.85),
    "turned": lambda x: changed(x, degrees=10),
    "turned back and mirrored": lambda x: changed(x, degrees=-7, mirrored=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_however_it_lies(faces, copies, change):
    found = [copies.resemblance(CHANGES[change](face)) > LIMIT for face in faces[:COPIED]]
    assert np.mean(found) > 0.9


def test_other_people_are_no_copies(faces, copies):
    values = [copies.resemblance(face) for face in faces[REAL:]]
    assert np.mean(np.array(values) > LIMIT) < 0.1
    assert all(-1 <= value <= 1.001 for value in values)


def test_what_a_sample_was_made_from_does_not_count(faces, copies):
    twice = RealCopies(np.concatenate([faces[:20], faces[:1]]), [b"%d" % row for row in range(21)], 1.0, LIMIT)
    assert copies.resemblance(faces[0]) > LIMIT
    assert copies.resemblance(faces[0], [b"0"]) < LIMIT
    assert copies.resemblance(faces[0], [b"1", b"unknown"]) > LIMIT
    assert twice.resemblance(faces[0], [b"0"]) < LIMIT  # nor does its near-copy in the data set


def test_without_real_images_nothing_is_alike(faces):
    assert RealCopies(faces[:0], [], 1.0, LIMIT).resemblance(faces[0]) == 0


def test_pictures_without_details_are_compared_too(faces, copies):
    flat = np.full((40, 30, 3), 7, np.uint8)
    assert -1 <= copies.resemblance(flat) <= 1
    assert RealCopies(flat[None, :30], [b"0"], 1.0, LIMIT).resemblance(faces[0]) < LIMIT
