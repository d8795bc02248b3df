"""A predicted morph lies where the rendered one does, between the faces in it."""

from __future__ import annotations

import numpy as np
import pytest
from demo_faces import faces

from faceaug.morphing.blend import plan_morph, render_morph
from faceaug.morphing.face import descriptor_in_place
from faceaug.morphing.prediction import predicted_descriptor

PAIRS = [(0, 3), (3, 0), (1, 4), (5, 2)]


def distance(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.abs(one - two).mean())


def test_without_a_share_of_the_donor_it_is_the_host():
    (host, _), (donor, _) = faces()[0], faces()[3]
    assert distance(predicted_descriptor(plan_morph(host, [donor], [0.0])), host.descriptor) < 0.02


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_it_is_nearer_to_the_rendered_morph_than_the_host_is(share):
    nearer = []
    for one, two in PAIRS:
        (host, own), (donor, other) = faces()[one], faces()[two]
        plan = plan_morph(host, [donor], [share])
        rendered = descriptor_in_place(host, render_morph(plan, [own, other])[0])
        nearer.append(distance(predicted_descriptor(plan), rendered) < distance(host.descriptor, rendered))
    assert sum(nearer) >= len(PAIRS) - 1


def test_several_donors_are_mixed_by_their_weights():
    (host, _), (one, _), (two, _) = faces()[0], faces()[3], faces()[4]
    first = predicted_descriptor(plan_morph(host, [one, two], [0.9, 0.0]))
    assert distance(first, predicted_descriptor(plan_morph(host, [one], [0.9]))) < 0.02
