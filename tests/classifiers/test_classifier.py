"""Probes: weights of rare classes, labels that are missing, training that repeats, and a file that is read back."""

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

from faceaug.classifiers import classifier as probes
from faceaug.classifiers.classifier import (
    MOST_ODDS,
    TOGETHER,
    Calibration,
    Classifier,
    ClassifierSchedule,
    Task,
    fit,
    log_odds,
    new_net,
    sample_weights,
    train_net,
)
from faceaug.errors import IntegrityError

CLASSES = Task("patch", "classes", ("no", "yes"))
VALUE = Task("roll", "value", (), 2.0, 20.0)


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def probe(tasks=(CLASSES, VALUE), calibrations=None, seed=0, trunk="plain"):
    calibrations = calibrations or [Calibration(1.3, (0.2, -0.2)), Calibration(sigma=3.0)]
    return Classifier(new_net(trunk, tasks, seed), trunk, tasks, calibrations)


# --- weights of labels ---


@pytest.mark.parametrize("power", [0.0, 0.5, 0.7, 1.0])
def test_classes_weigh_by_their_count(power):
    labels = np.array([0.0] * 90 + [1.0] * 9 + [np.nan] * 5 + [2.0])
    weights = sample_weights(Task("c", "classes", ("a", "b", "c")), labels, power)
    assert (weights[99:104] == 0).all()
    assert weights[np.isfinite(labels)].mean() == pytest.approx(1, abs=1e-6)
    assert weights[90] / weights[0] == pytest.approx(10**power, rel=1e-5)
    assert weights[-1] / weights[0] == pytest.approx(90**power, rel=1e-5)
    sums = [weights[labels == k].sum() for k in range(3)]
    np.testing.assert_allclose(sums / sums[0], np.array([90, 9, 1.0]) ** (1 - power) / 90 ** (1 - power), rtol=1e-5)


def test_values_weigh_by_their_tenth_of_the_range():
    labels = np.concatenate([np.linspace(0, 9.99, 900), np.linspace(90, 100, 100), [np.nan]])
    weights = sample_weights(VALUE, labels, 1.0)
    assert weights[-1] == 0
    low, high = weights[:899], weights[905:1000]
    assert high.mean() / low.mean() == pytest.approx(9, rel=0.15)
    assert weights[:-1].mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("labels", [[np.nan] * 4, [1.0] * 4, []])
@pytest.mark.parametrize("task", [CLASSES, VALUE])
def test_weights_of_labels_that_say_nothing(task, labels):
    weights = sample_weights(task, np.array(labels, float), 0.7)
    np.testing.assert_array_equal(weights, [0.0 if math.isnan(v) else 1.0 for v in labels])


# --- training ---


def test_labels_that_are_missing_are_not_trained_on():
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes = torch.tensor([0.0, 1.0, math.nan, math.nan, 1.0, 0.0])
    values = torch.tensor([0.3, math.nan, 0.1, math.nan, -1.0, 0.0])
    weights = [torch.isfinite(y).float() for y in (classes, values)]
    loss = probes._loss(outputs, (CLASSES, VALUE), [classes, values], weights)
    loss.backward()
    assert torch.isfinite(loss)
    gradient = outputs.grad.abs()
    assert (gradient[:, :2].sum(1) > 0).tolist() == [True, True, False, False, True, True]
    assert (gradient[:, 2] > 0).tolist() == [True, False, True, False, True, True]


def test_an_attribute_without_any_label_costs_nothing(small):
    images, _, _ = signs(20, 0)
    losses = []
    net = new_net("plain", (CLASSES,), 0)
    unknown = [np.full(20, np.nan)]
    train_net(
        net, (CLASSES,), images, unknown, ClassifierSchedule(2, batch=8), 0, progress=lambda s, v: losses.append((s, v))
    )
    assert losses == [(1, 0.0), (2, 0.0)]
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_training_repeats_bit_for_bit_and_leaves_the_global_state_alone(small):
    images, patch, _ = signs(24, 0)

    def once(seed, own):
        torch.manual_seed(own)
        state = torch.get_rng_state()
        net = new_net("residual", (CLASSES,), seed)
        train_net(net, (CLASSES,), images, [patch.astype(float)], ClassifierSchedule(3, batch=8), seed)
        assert torch.equal(torch.get_rng_state(), state)
        assert not net.training
        return torch.cat([value.flatten().float() for value in net.state_dict().values()])

    one = once(1, 10)
    assert torch.equal(one, once(1, 20))
    assert not torch.equal(one, once(2, 10))


@pytest.mark.parametrize(
    ("names", "left_alone"),
    [
        (["age"], []),
        (["roll"], ["mirror", "rotate"]),
        (["Yaw"], ["mirror"]),
        (["light_x"], ["mirror", "rotate"]),
        (["light_y"], ["rotate"]),
        (["light"], ["contrast"]),
        (["Brightness"], ["exposure", "contrast"]),
        (["age", "light", "yaw"], ["mirror", "contrast"]),
    ],
)
def test_what_would_change_an_attribute_is_not_varied(small, monkeypatch, names, left_alone):
    images, patch, roll = signs(8, 0)
    seen = []

    def spied(x, rng, **varied):
        seen.append(varied)
        return x

    monkeypatch.setattr(probes, "jitter", spied)
    tasks = (CLASSES, *(Task(name, "value") for name in names))
    labels = [patch.astype(float), *(roll for _ in names)]
    train_net(new_net("plain", tasks, 0), tasks, images, labels, ClassifierSchedule(1, batch=4), 0)
    assert seen == [{kind: kind not in left_alone for kind in ("mirror", "rotate", "exposure", "contrast")}]


