"""The confidence model: calibrated confidence, and refusals with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.errors import FaceaugError, IntegrityError
from faceaug.measurement.confidence import (
    MIRROR_DIFFERS,
    NO_FACE,
    TOLERANCE,
    UNEXPLAINED,
    UNSTEADY_FRAMING,
    ConfidenceModel,
    QualitySignals,
    concatenate_signals,
    fit_confidence,
)

SPREAD = np.array([20.0, 0.1])


def with_face(n: int, seed: int) -> tuple[QualitySignals, np.ndarray]:
    """Return images whose trouble is one hidden number, which changes every signal, and the errors of their values."""
    rng = np.random.default_rng(seed)
    trouble = rng.exponential(0.3, n)

    def noisy(scale, *shape):
        return scale * trouble.reshape(-1, *[1] * len(shape)) * np.exp(rng.normal(0, 0.2, (n, *shape)))

    errors = SPREAD * trouble[:, None] * rng.normal(0, 1, (n, 2))
    return QualitySignals(
        0.2 + noisy(0.3), SPREAD * noisy(0.5, 2), noisy(0.4), 6 - 4 * trouble + rng.normal(0, 1, n)
    ), errors


def without_face(n: int = 100) -> QualitySignals:
    rng = np.random.default_rng(9)
    return QualitySignals(
        rng.uniform(1, 2, n), SPREAD * rng.uniform(0, 3, (n, 2)), rng.uniform(1, 3, n), rng.normal(-4, 1, n)
    )


@pytest.fixture(scope="module")
def model() -> ConfidenceModel:
    signals, errors = with_face(2000, 0)
    return fit_confidence(signals, errors, SPREAD, without_face())


def test_confidence_is_the_share_that_is_right(model):
    signals, errors = with_face(4000, 1)
    confidence = model.confidence(signals)
    right = np.abs(errors) <= TOLERANCE * SPREAD
    assert confidence.shape == (4000, 2)
    assert 0.3 < confidence.mean() < 0.95
    for low in (0.5, 0.7, 0.9):
        for column in range(2):
            inside = (confidence[:, column] >= low) & (confidence[:, column] < low + 0.1)
            # Of a hundred or so: 0.11 at most over twelve other samples.
            assert right[inside, column].mean() == pytest.approx(confidence[inside, column].mean(), abs=0.15)


def test_more_trouble_is_never_more_confidence(model):
    signals, _ = with_face(50, 2)
    calm = model.confidence(signals)
    for worse in (
        QualitySignals(signals.error * 1.2, signals.mirror_disagreement, signals.residual_step, signals.face),
        QualitySignals(signals.error, signals.mirror_disagreement * 1.2, signals.residual_step, signals.face),
        QualitySignals(signals.error, signals.mirror_disagreement, signals.residual_step * 1.2, signals.face),
        QualitySignals(signals.error, signals.mirror_disagreement, signals.residual_step, signals.face - 0.5),
    ):
        assert (model.confidence(worse) <= calm + 1e-12).all()
    assert (model.weights <= 0).all()


def test_refusals_have_a_reason_and_no_confidence(model):
    fine = QualitySignals(np.full(6, 0.3), np.full((6, 2), 0.01) * SPREAD, np.full(6, 0.1), np.full(6, 6.0))
    fine.face[1], fine.residual_step[2], fine.error[3], fine.mirror_disagreement[4] = (
        -9,
        1.05 * model.limits[2],
        50,
        50 * SPREAD,
    )
    fine.error[5] = np.nan
    assert model.refusals(fine) == ["", NO_FACE, UNSTEADY_FRAMING, UNEXPLAINED, MIRROR_DIFFERS, UNEXPLAINED]
    confidence = model.confidence(fine)
    assert (confidence[0] > 0.5).all()
    assert (confidence[1:] == 0).all()


def test_images_without_a_face_are_refused_and_others_hardly_ever(model):
    assert np.mean([bool(reason) for reason in model.refusals(without_face(500))]) > 0.98
    assert np.mean([bool(reason) for reason in model.refusals(with_face(2000, 3)[0])]) < 0.03


def test_an_alignment_that_does_not_converge_speaks_against_a_face(model):
    assert (model.presence[:2] >= 0).all()
    doubtful = QualitySignals(np.full(2, 0.3), np.full((2, 2), 0.01) * SPREAD, np.array([0.1, 3.0]), np.full(2, 0.1))
    assert model.refusals(doubtful) == ["", NO_FACE]


def test_images_of_which_nothing_is_visible_do_not_spoil_the_fit(model):
    signals, errors = with_face(2000, 0)
    nothing = without_face()
    signals.error[:3], nothing.error[:50] = np.inf, np.inf
    fitted = fit_confidence(signals, errors, SPREAD, nothing)
    assert all(np.isfinite(array).all() for array in (fitted.centre, fitted.weights, fitted.bias))
    np.testing.assert_allclose(fitted.limits[:3], model.limits[:3], rtol=0.05)
    fresh, _ = with_face(500, 1)
    np.testing.assert_allclose(fitted.confidence(fresh), model.confidence(fresh), atol=0.2)  # 0.11 over other samples
    fresh.error[:] = np.inf
    assert set(fitted.refusals(fresh)) <= {NO_FACE, UNSTEADY_FRAMING, UNEXPLAINED}
    assert (fitted.confidence(fresh) == 0).all()


@pytest.mark.parametrize(
    ("name", "rows", "value"),
    [
        ("error", slice(None), np.inf),
        ("error", 3, np.nan),
        ("mirror_disagreement", 3, np.nan),
        ("residual_step", 3, np.inf),
        ("face", 3, np.nan),
    ],
)
def test_signals_that_are_not_finite_are_refused(name, rows, value):
    signals, errors = with_face(200, 0)
    getattr(signals, name)[rows] = value
    with pytest.raises(FaceaugError, match=r"not finite: .* train it for longer"):
        fit_confidence(signals, errors, SPREAD, without_face())


def test_its_state_restores_it(model):
    again = ConfidenceModel.from_state(model.state(), 2)
    signals, _ = with_face(20, 4)
    assert np.array_equal(again.confidence(signals), model.confidence(signals))


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_a_damaged_state_is_refused(model, damage):
    state = model.state()
    if damage == "missing":
        del state["limits"]
    elif damage == "shape":
        state["weights"] = state["weights"][:1]
    else:
        state["bias"] = torch.full_like(state["bias"], float("nan"))
    with pytest.raises(IntegrityError, match="get it again"):
        ConfidenceModel.from_state(state, 2)


def test_a_state_of_other_semantics_is_refused(model):
    with pytest.raises(IntegrityError):
        ConfidenceModel.from_state(model.state(), 3)


def test_signals_are_concatenated():
    one, two = without_face(3), with_face(2, 0)[0]
    both = concatenate_signals([one, two])
    assert np.array_equal(both.face, np.concatenate([one.face, two.face]))
    assert both.mirror_disagreement.shape == (5, 2)
