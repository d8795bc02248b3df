"""Near a cell: thresholds from the latents that read like it, and mixtures that are searched for its faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import ToyFaces
from quick_runs import QUICK, changed

from faceaug.appearance import scene
from faceaug.latents.directions import inverse_of
from faceaug.planning.plan import PlannedCell
from faceaug.synthesis.acceptance.gates import BUILT_IN
from faceaug.synthesis.config import AcceptanceThresholds
from faceaug.synthesis.editing.objectives import attribute_goals, edit_objective, goal_values
from faceaug.synthesis.editing.origin_search import (
    KIN,
    PARENT,
    READY,
    CellThresholds,
    EditLengths,
    FaceReadings,
    Parents,
    cell_thresholds,
    cost,
    nearest_latents,
    origins,
    ready_origins,
)
from faceaug.synthesis.engines.base import sample_seed
from faceaug.synthesis.engines.latent.latent_editor import LatentEditor

THRESHOLDS = AcceptanceThresholds(drift=1.0, spill=5.0, realistic=0.9, face_quality=0.25)
EASY = CellThresholds(remote=1e9, face_quality=-1e9, bright=(-1e9, 1e9))
CELL = PlannedCell(3, {"bar": "yes", "spot": "0 to 3"}, real=5, wanted=9, planned=9)


@pytest.fixture(scope="module")
def goals(toy_models):
    return attribute_goals(toy_models.axes, CELL.levels, toy_models.tasks)


@pytest.fixture(scope="module")
def objective(toy_models, goals):
    values = goal_values(goals, toy_models.survey, np.full((8, len(goals)), 0.5))
    return edit_objective(goals, values, toy_models.directions, toy_models.kept())


@pytest.fixture(scope="module")
def precision(toy_models):
    return inverse_of(toy_models.directions.covariance)


def parents(n, costs, start=0, lineage=None):
    rows = np.arange(start, start + n, dtype=float)
    lineage = rows.astype(int) if lineage is None else np.array(lineage)
    w, read = np.repeat(rows[:, None], 3, 1), np.repeat(rows[:, None], 2, 1)
    return Parents(w, read, np.array(costs, float), lineage)


def test_the_best_parents_are_the_cheapest_and_of_equals_the_first():
    best = parents(5, [3, 1, 2, 1, 0]).best(3)
    assert best.w[:, 0].tolist() == best.read[:, 0].tolist() == [4, 1, 3]
    assert best.cost.tolist() == [0, 1, 1]
    both = parents(2, [1, 1]).joined(parents(2, [1, 0], start=10))
    assert both.best(2).w[:, 0].tolist() == [11, 0]  # the older stay where the younger are no better
    assert parents(2, [1, 2]).best(9).cost.tolist() == [1, 2]


def test_no_lineage_has_more_than_its_share_of_parents():
    """One face must not be the parent of all samples: they would be alike."""
    best = parents(7, [0, 1, 2, 3, 4, 5, 6], lineage=[9, 9, 9, 9, 5, 9, 5]).best(4)
    assert best.lineage.tolist() == [9] * KIN + [5] * 2
    assert best.cost.tolist() == [*range(KIN), 4, 6]
    assert (best.w[:, 0] == best.cost).all()


def test_the_nearest_latents_need_the_shortest_edit(toy_models, objective, precision):
    near = nearest_latents(toy_models.survey, objective, precision)
    survey = toy_models.survey
    missing = objective.values.mean(0) - np.stack([survey.column(name) for name in objective.names], 1)
    length = EditLengths(toy_models.directions, objective, precision)(missing)
    assert (np.diff(length[near]) >= 0).all()
    assert length[near].max() <= np.delete(length, near).min(initial=np.inf)
    assert survey.w[near[:20], ToyFaces.BAR].mean() > 0.4  # they have a bar already
    assert survey.w[near[:20], ToyFaces.SPOT].mean() > 0.4


def test_edit_length_is_that_of_the_edit(toy_models, objective, precision):
    """In standard deviations of w (toy faces have w = z); what is there already costs nothing."""
    steps = toy_models.directions.steps([*objective.names, *objective.keep])[:, :2]
    missing = np.array([[1.0, 0.5], [0.0, 0.5], [-5.0, 0.5], [-5.0, 0.0]])
    found = EditLengths(toy_models.directions, objective, precision)(missing)
    np.testing.assert_allclose(found[0], np.linalg.norm(steps @ missing[0]), rtol=1e-6)
    assert found[1] == found[2]  # a class that is surer than requested
    assert found[3] == 0


def test_thresholds_of_a_cell_are_those_of_the_faces_near_it(toy_models):
    near = np.arange(0, 256, 2)
    survey = toy_models.survey
    required = cell_thresholds(toy_models.survey, toy_models.real, THRESHOLDS, CELL.index, near)
    assert (survey.remoteness[near] <= required.remote).mean() == pytest.approx(0.9, abs=0.01)
    assert (survey.column(scene.FACE_QUALITY)[near] >= required.face_quality).mean() == pytest.approx(0.75, abs=0.01)
    low, high = required.bright
    assert -1 < low < high < 1


def test_a_face_as_requested_costs_nothing(toy_models, goals):
    names = list(toy_models.directions.names)
    content = np.zeros((1, len(names)))
    content[:, names.index("bar=yes")], content[:, names.index("spot")] = 4.0, 1.0
    nothing = FaceReadings(content, np.zeros(1), np.zeros(1))
    assert cost(toy_models.survey, goals, EASY, THRESHOLDS, nothing) == 0

    def costs(required=EASY, remote=0.0, colour=0.0, **values):
        read = content.copy()
        for name, value in values.items():
            read[:, names.index(name.replace("_is_", "="))] = value
        faces = FaceReadings(read, np.array([remote]), np.array([colour]))
        return float(cost(toy_models.survey, goals, required, THRESHOLDS, faces)[0])

    assert costs(bar_is_yes=0.0) > costs(bar_is_yes=1.0) > 0  # each log-odds that a class lacks costs one
    assert costs(bar_is_yes=-1.0) - costs(bar_is_yes=0.0) == pytest.approx(1)
    assert costs(spot=-0.5) == pytest.approx(costs(spot=-1.0) / 2)  # outside its bin
    assert costs(spot=2.9) == 0
    assert costs(spot=3.5) > 0
    tight = CellThresholds(remote=2.0, face_quality=1.0, bright=(-0.2, 0.2))
    fine = {"required": tight, scene.FACE_QUALITY: 9.0, scene.EXPOSURE: 0.1}
    assert costs(**fine) == 0
    assert costs(**{**fine, scene.FACE_QUALITY: 0.5}) == pytest.approx(1.0)
    assert costs(**{**fine, scene.EXPOSURE: 0.3}) == costs(**{**fine, scene.EXPOSURE: -0.3}) > 0
    assert costs(**fine, colour=1.5) > costs(**fine, colour=1.0) > costs(**fine, colour=0.9) == 0
    assert costs(**fine, remote=3.0) > costs(**fine, remote=2.5) > costs(**fine, remote=1.0) == 0


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_any_confidence_may_be_required(toy_models, goals, confidence):
    read = np.zeros((4, len(toy_models.directions.names)))
    faces = FaceReadings(read, np.zeros(4), np.zeros(4))
    found = cost(toy_models.survey, goals, EASY, changed(THRESHOLDS, confidence=confidence), faces)
    assert np.isfinite(found).all()


def begin(toy_models, objective, precision, numbers=range(8), candidates=4):
    near = nearest_latents(toy_models.survey, objective, precision)[:128]
    survey = toy_models.survey
    found = Parents(survey.w[near].astype(float), survey.read[near].astype(float), np.zeros(len(near)), near)
    seeds = [sample_seed(0, 1, number) for number in numbers]
    config = changed(QUICK, origins=candidates, truncation_psi=1.0)
    first = replace(objective, values=objective.values[: len(seeds)])
    return origins(ToyFaces(), found, seeds, first, toy_models.directions, config)


def test_origins_are_those_of_their_seeds(toy_models, objective, precision):
    w, lineage = begin(toy_models, objective, precision)
    assert w.shape == (8, ToyFaces().w_dim)
    again, lineages = begin(toy_models, objective, precision, range(3, 5))
    np.testing.assert_allclose(again, w[3:5], atol=1e-12)
    np.testing.assert_array_equal(lineages, lineage[3:5])
    assert len(np.unique(w, axis=0)) == 8


def test_origins_are_near_the_cell_and_as_varied_as_samples(toy_models, objective, precision):
    objective = replace(objective, values=np.repeat(objective.values, 8, 0))
    w, lineage = begin(toy_models, objective, precision, range(64))
    assert w[:, ToyFaces.BAR].mean() > 0.5
    assert w[:, 7:].std() == pytest.approx(1, abs=0.15)  # mixed in quadrature: no pull to the mean
    one, _ = begin(toy_models, objective, precision, range(64), candidates=1)
    parent = toy_models.survey.w[lineage]
    kinship = [np.corrcoef(a, b)[0, 1] for a, b in zip(w[:, 7:], parent[:, 7:], strict=True)]
    assert np.mean(kinship) == pytest.approx(PARENT, abs=0.1)  # each has its own lineage
    directions = toy_models.directions
    expected = (directions.predict(latents)[:, directions.index(objective.names)] for latents in (w, one))
    missing = [np.abs(objective.values - values).mean() for values in expected]
    assert missing[0] < missing[1]  # the best of four needs less


def test_a_search_finds_nearer_parents(toy_models, goals, precision, module_quick):
    config = changed(QUICK, thresholds=THRESHOLDS, truncation_psi=1.0)
    editor = LatentEditor(ToyFaces(), toy_models, BUILT_IN, config, "png", [CELL])
    context = editor._context(CELL)
    parents = editor._search(context)
    survey = toy_models.survey
    middle = goal_values(goals, survey, np.full((1, 2), 0.5))
    near = nearest_latents(survey, edit_objective(goals, middle, toy_models.directions, ()), precision)
    discolouring = toy_models.real.coldness(survey.tints[near], THRESHOLDS.exposure)
    faces = FaceReadings(survey.read[near].astype(float), survey.remoteness[near], discolouring)
    before = cost(survey, context.goals, context.required, THRESHOLDS, faces)
    assert parents.cost.mean() < np.sort(before)[: len(parents.cost)].mean()
    # The readings of the parents are those of their images.
    again = toy_models.reader(ToyFaces().synthesize(torch.from_numpy(parents.w[:5]).float()))
    np.testing.assert_allclose(parents.read[:5], again, atol=1e-3)


def test_attempts_begin_with_surveyed_faces_each_once(toy_models, goals, objective, precision):
    survey = toy_models.survey
    count = len(survey.w)
    costs = np.where(np.arange(count) % 3 == 0, 0.1, READY + 0.1)
    u = np.random.default_rng(0).random((count, len(goals)))
    each = replace(objective, values=goal_values(goals, survey, u))
    one, many = (ready_origins(survey, costs, each, precision, candidates) for candidates in (1, 16))
    assert sorted(one) == sorted(many) == list(range(0, count, 3))  # no others are nearly what is requested
    assert one.tolist() == sorted(one)  # of equals the first
    read = np.stack([survey.column(name) for name in each.names], 1)
    missing = [each.values[: len(rows)] - read[rows] for rows in (one, many)]
    lengths = [EditLengths(survey.directions, each, precision)(m)[: count // 6].mean() for m in missing]
    assert lengths[1] < lengths[0]  # the best of 16 needs less of an edit
