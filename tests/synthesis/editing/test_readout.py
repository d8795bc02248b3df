"""The reader: the classifier sees what the data set would show, the scene is read off the generator's own image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from faceaug.appearance import scene
from faceaug.appearance.framing import Framing, apply_framing
from faceaug.appearance.harmonize import ColourMatch
from faceaug.classifiers.classifier import Calibration, Classifier, Task, new_net
from faceaug.classifiers.face_quality import FACE_QUALITY_TASK
from faceaug.synthesis.editing.readout import SCENE, FaceReader, kept_scene, kind_of

TASKS = (Task("hair", "classes", ("dark", "fair")), Task("Yaw", "value", (), 0.0, 20.0), Task("light_x", "value"))
LIGHTER = ColourMatch((1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (30.0, 30.0, 30.0))


@pytest.fixture(scope="module")
def classifier():
    calibrations = [Calibration(bias=(0.0, 0.0)), Calibration(), Calibration()]
    return Classifier(new_net("plain", TASKS, 0), "plain", TASKS, calibrations)


@pytest.fixture(scope="module")
def face_quality():
    return Classifier(
        new_net("plain", [FACE_QUALITY_TASK], 1), "plain", [FACE_QUALITY_TASK], [Calibration(bias=(0.0, 0.0))]
    )


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6


def test_names_kinds_and_units_go_together(classifier, face_quality):
    reader = FaceReader(classifier, Framing(), scene.FaceEllipse(), face_quality)
    assert reader.semantics == ("hair=dark", "hair=fair", "Yaw", "light_x", *SCENE)
    assert (*scene.NAMES, scene.FACE_QUALITY, scene.EXPOSURE) == SCENE
    assert reader.kinds == ("attribute", "attribute", "view", "light", *["scene"] * 6)
    assert reader.units == (
        "log-odds",
        "log-odds",
        "as labelled",
        "as labelled",
        *["[-1, 1]"] * 4,
        "log-odds",
        "[-1, 1]",
    )


def test_the_classifier_reads_the_window_and_the_scene_is_that_of_the_whole_image(classifier, face_quality, images):
    ellipse, framing = scene.FaceEllipse(), Framing(scale=0.75, dx=0.05)
    values = FaceReader(classifier, framing, ellipse, face_quality)(images)
    assert values.shape == (3, 10)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values[:, :4], classifier.read(apply_framing(images, framing))[0], atol=1e-6)
    np.testing.assert_allclose(values[:, 4:8], scene.measure_scene(images, ellipse).numpy(), atol=1e-6)
    luminance = scene.measure_exposure(apply_framing(images, framing))[:, 0].numpy()
    np.testing.assert_allclose(values[:, 8], face_quality.read(apply_framing(images, framing))[0][:, 1], atol=1e-6)
    np.testing.assert_allclose(values[:, 9], luminance, atol=1e-6)
    assert not np.allclose(values[:, :4], classifier.read(images)[0], atol=1e-3)


def test_colour_is_matched_for_what_the_data_set_would_show(classifier, face_quality, images):
    plain, matched = (
        FaceReader(classifier, Framing(), scene.FaceEllipse(), face_quality, colour) for colour in (None, LIGHTER)
    )
    torch.testing.assert_close(matched.view(images), LIGHTER.apply(images))
    assert plain.view(images) is images
    one, two = plain(images), matched(images)
    assert not np.allclose(one[:, :4], two[:, :4], atol=1e-3)
    np.testing.assert_array_equal(one[:, 4:8], two[:, 4:8])  # the scene is that of the generator's own image
    np.testing.assert_allclose(two[:, 9] - one[:, 9], 30 / 127.5, atol=1e-2)


class MeanColours:
    """Reads the mean of the red channel as yaw and of the green one as the light's side."""

    names, units, sigma = ("yaw", "light_x"), ("degrees", "share"), np.array([2.0, 0.5])

    def __call__(self, images):
        return images[:, :2].mean((2, 3)).double().numpy()


def test_view_and_light_are_read_beside_what_is_labelled(classifier, face_quality, images):
    """The label light_x takes precedence over the reading of that name; yaw is another than the label Yaw."""
    reader = FaceReader(classifier, Framing(), scene.FaceEllipse(), face_quality, pose_light=MeanColours())
    assert reader.pose_light_names == ("yaw",)
    assert reader.semantics == (*classifier.semantics, "yaw", *SCENE)
    assert reader.kinds[4:6] == ("view", "scene")
    assert reader.units[4] == "degrees"
    np.testing.assert_allclose(reader(images)[:, 4], images[:, 0].mean((1, 2)), atol=1e-6)
    assert (reader.sigma("yaw"), reader.sigma("light_x")) == (2.0, 1.0)
    alone = FaceReader(None, Framing(), scene.FaceEllipse(), face_quality, pose_light=MeanColours())
    assert alone.semantics == ("yaw", "light_x", *SCENE)
    np.testing.assert_allclose(alone(images)[:, :2], MeanColours()(images))


def test_edits_keep_the_view_and_light_that_are_read():
    read = ("yaw", "pitch", "light_x", "light_y")
    age, yaw = Task("age", "value"), Task("yaw", "value")
    assert kept_scene([yaw], read) == ("pitch", "light_x", "light_y")
    # Light from above cannot be separated from skin, so edits of attributes do not keep it.
    assert kept_scene([age], read) == ("yaw", "pitch", "light_x", *scene.NAMES[:3])
    assert kept_scene([yaw, age], read) == ("pitch", "light_x", *scene.NAMES[:3])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("yaw", "view"), ("Pitch", "view"), ("ROLL", "view"), ("light_x", "light"), ("light", "light"),
     ("age", "attribute"), ("skylight", "attribute")],
)  # fmt: skip
def test_kinds_by_name(name, kind):
    assert kind_of(name) == kind


def test_light_edits_do_not_keep_the_light():
    assert kept_scene([Task("age", "value")]) == scene.NAMES
    assert kept_scene([Task("yaw", "value")]) == scene.NAMES
    assert kept_scene([Task("age", "value"), Task("light_x", "value")]) == scene.NAMES[:3]
