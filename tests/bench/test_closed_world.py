"""Closed worlds: what is drawn, and what is known of samples."""

from __future__ import annotations

import numpy as np
import pytest
from generator_fixtures import faces  # noqa: F401
from quick_runs import leave_face_quality_untrained

from faceaug.bench.drawn.closed_world import draw_dataset
from faceaug.bench.drawn.drawn_data import DrawnData
from faceaug.errors import UsageError
from faceaug.generators.pool import sample_stream
from faceaug.latents.bundle import read_bundle
from faceaug.measurement.measure import SHIPPED_DIRECTIONS

pytestmark = pytest.mark.slow

WORLD = {"generator": "embedded", "attributes": {"jaw": "jaw_shape_1", "cheeks": "cheeks_texture_4"}, "count": 100}
CONTENT = {
    "dataset": WORLD,
    "split": {"train": 0.5, "validation": 0.25, "test": 0.25},
    "task": "jaw",
    "groups": ["jaw", "cheeks"],
    "model": {"name": "resnet", "side": 16},
    "training": {"steps": 4, "batch_size": 8, "trials": 1, "evaluations": 1},
    "arms": ["rwg"],
    "seeds": 1,
}


def draw(**changes):
    return draw_dataset(DrawnData(**{**WORLD, **changes}), "cpu", lambda count: None)


def test_classes_are_the_signs_of_directions_and_the_same_on_every_call(faces):  # noqa: F811
    one, two = draw(), draw()
    assert one.fingerprint() == two.fingerprint()
    assert one.encoded(7) == two.encoded(7)
    directions = read_bundle(SHIPPED_DIRECTIONS).directions
    w = sample_stream(faces, WORLD["count"], (0xC1,)).double().numpy()
    values = directions.predict(w) - directions.offset
    for column, semantic in WORLD["attributes"].items():
        high = values[:, directions.names.index(semantic)] > 0
        assert (one.table[column] == np.where(high, "high", "low")).all()
        assert 30 < high.sum() < 70


def test_a_gap_changes_the_images_and_no_label(faces):  # noqa: F811
    plain, half, whole = draw(), draw(gap=0.5), draw(gap=1.0)
    assert plain.table.equals(whole.table)
    change = [np.abs(each.image(0).astype(int) - plain.image(0)).mean() for each in (half, whole)]
    assert 1 < change[0] < change[1] < 80


def test_an_attribute_that_is_no_direction_is_named(faces):  # noqa: F811
    with pytest.raises(UsageError, match="no direction is called 'jaw_shape'; did you mean"):
        draw(attributes={"jaw": "jaw_shape"})


def test_an_experiment_runs_in_a_closed_world(experiment, faces):  # noqa: F811
    content = experiment(CONTENT).content
    assert content["dataset"]["faces"] == WORLD["count"]
    assert content["dataset"]["name"] == "drawn from digiface"
    assert len(content["dataset"]["groups"]) == 4


def test_wrong_labels_of_an_engine_are_counted_and_added(experiment, faces, monkeypatch):  # noqa: F811
    leave_face_quality_untrained(monkeypatch)
    synthesis = {"each": 4, "settings": {"survey_samples": 300}}
    content = {**CONTENT, "dataset": {**WORLD, "label_noise": 0.5}, "synthesis": synthesis, "arms": ["unguided:mixed"]}
    run = experiment(content).content["runs"][0]
    labels = run["synthetic"]["labels"]
    assert labels["samples"] == run["synthetic"]["accepted"] > 0
    assert set(labels["wrong"]) == {"jaw", "cheeks"}
    assert run["synthetic"]["flipped"] == round(0.5 * run["synthetic"]["accepted"])
    assert all(0 <= share < 0.5 for share in labels["wrong"].values())
