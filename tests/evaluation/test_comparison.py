"""Figures of samples against photographs, on features whose relation is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.errors import UsageError
from faceaug.evaluation.comparison import FeatureSet, evaluate_samples, matched_rows, separability
from faceaug.gan_training.metrics import density_coverage

CELLS = 2


def pictures(count: int, seed: int, *, shift: float = 0.0, spread: float = 1.0, first: int = 0) -> FeatureSet:
    """Return features of two cells, 4 apart along the first of 8 numbers, and shifted along the second."""
    rng = np.random.default_rng(seed)
    cells = np.arange(count) % CELLS
    features = spread * rng.normal(size=(count, 8))
    features[:, 0] += 4 * cells
    features[:, 1] += shift
    return FeatureSet(features.astype(np.float32), cells, first + np.arange(count))


@pytest.fixture(scope="module")
def real() -> FeatureSet:
    return pictures(800, 0)


def test_samples_that_are_as_photographs_reach_what_photographs_reach(real):
    found = evaluate_samples(real, pictures(400, 1, first=1000))
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(found.distances, name) == pytest.approx(getattr(found.reference, name), abs=0.08)
    assert found.auc == pytest.approx(0.5, abs=0.1)
    assert found.agreement == pytest.approx(found.agreement_photographs, abs=0.05)
    assert found.agreement > 0.9
    assert found.diversity == pytest.approx(1, abs=0.1)
    assert found.copies < 0.05
    assert [cell.cell for cell in found.cells] == [0, 1]
    assert [cell.samples for cell in found.cells] == [200, 200]


def test_samples_from_elsewhere_are_told_apart(real):
    found = evaluate_samples(real, pictures(400, 1, shift=6.0, first=1000))
    assert found.auc > 0.99
    assert found.auc_photographs < 0.6
    assert found.distances.precision < 0.05
    assert found.distances.coverage < 0.05
    assert found.distances.frechet > 30 > found.reference.frechet
    assert found.distances.kernel > found.reference.kernel


def test_samples_that_are_all_alike_are_precise_and_not_diverse(real):
    found = evaluate_samples(real, pictures(400, 1, spread=0.2, first=1000))
    assert found.distances.precision > 0.95
    assert found.distances.recall < 0.2
    assert found.diversity < 0.4


def test_copies_of_photographs_are_found(real):
    copies = FeatureSet(real.features[:400] + 1e-4, real.cells[:400], real.groups[:400])
    assert evaluate_samples(real, copies).copies > 0.95


def test_samples_that_do_not_show_their_cell_lower_its_agreement(real):
    wrong = pictures(400, 1, first=1000)
    relabelled = FeatureSet(wrong.features, np.zeros_like(wrong.cells), wrong.groups)
    found = evaluate_samples(real, relabelled)
    assert found.agreement is None or found.agreement < 0.6
    half = wrong.cells.copy()
    half[:100] = 1 - half[:100]
    cells = evaluate_samples(real, FeatureSet(wrong.features, half, wrong.groups)).cells
    assert max(cell.agreement for cell in cells) < 0.85 < min(cell.agreement_photographs for cell in cells)


def test_the_same_seed_gives_the_same_figures(real):
    samples, held_out = pictures(300, 1, first=1000), pictures(300, 2, first=2000)
    one, other = (evaluate_samples(real, samples, held_out, seed=3) for _ in range(2))
    assert one == other
    assert one.reference.photographs == one.distances.photographs == 300


def test_a_photograph_and_what_is_made_of_it_are_on_one_side():
    """A sample that is told from its own photograph alone is not told apart."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8)).astype(np.float32)
    one = FeatureSet(features, np.zeros(300, np.int64), np.arange(300))
    other = FeatureSet(features + 0.01 * rng.normal(size=features.shape).astype(np.float32), one.cells, one.groups)
    assert separability(one, other) < 0.6


def test_too_few_pictures_are_refused(real):
    with pytest.raises(UsageError, match="too few to compare"):
        evaluate_samples(real, pictures(10, 1))
    elsewhere = FeatureSet(real.features, real.cells + 7, real.groups)
    with pytest.raises(UsageError, match="0 photographs of the same cells"):
        evaluate_samples(real, elsewhere)
    with pytest.raises(UsageError, match="held-out photographs"):
        evaluate_samples(real, pictures(100, 1), elsewhere)


def test_small_cells_have_no_figures_of_distributions(real):
    samples = pictures(60, 1, first=1000)
    rare = samples.take(np.r_[np.flatnonzero(samples.cells == 0), np.flatnonzero(samples.cells == 1)[:4]])
    cell = evaluate_samples(real, rare).cells[1]
    assert (cell.samples, cell.precision, cell.diversity) == (4, None, None)
    assert cell.agreement is not None


def test_matched_rows_take_as_many_of_each_cell():
    cells = np.array([0] * 10 + [1] * 3 + [2] * 5)
    rows = matched_rows(cells, np.array([0, 0, 1, 1, 1, 1, 3]), np.random.default_rng(0))
    assert np.bincount(cells[rows]).tolist() == [2, 3]
    assert len(set(rows.tolist())) == len(rows)


def test_density_and_coverage_by_hand():
    real = np.array([[0.0], [1.0], [10.0]])  # with one neighbour, radii 1, 1 and 9
    density, coverage = density_coverage(real, np.array([[0.5], [30.0]]), 1)
    assert density == pytest.approx(2 / 2)
    assert coverage == pytest.approx(2 / 3)
