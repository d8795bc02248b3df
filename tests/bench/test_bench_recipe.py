"""Recipes of experiments: every error, both forms, overrides, and those that come with faceaug."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from faceaug.recipes.experiment import EXPERIMENT_SCHEMA, experiment_schema, list_recipes, load_experiment

from faceaug.bench.arms.registry import built_in_arms
from faceaug.bench.execution.experiment_run import ExperimentRun
from faceaug.bench.experiment import run_experiment
from faceaug.bench.recipe import parse_experiment, with_overrides
from faceaug.errors import UsageError
from faceaug.utils.images import encode

EXPERIMENTS = Path(__file__).resolve().parents[2] / "recipes" / "experiments"
LEAST = {"dataset": {"path": "faces"}, "task": "gender", "groups": "gender", "arms": ["erm"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tsk": "gender"}, "has an unknown key tsk; did you mean 'task'?"),
        ({"dataset": {"generator": "x", "atributes": {}}}, "unknown key dataset.atributes; did you mean 'attributes'?"),
        ({"dataset": {"generator": "x", "attributes": {}}}, "is wrong at dataset.attributes"),
        ({"dataset": {"pth": "x"}}, "has an unknown key dataset.pth; did you mean 'path'?"),
        ({"training": {"step": 5}}, "has an unknown key training.step; did you mean 'steps'?"),
        ({"duplicate_bits": 5}, "has an unknown key duplicate_bits; it belongs under split:"),
        ({"imbalance": [{"by": "age", "level": []}]}, "has an unknown key imbalance.0.level; did you mean 'levels'?"),
        (
            {"training": {"steps": 0}},
            "is wrong at training.steps: input should be greater than or equal to 1, but found 0",
        ),
        ({"training": {"steps": "many"}}, "is wrong at training.steps"),
        ({"arms": []}, "is wrong at arms"),
        ({"arms": ["erm", "rwg", "erm"]}, "is wrong: arms names 'erm' twice"),
        ({"seeds": [1, 2, 1]}, "is wrong: seeds names 1 twice; name each once"),
        ({"seeds": []}, "is wrong: seeds is empty"),
        ({"seeds": 0}, "is wrong at seeds"),
        ({"split": {"train": 0.9}}, "is wrong at split: train, validation and test are 0.9, 0.2, 0.2"),
        ({"imbalance": [{"by": "age", "levels": ["1"]}]}, "is wrong at imbalance.0: give either share or count"),
        ({"model": {"name": "resnt"}}, "is wrong at model: name is 'resnt'; there are features, resnet and timm:NAME"),
        ({"model": {"name": "resnet", "head": "hidden"}}, "is wrong at model: head is for the model features"),
        ({"model": {"side": 64}}, "is wrong at model: side is for networks that read images"),
        ({"model": {"pretrained": True}}, "is wrong at model: pretrained is for models of timm"),
        ({"synthesis": {"each": 3, "strategy": "uniform"}}, "is wrong at synthesis: strategy and each both"),
        ({"synthesis": {"settings": {"trys": 3}}}, "there is no setting trys: did you mean 'tries'?"),
        ({"synthesis": {"settings": {"seed": 3}}}, "settings.seed is set by the experiment"),
        ({"synthesis": {"thresholds": {"held_out": 3}}}, "the threshold held_out is 3"),
        ({"full": {"training": {"stps": 5}}}, ", in its full form, has an unknown key training.stps"),
        ({"full": {"training": {"steps": 0}}}, ", in its full form, is wrong at training.steps"),
        ({"form": "long"}, "is wrong at form: input should be 'quick' or 'full', but found 'long'"),
    ],
)
def test_errors_say_what_is_wrong_and_where(change, message):
    with pytest.raises(UsageError) as error:
        parse_experiment({**LEAST, **change}, "the recipe")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named():
    with pytest.raises(UsageError, match="is wrong at dataset: field required"):
        parse_experiment({"task": "gender"}, "it")
    with pytest.raises(UsageError, match="must be a mapping of sections"):
        parse_experiment(["erm"], "it")


def test_the_full_form_overrides_section_by_section():
    content = {
        **LEAST,
        "training": {"steps": 5, "trials": 2},
        "full": {"training": {"steps": 50}, "seeds": 5, "arms": ["rwg"]},
    }
    quick = parse_experiment(content, "it")
    full = parse_experiment({**content, "form": "full"}, "it")
    assert (quick.training.steps, quick.seed_list, quick.arms) == (5, [0, 1, 2], ["erm"])
    assert (full.training.steps, full.training.trials, full.seed_list, full.arms) == (50, 2, [0, 1, 2, 3, 4], ["rwg"])
    chosen = with_overrides(content, [("form", "full"), ("training.steps", 7)], "it")
    assert parse_experiment(chosen, "it").training.steps == 7  # what is typed comes last
    assert parse_experiment(chosen, "it").training.trials == 2


def test_values_on_the_command_line_are_yaml_and_reach_into_lists(tmp_path, monkeypatch):
    content = {**LEAST, "imbalance": [{"by": "age:0/9", "levels": ["0 to 9"], "share": 0.1}]}
    file = tmp_path / "deep" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    pairs = [
        ("imbalance.0.share", "0.05"),
        ("arms", "[erm, morph:mixed]"),
        ("model.head", "hidden"),
        ("seeds", "[4, 9]"),
    ]
    loaded = load_experiment(str(file), [*pairs, ("dataset.labels", "here.csv")])
    assert loaded.folder == file.parent
    assert loaded.recipe.imbalance[0].share == 0.05
    assert loaded.recipe.arms == ["erm", "morph:mixed"]
    assert (loaded.recipe.model.head, loaded.recipe.seed_list) == ("hidden", [4, 9])
    assert loaded.recipe.dataset.labels == str(tmp_path / "here.csv")  # typed: from the working folder
    assert loaded.recipe.dataset.path == "faces"
    for key, value, message in [
        ("training.steps", "!!python/object/apply:os.system ['false']", "cannot be read"),
        ("training.steps", "many", "is wrong at training.steps"),
        ("imbalance.3.share", "0.1", "'3' is no key there"),
        ("task.attribute", "x", "'attribute' is no key there, since the recipe has 'gender'"),
    ]:
        with pytest.raises(UsageError, match=message):
            load_experiment(str(file), [(key, value)])


def test_the_schema_beside_the_recipes_is_that_of_the_code():
    schema = json.loads((EXPERIMENTS / EXPERIMENT_SCHEMA).read_text())
    assert schema == experiment_schema()
    for file in EXPERIMENTS.glob("*.yaml"):
        content = yaml.safe_load(file.read_text())
        if content["format"] == "faceaug-experiment":
            jsonschema.validate(content, schema)


def test_shipped_recipes_are_whole_and_name_arms_that_there_are():
    names = [each.name for each in list_recipes() if each.command == "bench"]
    on_files = ["age-tail", "celeba-smiling", "few-faces", "group-gap", "light-gap", "pose-gap", "rare-class"]
    assert names == sorted([*on_files, "closed-world", "directions"])
    for name in [*on_files, "closed-world"]:
        for form in ("quick", "full"):
            recipe = load_experiment(name, [("form", form)]).recipe
            assert recipe.form == form
            assert set(recipe.arms) <= built_in_arms().keys()
            assert name == "closed-world" or "${" in recipe.dataset.path  # no path of one machine
            assert {"rwg", "dfr"} <= set(recipe.arms)
            assert form == "quick" or len(recipe.seed_list) >= 5


@pytest.fixture(scope="module")
def tiny_utkface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the shipped recipes, with noise for faces; pose and light are labelled."""
    folder = tmp_path_factory.mktemp("utkface")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(240):
        picture = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        (folder / "images" / f"{number}.png").write_bytes(encode(picture, "png"))
        rows.append(
            {
                "file": f"{number}.png",
                "age": [5, 20, 40, 50, 70][number % 5],
                "gender": ["female", "male"][number // 5 % 2],
                "ethnicity": ["asian", "black", "white"][number // 10 % 3],
                "yaw": [-20.0, 0.0, 20.0][number // 30 % 3],
                "light_x": [-25.0, 0.0, 25.0][number // 30 % 3],
            }
        )
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.mark.parametrize("name", ["group-gap", "rare-class", "few-faces", "pose-gap", "light-gap", "age-tail"])
def test_shipped_recipes_run_on_tiny_data(name, tiny_utkface, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEAUG_UTKFACE", str(tiny_utkface))
    small = {
        "model": "{name: resnet, side: 16}",
        "training": "{steps: 2, batch_size: 8, trials: 1, evaluations: 1}",
        "arms": "[rwg, dfr]",
        "seeds": "1",
    }
    if name == "few-faces":
        small["imbalance.0.count"] = "3"
    elif name != "rare-class":
        small["imbalance.0.share"] = "0.15"
    loaded = load_experiment(name, list(small.items()))
    results = run_experiment(
        loaded.recipe, ExperimentRun(tmp_path / "out", loaded.folder, "faceaug bench", lambda *_: None)
    )
    assert len(results.content["runs"]) == 2
    assert (tmp_path / "out/report.html").is_file()
