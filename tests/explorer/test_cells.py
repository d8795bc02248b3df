"""Data sets as maps of cells: the plan is that of `faceaug plan`, and what is saved can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from command_line import ROOT  # noqa: F401  a checkout that is not installed
from demo_faces import few_demo_faces
from explorers import BY, asked
from faceaug.cli.main import run
from faceaug.recipes.recipe import load
from faces_in_memory import face_dataset

import faceaug
from faceaug.errors import OutputError, UsageError
from faceaug.explorer.cells import DatasetCells, PlanWish, first_attribute
from faceaug.explorer.saving import SaveFolder
from faceaug.planning.plan import Plan
from faceaug.utils.images import decode, inspect


def test_a_plan_is_that_of_the_command(demo_cells):
    wish = PlanWish(BY, "min:200", max_synthetic_ratio=0.29, max_per_cell=150, max_total=100)
    expected = faceaug.plan(faceaug.analyze(demo_cells.dataset, BY), "min:200", faceaug.Budget(0.29, 150, 100))
    assert demo_cells.plan(wish).to_dict() == expected.to_dict()


def test_a_cell_opens_to_its_faces(demo_cells):
    analysis = demo_cells.analysis(BY)
    page = demo_cells.faces(BY, 0, 0)
    assert page.total == analysis.counts[0]
    assert (analysis.codes[list(page.rows)] == 0).all()
    assert demo_cells.faces(BY, 2, 1).rows[0] not in demo_cells.faces(BY, 2, 0).rows
    assert decode(demo_cells.thumbnail(page.rows[0])).shape == (64, 64, 3)
    assert "yaw" in demo_cells.facts(page.rows[0])


def test_a_map_of_too_many_cells_is_refused(demo_cells):
    with pytest.raises(UsageError, match="map"):
        DatasetCells(face_dataset(60, a=list(range(60)), b=list(range(60))), "", {}).analysis("a:50,b:50")


def test_the_first_attribute_that_can_be_counted_is_shown():
    assert first_attribute(face_dataset(60, age=[k + 0.5 for k in range(60)])) == "gender"


def test_a_saved_recipe_is_one_of_balance(tmp_path, demo_cells, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = SaveFolder(Path("recipes"))
    plan = {"by": BY, "strategy": "uniform", "max_total": 20}
    path = folder.recipe("mine.yaml", {"dataset": {"path": "faces"}, "plan": plan, "generator": {}})
    options = load(str(path)).options()
    assert options["by"] == [BY]
    assert options["max_total"] == 20
    assert Path(options["source"]).resolve() == tmp_path / "faces"
    with pytest.raises(OutputError, match="already"):
        folder.recipe("mine.yaml", {"plan": plan})


def test_a_recipe_for_faces_near_an_edit_adds_to_their_cell_alone(tmp_path, demo_cells):
    table = demo_cells.dataset.table
    path = SaveFolder(tmp_path).recipe_near("near.yaml", {"yaw": 20.0, "nose": 1.0}, {}, table)
    options = load(str(path)).options()
    planned = faceaug.plan(faceaug.analyze(demo_cells.dataset, *options["by"]), options["strategy"])
    assert {cell.levels["yaw"]: cell.planned for cell in planned.cells if cell.planned} == {"15 to 25": 100}
    with pytest.raises(UsageError, match="counts faces by view and light"):
        SaveFolder(tmp_path).recipe_near("other.yaml", {"nose": 1.0}, {}, table)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_recipe_for_faces_near_an_edit_is_one_of_balance(tmp_path):
    place = {"path": str(few_demo_faces(tmp_path / "faces", 100))}
    path = SaveFolder(tmp_path).recipe_near("near.yaml", {"yaw": 20.0}, {"dataset": place}, None)
    assert run(["balance", "--recipe", str(path), "--dry-run"]) == 0


def test_a_missing_value_of_an_integer_column_is_no_fact():
    cells = DatasetCells(face_dataset(2, age=pd.array([None, 31], dtype="Int64")), "gender", {})
    assert "age" not in cells.facts(0)
    assert cells.facts(1)["age"] == "31"


@pytest.mark.parametrize("name", ["../mine.png", "mine.jpg", ".png", "a/b.png", "mine.png\n", "", "x" * 200 + ".png"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name, generated):
    with pytest.raises(UsageError):
        SaveFolder(tmp_path).picture(name, generated.original(0).image, "generator", 0)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_saved_is_written(address, save_folder):
    prefix = "/" + address.split("/", 3)[3]

    def sent(path: str, message: dict) -> dict:
        status, _, body = asked(address, prefix + path, json.dumps(message).encode())
        assert status == 200, body
        return json.loads(body)

    sent("face/edit", {"seed": 1, "values": {"yaw": 10.0}})
    sent("dataset/plan", {"by": BY})
    assert not save_folder.exists()
    sent("face/edit", {"seed": 1, "values": {"yaw": 10.0}, "save": "face.png"})
    saved = sent("face/edit", {"seed": 1, "values": {"yaw": 10.0, "tx": 0.0}, "save_recipe": "near.yaml"})
    assert saved["left_out"] == ["tx"]
    sent("dataset/plan", {"by": BY, "max_total": 30, "save_plan": "plan.json"})
    data = (save_folder / "face.png").read_bytes()
    assert b"trainedAlgorithmicMedia" in data
    assert inspect(data).width == 64
    assert Plan.read(save_folder / "plan.json").total == 30
    assert sorted(file.name for file in save_folder.iterdir()) == [
        "face.png",
        "near.counts.yaml",
        "near.yaml",
        "plan.json",
    ]