def test_every_picture_is_seen_once_a_round(small, monkeypatch):
    images = np.zeros((12, 32, 32, 3), np.uint8)
    images[:] = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20
    seen = []

    def spied(x, rng, **varied):
        seen.extend(((x[:, 0, 0, 0] + 1) * 127.5 / 20).round().int().tolist())
        return x

    monkeypatch.setattr(probes, "jitter", spied)
    train_net(
        new_net("plain", (CLASSES,), 0), (CLASSES,), images, [np.arange(12.0) % 2], ClassifierSchedule(6, batch=4), 0
    )
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
    assert seen[:12] != seen[12:]


@pytest.mark.parametrize(("n", "steps"), [(10, 200), (2000, 500), (6500, 1625), (1_000_000, 4000)])
def test_schedule_follows_the_size(n, steps):
    assert ClassifierSchedule.for_size(n).steps == steps


# --- reading ---


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=7))
def test_log_odds_are_exact(logits):
    total = math.fsum(math.exp(v) for v in logits)
    expected = [math.log(math.exp(v)) - math.log(total - math.exp(v)) for v in logits]
    np.testing.assert_allclose(log_odds(np.array([logits]))[0], expected, atol=1e-9)


def test_log_odds_of_two_classes_are_their_difference():
    found = log_odds(np.array([[1000.0, 995.0], [-3.0, 4.0]]))
    np.testing.assert_allclose(found, [[5, -5], [-7, 7]], atol=1e-9)
    assert np.isfinite(log_odds(np.array([[0.0, 9999.0, -9999.0]]))).all()


def test_readings_are_calibrated_in_units():
    """The bias is added, the temperature divides, a value gets its label's unit, and odds end at MOST_ODDS."""
    images = tensor(signs(4, 0, 64)[0])
    made = probe()
    raw = made.net(images).double().numpy()
    values, features = made.read(images)
    logits = (raw[:, :2] + [0.2, -0.2]) / 1.3
    np.testing.assert_allclose(values[:, 1], logits[:, 1] - logits[:, 0], atol=1e-5)
    np.testing.assert_allclose(values[:, 0], -values[:, 1], atol=1e-9)
    np.testing.assert_allclose(values[:, 2], raw[:, 2] * 20 + 2, atol=1e-4)
    assert features.shape == (4, 160)
    assert features.dtype == np.float32
    sure = probe(calibrations=[Calibration(1e-3, (50.0, -50.0)), Calibration()])
    np.testing.assert_array_equal(sure.read(images)[0][:, :2], np.tile([MOST_ODDS, -MOST_ODDS], (4, 1)))


def test_company_hardly_matters():
    """A picture reads the same, up to rounding, alone and among more than go through the network at once."""
    images = tensor(signs(TOGETHER + 6, 0, 64)[0])
    made = probe()
    values, features = made.read(images)
    for part in (slice(0, 1), slice(TOGETHER - 2, TOGETHER + 3)):
        other = made.read(images[part])
        np.testing.assert_allclose(other[0], values[part], atol=1e-5)
        np.testing.assert_allclose(other[1], features[part], atol=1e-6)


def test_nothing_is_read_of_nothing():
    values, features = probe().read(torch.empty(0, 3, 64, 64))
    assert values.shape == (0, 3)
    assert len(features) == 0


@pytest.mark.parametrize("side", [32, 64, 128])
def test_pictures_of_other_sizes_are_resized(side):
    x = torch.linspace(-1, 1, side).expand(2, 3, side, side)
    resized = fit(x)
    assert resized.shape == (2, 3, 64, 64)
    torch.testing.assert_close(resized.mean(), x.mean(), atol=1e-3, rtol=0)
    assert (resized[0, 0, 0].diff() >= 0).all()
    assert fit(resized) is resized


# --- the file ---


def test_a_saved_probe_reads_the_same(tmp_path):
    for trunk in ("residual", "plain"):
        path = tmp_path / f"{trunk}.safetensors"
        made = probe(trunk=trunk)
        made.save(path)
        state = torch.get_rng_state()
        read = Classifier.load(path)
        assert torch.equal(torch.get_rng_state(), state)
        images = tensor(signs(3, 0, 64)[0])
        for one, two in zip(made.read(images), read.read(images), strict=True):
            np.testing.assert_array_equal(one, two)
        assert (read.trunk, read.tasks, read.calibrations) == (made.trunk, made.tasks, made.calibrations)
        assert not any(p.requires_grad for p in read.net.parameters())


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "probe.safetensors"
    probe().save(path)
    whole = path.read_bytes()
    for content in (whole[:1000], whole[:-4], b"", b"\x80" * 200):
        path.write_bytes(content)
        with pytest.raises(IntegrityError) as error:
            Classifier.load(path)
        assert "run again without --resume" in str(error.value)
    with pytest.raises(IntegrityError, match="cannot be read as a probe"):
        Classifier.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        {"version": 2}, {"format": "faceaug-directions"}, {"trunk": "oak"}, {"tasks": []}, {"tasks": None},
        {"tasks": [{"name": "a"}]}, {"calibrations": [{"heat": 1}]}, {"calibrations": []}, "[]", "null", "{",
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_refused(tmp_path, header):
    path = tmp_path / "probe.safetensors"
    probe().save(path)
    with safe_open(str(path), "pt") as file:
        found = json.loads(file.metadata()["faceaug"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = header if isinstance(header, str) else json.dumps({**found, **header})
    save_file(state, str(path), metadata={"faceaug": text})
    with pytest.raises(IntegrityError) as error:
        Classifier.load(path)
    assert "\n" not in str(error.value)
