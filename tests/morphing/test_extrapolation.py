"""Labels in the canonical frame: what is learnt of them, and faces that are moved along them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from demo_faces import faces

from faceaug.morphing.extrapolation import change_outside, move_face
from faceaug.morphing.label_design import LabelDesign
from faceaug.morphing.label_lines import (
    SHAPE_SIDE,
    TEXTURE_SIDE,
    LabelChange,
    LabelLines,
    canonical_picture,
    learn_label_lines,
    mean_face,
)
from faceaug.morphing.registration import normalize_contrast

COUNT = 24


def test_classes_are_one_hot_and_a_missing_label_is_an_even_mixture():
    design = LabelDesign.of({"kind": ["b", "a", None, "c"]}, ())
    assert design.row({"kind": "b"}).tolist() == [0, 1, 0]
    assert design.row({}).tolist() == pytest.approx([1 / 3] * 3)


def test_numbers_are_hats_that_sum_to_one_and_stay_at_the_ends():
    design = LabelDesign.of({"age": [float(k) for k in range(100)]}, {"age"})
    rows = np.stack([design.row({"age": value}) for value in (-5.0, 0.0, 33.3, 99.0, 500.0)])
    assert rows.sum(1) == pytest.approx(np.ones(5))
    assert (rows[0] == rows[1]).all()
    assert (rows[3] == rows[4]).all()
    assert design.parts == {"age": slice(0, rows.shape[1])}


def test_labels_that_say_nothing_are_left_out():
    design = LabelDesign.of({"all": ["a"] * 50, "name": [str(k) for k in range(50)], "year": [3.0] * 50}, {"year"})
    assert design.names == ()
    assert design.row({"all": "a"}).shape == (0,)


def learnt(workers: int = 1, darker: float = 0.0) -> LabelLines:
    """Return what is learnt where the faces of one of two kinds are darkened in the logarithm."""
    pictures = {face.row: picture for face, picture in faces(COUNT)}
    kinds = ["dark" if k % 2 else "plain" for k in range(COUNT)]
    design = LabelDesign.of({"kind": kinds}, ())
    dark = {face.row for k, (face, _) in enumerate(faces(COUNT)) if k % 2}

    def read(face):
        picture = pictures[face.row].astype(np.float64)
        return (picture * np.exp(-darker)).astype(np.uint8) if face.row in dark else pictures[face.row]

    chosen, labels = [face for face, _ in faces(COUNT)], [{"kind": kind} for kind in kinds]
    lines = learn_label_lines(chosen, labels, design, read, workers=workers)
    assert lines is not None
    return lines


@pytest.fixture(scope="module")
def lines() -> LabelLines:
    return learnt()


@pytest.mark.slow
def test_what_is_learnt_does_not_depend_on_workers(lines):
    other = learnt(workers=3)
    assert (other.template == lines.template).all()
    assert (other.fit.B == lines.fit.B).all()
    assert other.r2 == lines.r2


def test_the_change_of_a_label_is_what_its_faces_differ_by(lines):
    by_chance = lines.change({"kind": "plain"}, {"kind": "dark"}).texture.mean()
    change = learnt(darker=0.4).change({"kind": "plain"}, {"kind": "dark"})
    assert change.shape.shape == (SHAPE_SIDE, SHAPE_SIDE, 2)
    assert change.texture.shape == (TEXTURE_SIDE, TEXTURE_SIDE, 3)
    assert -0.45 < change.texture.mean() - by_chance < -0.15  # a ridge and few faces: part of it


def test_a_label_that_stays_changes_nothing(lines):
    change = lines.change({"kind": "dark"}, {"kind": "dark"})
    assert not change.shape.any()
    assert not change.texture.any()


def test_few_faces_teach_nothing():
    chosen = [face for face, _ in faces(8)]
    assert learn_label_lines(chosen, [{}] * 8, LabelDesign({}, {}), lambda face: None) is None


def test_unreadable_photographs_are_left_out():
    chosen = [face for face, _ in faces(COUNT)]
    assert learn_label_lines(chosen, [{}] * COUNT, LabelDesign({}, {}), lambda face: None) is None


def test_the_mean_face_is_a_sharp_picture():
    mean = mean_face([face for face, _ in faces(COUNT)])
    assert mean.dtype == np.uint8
    assert mean.std() > 10


def flat(shape: float = 0.0, texture: float = 0.0) -> LabelChange:
    displaced = np.zeros((SHAPE_SIDE, SHAPE_SIDE, 2), np.float32)
    displaced[..., 0] = shape
    return LabelChange(displaced, np.full((TEXTURE_SIDE, TEXTURE_SIDE, 3), texture, np.float32))


def test_no_change_leaves_the_photograph(lines):
    face, photograph = faces(COUNT)[0]
    moved = move_face(face, photograph, lines.template, flat(), 1.3)
    assert moved.image.shape == photograph.shape
    assert np.abs(moved.image.astype(int) - photograph).max() <= 2
    assert moved.folds == 0


def test_texture_changes_the_face_and_nothing_around_it(lines):
    face, photograph = faces(COUNT)[0]
    moved = move_face(face, photograph, lines.template, flat(texture=-0.3), 1.0)
    before, after = (canonical_picture(face, picture)[48:80, 48:80].mean() for picture in (photograph, moved.image))
    assert after < 0.85 * before
    assert change_outside(photograph, moved.image, face) == pytest.approx(0, abs=1e-3)
    assert (moved.face.detail == normalize_contrast(canonical_picture(face, moved.image))).all()


def test_strength_is_a_factor_on_the_change(lines):
    face, photograph = faces(COUNT)[0]
    once, twice = (
        move_face(face, photograph, lines.template, flat(texture=-value), strength).image
        for value, strength in ((0.2, 1.0), (0.1, 2.0))
    )
    assert np.abs(once.astype(int) - twice).max() <= 1


def test_shape_moves_features_by_what_is_asked(lines):
    face, photograph = faces(COUNT)[0]
    moved = move_face(face, photograph, lines.template, flat(shape=0.06), 1.0)
    part = np.s_[40:90, 40:88]
    pictures = [
        cv2.cvtColor(canonical_picture(face, p), cv2.COLOR_RGB2GRAY)[part].astype(np.float32)
        for p in (photograph, moved.image)
    ]
    (across, down), _ = cv2.phaseCorrelate(*pictures)
    assert across == pytest.approx(0.06 * 64, abs=1.0)
    assert abs(down) < 1.0


def test_a_change_that_folds_the_face_is_seen(lines):
    face, photograph = faces(COUNT)[0]
    change = flat()
    change.shape[:, ::2, 0] = 0.4
    assert move_face(face, photograph, lines.template, change, 1.0).folds > 0.1


def test_changes_outside_the_face_are_measured():
    face, photograph = faces(COUNT)[0]
    after = np.clip(photograph.astype(int) + 30, 0, 255).astype(np.uint8)
    assert change_outside(photograph, after, face) > 0.5
    assert change_outside(photograph, photograph, replace(face)) == 0
