"""Donors are near to their host, in features and in labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from demo_faces import faces

from faceaug.morphing import donors
from faceaug.morphing.donors import DonorIndex


def index(labels: np.ndarray | None = None, numeric: bool = True, furthest: float = 0.2) -> DonorIndex:
    members = [face for face, _ in faces()]
    values = np.empty((len(members), 0)) if labels is None else labels[:, None]
    return DonorIndex(members, values, np.array([numeric] * values.shape[1], bool), furthest)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_face_is_not_its_own_donor_and_the_nearest_come_first():
    found, distance = index().nearest(3, 6, rng())
    assert 3 not in found
    assert len(found) == 6
    assert (np.diff(distance) >= 0).all()


def test_a_twin_is_nearest():
    members = [face for face, _ in faces()]
    twin = replace(members[0], row=99, sha256=b"t" * 32)
    built = DonorIndex([*members, twin], np.empty((len(members) + 1, 0)), np.empty(0, bool), 1.0)
    found, distance = built.nearest(0, 1, rng())
    assert found[0] == len(members)
    assert distance[0] == pytest.approx(0, abs=1e-6)


def test_a_copy_of_the_hosts_file_is_no_donor():
    members = [face for face, _ in faces()]
    copy = replace(members[0], row=99)
    built = DonorIndex([*members, copy], np.empty((len(members) + 1, 0)), np.empty(0, bool), 1.0)
    assert len(members) not in built.nearest(0, 99, rng())[0]


def test_faces_whose_number_is_far_away_are_no_donors():
    labels = np.linspace(0, 1, len(faces()))
    found, _ = index(labels).nearest(0, 99, rng())
    assert len(found)
    assert (labels[found] <= 0.2).all()


def test_a_face_without_near_others_has_no_donor():
    labels = np.array([0.0, *np.full(len(faces()) - 1, 0.9)])
    assert len(index(labels).nearest(0, 5, rng())[0]) == 0


def test_faces_of_another_class_come_last():
    codes = np.arange(len(faces())) % 2.0
    found, _ = index(codes, numeric=False).nearest(0, len(faces()), rng())
    same = codes[found] == 0
    assert same[: same.sum()].all()


def test_a_missing_label_is_no_difference():
    labels = np.full(len(faces()), np.nan)
    assert len(index(labels).nearest(0, 99, rng())[0]) == len(faces()) - 1


def test_in_a_large_cell_a_host_is_compared_with_a_part(monkeypatch):
    monkeypatch.setattr(donors, "COMPARED_FACES", 4)
    found, _ = index().nearest(0, 99, rng())
    again, _ = index().nearest(0, 99, rng())
    assert len(found) == 4
    np.testing.assert_array_equal(found, again)


def test_rings_hold_all_faces_once_the_nearest_first():
    whole, _ = index().nearest(0, 99, rng())
    rings = index().in_rings(0, 4, 99, rng())
    assert sorted(rings.tolist()) == sorted(whole.tolist())
    for start in range(0, len(whole), 4):
        assert set(rings[start : start + 4]) == set(whole[start : start + 4])
    np.testing.assert_array_equal(index().in_rings(0, 4, 5, rng()), rings[:8])
