"""What a run tells of itself: every value that samples carry has a column, and a short cell says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faceaug.analysis.axes import Axis
from faceaug.appearance.harmonize import PARAMETERS
from faceaug.classifiers.classifier import Task
from faceaug.shards.columns import complete_columns
from faceaug.synthesis.editing.readout import SCENE
from faceaug.synthesis.sample_schema import columns_of, columns_of_rerendered, kept_labels, note_for

AXES = (Axis("hair", "categorical", ("dark", "fair")), Axis("age", "continuous", ("0 to 20", "20 to 60"), (0, 20, 60)))
TASKS = (Task("hair", "classes", ("dark", "fair")), Task("age", "value"), Task("glasses", "classes", ("no", "yes")))


@pytest.mark.parametrize("finish", [True, False])
def test_columns_are_all_that_samples_carry(finish):
    columns = {(c.group, c.name): c for c in columns_of(AXES, TASKS, finish)}
    readings = ["hair=dark", "hair=fair", "age", "glasses=no", "glasses=yes", *SCENE]
    wanted = {("attr", "hair"), ("attr", "age"), *(("semantic", name) for name in readings)}
    wanted |= {("finish", name) for name in PARAMETERS} if finish else set()
    assert set(columns) == wanted
    hair, age = columns["attr", "hair"], columns["attr", "age"]
    assert (hair.type, hair.levels) == ("category", ("dark", "fair"))
    assert (age.type, age.levels) == ("float64", ())
    assert columns["semantic", "hair=fair"].unit == "log-odds"
    assert columns["semantic", "age"].unit == "as labelled"
    assert all(column.meaning for column in columns.values())
    assert len(complete_columns(tuple(columns.values()))) > len(columns)  # fit to be a run's columns


def test_a_note_names_what_refused_most_first():
    note = note_for(
        12, {"plausible": 3, "judge agrees": 40, "realistic": 7, "face only": 9}, {"hair": 0.4213, "age": 0.9}
    )
    assert note.startswith("12 short")
    assert "judge agrees 40, face only 9, realistic 7" in note
    assert "plausible" not in note
    assert "hair 0.42, age 0.90" in note


def test_a_note_where_nothing_was_refused():
    note = note_for(1, {}, {})
    assert "nothing was refused" in note
    assert "nothing" in note.split(";")[-1]


def test_notes_do_not_depend_on_the_order_of_counts():
    assert note_for(1, {"b": 2, "a": 2}, {}) == note_for(1, {"a": 2, "b": 2}, {})


def test_a_label_called_like_a_measurement_is_kept_where_it_has_classes(toy_dataset):
    """Day and night are no share of light; numbers of that name are measured anew; lists are no labels."""
    table = toy_dataset.table.assign(
        light=["day", "night"] * (len(toy_dataset) // 2), roll=1.0, boxes=[[1, 2]] * len(toy_dataset)
    )
    light = Axis("light", "categorical", ("day", "night"))
    roll = Axis("roll", "continuous", ("0 to 2",), (0, 2))
    labels = kept_labels(replace(toy_dataset, table=table), [light, roll])
    assert labels.of(1)["light"] == "night"
    assert set(labels.of(0)) == {"bar", "spot", "light"}
    kinds = {column.key: column.type for column in columns_of_rerendered([light, roll], labels)}
    assert (kinds["light"], kinds["roll"]) == ("category", "float64")
