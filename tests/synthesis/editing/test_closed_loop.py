"""Guided extrapolation, on a generator whose semantics are linear by construction, and on one where they are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import BlockGenerator, BlockReader, block_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from faceaug.errors import GeneratorError, UsageError
from faceaug.generators.sampling import synthesize
from faceaug.latents.directions import inverse_of
from faceaug.latents.regression import StreamingRegression
from faceaug.synthesis.editing.closed_loop import LONGEST_STEP, EditObjective, EditOptions, distance, extrapolate

N = 6
EXACT = 1e-5


@st.composite
def cases(draw, most=8):
    """A generator, a reader of a few semantics, which of them are requested and kept, and how far they are to move."""
    width = draw(st.integers(3, most))
    requested = draw(st.integers(1, 3))
    kept = draw(st.integers(0, min(3, width - requested)))
    seed = draw(st.integers(0, 99))
    generator = BlockGenerator(width, seed=seed)
    reader = block_reader(generator, requested + kept, seed)
    order = draw(st.permutations([f"s{k}" for k in range(requested + kept)]))
    moves = draw(st.lists(st.floats(-2, 2, width=32), min_size=requested * N, max_size=requested * N))
    names, keep = tuple(order[:requested]), tuple(order[requested:])
    return generator, reader, generator.draw(N, seed), names, keep, within_a_step(reader, names, keep, moves)


def within_a_step(reader, names, keep, moves):
    """Return moves [N, K], shortened where an edit would be longer than one step may be."""
    moves = np.reshape(moves, (N, len(names)))
    steps = reader.directions().steps([*names, *keep])[:, : len(names)]
    nothing, inverse = np.zeros(len(steps)), inverse_of(reader.generator.w_covariance)
    lengths = [distance(part @ steps.T, nothing, inverse) for part in (moves, np.maximum(moves, 0))]
    return moves * np.minimum(1, 0.9 * LONGEST_STEP / np.maximum(np.max(lengths, 0), 1e-9))[:, None]


def moving_by(reader: BlockReader, w, names, keep, moves, at_least=False, tolerance=EXACT) -> EditObjective:
    """Request what is read now plus `moves`, on the named semantics."""
    now = reader(synthesize(reader.generator, w, 64))
    columns = [int(name[1:]) for name in names]
    return EditObjective(
        names=names,
        values=now[:, columns] + moves,
        at_least=np.full(len(names), at_least),
        tolerance=np.full(len(names), tolerance),
        keep=keep,
        keep_tolerance=np.full(len(keep), tolerance),
    )


def columns(names):
    return [int(name[1:]) for name in names]


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([0, 5]))
def test_values_are_met_and_kept_axes_do_not_move(case, corrections):
    generator, reader, w, names, keep, moves = case
    objective = moving_by(reader, w, names, keep, moves)
    edited = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(corrections=corrections))
    before, after = (reader(synthesize(generator, latents, 64)) for latents in (w, edited.w))
    assert np.abs(after[:, columns(names)] - objective.values).max() <= EXACT
    assert np.abs(after[:, columns(keep)] - before[:, columns(keep)]).max(initial=0) <= EXACT
    assert (edited.error <= 1).all()
    assert (edited.steps <= 1).all()  # the straight step is exact
    np.testing.assert_allclose(edited.measured, after, atol=1e-12)
    np.testing.assert_allclose(edited.origin_measured, before, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(cases(), st.lists(st.floats(-6, 6), min_size=6, max_size=6))
def test_units_do_not_matter(case, exponents):
    """Degrees or radians, log-odds or percent: the same edit."""
    generator, reader, w, names, keep, moves = case
    scale = 10 ** np.array(exponents[: len(reader.B)])
    other = BlockReader(generator, reader.B * scale[:, None], reader.offset * scale)
    objective = moving_by(reader, w, names, keep, moves)
    scaled = replace(
        objective,
        values=objective.values * scale[columns(names)],
        tolerance=objective.tolerance * scale[columns(names)],
        keep_tolerance=objective.keep_tolerance * scale[columns(keep)],
    )
    one = extrapolate(generator, reader.directions(), reader, w, objective)
    two = extrapolate(generator, other.directions(), other, w, scaled)
    np.testing.assert_allclose(two.w, one.w, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(0, 999))
def test_no_edit_that_meets_the_objective_is_likelier(case, seed):
    generator, reader, w, names, keep, moves = case
    edited = extrapolate(generator, reader.directions(), reader, w, moving_by(reader, w, names, keep, moves))
    change = edited.w.astype(np.float64) - w
    rows = reader.B[columns([*names, *keep])]
    free = np.linalg.svd(rows)[2][len(rows) :]  # moves that none of these semantics sees
    inverse = inverse_of(generator.w_covariance)
    nothing = np.zeros(generator.w_dim)
    length = distance(change, nothing, inverse)
    for extra in np.random.default_rng(seed).normal(size=(20, N, len(free))) * 0.5:
        assert (distance(change + extra @ free, nothing, inverse) >= length - 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(cases())
def test_at_least_leaves_higher_values_alone(case):
    generator, reader, w, names, keep, moves = case
    objective = moving_by(reader, w, names, keep, moves, at_least=True)
    edited = extrapolate(generator, reader.directions(), reader, w, objective)
    before, after = edited.origin_measured[:, columns(names)], edited.measured[:, columns(names)]
    higher = (moves <= 0).all(1)
    np.testing.assert_array_equal(edited.w[higher], w[higher])
    assert (edited.steps[higher] == 0).all()
    # Beside one that has to move, one that is there already stays; the others reach their value.
    np.testing.assert_allclose(after, np.where(moves <= 0, before, objective.values), atol=EXACT)
    assert (edited.error <= 1).all()


def test_a_higher_value_is_brought_back_unless_at_least():
    generator = BlockGenerator(4)
    reader = block_reader(generator, 1)
    w = generator.draw(N)
    edited = extrapolate(
        generator, reader.directions(), reader, w, moving_by(reader, w, ("s0",), (), np.full((N, 1), -1.0))
    )
    np.testing.assert_allclose(edited.measured[:, 0] - edited.origin_measured[:, 0], -1, atol=EXACT)


@settings(max_examples=40, deadline=None)
@given(cases(), st.floats(0.5, 5.0), st.floats(1, 4))
def test_reach_is_never_exceeded_and_the_objective_comes_first(case, reach, more):
    """Near the limit, what no axis reads gives way: an edit fails only where what is requested and kept is too far."""
    generator, reader, w, names, keep, moves = case
    objective = moving_by(reader, w, names, keep, moves * more)
    edited = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(reach=reach, corrections=12))
    inverse = inverse_of(generator.w_covariance)
    far, began = (distance(v.astype(np.float64), generator.w_mean, inverse) for v in (edited.w, w))
    assert (far <= np.maximum(reach, began) * (1 + 1e-5)).all()
    rows = columns([*names, *keep])
    met = np.concatenate([objective.values, edited.origin_measured[:, columns(keep)]], 1) - reader.offset[rows]
    spread = reader.B[rows] @ generator.w_covariance @ reader.B[rows].T
    least = np.sqrt(np.einsum("nk,kl,nl->n", met, np.linalg.inv(spread), met))  # of all latents that read like this
    assert (edited.error[least < reach * (1 - 1e-4)] <= 1).all()
    assert (edited.error[(least > reach * (1 + 1e-3)) & (began < reach)] > 1).all()


def test_an_objective_that_is_too_far_is_approached_as_far_as_the_reach_allows():
    generator = BlockGenerator(5)
    reader = block_reader(generator, 2)
    w = np.repeat(generator.w_mean[None].astype(np.float32), 3, 0)
    objective = moving_by(reader, w, ("s0",), ("s1",), np.array([[0.5], [4.0], [8.0]]))
    edited = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(reach=2.0))
    assert edited.error[0] <= 1 < edited.error[1] < edited.error[2]
    away = distance(edited.w[1:].astype(float), generator.w_mean, inverse_of(generator.w_covariance))
    np.testing.assert_allclose(away, 2, rtol=1e-4)
    np.testing.assert_allclose(edited.measured[:, 1], edited.origin_measured[:, 1], atol=1e-4)
    assert (edited.measured[1:, 0] > edited.measured[0, 0]).all()


def test_far_objectives_take_several_steps():
    """One step is cut to LONGEST_STEP; corrections go on from there, and arrive."""
    generator = BlockGenerator(6)
    reader = BlockReader(generator, np.eye(6)[:1] * 1.0, generator.w_mean[:1])
    w = np.repeat(generator.w_mean[None].astype(np.float32), N, 0)
    step = float(np.sqrt(generator.w_covariance[0, 0]))  # a move of Mahalanobis length 1
    objective = moving_by(reader, w, ("s0",), (), np.full((N, 1), 1.4 * LONGEST_STEP * step))
    assert (np.abs(objective.values) < generator.RANGE).all()
    single = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(corrections=0))
    inverse = inverse_of(generator.w_covariance)
    np.testing.assert_allclose(distance(single.w.astype(float), generator.w_mean, inverse), LONGEST_STEP, rtol=1e-4)
    assert (single.error > 1).all()
    assert (
        extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(corrections=12)).error <= 1
    ).all()


def test_slopes_are_learnt_on_the_way():
    """Directions that are far too flat overshoot; each latent learns its own slope from its own steps, and arrives."""
    generator = BlockGenerator(6)
    reader = block_reader(generator, 3)
    flat = reader.directions(B=reader.B * 0.3 + 0.02 * np.random.default_rng(0).normal(size=reader.B.shape))
    w = generator.draw(N)
    objective = moving_by(reader, w, ("s0",), ("s1", "s2"), np.full((N, 1), 0.5), tolerance=1e-3)
    single = extrapolate(generator, flat, reader, w, objective, EditOptions(corrections=0))
    assert (single.error > 1).all()
    assert (extrapolate(generator, flat, reader, w, objective, EditOptions(corrections=8)).error <= 1).all()


def test_corrections_never_make_it_worse():
    """Where the reading folds back on itself corrections swing; the nearest attempt is returned, not the last."""
    generator = BlockGenerator(6)
    reader = block_reader(generator, 2)

    def folded(images):
        values = reader(images)
        return values + 0.7 * np.sin(5 * values)

    w = generator.draw(24)
    now = folded(synthesize(generator, w, 64))
    objective = EditObjective(("s0",), now[:, :1] + 1.3, np.array([False]), np.array([1e-3]), ("s1",), np.array([1e-3]))
    errors = np.stack(
        [
            extrapolate(generator, reader.directions(), folded, w, objective, EditOptions(corrections=k)).error
            for k in range(8)
        ]
    )
    assert (np.diff(errors, axis=0) <= 1e-12).all()
    tried = extrapolate(generator, reader.directions(), folded, w, objective, EditOptions(corrections=7))
    assert (tried.steps < 8).any()  # somewhere the last try was not the best
    again = folded(synthesize(generator, tried.w, 64))
    missed = np.abs(again - np.concatenate([objective.values, now[:, 1:]], 1)).max(1)
    np.testing.assert_allclose(tried.error, missed / 1e-3, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(cases(most=8), st.floats(-0.5, 0.5), st.floats(0.05, 2))
def test_a_bounded_semantic_is_free_inside_its_bounds_and_brought_back_from_outside(case, low, room):
    generator, reader, w, names, keep, moves = case
    if not keep:
        return
    free, keep = keep[0], keep[1:]
    plain = moving_by(reader, w, names, keep, moves)
    k = int(free[1:])
    bounds = reader.offset[k] + np.array([[low - room, low + room]])
    bounded = replace(plain, within=(free,), bounds=bounds)
    loose = extrapolate(generator, reader.directions(), reader, w, plain, EditOptions(corrections=8))
    held = extrapolate(generator, reader.directions(), reader, w, bounded, EditOptions(corrections=8))
    inside = (bounds[0, 0] < loose.measured[:, k]) & (loose.measured[:, k] < bounds[0, 1]) & (loose.error <= 1)
    inside &= (bounds[0, 0] < loose.origin_measured[:, k]) & (loose.origin_measured[:, k] < bounds[0, 1])
    np.testing.assert_allclose(held.w[inside], loose.w[inside], atol=1e-6)
    met = held.error <= 1
    slack = (bounds[0, 1] - bounds[0, 0]) / 50 * (1 + 1e-6)
    assert (held.measured[met, k] >= bounds[0, 0] - slack).all()
    assert (held.measured[met, k] <= bounds[0, 1] + slack).all()
    assert np.abs(held.measured - ends(bounded, held, names))[met][:, columns([*names, *keep])].max(initial=0) <= EXACT


def ends(objective, edited, names):
    """Return where each column should end: the requested value, or where it was."""
    end = edited.origin_measured.copy()
    end[:, columns(names)] = objective.values
    return end


def test_a_bound_is_kept_while_something_else_moves():
    """Moving one semantic drags another along; a bounded one stops at its bound, and the objective is met anyway."""
    generator = BlockGenerator(6)
    rows = np.eye(6)[:2] + 0.6 * np.eye(6)[[1, 0]]
    reader = BlockReader(generator, rows, np.zeros(2))
    w = np.repeat(generator.w_mean[None].astype(np.float32), N, 0)
    objective = moving_by(reader, w, ("s0",), (), np.full((N, 1), 1.5))
    dragged = extrapolate(generator, reader.directions(), reader, w, objective)
    assert (dragged.measured[:, 1] > 0.5).all()
    bounded = replace(objective, within=("s1",), bounds=np.array([[-0.3, 0.3]]))
    held = extrapolate(generator, reader.directions(), reader, w, bounded, EditOptions(corrections=8))
    assert (held.error <= 1).all()
    assert (held.measured[:, 1] < 0.3 + 0.6 / 50 + 1e-6).all()
    np.testing.assert_allclose(held.measured[:, 0], objective.values[:, 0], atol=EXACT)


def fitted(generator: BlockGenerator, reader: BlockReader):
    """Return directions as a run fits them, on samples of a generator whose semantics are curved."""
    w = generator.draw(400, seed=9)
    values = reader(generator.synthesize(torch.from_numpy(w)))
    regression = StreamingRegression(generator.w_dim, len(reader.B))
    regression.update(w, values)
    fit = regression.solve()
    offset = fit.c + (generator.w_mean - fit.w_mean) @ fit.B.T
    return reader.directions(B=fit.B, offset=offset, spread=values.std(0))


def test_closing_the_loop_beats_the_single_step():
    generator = BlockGenerator(8, bend=0.6)
    reader = block_reader(generator, 4)
    directions, w = fitted(generator, reader), generator.draw(48, seed=3)
    objective = moving_by(reader, w, ("s0", "s1"), ("s2", "s3"), np.tile([1.0, -0.8], (48, 1)), tolerance=0.05)
    single = extrapolate(generator, directions, reader, w, objective, EditOptions(corrections=0))
    closed = extrapolate(generator, directions, reader, w, objective, EditOptions(corrections=6))
    assert (single.error <= 1).mean() < 0.5  # the curvature matters
    assert (closed.error <= 1).mean() > 0.9
    assert (closed.error <= single.error).all()  # each correction is kept only where it helps
    assert np.median(closed.error) < 0.5 * np.median(single.error)
    assert np.abs(closed.measured[:, 2:] - closed.origin_measured[:, 2:])[closed.error <= 1].max() <= 0.05


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(-0.9, 0.9), st.floats(0.0, 30.0), st.integers(0, 4))
def test_the_error_is_that_of_the_images_that_are_returned(seed, bend, move, corrections):
    """Whatever happens on the way, the result is measured, and only a met objective has an error of at most 1."""
    generator = BlockGenerator(6, seed=seed, bend=bend)
    reader = block_reader(generator, 3, seed)
    w = generator.draw(N, seed)
    objective = moving_by(reader, w, ("s0",), ("s1", "s2"), np.full((N, 1), move), tolerance=0.1)
    edited = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(corrections=corrections))
    assert torch.equal(edited.images, synthesize(generator, edited.w, 64))
    np.testing.assert_allclose(edited.measured, reader(edited.images), atol=1e-12)
    missed = np.abs(edited.measured[:, 0] - objective.values[:, 0])
    drifted = np.abs(edited.measured - edited.origin_measured)[:, 1:].max(1)
    np.testing.assert_allclose(edited.error, np.maximum(missed, drifted) / 0.1, atol=1e-9)


@pytest.mark.filterwarnings(
    "error::RuntimeWarning"
)  # where images no longer change, a slope is zero and nothing is divided by it
def test_values_that_the_generator_cannot_show_are_no_success():
    generator = BlockGenerator(4)
    # One semantic is the first block alone, whose grey saturates at RANGE.
    reader = BlockReader(generator, np.eye(4)[:1], generator.w_mean[:1])
    w = generator.draw(N)
    objective = moving_by(reader, w, ("s0",), (), np.full((N, 1), 3 * generator.RANGE), tolerance=0.1)
    edited = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(corrections=20))
    assert (edited.error > 1).all()
    assert np.abs(edited.measured[:, 0] - generator.RANGE).max() < 0.01  # the nearest that there is


def test_images_that_cannot_be_read_are_no_success():
    generator = BlockGenerator(4)
    reader = block_reader(generator, 2)
    w = generator.draw(N)
    objective = moving_by(reader, w, ("s0",), ("s1",), np.ones((N, 1)))

    def blind(images):
        return np.full((len(images), 2), np.nan)

    edited = extrapolate(generator, reader.directions(), blind, w, objective)
    assert (edited.error > 1).all()
    np.testing.assert_array_equal(edited.w, w)


def test_batches_and_company_do_not_matter():
    generator = BlockGenerator(8, bend=0.5)
    reader = block_reader(generator, 3)
    w = generator.draw(20)
    objective = moving_by(reader, w, ("s0",), ("s1", "s2"), np.linspace(-3, 3, 20)[:, None], tolerance=0.01)
    whole = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(batch_size=64))
    small = extrapolate(generator, reader.directions(), reader, w, objective, EditOptions(batch_size=3))
    np.testing.assert_array_equal(whole.w, small.w)
    alone = extrapolate(
        generator, reader.directions(), reader, w[7:8], replace(objective, values=objective.values[7:8])
    )
    np.testing.assert_allclose(alone.w[0], whole.w[7], atol=1e-6)
    assert (
        len(
            extrapolate(
                generator, reader.directions(), reader, w[:0], replace(objective, values=objective.values[:0])
            ).w
        )
        == 0
    )


def test_directions_of_another_generator_are_refused():
    generator, other = BlockGenerator(4), BlockGenerator(4, seed=1)
    reader = block_reader(generator, 1)
    w = generator.draw(2)
    with pytest.raises(GeneratorError, match=r"made for the generator .*, not for"):
        extrapolate(other, reader.directions(), reader, w, moving_by(reader, w, ("s0",), (), np.ones((2, 1))))


def test_an_unknown_name_is_refused():
    generator = BlockGenerator(4)
    reader = block_reader(generator, 1)
    w = generator.draw(2)
    objective = replace(moving_by(reader, w, ("s0",), (), np.ones((2, 1))), names=("s9",))
    with pytest.raises(UsageError, match="no direction is called 's9'; there are: 's0'"):
        extrapolate(generator, reader.directions(), reader, w, objective)


def test_synthesize_clamps_and_takes_no_latents_at_all():
    generator = BlockGenerator(4)
    assert synthesize(generator, np.zeros((0, 4), np.float32), 8).shape == (0, 3, 16, 16)
    assert synthesize(generator, np.full((3, 4), 99.0), 2).abs().max() <= 1


def test_distance_is_mahalanobis():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    covariance, centre, w = root @ root.T, rng.normal(size=5), rng.normal(size=(7, 5))
    expected = [np.linalg.norm(np.linalg.solve(root, row - centre)) for row in w]
    np.testing.assert_allclose(distance(w, centre, inverse_of(covariance)), expected, rtol=1e-8)
