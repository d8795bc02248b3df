"""Recipes: every key, every error, and those that come with faceaug."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from faceaug.recipes import recipe
from faceaug.recipes.recipe import GatesSection, Recipe, load, parse

from faceaug.errors import FaceaugError, UsageError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SECTIONS = ("dataset", "plan", "generator", "gates", "run", "output")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pln": {}}, "has an unknown key pln; did you mean 'plan'?"),
        ({"run": {"seeed": 1}}, "has an unknown key run.seeed; did you mean 'seed'?"),
        ({"seed": 1}, "has an unknown key seed; it belongs under run:"),
        ({"gates": {"tries": 1}}, "has an unknown key gates.tries; it belongs under run:"),
        ({"run": {"seed": "one"}}, "is wrong at run.seed: input should be a valid integer, but found 'one'"),
        ({"run": {"seed": True}}, "is wrong at run.seed"),
        ({"run": {"tries": 0}}, "is wrong at run.tries"),
        ({"plan": {"by": {"gender": 1}}}, "is wrong at plan.by"),
        ({"output": {"layout": "zip"}}, "is wrong at output.layout: input should be 'blob' or 'raw', but found 'zip'"),
        ({"gates": {"judge": 1.5}}, "is wrong at gates.judge"),
        ({"version": 2}, "is wrong at version"),
        ({"format": "faceaug-plan"}, "is wrong at format"),
        ({"plan": "uniform"}, "is wrong at plan"),
        (["by"], "must be a mapping of sections (dataset, plan, generator, gates, run, output), but is a list"),
    ],
)
def test_errors_say_what_and_where(content, said):
    with pytest.raises(UsageError) as error:
        parse(content, "the recipe")
    assert str(error.value).startswith("the recipe " + said)


def test_nothing_given_is_nothing_asked():
    for content in (None, {}, {"run": {}}, {"run": None, "dataset": {"path": None}}):
        assert parse(content, "it").options() == {}
        assert parse(content, "it").settings() == {}


def test_relative_paths_are_meant_from_the_recipe(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "dataset: {path: faces, labels: ../labels.csv}\nplan: {strategy: 'match:shares.csv', file: plan.json}\n"
        "generator: {name: weights.safetensors}\noutput: {path: /elsewhere}\n"
    )
    assert load(str(file)).options() == {
        "source": str(tmp_path / "faces"),
        "labels": str(tmp_path / "../labels.csv"),
        "strategy": f"match:{tmp_path / 'shares.csv'}",
        "plan_file": str(tmp_path / "plan.json"),
        "generator": str(tmp_path / "weights.safetensors"),
        "out": "/elsewhere",
    }
    file.write_text("plan: {strategy: counts.yaml}\ngenerator: {name: embedded}\n")
    assert load(str(file)).options() == {"strategy": str(tmp_path / "counts.yaml"), "generator": "embedded"}
    file.write_text("plan: {strategy: 'min:5'}\n")
    assert load(str(file)).options() == {"strategy": "min:5"}


def test_files_that_are_no_recipe(tmp_path):
    for name, content, said in [
        ("twice.yaml", "run: {seed: 1, seed: 2}", "seed"),
        ("broken.yaml", "run: {seed: 1", "cannot be read"),
        ("code.yaml", "run: !!python/object/apply:os.system ['false']", "cannot be read"),
        ("missing.yaml", None, "does not exist"),
    ]:
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(FaceaugError, match=said):
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


def test_the_list_of_keys_is_complete():
    text = (RECIPES / "README.md").read_text()
    listed = {part: re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) for part, rows in parts(text)}
    assert listed == {name: list(Recipe.model_fields[name].annotation.model_fields) for name in SECTIONS}


def parts(text: str) -> list[tuple[str, str]]:
    pieces = re.split(r"^\| \*\*`(\w+)`\*\* \|.*$", text, flags=re.MULTILINE)
    return list(zip(pieces[1::2], pieces[2::2], strict=True))


def test_gates_and_settings_are_those_of_the_run():
    from faceaug.synthesis.acceptance.gates import AcceptanceThresholds
    from faceaug.synthesis.balance import RunConfig

    assert list(GatesSection.model_fields) == [field.name for field in dataclasses.fields(AcceptanceThresholds)]
    everything = {
        "dataset": {"aligned": False},
        "generator": {"name": "embedded", "truncation": 0.5},
        "gates": {field.name: getattr(AcceptanceThresholds(), field.name) for field in dataclasses.fields(AcceptanceThresholds)},
        "run": {
            "seed": 1, "device": "cpu", "workers": 1, "batch_size": 1, "tries": 1, "candidates": 1,
            "corrections": 1, "draws": 256, "keep": "age", "engine": "both", "uses": 2, "from_real": True,
        },
        "output": {"layout": "raw", "image_format": "png", "finish": False, "report": False},
    }  # fmt: skip
    found = parse(everything, "everything")
    given = found.settings().keys() | found.options().keys() - {"generator"} | {"limits"}
    assert given == {field.name for field in dataclasses.fields(RunConfig)}
    assert AcceptanceThresholds(**found.gates.given()) == AcceptanceThresholds()


def test_every_option_is_one_of_the_command_line():
    pytest.importorskip("faceaug.cli", reason="the command line is there once faceaug is installed")
    from faceaug.cli.main import cli

    known = {parameter.name for command in cli.commands.values() for parameter in command.params}
    options = {recipe._OPTION_OF.get((section, key), key) for section in SECTIONS for key in keys(section)}
    assert options - known - set(recipe._SETTINGS) - set(GatesSection.model_fields) - {"name", "truncation"} == set()


def keys(section: str) -> list[str]:
    return list(Recipe.model_fields[section].annotation.model_fields)
