"""Recipes: every key, every error, and those that come with faceaug."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import jsonschema
import pytest
import yaml
from faceaug.recipes import recipe
from faceaug.recipes.recipe import SCHEMA_NAME, Recipe, ThresholdsSection, load, parse, recipe_schema

from faceaug.errors import FaceaugError, UsageError
from faceaug.synthesis.config import AcceptanceThresholds, RunConfig

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes"
SECTIONS = ("dataset", "plan", "generator", "thresholds", "run", "output")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pln": {}}, "has an unknown key pln; did you mean 'plan'?"),
        ({"run": {"seeed": 1}}, "has an unknown key run.seeed; did you mean 'seed'?"),
        ({"seed": 1}, "has an unknown key seed; it belongs under run:"),
        ({"thresholds": {"tries": 1}}, "has an unknown key thresholds.tries; it belongs under run:"),
        ({"run": {"seed": "one"}}, "is wrong at run.seed: input should be a valid integer, but found 'one'"),
        ({"run": {"seed": True}}, "is wrong at run.seed"),
        ({"run": {"tries": 0}}, "is wrong at run.tries"),
        ({"plan": {"by": {"gender": 1}}}, "is wrong at plan.by"),
        ({"output": {"layout": "zip"}}, "is wrong at output.layout: input should be 'blob' or 'raw', but found 'zip'"),
        ({"thresholds": {"held_out": 1.5}}, "is wrong at thresholds.held_out"),
        ({"version": 3}, "is wrong at version: input should be 2, but found 3"),
        ({"generator": {"truncation_psi": 0}}, "is wrong at generator.truncation_psi"),
        ({"run": {"survey_samples": 100}}, "is wrong at run.survey_samples"),
        ({"run": {"max_uses": 2.5}}, "is wrong at run.max_uses"),
        ({"format": "faceaug-plan"}, "is wrong at format"),
        ({"plan": "uniform"}, "is wrong at plan"),
        (["by"], "must be a mapping of sections (dataset, plan, generator, thresholds, run, output), but is a list"),
    ],
)
def test_errors_say_what_is_wrong_and_where(content, message):
    with pytest.raises(UsageError) as error:
        parse(content, "the recipe")
    assert str(error.value).startswith("the recipe " + message)


@pytest.mark.parametrize(
    "content", [{"version": 1}, {"format": "faceaug-recipe", "version": 1, "gates": {"judge": 0.6}}]
)
def test_a_recipe_of_version_1_is_refused_with_the_remedy(content):
    with pytest.raises(UsageError) as error:
        parse(content, "the recipe mine.yaml")
    assert str(error.value).startswith("the recipe mine.yaml is of version 1, and this faceaug reads version 2: ")
    assert "docs/configuration.md" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_recipe_gives_nothing():
    for content in (None, {}, {"run": {}}, {"run": None, "dataset": {"path": None}}):
        assert parse(content, "it").options() == {}
        assert parse(content, "it").thresholds.given() == {}


def test_relative_paths_are_meant_from_the_recipe(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "dataset: {path: faces, labels: ../labels.csv}\nplan: {strategy: 'match:shares.csv', file: plan.json, "
        "marginal: [age, gender=shares.csv]}\n"
        "generator: {name: weights.safetensors}\noutput: {path: /elsewhere}\n"
    )
    assert load(str(file)).options() == {
        "source": str(tmp_path / "faces"),
        "labels": [str(tmp_path / "../labels.csv")],
        "strategy": f"match:{tmp_path / 'shares.csv'}",
        "marginal": ["age", f"gender={tmp_path / 'shares.csv'}"],
        "plan_file": str(tmp_path / "plan.json"),
        "generator": str(tmp_path / "weights.safetensors"),
        "out": "/elsewhere",
    }
    file.write_text("plan: {strategy: counts.yaml}\ngenerator: {name: embedded}\n")
    assert load(str(file)).options() == {"strategy": str(tmp_path / "counts.yaml"), "generator": "embedded"}
    file.write_text("plan: {strategy: 'min:5'}\n")
    assert load(str(file)).options() == {"strategy": "min:5"}


def test_files_that_are_no_recipe(tmp_path):
    for name, content, message in [
        ("twice.yaml", "run: {seed: 1, seed: 2}", "seed"),
        ("broken.yaml", "run: {seed: 1", "cannot be read"),
        ("code.yaml", "run: !!python/object/apply:os.system ['false']", "cannot be read"),
        ("missing.yaml", None, "does not exist"),
    ]:
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(FaceaugError, match=message):
            load(str(tmp_path / name))


def test_recipes_of_the_package_are_found_by_name_and_hold_no_paths():
    files = sorted(RECIPES.glob("*.yaml"))
    assert files
    for file in files:
        found = load(file.stem)
        assert found == load(str(file))
        assert found.about
        assert found.dataset.path is found.dataset.labels is found.output.path is found.plan.file is None
    with pytest.raises(UsageError, match="did you mean 'turn_heads'"):
        load("turn_head")


def test_what_is_commented_out_in_the_example_is_valid_too(tmp_path):
    text = (RECIPES / "balance_faces.yaml").read_text()
    file = tmp_path / "my_run.yaml"
    file.write_text(re.sub(r"^  # (\w+: \S+)$", r"  \1", text, flags=re.MULTILINE))
    options = load(str(file)).options()
    assert (options["source"], options["out"]) == (str(tmp_path / "faces"), str(tmp_path / "out"))


def test_every_key_is_documented():
    page = (ROOT / "docs" / "configuration.md").read_text()
    for section in SECTIONS:
        _, _, rest = page.partition(f"## `{section}:`\n")
        rows = rest.partition("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) == keys(section)


def keys(section: str) -> list[str]:
    return list(Recipe.model_fields[section].annotation.model_fields)


EVERYTHING = {
    "format": "faceaug-recipe",
    "version": 2,
    "about": "every setting of a run",
    "dataset": {
        "aligned": True,
        "reconstruction": "measured.safetensors",
        "licence": "CC BY 4.0",
        "consent": "for research",
        "allow_research_only": True,
    },
    "generator": {"name": "digiface", "truncation_psi": 0.5, "directions": "found.safetensors"},
    "thresholds": dict(AcceptanceThresholds()),
    "run": {
        "seed": 1,
        "device": "cpu",
        "workers": 1,
        "executor": "ray",
        "address": "auto",
        "worker_timeout": 30.0,
        "batch_size": 1,
        "tries": 1,
        "origins": 1,
        "corrections": 1,
        "survey_samples": 256,
        "keep": "age",
        "engine": "both",
        "candidates": "generated",
        "candidate_labels": "generated.csv",
        "max_uses": 2,
        "donors": 2,
        "extrapolate": True,
        "embedder": "dlib",
        "allow_same_identity": True,
        "from_real": True,
    },
    "output": {"layout": "raw", "image_format": "png", "harmonize": False, "keep_refused": False, "report": False},
}


def test_settings_and_thresholds_are_those_of_a_run():
    assert list(ThresholdsSection.model_fields) == list(AcceptanceThresholds.model_fields)
    everything = parse(EVERYTHING, "everything")
    assert everything.options().keys() | {"thresholds"} == set(RunConfig.model_fields)
    assert AcceptanceThresholds(**everything.thresholds.given()) == AcceptanceThresholds()


def test_every_key_is_an_option_of_the_command_line():
    from faceaug.cli.main import cli

    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    known = {parameter.name for command in commands for parameter in command.params}
    sections = [section for section in SECTIONS if section != "thresholds"]  # these are given as --threshold
    options = {recipe._OPTION_OF.get((section, key), key) for section in sections for key in keys(section)}
    assert options <= known


def test_the_schema_in_the_folder_is_that_of_the_code():
    assert json.loads((RECIPES / SCHEMA_NAME).read_text()) == recipe_schema()


def test_the_schema_accepts_recipes_and_refuses_what_is_none():
    schema = json.loads((RECIPES / SCHEMA_NAME).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    files = sorted(RECIPES.glob("*.yaml"))
    for content in (*(yaml.safe_load(file.read_text()) for file in files), EVERYTHING, {}):
        validator.validate(content)
    for wrong in (
        {"version": 1},
        {"gates": {}},
        {"run": {"tries": 0}},
        {"run": {"seed": "one"}},
        {"thresholds": {"held_out": 1.5}},
        {"output": {"layout": "zip"}},
        [],
    ):
        assert not validator.is_valid(wrong), wrong
