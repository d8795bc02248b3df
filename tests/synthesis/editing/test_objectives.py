"""What a cell requests: values that lie in its bins, and probabilities that a reading meets the request."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes import BlockGenerator, block_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.analysis.axes import Axis
from faceaug.appearance import scene
from faceaug.classifiers.classifier import Calibration, Classifier, Task, new_net
from faceaug.synthesis.editing.objectives import (
    EDIT_PROBABILITY,
    AttributeGoal,
    attribute_goals,
    confidences,
    edit_objective,
    goal_values,
    labels,
    out_of_reach,
    within,
)

HAIR = Task("hair", "classes", ("dark", "fair", "red"))
AGE = Task("age", "value", (), 40.0, 15.0)
BINS = ("0 to 20", "20 to 60", "60 to 90")
AXES = (Axis("hair", "categorical", HAIR.levels), Axis("age", "continuous", BINS, (0, 20, 60, 90)))
KEPT = Task("glasses", "classes", ("no", "yes"))
NAMES = ("hair=dark", "hair=fair", "hair=red", "age", "glasses=no", "glasses=yes", *scene.NAMES)


def directions():
    reader = block_reader(BlockGenerator(12), len(NAMES))
    return reader.directions(names=NAMES, spread=np.arange(1.0, 1 + len(NAMES)))


def reaching(low, high):
    """Return the part of a survey that tells how far a generator whose faces read from low to high reaches."""
    return SimpleNamespace(range_of=lambda semantic: {"age": (low, high)}[semantic])


@pytest.fixture(scope="module")
def classifier():
    tasks = (HAIR, AGE)
    return Classifier(
        new_net("plain", tasks, 0), "plain", tasks, [Calibration(bias=(0.0,) * 3), Calibration(sigma=4.0)]
    )


def goals(hair="fair", age="20 to 60"):
    return attribute_goals(AXES, {"hair": hair, "age": age}, (HAIR, AGE, KEPT))


def test_a_cell_requests_its_classes_and_bins():
    one, two = goals()
    assert one == AttributeGoal(HAIR, "hair=fair", "fair")
    assert two == AttributeGoal(AGE, "age", "20 to 60", 20.0, 60.0)
    assert goals(age="60 to 90")[1].high == 90


bins = st.tuples(st.floats(-100, 100), st.floats(0.5, 200)).map(lambda t: (t[0], t[0] + t[1]))


@settings(max_examples=200, deadline=None)
@given(bins, bins, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8))
def test_goal_values_lie_in_their_bin(bin_edges, reached, u):
    """Wherever the generator's faces are: a goal is clear of the bin's edges."""
    (low, high), u = bin_edges, np.array(u)[:, None]
    found = goal_values([AttributeGoal(AGE, "age", "bin", low, high)], reaching(*reached), u)[:, 0]
    assert ((found > low) & (found < high)).all()


@settings(max_examples=200, deadline=None)
@given(bins, bins)
def test_goal_values_stay_near_what_the_generator_reaches(bin_edges, reached):
    """Within a quarter more than the range of faces; where the bin lies outside of that, at its near edge."""
    (low, high), (least, most) = bin_edges, reached
    goal = AttributeGoal(AGE, "age", "bin", low, high)
    found = goal_values([goal], reaching(*reached), np.linspace(0, 0.999, 9)[:, None])[:, 0]
    room, margin = 0.25 * (most - least), 0.1 * min(high - low, most - least)
    if low + margin > most + room:
        np.testing.assert_allclose(found, low + margin)
    elif high - margin < least - room:
        np.testing.assert_allclose(found, high - margin)
    else:
        assert (found >= least - room - 1e-9).all()
        assert (found <= most + room + 1e-9).all()
        assert (np.diff(found) >= 0).all()
        inside = min(high, most) - max(low, least)
        assert np.ptp(found) > 0.5 * inside  # spread over what bin and faces have in common


def test_a_bin_out_of_reach_is_requested_at_its_near_edge():
    u = np.array([[0.1], [0.9]])
    above = goal_values([AttributeGoal(AGE, "age", "bin", 50.0, 60.0)], reaching(0.0, 20.0), u)
    below = goal_values([AttributeGoal(AGE, "age", "bin", -60.0, -50.0)], reaching(0.0, 20.0), u)
    np.testing.assert_allclose(above, 51)
    np.testing.assert_allclose(below, -51)


def test_an_open_bin_of_which_no_reading_within_reach_is_sure_is_requested_where_one_would_be():
    goal = AttributeGoal(AGE, "age", "bin", 60.0, math.inf, sure=(75.0, math.inf))
    found = goal_values([goal], reaching(10.0, 60.5), np.array([[0.1], [0.9]]))
    assert np.isfinite(found).all()
    assert found.min() == found.max() >= 75


def test_each_attribute_has_its_own_column_and_number():
    found = goal_values(goals(), reaching(0.0, 90.0), np.array([[0.9, 0.0], [0.1, 0.5]]))
    np.testing.assert_allclose(found[:, 0], math.log(EDIT_PROBABILITY / (1 - EDIT_PROBABILITY)))
    np.testing.assert_allclose(found[:, 1], [24, 40])


def objective_of(cell, keep=KEPT.semantics):
    return edit_objective(cell, np.zeros((2, len(cell))), directions(), keep)


def test_what_is_requested_and_what_is_kept():
    objective = objective_of(goals())
    assert objective.names == ("hair=fair", "age")
    assert objective.at_least.tolist() == [True, False]
    assert objective.keep == (*scene.NAMES[:4], "glasses=no", "glasses=yes")
    spread = dict(zip(NAMES, directions().spread, strict=True))
    np.testing.assert_allclose(objective.keep_tolerance, [0.3 * spread[name] for name in objective.keep])
    # A value may miss by a part of its bin; where the bin is wide, of the spread over generated faces.
    np.testing.assert_allclose(objective.tolerance, [0.25, 0.15 * min(40, 4 * spread["age"])])
    assert objective_of(goals(age="0 to 20")).tolerance[1] < 20
    assert objective.within == ()


def test_what_never_changes_is_not_kept():
    """A generator whose background is always white: there is no direction along which it could be kept."""
    spread = directions().spread.copy()
    spread[NAMES.index("outside_green")], spread[NAMES.index("glasses=no")] = 0.0, 1e-9
    objective = edit_objective(goals(), np.zeros((2, 2)), replace(directions(), spread=spread), KEPT.semantics)
    assert objective.keep == ("outside_red", "outside_blue", "light_side", "glasses=yes")
    assert len(objective.keep_tolerance) == 4


def test_light_and_face_quality_are_bounded():
    objective = within(objective_of(goals()), (-0.4, 0.3), -1.0)
    bounds = dict(zip(objective.within, objective.bounds.tolist(), strict=True))
    assert bounds[scene.EXPOSURE] == [-0.4, 0.3]
    assert -1 < bounds[scene.FACE_QUALITY][0] < 1  # clear of what the gate refuses
    assert bounds[scene.FACE_QUALITY][1] > 16  # more than any reading gives
    assert (objective.names, objective.keep) == (objective_of(goals()).names, objective_of(goals()).keep)


def test_a_light_edit_does_not_keep_the_light():
    lit = Task("light_x", "value", (), 0.0, 1.0)
    objective = edit_objective([AttributeGoal(lit, "age", "bin", 0.0, 1.0)], np.zeros((1, 1)), directions(), ())
    assert objective.keep == scene.NAMES[:3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 150), min_size=1, max_size=6))
def test_confidences_of_a_partition_sum_to_one(classifier, read):
    edges = [-math.inf, 0.0, 20.0, 60.0, 90.0, math.inf]
    values = np.zeros((len(read), 4))
    values[:, 3] = read
    found = [confidences([AttributeGoal(AGE, "age", "bin", a, b)], classifier, values) for a, b in pairwise(edges)]
    np.testing.assert_allclose(np.sum(found, 0), 1, atol=1e-12)
    assert (np.array(found) >= 0).all()


def test_confidence_of_a_value_follows_the_classifiers_error(classifier):
    values = np.array([[0, 0, 0, 40.0], [0, 0, 0, 20.0], [0, 0, 0, 16.0], [0, 0, 0, 64.0]])
    found = confidences(goals()[1:], classifier, values)[:, 0]
    normal = [0.5 * (1 + math.erf(x / math.sqrt(2))) for x in (-1, 1)]
    np.testing.assert_allclose(found, [1, 0.5, normal[0], normal[0]], atol=1e-6)  # sigma is 4


def test_confidence_of_a_class_is_its_probability(classifier):
    p = np.array([0.1, 0.5, 0.999])
    values = np.zeros((3, 4))
    values[:, 1] = np.log(p / (1 - p))
    np.testing.assert_allclose(confidences(goals()[:1], classifier, values)[:, 0], p, atol=1e-12)
    assert confidences(goals(), classifier, values).shape == (3, 2)


def test_labels_are_the_cells_class_and_the_mean_of_both_readings(classifier):
    one, two = np.zeros((4, 4)), np.zeros((4, 4))
    one[:, 3], two[:, 3] = [30, 10, 80, 55], [40, 20, 90, 75]
    found = labels(goals(), classifier, classifier, one, two)
    assert [row["hair"] for row in found] == ["fair"] * 4
    ages = [row["age"] for row in found]
    assert ages[:2] == [35.0, 20.0]
    assert all(20 <= age < 60 for age in ages)
    assert ages[2] == ages[3] == pytest.approx(60)
    # Counted again, each lies in the cell that it was made for.
    assert AXES[1].assign(pd.Series(ages)).tolist() == [1] * 4


@pytest.mark.parametrize(
    ("sigma", "least", "fits"), [(4.0, 0.75, True), (4.0, 0.9999999, False), (30.0, 0.6, False), (20.0, 0.6, True)]
)
def test_a_bin_narrower_than_the_classifiers_error_is_out_of_reach(sigma, least, fits):
    unsure = Classifier(new_net("plain", (AGE,), 0), "plain", (AGE,), [Calibration(sigma=sigma)])
    reason = out_of_reach([goals()[1]], directions(), [(unsure, least)])
    assert (reason == "") == fits
    if not fits:
        assert reason.startswith("the bin 20 to 60 of 'age' is too narrow for the estimator, ")
        assert f"{sigma:.3g}" in reason


def test_a_class_that_no_latent_changes_is_out_of_reach(classifier):
    still = replace(directions(), spread=np.where(np.array(NAMES) == "hair=fair", 0.0, 1.0))
    assert "'hair=fair'" in out_of_reach(goals(), still, [(classifier, 0.75)])
    assert out_of_reach(goals(hair="dark"), still, [(classifier, 0.75)]) == ""
