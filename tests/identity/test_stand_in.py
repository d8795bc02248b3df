"""The features of a classifier as a stand-in where no embedder of identities is installed."""

from __future__ import annotations

import numpy as np
import pytest

from faceaug.classifiers.classifier import Calibration, Classifier, Task, new_net
from faceaug.classifiers.networks import TRUNKS
from faceaug.identity import ClassifierFeatures, FaceEmbedder


@pytest.fixture(scope="module")
def stand_in():
    trunk, tasks = next(iter(TRUNKS)), [Task("gender", "classes", ("female", "male"))]
    classifier = Classifier(new_net(trunk, tasks, 0), trunk, tasks, [Calibration(bias=(0.0, 0.0))], input_size=32)
    return ClassifierFeatures(classifier)


def test_it_is_an_embedder_that_says_it_knows_no_people(stand_in):
    assert isinstance(stand_in, FaceEmbedder)
    assert not stand_in.is_identity
    assert np.isnan(stand_in.same_person.distance)
    assert len(stand_in.sha256) == 64


def test_a_row_does_not_depend_on_the_other_pictures(stand_in):
    images = list(np.random.default_rng(0).integers(0, 256, (5, 40, 32, 3), dtype=np.uint8))
    rows = stand_in.embed(images)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(rows[3:], stand_in.embed(images[3:]))
    assert len(stand_in.embed([])) == 0
