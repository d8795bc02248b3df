"""Near a cell: standards from the draws that read like it, and mixtures of draws that are searched for faces of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import ToyFaces

from faceaug.appearance import scene
from faceaug.latents.directions import inverse_of
from faceaug.synthesis.acceptance.gates import BUILT_IN, AcceptanceThresholds
from faceaug.synthesis.editing.objectives import attribute_goals, edit_objective, goal_values
from faceaug.synthesis.editing.origin_search import (
    KIN,
    PARENT,
    CellThresholds,
    Parents,
    cell_thresholds,
    cost,
    edit_length,
    nearest_draws,
    origins,
)
from faceaug.synthesis.engines.latent_edit import LatentEditor, sample_seed

LIMITS = AcceptanceThresholds(drift=1.0, spill=5.0, realistic=0.9, sound=0.25)
EASY = CellThresholds(remote=1e9, sound=-1e9, bright=(-1e9, 1e9))
CELL = 3  # bar=yes, spot 0 to 3


@pytest.fixture(scope="module")
def parts(toy_guide):
    return attribute_goals(toy_guide.axes, {"bar": "yes", "spot": "0 to 3"}, toy_guide.tasks)


@pytest.fixture(scope="module")
def ask(toy_guide, parts):
    aim = goal_values(parts, toy_guide.survey, np.full((8, len(parts)), 0.5))
    return edit_objective(parts, aim, toy_guide.directions, toy_guide.kept())


@pytest.fixture(scope="module")
def inverse(toy_guide):
    return inverse_of(toy_guide.directions.covariance)


def parents(n, cost, start=0, line=None):
    rows = np.arange(start, start + n, dtype=float)
    line = rows.astype(int) if line is None else np.array(line)
    return Parents(np.repeat(rows[:, None], 3, 1), np.repeat(rows[:, None], 2, 1), np.array(cost, float), line)


def test_the_best_parents_are_the_cheapest_and_of_equals_the_first():
    best = parents(5, [3, 1, 2, 1, 0]).best(3)
    assert best.w[:, 0].tolist() == best.read[:, 0].tolist() == [4, 1, 3]
    assert best.cost.tolist() == [0, 1, 1]
    both = parents(2, [1, 1]).joined(parents(2, [1, 0], start=10))
    assert both.best(2).w[:, 0].tolist() == [11, 0]  # the older stay where the younger are no better
    assert parents(2, [1, 2]).best(9).cost.tolist() == [1, 2]


def test_no_line_has_more_than_its_share_of_parents():
    """One lucky face must not be everybody's parent: samples would be its siblings."""
    best = parents(7, [0, 1, 2, 3, 4, 5, 6], line=[9, 9, 9, 9, 5, 9, 5]).best(4)
    assert best.line.tolist() == [9] * KIN + [5] * 2
    assert best.cost.tolist() == [*range(KIN), 4, 6]
    assert (best.w[:, 0] == best.cost).all()


def test_the_nearest_draws_need_the_least_edit(toy_guide, ask, inverse):
    near = nearest_draws(toy_guide, ask, inverse)
    survey = toy_guide.survey
    missing = ask.aim.mean(0) - np.stack([survey.column(name) for name in ask.names], 1)
    length = edit_length(toy_guide, ask, missing, inverse)
    assert (np.diff(length[near]) >= 0).all()
    assert length[near].max() <= np.delete(length, near).min(initial=np.inf)
    assert survey.w[near[:20], ToyFaces.BAR].mean() > 0.4  # of a bar already
    assert survey.w[near[:20], ToyFaces.SPOT].mean() > 0.4


def test_edit_length_is_that_of_the_edit(toy_guide, ask, inverse):
    """In standard deviations of the draws (toy faces have w = z); what is there already costs nothing."""
    steps = toy_guide.directions.steps([*ask.names, *ask.keep])[:, :2]
    missing = np.array([[1.0, 0.5], [0.0, 0.5], [-5.0, 0.5], [-5.0, 0.0]])
    found = edit_length(toy_guide, ask, missing, inverse)
    np.testing.assert_allclose(found[0], np.linalg.norm(steps @ missing[0]), rtol=1e-6)
    assert found[1] == found[2]  # a class beyond its aim
    assert found[3] == 0


def test_a_standard_is_that_of_the_draws_near_the_cell(toy_guide):
    near = np.arange(0, 256, 2)
    survey = toy_guide.survey
    standard = cell_thresholds(toy_guide, LIMITS, CELL, near)
    assert (survey.remoteness[near] <= standard.remote).mean() == pytest.approx(0.9, abs=0.01)
    assert (survey.column(scene.SOUNDNESS)[near] >= standard.sound).mean() == pytest.approx(0.75, abs=0.01)
    low, high = standard.bright
    assert -1 < low < high < 1


