"""Trust: calibrated confidence, and refusals with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.measurement.confidence import (
    NO_FACE,
    RESTLESS,
    TOLERANCE,
    TWOFOLD,
    UNEXPLAINED,
    ConfidenceModel,
    QualitySignals,
    concatenate_signals,
    fit_confidence,
)

SPREAD = np.array([20.0, 0.1])


def draw(n: int, seed: int) -> tuple[QualitySignals, np.ndarray]:
    """Pictures whose trouble is one hidden number: it moves every sign, and the values as far."""
    rng = np.random.default_rng(seed)
    trouble = rng.exponential(0.3, n)

    def noisy(scale, *shape):
        return scale * trouble.reshape(-1, *[1] * len(shape)) * np.exp(rng.normal(0, 0.2, (n, *shape)))

    off = SPREAD * trouble[:, None] * rng.normal(0, 1, (n, 2))
    return QualitySignals(
        0.2 + noisy(0.3), SPREAD * noisy(0.5, 2), noisy(0.4), 6 - 4 * trouble + rng.normal(0, 1, n)
    ), off


def without(n: int = 100) -> QualitySignals:
    rng = np.random.default_rng(9)
    return QualitySignals(
        rng.uniform(1, 2, n), SPREAD * rng.uniform(0, 3, (n, 2)), rng.uniform(1, 3, n), rng.normal(-4, 1, n)
    )


@pytest.fixture(scope="module")
def trust() -> ConfidenceModel:
    signs, off = draw(2000, 0)
    return fit_confidence(signs, off, SPREAD, without())


def test_confidence_is_the_share_that_is_right(trust):
    signs, off = draw(4000, 1)
    confidence = trust.confidence(signs)
    right = np.abs(off) <= TOLERANCE * SPREAD
    assert confidence.shape == (4000, 2)
    assert 0.3 < confidence.mean() < 0.95
    for low in (0.5, 0.7, 0.9):
        for column in range(2):
            inside = (confidence[:, column] >= low) & (confidence[:, column] < low + 0.1)
            assert right[inside, column].mean() == pytest.approx(confidence[inside, column].mean(), abs=0.08)


def test_more_trouble_is_never_more_confidence(trust):
    signs, _ = draw(50, 2)
    calm = trust.confidence(signs)
    for worse in (
        QualitySignals(signs.error * 1.2, signs.mirror_disagreement, signs.residual_step, signs.face),
        QualitySignals(signs.error, signs.mirror_disagreement * 1.2, signs.residual_step, signs.face),
        QualitySignals(signs.error, signs.mirror_disagreement, signs.residual_step * 1.2, signs.face),
        QualitySignals(signs.error, signs.mirror_disagreement, signs.residual_step, signs.face - 0.5),
    ):
        assert (trust.confidence(worse) <= calm + 1e-12).all()
    assert (trust.weights <= 0).all()


def test_refusals_say_why_and_have_no_confidence(trust):
    fine = QualitySignals(np.full(6, 0.3), np.full((6, 2), 0.01) * SPREAD, np.full(6, 0.1), np.full(6, 6.0))
    fine.face[1], fine.residual_step[2], fine.error[3], fine.mirror_disagreement[4] = (
        -9,
        1.05 * trust.limits[2],
        50,
        50 * SPREAD,
    )
    fine.error[5] = np.nan
    assert trust.refusals(fine) == ["", NO_FACE, RESTLESS, UNEXPLAINED, TWOFOLD, UNEXPLAINED]
    confidence = trust.confidence(fine)
    assert (confidence[0] > 0.5).all()
    assert (confidence[1:] == 0).all()


def test_pictures_without_a_face_are_refused_and_others_hardly_ever(trust):
    assert np.mean([bool(why) for why in trust.refusals(without(500))]) > 0.98
    assert np.mean([bool(why) for why in trust.refusals(draw(2000, 3)[0])]) < 0.03


def test_a_framing_without_rest_speaks_against_a_face(trust):
    assert (trust.presence[:2] >= 0).all()
    doubtful = QualitySignals(np.full(2, 0.3), np.full((2, 2), 0.01) * SPREAD, np.array([0.1, 3.0]), np.full(2, 0.1))
    assert trust.refusals(doubtful) == ["", NO_FACE]


def test_pictures_of_which_nothing_is_seen_do_not_spoil_it(trust):
    signs, off = draw(2000, 0)
    nothing = without()
    signs.error[:3], nothing.error[:50] = np.inf, np.inf
    found = fit_confidence(signs, off, SPREAD, nothing)
    assert all(np.isfinite(part).all() for part in (found.centre, found.weights, found.bias))
    np.testing.assert_allclose(found.limits[:3], trust.limits[:3], rtol=0.05)
    fresh, _ = draw(500, 1)
    np.testing.assert_allclose(found.confidence(fresh), trust.confidence(fresh), atol=0.1)
    fresh.error[:] = np.inf
    assert set(found.refusals(fresh)) <= {NO_FACE, RESTLESS, UNEXPLAINED}
    assert (found.confidence(fresh) == 0).all()


@pytest.mark.parametrize(
    ("name", "rows", "value"),
    [("error", slice(None), np.inf), ("error", 3, np.nan), ("twofold", 3, np.nan), ("unrest", 3, np.inf),
     ("face", 3, np.nan)],
)  # fmt: skip
def test_what_is_no_number_teaches_nothing(name, rows, value):
    signs, off = draw(200, 0)
    getattr(signs, name)[rows] = value
    with pytest.raises(FaceaugError, match=r"not finite: .* train it for longer"):
        fit_confidence(signs, off, SPREAD, without())


def test_it_travels_as_tensors(trust):
    again = ConfidenceModel.from_state(trust.state(), 2)
    signs, _ = draw(20, 4)
    assert np.array_equal(again.confidence(signs), trust.confidence(signs))


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_a_damaged_one_is_refused(trust, damage):
    state = trust.state()
    if damage == "missing":
        del state["limits"]
    elif damage == "shape":
        state["weights"] = state["weights"][:1]
    else:
        state["bias"] = torch.full_like(state["bias"], float("nan"))
    with pytest.raises(IntegrityError, match="get it again"):
        ConfidenceModel.from_state(state, 2)


def test_for_other_semantics_it_is_refused(trust):
    with pytest.raises(IntegrityError):
        ConfidenceModel.from_state(trust.state(), 3)


def test_joined():
    one, two = without(3), draw(2, 0)[0]
    both = concatenate_signals([one, two])
    assert np.array_equal(both.face, np.concatenate([one.face, two.face]))
    assert both.mirror_disagreement.shape == (5, 2)
