"""The columns of samples: every value that samples carry has one, and labels of photographs are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faceaug.analysis.axes import Axis
from faceaug.appearance.harmonize import HARMONIZATION_PARAMETERS
from faceaug.classifiers.classifier import Task
from faceaug.reconstruction.semantics import FACTOR_NAMES
from faceaug.shards.columns import complete_columns
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.sample_columns import (
    INVERSION_ERROR,
    inversion_columns,
    joined_columns,
    kept_labels,
    latent_edit_columns,
    rerender_columns,
)

AXES = (Axis("hair", "categorical", ("dark", "fair")), Axis("age", "continuous", ("0 to 20", "20 to 60"), (0, 20, 60)))
TASKS = (Task("hair", "classes", ("dark", "fair")), Task("age", "value"), Task("glasses", "classes", ("no", "yes")))


@pytest.mark.parametrize("harmonize", [True, False])
def test_columns_are_all_that_samples_carry(harmonize):
    columns = {(c.group, c.name): c for c in latent_edit_columns(AXES, TASKS, harmonize, None)}
    readings = ["hair=dark", "hair=fair", "age", "glasses=no", "glasses=yes", *SCENE]
    wanted = {("attr", "hair"), ("attr", "age"), *(("semantic", name) for name in readings)}
    wanted |= {("harmonize", name) for name in HARMONIZATION_PARAMETERS} if harmonize else set()
    assert set(columns) == wanted
    hair, age = columns["attr", "hair"], columns["attr", "age"]
    assert (hair.type, hair.levels) == ("category", ("dark", "fair"))
    assert (age.type, age.levels) == ("float64", ())
    assert columns["semantic", "hair=fair"].unit == "log-odds"
    assert columns["semantic", "age"].unit == "as labelled"
    assert all(column.meaning for column in columns.values())
    assert len(complete_columns(tuple(columns.values()))) > len(columns)  # they can be a run's columns


def test_a_label_called_like_a_measurement_is_kept_where_it_has_classes(toy_dataset):
    """Day and night are no share of light; numbers of that name are measured again; lists are no labels."""
    table = toy_dataset.table.assign(
        light=["day", "night"] * (len(toy_dataset) // 2), roll=1.0, boxes=[[1, 2]] * len(toy_dataset)
    )
    light = Axis("light", "categorical", ("day", "night"))
    roll = Axis("roll", "continuous", ("0 to 2",), (0, 2))
    labels = kept_labels(replace(toy_dataset, table=table), [light, roll])
    assert labels.of(1)["light"] == "night"
    assert set(labels.of(0)) == {"bar", "spot", "light"}
    kinds = {column.key: column.type for column in rerender_columns([light, roll], labels)}
    assert (kinds["light"], kinds["roll"]) == ("category", "float64")


def test_measured_attributes_are_in_their_unit_and_not_read_by_a_classifier():
    axes = (Axis("yaw", "continuous", ("-90 to 0", "0 to 90"), (-90, 0, 90)),)
    columns = {column.key: column for column in latent_edit_columns(axes, (Task("yaw", "value"),), False, ("yaw",))}
    assert columns["yaw"].unit == columns["semantic/yaw"].unit == "degrees"
    assert set(FACTOR_NAMES) <= {column.name for column in columns.values() if column.group == "semantic"}
    assert "guidance classifier" not in columns["semantic/yaw"].meaning


def test_inverted_faces_have_their_photographs_labels_and_the_error(toy_dataset):
    labels = kept_labels(toy_dataset, [])
    columns = {column.key: column for column in inversion_columns(labels)}
    assert set(columns) == {"bar", "spot", f"semantic/{INVERSION_ERROR}"}
    assert columns["bar"].levels == ("no", "yes")


def test_of_columns_of_one_key_the_first_engines_is_taken():
    first, second = (latent_edit_columns(AXES, TASKS, harmonize, None) for harmonize in (False, True))
    other = tuple(column.model_copy(update={"meaning": "another"}) for column in second)
    joined = joined_columns(first, other)
    assert [column.key for column in joined] == [column.key for column in (*first, *second[len(first) :])]
    assert joined[: len(first)] == first
