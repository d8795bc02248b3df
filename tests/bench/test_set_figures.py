"""Figures of synthetic sets: real faces and copies of them are told apart from something else."""

from __future__ import annotations

import numpy as np

from faceaug.bench.examples import Examples
from faceaug.bench.set_figures import set_figures

NAMES = ("few", "many")


def _faces(count, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    cells = np.arange(count) % 2
    inputs = (rng.normal(size=(count, 8)) + 3 * cells[:, None] + offset).astype(np.float16)
    return Examples(inputs, None, cells[:, None].copy(), cells, np.zeros(count, bool))


def test_samples_like_the_faces_are_not_told_apart_and_others_are():
    real, held_out = _faces(120), _faces(60, seed=1)
    own = 120 + np.arange(80)
    alike = set_figures(_faces(80, seed=2), own, real, held_out, NAMES)
    other = set_figures(_faces(80, offset=6.0, seed=2), own, real, held_out, NAMES)
    assert alike["auc"] < 0.65 < 0.95 < other["auc"]
    assert alike["distances"]["coverage"] > other["distances"]["coverage"]
    assert alike["cells"].keys() == set(NAMES)
    assert alike["agreement"] > 0.9


def test_copies_are_counted():
    real, held_out = _faces(120), _faces(60, seed=1)
    copied = set_figures(real.rows(np.arange(80)), np.arange(80), real, held_out, NAMES)
    assert copied["copies"] == 1


def test_too_few_samples_have_no_figures():
    assert set_figures(_faces(4), np.arange(4), _faces(120), _faces(60, seed=1), NAMES) is None


def test_few_faces_of_a_cell_do_not_make_like_sets_unlike():
    real = _faces(400)
    thinned = real.rows(np.flatnonzero((real.cells == 1) | (np.cumsum(real.cells == 0) <= 12)))
    figures = set_figures(_faces(240, seed=2), 1000 + np.arange(240), thinned, _faces(240, seed=1), NAMES)
    assert figures["auc"] < 0.62
    assert figures["auc_photographs"] < 0.62
    assert figures["agreement"] > 0.9  # the rare cell is named, too