def test_what_is_asked_costs_nothing(toy_guide, parts):
    names = list(toy_guide.directions.names)
    content = np.zeros((1, len(names)))
    content[:, names.index("bar=yes")], content[:, names.index("spot")] = 4.0, 1.0
    assert cost(toy_guide, parts, EASY, LIMITS, content, np.zeros(1)) == 0

    def costs(standard=EASY, remote=0.0, **values):
        read = content.copy()
        for name, value in values.items():
            read[:, names.index(name.replace("_is_", "="))] = value
        return float(cost(toy_guide, parts, standard, LIMITS, read, np.array([remote]))[0])

    assert costs(bar_is_yes=0.0) > costs(bar_is_yes=1.0) > 0  # each log-odds that a class lacks costs one
    assert costs(bar_is_yes=-1.0) - costs(bar_is_yes=0.0) == pytest.approx(1)
    assert costs(spot=-0.5) == pytest.approx(costs(spot=-1.0) / 2)  # outside its bin
    assert costs(spot=2.9) == 0
    assert costs(spot=3.5) > 0
    tight = CellThresholds(remote=2.0, sound=1.0, bright=(-0.2, 0.2))
    fine = dict(standard=tight, soundness=9.0, face_luminance=0.1)
    assert costs(**fine) == 0
    assert costs(**{**fine, "soundness": 0.5}) == pytest.approx(1.0)
    assert costs(**{**fine, "face_luminance": 0.3}) == costs(**{**fine, "face_luminance": -0.3}) > 0
    assert costs(**fine, remote=3.0) > costs(**fine, remote=2.5) > costs(**fine, remote=1.0) == 0


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_any_confidence_may_be_asked(toy_guide, parts, confidence):
    read = np.zeros((4, len(toy_guide.directions.names)))
    found = cost(toy_guide, parts, EASY, replace(LIMITS, confidence=confidence), read, np.zeros(4))
    assert np.isfinite(found).all()


def begin(toy_guide, ask, inverse, numbers=range(8), candidates=4, truncation=1.0):
    near = nearest_draws(toy_guide, ask, inverse)[:128]
    survey = toy_guide.survey
    held = Parents(survey.w[near].astype(float), survey.read[near].astype(float), np.zeros(len(near)), near)
    seeds = [sample_seed(0, 1, number) for number in numbers]
    request = replace(ask, aim=ask.aim[: len(seeds)])
    return origins(ToyFaces(), toy_guide, held, seeds, request, inverse, candidates=candidates, truncation=truncation)


def test_origins_are_those_of_their_seeds(toy_guide, ask, inverse):
    w, line = begin(toy_guide, ask, inverse)
    assert w.shape == (8, ToyFaces().w_dim)
    again, lines = begin(toy_guide, ask, inverse, range(3, 5))
    np.testing.assert_allclose(again, w[3:5], atol=1e-12)
    np.testing.assert_array_equal(lines, line[3:5])
    assert len(np.unique(w, axis=0)) == 8


def test_origins_are_near_the_cell_and_as_varied_as_draws(toy_guide, ask, inverse):
    ask = replace(ask, aim=np.repeat(ask.aim, 8, 0))
    w, line = begin(toy_guide, ask, inverse, range(64))
    assert w[:, ToyFaces.BAR].mean() > 0.5
    assert w[:, 7:].std() == pytest.approx(1, abs=0.15)  # mixed in quadrature: no pull to the mean
    one, _ = begin(toy_guide, ask, inverse, range(64), candidates=1)
    parent = toy_guide.survey.w[line]
    kinship = [np.corrcoef(a, b)[0, 1] for a, b in zip(w[:, 7:], parent[:, 7:], strict=True)]
    assert np.mean(kinship) == pytest.approx(PARENT, abs=0.1)  # each is told its own line
    missing = [np.abs(ask.aim - toy_guide.directions.predict(v)[:, toy_guide.directions.index(ask.names)]).mean()
               for v in (w, one)]  # fmt: skip
    assert missing[0] < missing[1]  # the best of four needs less


def test_a_search_finds_nearer_parents(toy_guide, module_quick):
    shop = LatentEditor(ToyFaces(), toy_guide, LIMITS, BUILT_IN, seed=0, candidates=4, truncation=1.0, corrections=2,
                    batch_size=64)  # fmt: skip
    levels = {"bar": "yes", "spot": "0 to 3"}
    room = shop._searched(CELL, levels)
    near = nearest_draws(toy_guide, edit_objective(room.parts, goal_values(room.parts, toy_guide.survey, np.full((1, 2), 0.5)),
                                            toy_guide.directions, ()), shop._inverse)  # fmt: skip
    survey = toy_guide.survey
    before = cost(
        toy_guide, room.parts, room.standard, LIMITS, survey.read[near].astype(float), survey.remoteness[near]
    )
    assert room.parents.cost.mean() < np.sort(before)[: len(room.parents.cost)].mean()
    # What is told of each parent is so.
    read = toy_guide.reader(ToyFaces().synthesize(torch.from_numpy(room.parents.w[:5]).float()))
    np.testing.assert_allclose(room.parents.read[:5], read, atol=1e-3)
