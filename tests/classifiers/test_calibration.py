"""Calibration corrects a known miscalibration, and the metrics measure what they claim to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from faceaug.classifiers.calibration import calibrate, evaluate_classifier
from faceaug.classifiers.classifier import Calibration, Classifier, Task
from faceaug.classifiers.config import ClassifierConfig
from faceaug.utils.tensors import as_tensor

CLASSES = Task("hair", "classes", ("dark", "fair"))
VALUE = Task("age", "value", (), 40.0, 10.0)


class Painted(nn.Module):
    """A network in place of a trained one: its outputs are linear in the mean grey of the picture, in [-1, 1]."""

    def __init__(self, slopes, offsets) -> None:
        super().__init__()
        self.head = nn.Linear(1, len(slopes))
        self.head.weight.data = torch.tensor(slopes, dtype=torch.float32)[:, None]
        self.head.bias.data = torch.tensor(offsets, dtype=torch.float32)

    def features(self, x):
        return x.mean((1, 2, 3))[:, None]

    def forward(self, x):
        return self.head(self.features(x))


def greys(n, seed):
    """Pictures uint8 [n, 2, 2, 3] of random grey, and that grey in [-1, 1]."""
    level = np.random.default_rng(seed).integers(0, 256, n, dtype=np.uint8)
    return np.broadcast_to(level[:, None, None, None], (n, 2, 2, 3)).copy(), level / 127.5 - 1


def labelled(grey, slope, seed):
    """Labels whose log-odds are slope * grey."""
    return (np.random.default_rng(seed).random(len(grey)) < 1 / (1 + np.exp(-slope * grey))).astype(float)


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("power", [0.7, 1.0])
def test_a_known_miscalibration_is_corrected(heat, power):
    """Logits `heat` times too steep, and shifted by what is left of the training set's frequencies (900 to 100)."""
    images, grey = greys(6000, 0)
    net = Painted([0.0, 3 * heat], [(1 - power) * np.log(900), (1 - power) * np.log(100)])
    trained = np.array([0.0] * 900 + [1.0] * 100 + [np.nan] * 7)
    config = ClassifierConfig(1, weight_power=power)
    classifier = calibrate(net, "painted", (CLASSES,), [trained], images, [labelled(grey, 3, 1)], config)
    calibration = classifier.calibrations[0]
    assert calibration.temperature == pytest.approx(heat, rel=0.08)
    assert calibration.bias[0] - calibration.bias[1] == pytest.approx(-(1 - power) * np.log(9), abs=1e-9)
    assert sum(calibration.bias) == pytest.approx(0, abs=1e-9)
    read = classifier.read(as_tensor(images[:50]))[0]
    np.testing.assert_allclose(read[:, 1], 3 * grey[:50], atol=0.3)


def test_rows_without_a_label_do_not_calibrate():
    images, grey = greys(3000, 0)
    y = labelled(grey, 3, 1)
    y[:1500] = np.nan
    net, trained = Painted([0.0, 6.0], [0, 0]), np.array([0.0, 1.0])
    part = calibrate(net, "painted", (CLASSES,), [trained], images[1500:], [y[1500:]], ClassifierConfig(1))
    whole = calibrate(net, "painted", (CLASSES,), [trained], images, [y], ClassifierConfig(1))
    assert whole.calibrations == part.calibrations
    nothing = calibrate(net, "painted", (CLASSES,), [trained], images, [np.full(3000, np.nan)], ClassifierConfig(1))
    assert nothing.calibrations[0].temperature == 1


def test_rare_classes_calibrate_as_much_as_common_ones():
    """The temperature is the best where classes are equally frequent, however few pictures of one there are."""
    level = np.array([32] * 2000 + [208] * 12 + [80] * 8, np.uint8)  # a common class read well, a rare one badly
    y = np.array([0.0] * 2000 + [1.0] * 20)
    images, logit = np.broadcast_to(level[:, None, None, None], (2020, 2, 2, 3)).copy(), 4 * (level / 127.5 - 1)
    classifier = calibrate(
        Painted([0.0, 4.0], [0, 0]), "painted", (CLASSES,), [np.array([0.0, 1.0])], images, [y], ClassifierConfig(1)
    )

    def loss(t, rows):
        return np.logaddexp(0, np.where(y == 1, -logit, logit)[rows] / t).mean()

    heats = np.exp(np.linspace(np.log(0.3), np.log(5), 2000))
    best = heats[np.argmin([loss(t, y == 0) + loss(t, y == 1) for t in heats])]
    assert classifier.calibrations[0].temperature == pytest.approx(best, rel=0.03)
    assert best > 1.5 * heats[np.argmin([loss(t, y >= 0) for t in heats])]  # far from that of the set as it comes


