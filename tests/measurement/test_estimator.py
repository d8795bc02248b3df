"""The measurer: semantics in their units, signs, and a calibration on disturbed generated pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fake_measurer import PlainFaces, fake_measurer, reconstruct, still_aligner, taught_aligner

from faceaug.generators.pool import sample_pool
from faceaug.measurement.alignment_data import around
from faceaug.measurement.confidence import NO_FACE, TOLERANCE, TWOFOLD, UNEXPLAINED
from faceaug.measurement.crops import before
from faceaug.measurement.estimator import FaceEstimator, calibrate_estimator, estimate_with_signals
from faceaug.reconstruction.factors import FaceFactors
from faceaug.reconstruction.semantics import FACTOR_MEANINGS, FACTOR_NAMES, FACTOR_UNITS, semantics_of


def reading(view, light) -> FaceFactors:
    return FaceFactors(
        torch.ones(1, 8, 8), torch.full((1, 3, 8, 8), 0.5), torch.tensor([light]).float(), torch.tensor([view]).float()
    )


def test_semantics_and_their_units():
    values = semantics_of(reading([0.1, -0.2, 0.3, 0, 0, 0], [0.6, 0.2, 1.0, -1.0]))
    assert values.shape == (1, len(FACTOR_NAMES))
    found = dict(zip(FACTOR_NAMES, values[0].tolist(), strict=True))
    assert found["pitch"] == pytest.approx(math.degrees(0.1))
    assert found["yaw"] == pytest.approx(math.degrees(-0.2))
    assert found["roll"] == pytest.approx(math.degrees(0.3))
    assert (found["light_x"], found["light_y"]) == pytest.approx((45, -45))
    assert found["light"] == pytest.approx(0.25)
    assert tuple(FACTOR_UNITS) == tuple(FACTOR_MEANINGS) == FACTOR_NAMES


@pytest.mark.parametrize("light", [[0.0, 0.0, 0.0, 0.0], [-0.5, 0.4, 1e9, 0.0], [0.4, -0.5, 0.0, -1e9]])
def test_no_light_at_all_is_no_trouble(light):
    values = semantics_of(reading([0.0] * 6, light))
    assert torch.isfinite(values).all()
    assert 0 <= values[0, FACTOR_NAMES.index("light")] <= 1
    assert values[0, 3:5].abs().max() <= 90


def test_the_mirrored_reading_has_the_mirrored_semantics():
    one = reading([0.1, -0.2, 0.3, 0.01, 0, 0], [0.6, 0.2, 1.0, -1.0])
    signs = torch.tensor([-1.0 if name in ("yaw", "roll", "light_x") else 1.0 for name in FACTOR_NAMES])
    torch.testing.assert_close(semantics_of(one.mirrored()), semantics_of(one) * signs)


def pictures(n: int = 8) -> torch.Tensor:
    generator = PlainFaces()
    return generator.synthesize(torch.from_numpy(generator.draw(n)))


def test_values_are_the_mean_with_the_mirror_and_differences_a_sign():
    def lopsided(images):  # adds to yaw whatever the picture shows
        found = reconstruct(images)
        return FaceFactors(found.depth, found.albedo, found.light, found.view + torch.tensor([0, 0.1, 0, 0, 0, 0]))

    faces = still_aligner().framed(pictures(), torch.ones(8))
    fair, signs, _ = estimate_with_signals(reconstruct, None, faces)
    found, other, _ = estimate_with_signals(lopsided, None, faces)
    np.testing.assert_allclose(found, fair, atol=1e-4)
    assert signs.mirror_disagreement.max() < 1e-4
    np.testing.assert_allclose(other.mirror_disagreement[:, FACTOR_NAMES.index("yaw")], math.degrees(0.1), atol=1e-4)
    assert other.mirror_disagreement[:, 1:].max() < 1e-4


def test_a_turned_window_is_part_of_the_roll():
    x, turned = pictures(), still_aligner().framed(pictures(), torch.ones(8))
    upright, _, _ = estimate_with_signals(reconstruct, None, turned)
    turned.windows[:, 3] = math.radians(12)
    found, _, _ = estimate_with_signals(reconstruct, None, turned)
    np.testing.assert_allclose((found - upright)[:, FACTOR_NAMES.index("roll")], 12, atol=1e-4)
    assert len(x) == 8


def test_the_error_says_how_much_is_left_unexplained():
    def blind(images):
        found = reconstruct(images)
        return FaceFactors(found.depth, torch.full_like(found.albedo, 0.5), found.light, found.view)

    def gone(images):  # moved out of the picture
        found = reconstruct(images)
        return FaceFactors(found.depth, found.albedo, found.light, found.view + torch.tensor([0, 0, 0, 9.0, 0, 0]))

    faces = still_aligner().framed(pictures(), torch.ones(8))
    seeing, nothing = (estimate_with_signals(each, None, faces)[1].error for each in (reconstruct, blind))
    assert seeing.max() < 0.4 < 0.6 < nothing.min()
    assert np.isinf(estimate_with_signals(gone, None, faces)[1].error).all()


class Elsewhere(torch.Tensor):
    """A tensor that stands for one on another device: what is computed from it is there too, until it is moved."""

    def to(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor)


def test_what_was_read_is_where_the_canvases_are(monkeypatch):
    measurer = fake_measurer()
    at = type(measurer.aligner)._at
    monkeypatch.setattr(
        type(measurer.aligner),
        "_at",
        lambda self, canvases, windows: at(self, canvases.as_subclass(Elsewhere), windows),
    )
    canvases, shorter = torch.zeros(2, 3, 96, 96), torch.ones(2)
    assert type(measurer.aligner.framed(canvases, shorter).images) is Elsewhere
    found = measurer.read(canvases, shorter, aligned=True)
    for part in (found.faces, found.reading):
        assert {type(getattr(part, name)) for name in part.__dataclass_fields__} == {torch.Tensor}


def test_refused_pictures_have_no_values():
    measurer = fake_measurer()
    canvases = pictures(3)
    canvases[1, 0], canvases[1, 1] = 0.9, -0.9
    found = measurer.read(canvases, torch.ones(3))
    assert found.refusals == ("", UNEXPLAINED, "")
    assert np.isnan(found.values).all(1).tolist() == [False, True, False]
    assert (found.confidence > 0).all(1).tolist() == [True, False, True]


@pytest.fixture(scope="module")
def calibrated() -> FaceEstimator:
    told, faces = [], sample_pool(PlainFaces(), 160, 2).images
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("faceaug.measurement.estimator.CANVAS_SIDE", 96)
        patched.setattr(
            "faceaug.measurement.estimator.photometric_jitter", lambda images, rng: images
        )  # as it was taught
        measurer = calibrate_estimator(
            reconstruct, taught_aligner(), faces, seed=2, progress=lambda *call: told.append(call)
        )
    assert told == [(64, 160), (128, 160), (160, 160)]
    return measurer


def test_calibration_knows_the_spread_of_clean_faces(calibrated):
    clean = estimate_with_signals(reconstruct, None, still_aligner().framed(pictures(512), torch.ones(512)))[0].std(0)
    assert clean[FACTOR_NAMES.index("light")] == 0  # the same for all of them
    np.testing.assert_allclose(calibrated.trust.spread, np.maximum(clean, 1e-6), rtol=0.2)


def test_confidence_is_the_share_that_is_right_of_new_faces(calibrated):
    x, whole, rng = pictures(192), torch.ones(192), torch.Generator().manual_seed(7)
    off = (torch.rand(192, 4, generator=rng) * 2 - 1) * torch.tensor([0.25, 0.25, 0.45, 0.25])
    disturbed = around(x, before(torch.zeros(192, 4), off), rng, 96)
    truth, _, _ = estimate_with_signals(reconstruct, None, still_aligner().framed(x, whole))
    truth[:, FACTOR_NAMES.index("roll")] += np.degrees(off[:, 3].numpy())
    found = calibrated.read(disturbed, whole)
    told = np.array([not why for why in found.refusals])
    assert told.mean() > 0.9
    right = np.abs(found.values - truth)[told] <= TOLERANCE * calibrated.trust.spread
    np.testing.assert_allclose(found.confidence[told].mean(0), right.mean(0), atol=0.1)
    clean = calibrated.read(x, whole, aligned=True)
    assert np.mean([not why for why in clean.refusals]) > 0.9
    assert (
        clean.confidence[:, FACTOR_NAMES.index("yaw")].mean()
        > found.confidence[:, FACTOR_NAMES.index("yaw")].mean() + 0.1
    )


def test_what_is_no_face_is_refused(calibrated):
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.uniform(-1, 1, (16, 3, 96, 96))).float()
    flat = torch.linspace(-1, 1, 96).expand(16, 3, 96, 96)
    for nothing in (noise, flat):
        refusals = calibrated.read(nothing, torch.ones(16)).refusals
        assert sum(bool(why) for why in refusals) >= 14
        assert set(refusals) - {""} <= {NO_FACE, UNEXPLAINED, TWOFOLD, "no steady framing"}
