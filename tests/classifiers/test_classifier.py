"""Classifiers: calibrated outputs, images of any size, and a file that is read back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from fakes import signs
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from faceaug.classifiers.classifier import (
    MAX_LOG_ODDS,
    READ_BATCH,
    Calibration,
    Classifier,
    Task,
    log_odds,
    new_net,
    resize_input,
)
from faceaug.errors import IntegrityError
from faceaug.utils.tensors import as_tensor

CLASSES = Task("patch", "classes", ("no", "yes"))
VALUE = Task("roll", "value", (), 2.0, 20.0)


def classifier(tasks=(CLASSES, VALUE), calibrations=None, seed=0, trunk="plain"):
    calibrations = calibrations or [Calibration(1.3, (0.2, -0.2)), Calibration(sigma=3.0)]
    return Classifier(new_net(trunk, tasks, seed), trunk, tasks, calibrations)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=7))
def test_log_odds_are_exact(logits):
    total = math.fsum(math.exp(v) for v in logits)
    expected = [math.log(math.exp(v)) - math.log(total - math.exp(v)) for v in logits]
    np.testing.assert_allclose(log_odds(np.array([logits]))[0], expected, atol=1e-9)


def test_log_odds_of_two_classes_are_their_difference():
    odds = log_odds(np.array([[1000.0, 995.0], [-3.0, 4.0]]))
    np.testing.assert_allclose(odds, [[5, -5], [-7, 7]], atol=1e-9)
    assert np.isfinite(log_odds(np.array([[0.0, 9999.0, -9999.0]]))).all()


def test_readings_are_calibrated_in_units():
    """The bias is added, the temperature divides, a value gets its label's unit, and odds end at MAX_LOG_ODDS."""
    images = as_tensor(signs(4, 0, 64)[0])
    original = classifier()
    raw = original.net(images).double().numpy()
    values, features = original.read(images)
    logits = (raw[:, :2] + [0.2, -0.2]) / 1.3
    np.testing.assert_allclose(values[:, 1], logits[:, 1] - logits[:, 0], atol=1e-5)
    np.testing.assert_allclose(values[:, 0], -values[:, 1], atol=1e-9)
    np.testing.assert_allclose(values[:, 2], raw[:, 2] * 20 + 2, atol=1e-4)
    assert features.shape == (4, 160)
    assert features.dtype == np.float32
    sure = classifier(calibrations=[Calibration(1e-3, (50.0, -50.0)), Calibration()])
    np.testing.assert_array_equal(sure.read(images)[0][:, :2], np.tile([MAX_LOG_ODDS, -MAX_LOG_ODDS], (4, 1)))


def test_the_number_of_images_hardly_matters():
    """An image reads the same, up to rounding, alone and among more than one batch."""
    images = as_tensor(signs(READ_BATCH + 6, 0, 64)[0])
    original = classifier()
    values, features = original.read(images)
    for part in (slice(0, 1), slice(READ_BATCH - 2, READ_BATCH + 3)):
        other = original.read(images[part])
        np.testing.assert_allclose(other[0], values[part], atol=1e-5)
        np.testing.assert_allclose(other[1], features[part], atol=1e-6)


def test_no_images_give_no_values():
    values, features = classifier().read(torch.empty(0, 3, 64, 64))
    assert values.shape == (0, 3)
    assert len(features) == 0


@pytest.mark.parametrize("side", [32, 64, 128])
def test_images_of_other_sizes_are_resized(side):
    x = torch.linspace(-1, 1, side).expand(2, 3, side, side)
    resized = resize_input(x, 64)
    assert resized.shape == (2, 3, 64, 64)
    torch.testing.assert_close(resized.mean(), x.mean(), atol=1e-3, rtol=0)
    assert (resized[0, 0, 0].diff() >= 0).all()
    assert resize_input(resized, 64) is resized


def test_a_saved_classifier_reads_the_same(tmp_path):
    for trunk in ("residual", "plain"):
        path = tmp_path / f"{trunk}.safetensors"
        original = classifier(trunk=trunk)
        original.save(path)
        state = torch.get_rng_state()
        read = Classifier.load(path)
        assert torch.equal(torch.get_rng_state(), state)
        images = as_tensor(signs(3, 0, 64)[0])
        for one, two in zip(original.read(images), read.read(images), strict=True):
            np.testing.assert_array_equal(one, two)
        assert (read.trunk, read.tasks, read.calibrations) == (original.trunk, original.tasks, original.calibrations)
        assert not any(p.requires_grad for p in read.net.parameters())


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "classifier.safetensors"
    classifier().save(path)
    whole = path.read_bytes()
    for content in (whole[:1000], whole[:-4], b"", b"\x80" * 200):
        path.write_bytes(content)
        with pytest.raises(IntegrityError) as error:
            Classifier.load(path)
        assert "run again without --resume" in str(error.value)
    with pytest.raises(IntegrityError, match="cannot be read as a classifier"):
        Classifier.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        {"version": 1},
        {"version": 3},
        {"pretrained": "0" * 64},
        {"trunk": "lite0-stage3"},
        {"format": "faceaug-probe"},
        {"trunk": "oak"},
        {"input_size": None},
        {"tasks": []},
        {"tasks": None},
        {"tasks": [{"name": "a"}]},
        {"calibrations": [{"heat": 1}]},
        {"calibrations": []},
        "[]",
        "null",
        "{",
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, header):
    path = tmp_path / "classifier.safetensors"
    classifier().save(path)
    with safe_open(str(path), "pt") as file:
        saved = json.loads(file.metadata()["faceaug"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = header if isinstance(header, str) else json.dumps({**saved, **header})
    save_file(state, str(path), metadata={"faceaug": text})
    with pytest.raises(IntegrityError) as error:
        Classifier.load(path)
    assert "\n" not in str(error.value)


def test_another_version_is_refused_with_what_was_found_what_is_read_and_what_to_do(tmp_path):
    path = tmp_path / "classifier.safetensors"
    save_file({}, str(path), metadata={"faceaug": json.dumps({"format": "faceaug-probe", "version": 1})})
    said = (
        "of the format 'faceaug-probe', version 1; faceaug-classifier, version 2, is read: run again without --resume"
    )
    with pytest.raises(IntegrityError, match=said):
        Classifier.load(path)


def test_the_input_size_is_kept_in_the_file(tmp_path):
    net = new_net("plain", (VALUE,), 0)
    original = Classifier(net, "plain", (VALUE,), [Calibration()], input_size=32)
    original.save(tmp_path / "small.safetensors")
    loaded = Classifier.load(tmp_path / "small.safetensors")
    assert loaded.input_size == 32
    images = as_tensor(signs(3, 0, 64)[0])
    np.testing.assert_array_equal(loaded.read(images)[0], original.read(resize_input(images, 32))[0])
