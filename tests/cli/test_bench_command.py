"""`faceaug bench` and `faceaug recipes`."""

from __future__ import annotations

import json

import pytest
import yaml
from toy_experiment import toy_recipe, write_toys


def test_an_experiment_is_run_continued_and_compared(faceaug_cli, tmp_path):
    (tmp_path / "toys").mkdir()
    content = toy_recipe(write_toys(tmp_path / "toys"))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(content))
    first, second = tmp_path / "a", tmp_path / "b"
    outcome = faceaug_cli("bench", recipe, "-o", first, "--seeds", 1, "-q")
    assert outcome.status == 0, outcome.err
    assert "rwg" in outcome.out
    assert json.loads((first / "results.json").read_text())["seeds"] == [0]
    again = faceaug_cli("bench", "run", recipe, "-o", first, "--seeds", 1, "-q")
    assert again.out == outcome.out
    longer = faceaug_cli(
        "bench", recipe, "-o", second, "--seeds", 1, "--set", "training.steps=8", "--set", "arms=[rwg]"
    )
    assert longer.status == 0, longer.err
    compared = faceaug_cli("bench", "compare", first, second)
    assert "Only in" in compared.out
    assert "The recipes differ in" in compared.out
    wrong = faceaug_cli("bench", recipe, "-o", tmp_path / "c", "--set", "trainng.steps=8")
    assert (wrong.status, "did you mean 'training'" in wrong.err) == (2, True)
    assert faceaug_cli("bench", recipe).status == 2
    assert faceaug_cli("bench", recipe, "-o", first, "--set", "steps").status == 2


def test_recipes_are_listed_and_shown(faceaug_cli, tmp_path):
    listed = json.loads(faceaug_cli("recipes", "list", "--json").out)
    names = {each["name"]: each["command"] for each in listed}
    assert names["demo"] == "balance"
    assert names["group-gap"] == "bench"
    assert all(each["about"] and each["data"] and each["cost"] for each in listed)
    text = faceaug_cli("recipes", "list").out
    assert all(name in text for name in names)
    shown = faceaug_cli("recipes", "show", "group-gap").out
    assert yaml.safe_load(shown)["format"] == "faceaug-experiment"
    wrong = faceaug_cli("recipes", "show", "group-gp")
    assert (wrong.status, "did you mean 'group-gap'" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "demo", "-o", "x"), "faceaug bench takes faceaug-experiment"),
        (("balance", "faces", "--by", "gender", "--recipe", "group-gap", "-o", "x"), "give it to faceaug bench"),
        (("bench", "group-gp", "-o", "x"), "did you mean 'group-gap'"),
        (("bench", "group-gap", "-o", "x"), "environment variable FACEAUG_UTKFACE is not set"),
        (("bench", "compare", "nowhere", "x"), "nowhere/results.json is missing"),
    ],
)
def test_mistakes_are_named(faceaug_cli, monkeypatch, arguments, message):
    monkeypatch.delenv("FACEAUG_UTKFACE", raising=False)
    outcome = faceaug_cli(*arguments)
    assert outcome.status in (1, 2)
    assert message in outcome.err
