import h5py
import numpy as np
import pytest
from pydantic import ValidationError
from shard_samples import COLUMNS

from faceaug.shards.columns import BUILT_IN_ENGINES, RESERVED_NAMES, Column, complete_columns, engine_column


def test_an_attribute_goes_by_its_plain_name_and_others_by_group_and_name():
    assert [c.key for c in COLUMNS] == ["gender", "skin/tone", "age", "semantic/yaw", "harmonize/noise"]


@pytest.mark.parametrize("name", ["skin/tone", "100%", "a%2Fb", "wei\u00df", "a b.c", "..", "."])
def test_every_name_gives_one_data_set(tmp_path, name):
    others = ["skin%tone", "a/b"]
    columns = [Column(group="attr", name=n, type="float64") for n in (name, *others)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for column in columns:
            file.create_dataset(column.path, data=np.zeros(1))
        assert len(file["attr"]) == 3
        assert all(isinstance(item, h5py.Dataset) for item in file["attr"].values())


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "category"},
        {"type": "float64", "levels": ("a",)},
        {"type": "category", "levels": ("a", "a")},
        {"type": "latent"},
        {"group": "semantic", "type": "float64"},
        {"name": "seed"},
        {"name": ""},
        {"type": "category", "levels": ("a\0",)},
        {"name": "a\0"},
    ],
)
def test_contradictory_columns_are_refused(changes):
    with pytest.raises(ValidationError):
        Column(**{"group": "attr", "name": "gender", "type": "float32", **changes})


def test_complete_columns_are_the_fixed_ones_the_given_ones_and_confidences():
    columns = complete_columns(COLUMNS)
    assert complete_columns(columns) == columns
    keys = [c.key for c in columns]
    assert len(keys) == len(set(keys))
    assert {"cell", "seed", "attr_confidence/gender", "attr_confidence/age", "semantic/yaw"} <= set(keys)
    assert {c.name for c in columns if c.group == "sample"} <= RESERVED_NAMES


def test_built_in_engines_keep_their_codes_and_others_follow():
    columns = complete_columns((*COLUMNS, engine_column(["morph", "external", "morph"])))
    assert complete_columns(columns) == columns
    (engine,) = [column for column in columns if column.key == "engine"]
    assert engine.levels == (*BUILT_IN_ENGINES, "morph", "external")
    assert engine.levels.index("rerender") == 1


def test_more_engines_than_codes_are_refused():
    with pytest.raises(ValidationError, match="at most 128"):
        engine_column([f"engine {k}" for k in range(127)])
