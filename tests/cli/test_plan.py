"""faceaug plan."""

from __future__ import annotations

import json

from faceaug.planning.plan import Plan


def test_the_file_and_the_json_are_the_same_plan(faceaug_cli, faces, tmp_path):
    file = tmp_path / "plan.json"
    outcome = faceaug_cli("plan", faces, "--by", "gender,ethnicity", "-o", file, "--json")
    assert outcome.status == 0
    assert outcome.json == json.loads(file.read_text()) == Plan.read(file).to_dict()
    assert [cell.planned for cell in Plan.read(file).cells] == [0, 6, 4, 2]
    assert "balance" in outcome.err  # what to do next


def test_budgets_and_strategies(faceaug_cli, faces, tmp_path):
    def total(*words: object) -> int:
        return faceaug_cli("plan", faces, "--by", "gender,ethnicity", "--json", *words).json["totals"]["planned"]

    assert total("--strategy", "uniform", "--max-total", 5) == 5
    assert total("--max-per-cell", 3) == 8
    assert total("--max-synthetic-ratio", 0.2) == 4
    assert total("--strategy", "min:5") == 4
    assert total("--strategy", "uniform-within:gender") == 8
    explicit = tmp_path / "counts.yaml"
    explicit.write_text("female: {black: 3}\n")
    assert total("--strategy", explicit) == 1


def test_quiet_prints_the_plan_alone(faceaug_cli, faces, tmp_path):
    outcome = faceaug_cli("plan", faces, "--by", "gender", "-q", "-o", tmp_path / "p.json")
    assert outcome.err == ""
    assert outcome.out.startswith("uniform: ")


def test_a_recipe_fills_in_and_the_command_line_overrides(faceaug_cli, faces, tmp_path):
    recipe = tmp_path / "run.yaml"
    recipe.write_text("dataset: {path: faces}\nplan: {by: [gender, ethnicity], max_total: 5}\nrun: {seed: 3}\n")
    assert faceaug_cli("plan", "--recipe", recipe, "--json").json["totals"]["planned"] == 5
    assert faceaug_cli("plan", "--recipe", recipe, "--max-total", 2, "--json").json["totals"]["planned"] == 2
    one = faceaug_cli("plan", "--recipe", recipe, "--by", "gender", "--json").json
    assert [axis["name"] for axis in one["axes"]] == ["gender"]


def test_an_unknown_key_of_a_recipe_names_the_nearest(faceaug_cli, faces, tmp_path):
    recipe = tmp_path / "run.yaml"
    recipe.write_text("plan: {bye: gender}\n")
    outcome = faceaug_cli("plan", faces, "--recipe", recipe)
    assert outcome.status == 2
    assert outcome.err == f"Error: the recipe {recipe} has an unknown key plan.bye; did you mean 'by'?\n"


def test_marginals_take_the_place_of_cells_and_strategy(faceaug_cli, faces, tmp_path):
    options = ("--marginal", "gender", "--marginal", "ethnicity", "--json")
    typed = faceaug_cli("plan", faces, *options).json
    assert typed["strategy"] == "marginals:gender;ethnicity"
    assert [axis["name"] for axis in typed["axes"]] == ["gender", "ethnicity"]
    assert (
        typed["totals"]["planned"]
        < faceaug_cli("plan", faces, "--by", "gender,ethnicity", "--json").json["totals"]["planned"]
    )
    recipe = tmp_path / "run.yaml"
    recipe.write_text("dataset: {path: faces}\nplan: {marginal: [gender, ethnicity]}\n")
    assert faceaug_cli("plan", "--recipe", recipe, "--json").json == typed
    assert faceaug_cli("plan", "--recipe", recipe, "--by", "gender", "--json").json["strategy"] == "uniform"
    refused = faceaug_cli("plan", faces, *options, "--by", "gender")
    assert (refused.status, "leave out --by" in refused.err) == (2, True)
    short = faceaug_cli("plan", faces, *options, "--max-total", 1)
    assert (short.status, "cannot be met together" in short.err, short.err.count("\n")) == (1, True, 1)