def test_sigma_is_the_error_of_a_value():
    images, grey = greys(4000, 0)
    age = 40 + 10 * grey + np.random.default_rng(1).normal(0, 4, 4000)
    age[::50] = np.nan
    classifier = calibrate(Painted([1.0], [0.0]), "painted", (VALUE,), [age], images, [age], ClassifierConfig(1))
    assert classifier.calibrations[0].sigma == pytest.approx(4, rel=0.05)
    biased = calibrate(Painted([1.0], [0.5]), "painted", (VALUE,), [age], images, [age], ClassifierConfig(1))
    assert biased.calibrations[0].sigma == pytest.approx(np.hypot(4, 5), rel=0.05)


def test_several_tasks_keep_their_columns():
    images, grey = greys(3000, 0)
    y, age = labelled(grey, 4, 1), 40 + 20 * grey
    net = Painted([2.0, 0.0, 8.0], [0.0, 0, 0])  # a value first, then classes
    classifier = calibrate(
        net, "painted", (VALUE, CLASSES), [age, y], images, [age, y], ClassifierConfig(1, weight_power=1)
    )
    assert classifier.calibrations[0].sigma < 0.1
    assert classifier.calibrations[1].temperature == pytest.approx(2, rel=0.1)


def metrics_of(slopes, offsets, tasks, calibrations, labels, images):
    return evaluate_classifier(Classifier(Painted(slopes, offsets), "painted", tasks, calibrations), images, labels)


def test_metrics_of_classes():
    images, grey = greys(400, 3)
    y = (grey > 0).astype(float)
    y[grey > 0.5] = 0  # read wrongly
    y[:20] = np.nan
    known = np.isfinite(y)
    (metrics,) = metrics_of([0.0, 3.0], [0, 0], (CLASSES,), [Calibration(bias=(0.0, 0.0))], [y], images)
    right = (grey > 0)[known] == y[known]
    assert metrics["pictures"] == 380
    assert metrics["accuracy"] == pytest.approx(right.mean())
    recall = {"dark": right[y[known] == 0].mean(), "fair": right[y[known] == 1].mean()}
    assert metrics["recall"] == pytest.approx(recall)
    assert metrics["mean_recall"] == pytest.approx(np.mean(list(recall.values())))


def test_calibration_error_tells_right_from_wrong():
    images, grey = greys(600, 4)
    y = labelled(grey, 3, 5)
    errors = [
        metrics_of([0.0, 3.0], [0, 0], (CLASSES,), [Calibration(heat, (0.0, 0.0))], [y], images)[0]["calibration_error"]
        for heat in (0.25, 1.0, 4.0)
    ]
    assert errors[1] < 0.06
    assert min(errors[0], errors[2]) > 2 * errors[1]


def test_metrics_of_a_value():
    images, grey = greys(300, 5)
    age = 40 + 10 * grey + np.random.default_rng(6).normal(0, 3, 300)
    (metrics,) = metrics_of([1.0], [0.0], (VALUE,), [Calibration(sigma=3.0)], [age], images)
    read = 40 + 10 * grey
    assert metrics["mean_absolute_error"] == pytest.approx(np.abs(read - age).mean(), rel=1e-4)
    assert metrics["r2"] == pytest.approx(1 - np.mean((read - age) ** 2) / age.var(), rel=1e-3)
    assert metrics["correlation"] == pytest.approx(np.corrcoef(read, age)[0, 1], rel=1e-4)
    (none,) = metrics_of([0.0], [0.0], (VALUE,), [Calibration()], [age], images)
    assert none["correlation"] is None  # it reads the same of every picture
    (unknown,) = metrics_of([1.0], [0.0], (VALUE,), [Calibration()], [np.full(300, np.nan)], images)
    assert unknown["pictures"] == 0
    assert "r2" not in unknown


def test_the_effect_of_exposure_is_measured():
    """A classifier that reads brightness is affected; one that does not is not."""
    images, grey = greys(100, 6)
    images[:, :, 0] = 128  # a picture with some contrast
    labels = [40 + grey, (grey > 0).astype(float)]
    calibrations = [Calibration(), Calibration(bias=(0.0, 0.0))]
    metrics = metrics_of([1.0, 0.0, 0.0], [0.0, 0, 1.0], (VALUE, CLASSES), calibrations, labels, images)
    assert metrics[0]["exposure_pull"] > 0.5
    assert metrics[1]["exposure_pull"] == 0
