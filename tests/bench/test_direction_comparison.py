"""A comparison of directions on the embedded generator, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from faceaug.recipes.experiment import DIRECTIONS_SCHEMA, directions_schema, load_experiment
from generator_fixtures import faces  # noqa: F401

from faceaug.bench.directions.comparison import compare_directions
from faceaug.bench.directions.direction_recipe import DirectionRecipe, parse_direction_recipe
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.errors import FaceaugError, UsageError

EXPERIMENTS = Path(__file__).resolve().parents[2] / "recipes" / "experiments"
SMALL = {
    "attributes": ["yaw", "mouth_shape_2"],
    "methods": ["interfacegan", "sefa", "guided"],
    "samples": 100,
    "selection_faces": 8,
    "faces": 8,
    "components": 2,
    "identity_faces": 0,
}


def compare(content, out):
    recipe = parse_direction_recipe(content, "the recipe")
    return compare_directions(recipe, ExperimentRun(out, out.parent, "faceaug bench", lambda *_: None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atributes": ["yaw"]}, "has an unknown key atributes; did you mean 'attributes'?"),
        ({"methods": ["stylespace"]}, "is wrong at methods.0"),
        ({"methods": ["sefa", "sefa"]}, "methods names 'sefa' twice"),
        ({"attributes": ["yaw", "yaw"]}, "attributes names 'yaw' twice"),
        ({"attributes": ["yaw"]}, "is wrong at attributes"),
        ({"extremes": 0.6}, "is wrong at extremes"),
        ({"seeds": 3}, "has an unknown key seeds; did you mean 'seed'?"),
    ],
)
def test_errors_say_what_is_wrong_and_where(change, message):
    with pytest.raises(UsageError) as error:
        parse_direction_recipe({**SMALL, **change}, "the recipe")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": ["yaw", "mouth"]}, "no direction is called 'mouth'"),
        ({"generator": "digifac"}, "did you mean 'digiface'?"),
        ({"labelled": {"path": "nowhere", "columns": ["gender"]}}, "nowhere"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_written(change, message, faces, tmp_path):  # noqa: F811
    with pytest.raises(FaceaugError, match=message):
        compare({**SMALL, **change}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shipped_recipe_and_its_schema_are_those_of_the_code():
    schema = json.loads((EXPERIMENTS / DIRECTIONS_SCHEMA).read_text())
    assert schema == directions_schema()
    jsonschema.validate(yaml.safe_load((EXPERIMENTS / "directions.yaml").read_text()), schema)
    recipe = load_experiment("directions", [("faces", "16")]).recipe
    assert isinstance(recipe, DirectionRecipe)
    assert recipe.faces == 16


@pytest.mark.slow
def test_methods_are_compared_on_the_same_faces_and_twice_alike(faces, tmp_path):  # noqa: F811
    content = compare(SMALL, tmp_path / "out").content
    assert json.loads((tmp_path / "out/results.json").read_text()) == content
    assert set(content["methods"]) == set(SMALL["methods"])
    for each in content["methods"].values():
        for name, edits in each["attributes"].items():
            own = edits["latent"]
            assert own["change"]["mean"] == pytest.approx(own["changes"][name])
            assert 0 <= own["locality"]["mean"] <= 1
            assert own["dependency"]["low"] <= own["dependency"]["mean"] <= own["dependency"]["high"]
    assert content["yaw"].keys() == {"interfacegan", "sefa", "guided", "closed_loop"}
    assert content["yaw"]["guided"]["correlation"] > 0.5  # so few samples are no good classifier
    assert content["methods"]["interfacegan"]["attributes"]["yaw"]["latent"]["change"]["mean"] > 0.3
    page = (tmp_path / "out/report.html").read_text()
    assert "<script" not in page
    assert (tmp_path / "out/strips.png").is_file()
    again = compare(SMALL, tmp_path / "again").content
    assert again == content
    with pytest.raises(FaceaugError, match="holds an experiment of another recipe"):
        compare({**SMALL, "seed": 1}, tmp_path / "out")
