"""Localized atoms: planted ones are recovered; readings, steps, maps, signs and scales are as documented."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from faceaug.errors import UsageError
from faceaug.latents.atoms import SparseAtoms, agreement
from faceaug.latents.face_regions import face_grid
from faceaug.latents.localization import AtomConfig, localize

SIDE, WIDTH, PLANTED = 24, 14, 10
PLACES = [(0.0, 0.2), (0.2, 0.25), (0.35, 0.5), (0.0, 0.5), (0.2, 0.6), (0.0, 0.8), (0.25, 0.85), (0.4, 0.1)]


def planted_maps():
    """Return ten mirror-even maps [10, 4, S, S]: one of depth or of albedo a place, and two of another kind."""
    x, y = face_grid(SIDE)
    maps = np.zeros((PLANTED, 4, SIDE, SIDE))
    for k in range(PLANTED):
        cx, cy = PLACES[k % len(PLACES)]
        bump = np.exp(-0.5 * (((np.abs(x) - cx) / 0.06) ** 2 + ((y - cy) / 0.06) ** 2))
        if k % 2 == (k >= len(PLACES)):  # at the two places used twice, both kinds
            maps[k, 0] = 0.01 * bump
        else:
            maps[k, 1:] = np.array([0.3, 0.2, -0.1])[:, None, None] * bump * (1 + 0.3 * k)
    return maps


@lru_cache(maxsize=8)
def problem(noise=0.0, seed=0):
    """Return slopes [4, S, S, D] of the planted maps read along correlated lines, and a covariance."""
    rng = np.random.default_rng(7)
    mixing = rng.normal(size=(WIDTH, WIDTH)) * np.geomspace(0.3, 3, WIDTH)
    covariance = mixing @ mixing.T
    lines = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0][:, :PLANTED]
    lines = lines + 0.1 * rng.normal(size=lines.shape)
    readings = np.linalg.solve(mixing.T, lines / np.linalg.norm(lines, axis=0))
    readings = readings / np.sqrt(np.einsum("dk,de,ek->k", readings, covariance, readings))
    slopes = np.einsum("kcyx,dk->cyxd", planted_maps(), readings)
    scale = np.array([0.002, 0.05, 0.05, 0.05])[:, None, None, None]
    slopes = slopes + noise * scale * np.random.default_rng(seed).normal(size=slopes.shape)
    return slopes, covariance, readings


@lru_cache(maxsize=8)
def found(noise=0.0, seed=0, **fields) -> SparseAtoms:
    slopes, covariance, _ = problem(noise, seed)
    return localize(slopes, covariance, config=AtomConfig(count=PLANTED, **fields))


def scaled(atoms: SparseAtoms, maps):
    return maps * atoms.scale[:, None, None]


def test_planted_atoms_are_recovered():
    atoms = found()
    assert (agreement(scaled(atoms, planted_maps()), scaled(atoms, atoms.maps)) > 0.95).all()
    assert (agreement(scaled(atoms, planted_maps()), scaled(atoms, atoms.effects)) > 0.95).all()
    assert atoms.dense_reconstruction == pytest.approx(1, abs=1e-6)
    assert atoms.reconstruction > 0.95
    _, covariance, readings = problem()
    root = np.linalg.cholesky(covariance)
    assert (agreement((root.T @ readings).T, (root.T @ atoms.reading).T) > 0.95).all()


def test_the_reader_of_values_is_computed_once(monkeypatch):
    atoms, mean = (
        localize(*problem()[:2], config=AtomConfig(count=PLANTED)),
        np.random.default_rng(1).normal(size=(4, SIDE, SIDE)),
    )
    true = np.random.default_rng(0).normal(size=(3, PLANTED))
    faces = mean + np.einsum("nk,kcyx->ncyx", true, atoms.maps)
    np.testing.assert_allclose(atoms.values(faces, mean), true, atol=1e-9)
    monkeypatch.setattr(np.linalg, "pinv", None)  # not needed again
    np.testing.assert_allclose(atoms.values(faces[:1], mean), true[:1], atol=1e-9)


def test_one_standard_deviation_is_one_unit():
    _, covariance, _ = problem()
    variance = np.einsum("dk,de,ek->k", found().reading, covariance, found().reading)
    np.testing.assert_allclose(variance, 1, atol=1e-9)


def test_steps_move_one_atom_and_no_other_by_the_likeliest_way():
    slopes, covariance, _ = problem()
    atoms = found()
    np.testing.assert_allclose(atoms.reading.T @ atoms.steps, np.eye(PLANTED), atol=1e-8)
    spanned = covariance @ atoms.reading
    np.testing.assert_allclose(atoms.steps, spanned @ np.linalg.inv(atoms.reading.T @ spanned), atol=1e-8)
    np.testing.assert_allclose(atoms.effects, np.einsum("cyxd,dk->kcyx", slopes, atoms.steps), atol=1e-9)


def test_maps_are_sparse_compact_and_even():
    atoms = found(0.03)
    np.testing.assert_array_equal(atoms.maps, atoms.maps[..., ::-1])
    assert (atoms.maps != 0).any(1).mean() < 0.4  # of the pixels
    assert (np.abs(atoms.effects) > 0).all()
    x, y = face_grid(SIDE)
    for energy in atoms.energy():
        weight = energy / energy.sum()
        spread = np.sqrt(
            (weight * ((np.abs(x) - (weight * np.abs(x)).sum()) ** 2 + (y - (weight * y).sum()) ** 2)).sum()
        )
        assert spread < 0.12


def test_more_penalty_leaves_fewer_pixels_and_less_reconstruction():
    light, heavy = found(0.1, sparsity=0.02), found(0.1, sparsity=0.3)
    assert (heavy.maps != 0).mean() < 0.7 * (light.maps != 0).mean()
    assert heavy.reconstruction < light.reconstruction
    np.testing.assert_allclose(np.sort(np.abs(heavy.effects).ravel()), np.sort(np.abs(light.effects).ravel()))


def test_far_pixels_cost_more():
    wide, narrow = found(0.5, radius=10.0), found(0.5, radius=0.05)
    x, y = face_grid(SIDE)
    energy = narrow.energy() / narrow.energy().sum((1, 2), keepdims=True)
    other = wide.energy() / wide.energy().sum((1, 2), keepdims=True)
    far = lambda e: np.mean([(m * np.hypot(np.abs(x) - (m * np.abs(x)).sum(), y - (m * y).sum())).sum() for m in e])  # noqa: E731
    assert far(energy) < 0.9 * far(other)


def test_signs_and_order():
    atoms = found(0.1)
    for k in range(PLANTED):
        flat = scaled(atoms, atoms.maps)[k].ravel()
        assert flat[np.abs(flat).argmax()] > 0
    assert (np.diff(atoms.explained) <= 0).all()
    total = float((scaled(atoms, np.moveaxis(even_white(0.1), 3, 0)) ** 2).sum())
    np.testing.assert_allclose(atoms.explained, atoms.energy().sum((1, 2)) / total, rtol=1e-6)


def even_white(noise):
    slopes, covariance, _ = problem(noise)
    white = slopes @ _root(covariance)
    return (white + white[:, :, ::-1]) / 2


def _root(covariance):
    scale, basis = np.linalg.eigh(covariance)
    return (basis * np.sqrt(scale)) @ basis.T


def test_depth_and_albedo_weigh_the_same_whatever_their_units():
    slopes, covariance, _ = problem(0.1)
    atoms = found(0.1)
    energy = (scaled(atoms, np.moveaxis(even_white(0.1), 3, 0)) ** 2).sum((0, 2, 3))
    assert energy[0] == pytest.approx(1)
    assert energy[1:].sum() == pytest.approx(1)
    metres = np.array([1000.0, 1, 1, 1])[:, None, None, None]
    other = localize(slopes * metres, covariance, config=AtomConfig(count=PLANTED))
    np.testing.assert_allclose(other.reading, atoms.reading, atol=1e-5)
    np.testing.assert_allclose(other.maps[:, 0], 1000 * atoms.maps[:, 0], atol=1e-5)


def test_the_same_atoms_in_other_coordinates_of_w():
    """Atoms are about faces, not about the coordinates in which latents are written."""
    slopes, covariance, _ = problem(0.1)
    turn = np.random.default_rng(1).normal(size=(WIDTH, WIDTH))
    other = localize(slopes @ np.linalg.inv(turn), turn @ covariance @ turn.T, config=AtomConfig(count=PLANTED))
    np.testing.assert_allclose(other.maps, found(0.1).maps, atol=1e-4)
    np.testing.assert_allclose(turn.T @ other.reading, found(0.1).reading, atol=1e-4)


def test_the_mirror_odd_share_is_reported_and_left_out():
    slopes, covariance, _ = problem(0.1)
    x, _ = face_grid(SIDE)
    turned = slopes.copy()
    turned[1:, :, :, 0] += 0.5 * x  # one side lighter
    atoms = localize(turned, covariance, config=AtomConfig(count=PLANTED))
    assert atoms.odd > found(0.1).odd + 0.01
    np.testing.assert_allclose(atoms.maps, found(0.1).maps, atol=1e-6)


def test_planted_atoms_are_recovered_from_other_samples():
    first, second = found(0.1, 1), found(0.1, 2)
    assert (
        agreement(scaled(first, first.maps), scaled(first, second.maps)) > 0.8
    ).sum() >= PLANTED - 2  # or PLANTED - 1


def test_localization_repeats_bit_for_bit():
    slopes, covariance, _ = problem(0.3, 1)
    again = localize(slopes, covariance, config=AtomConfig(count=PLANTED))
    np.testing.assert_array_equal(again.maps, found(0.3, 1).maps)
    np.testing.assert_array_equal(again.reading, found(0.3, 1).reading)


def test_a_side_with_a_middle_column():
    slopes, covariance, _ = problem()
    right = (slopes + slopes[:, :, ::-1])[:, :, SIDE // 2 :]
    odd = np.concatenate([right[:, :, :0:-1], right], 2)[:, : 2 * right.shape[2] - 1]  # the middle column once
    atoms = localize(odd, covariance, config=AtomConfig(count=PLANTED))
    assert atoms.maps.shape == (PLANTED, 4, SIDE - 1, SIDE - 1)
    np.testing.assert_array_equal(atoms.maps, atoms.maps[..., ::-1])
    assert atoms.odd == pytest.approx(0, abs=1e-12)
    assert atoms.dense_reconstruction == pytest.approx(1, abs=1e-6)
    assert (atoms.maps[..., SIDE // 2 - 1] != 0).any()
    total = float((scaled(atoms, np.moveaxis(odd @ _root(covariance), 3, 0)) ** 2).sum())
    np.testing.assert_allclose(atoms.explained, atoms.energy().sum((1, 2)) / total, rtol=1e-6)


def test_values_read_off_maps():
    atoms, rng = found(), np.random.default_rng(3)
    slopes, covariance, _ = problem()
    w = rng.multivariate_normal(np.zeros(WIDTH), covariance, 200)
    mean = rng.normal(size=(4, SIDE, SIDE))
    even = (slopes + slopes[:, :, ::-1]) / 2
    maps = mean + np.einsum("cyxd,nd->ncyx", even, w)
    read, true = atoms.values(maps, mean), w @ atoms.reading
    correlation = np.corrcoef(read.T, true.T)[:PLANTED, PLANTED:]
    assert np.diag(correlation).min() > 0.98
    np.testing.assert_allclose(read.std(0), true.std(0), rtol=0.15)
    elsewhere = maps.copy()
    elsewhere[:, :, (atoms.maps == 0).all((0, 1))] += 9  # where no atom is, nothing is read
    np.testing.assert_allclose(atoms.values(elsewhere, mean), read, atol=1e-9)


def test_latents_that_do_not_vary_along_a_line():
    """A singular covariance: nothing is read along what never changes, and nothing is infinite."""
    slopes, covariance, _ = problem()
    wider = np.concatenate([slopes, np.ones((*slopes.shape[:3], 1))], 3)
    singular = np.pad(covariance, (0, 1))
    atoms = localize(wider, singular, config=AtomConfig(count=PLANTED))
    np.testing.assert_allclose(atoms.reading[-1], 0, atol=1e-9)
    np.testing.assert_allclose(atoms.maps, found().maps, atol=1e-5)


def test_agreement_matches_whatever_order_and_sign():
    vectors = np.random.default_rng(0).normal(size=(6, 30))
    order = np.random.default_rng(1).permutation(6)
    np.testing.assert_allclose(agreement(vectors, -vectors[order]), 1)
    swapped = agreement(np.eye(3)[:, :2] + 1e-3, np.eye(3)[:, :2][[1, 0, 2]] + 1e-3)
    np.testing.assert_allclose(swapped, 1, atol=1e-3)
    with pytest.raises(UsageError, match="cannot be matched"):
        agreement(vectors, vectors[:, :5])


def test_pixels_of_low_weight_get_fewer_atoms_and_maps_keep_their_units():
    slopes, covariance, _ = problem()
    low = face_grid(SIDE)[1] > 0.55  # where four of the planted ones are
    weight = np.where(low, 0.03, 1.0)
    even, weighted = (
        localize(slopes, covariance, weight=given, config=AtomConfig(count=5)) for given in (None, weight)
    )

    def below(atoms: SparseAtoms) -> int:
        energy = atoms.energy()
        return int(((energy * low).sum((1, 2)) > 0.5 * energy.sum((1, 2))).sum())

    assert below(weighted) < below(even)
    np.testing.assert_allclose(
        weighted.effects, np.einsum("cyxd,dk->kcyx", slopes, weighted.steps), atol=1e-6 * np.abs(weighted.effects).max()
    )
    whole = localize(
        slopes, covariance, weight=weight, config=AtomConfig(count=PLANTED)
    )  # the border runs through one of them
    assert (agreement(scaled(whole, planted_maps()), scaled(whole, whole.maps)) > 0.9).sum() >= PLANTED - 1
    same = localize(slopes, covariance, weight=np.full((SIDE, SIDE), 7.0), config=AtomConfig(count=5))
    np.testing.assert_allclose(same.maps, even.maps, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(slopes=np.zeros((4, 8, 7, 5))), "atoms need slopes"),
        (dict(slopes=np.zeros((3, 8, 8, 5))), "atoms need slopes"),
        (dict(covariance=np.eye(4)), "need a covariance"),
        (dict(slopes=np.full((4, 8, 8, 5), np.nan)), "NaN"),
        (dict(config=AtomConfig(count=6)), "at least 1 and at most that many"),
        (dict(config=AtomConfig(count=0)), "at least 1 and at most that many"),
        (dict(slopes=np.zeros((4, 8, 8, 5))), "change in only 0 ways"),
        (dict(slopes=np.ones((4, 8, 8, 5))), "change in only 1 ways"),
        (dict(config=AtomConfig(count=3, groups=((0,), (0, 1, 2, 3)))), "every channel in one group"),
        (dict(weight=np.ones((8, 7))), "the weight of"),
        (dict(weight=np.zeros((8, 8))), "numbers above 0"),
    ],
)
def test_bad_input_is_refused(change, said):
    slopes = np.random.default_rng(0).normal(size=(4, 8, 8, 5))
    with pytest.raises(UsageError, match=said):
        localize(**{"slopes": slopes, "covariance": np.eye(5), "config": AtomConfig(count=3), **change})
