"""`faceaug measure`, and --by with measured columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_estimator import enlarging_aligner, fake_estimator, slope, write_slopes

from faceaug.utils.images import encode

STRENGTHS = [-0.9, -0.8, -0.3, 0.0, 0.1, 0.3, 0.8, 0.9]


@pytest.fixture
def loads(monkeypatch):
    """Replaces the loading of the estimator; the list holds its arguments."""
    calls = []

    def load(path, device="cpu"):
        calls.append((path, device))
        return fake_estimator()

    monkeypatch.setattr("faceaug.measurement.measure.load_estimator", load)
    return calls


@pytest.fixture
def pictures(tmp_path) -> Path:
    return write_slopes(tmp_path / "faces", STRENGTHS)


def test_the_table_is_written_and_summarized(faceaug_cli, pictures, loads, tmp_path):
    (pictures / "99.png").write_bytes(encode(np.zeros((40, 40, 3), np.uint8), "png"))
    file = tmp_path / "measured.parquet"
    outcome = faceaug_cli("measure", pictures, "-o", file, "--reconstruction", "some.safetensors")
    assert outcome.status == 0
    assert loads == [(Path("some.safetensors"), "cpu")]
    assert outcome.out.startswith("8 of 9 images measured\n  cannot tell: blank, 1\n")
    assert "yaw        where the nose points, toward the picture's right\n" in outcome.out
    assert f"--labels {file}" in outcome.err
    table = pd.read_parquet(file)
    assert len(table) == 9
    assert table["yaw"].dtype == float
    assert table["yaw"].iloc[:8].is_monotonic_increasing


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_the_written_table_serves_as_labels(faceaug_cli, pictures, loads, tmp_path, suffix):
    file = tmp_path / f"measured{suffix}"
    assert faceaug_cli("measure", pictures, "-o", file, "--quiet").status == 0
    loads.clear()
    outcome = faceaug_cli("analyze", pictures, "--labels", file, "--by", "yaw:-90/-2/2/90", "--json")
    assert [cell["count"] for cell in outcome.json["cells"]] == [3, 2, 3]
    assert loads == []


def test_json(faceaug_cli, pictures, loads):
    found = faceaug_cli("measure", pictures, "--json").json
    assert (found["images"], found["measured"], found["cannot_tell"]) == (8, 8, {})
    assert found["semantics"]["yaw"]["unit"] == "degrees"


def test_a_single_image(faceaug_cli, pictures, loads):
    assert faceaug_cli("measure", pictures / "00.png", "--json").json["images"] == 1


def test_all_splits_are_measured_unless_one_is_named(faceaug_cli, pictures, loads, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,split\n" + "".join(f"{k:02d}.png,{('train', 'test')[k % 2]}\n" for k in range(8)))
    words = ("measure", pictures, "--labels", labels, "--json")
    assert faceaug_cli(*words).json["images"] == 8
    assert faceaug_cli(*words, "--split", "test").json["images"] == 4


def test_a_label_of_the_same_name_is_remarked(faceaug_cli, pictures, loads, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,yaw\n" + "".join(f"{k:02d}.png,99\n" for k in range(8)))
    outcome = faceaug_cli("measure", pictures, "--labels", labels, "-o", tmp_path / "out.csv")
    assert "The labels have a 'yaw' of their own" in outcome.err
    assert pd.read_csv(tmp_path / "out.csv")["yaw"].max() < 90


def test_an_unknown_suffix_is_refused_first(faceaug_cli, tmp_path):
    outcome = faceaug_cli("measure", tmp_path / "nowhere", "-o", "out.xlsx")
    assert outcome.status == 2
    assert ".parquet, .csv, .tsv" in outcome.err


def test_counting_by_measured_columns_needs_no_labels(faceaug_cli, pictures, loads):
    outcome = faceaug_cli("analyze", pictures, "--by", "yaw:-90/-2/2/90", "--json")
    assert outcome.status == 0
    assert [cell["count"] for cell in outcome.json["cells"]] == [3, 2, 3]
    assert len(loads) == 1


@pytest.mark.slow
def test_labels_and_measurements_can_be_combined(faceaug_cli, pictures, loads, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,gender\n" + "".join(f"{k:02d}.png,{('female', 'male')[k % 2]}\n" for k in range(8)))
    found = faceaug_cli("analyze", pictures, "--labels", labels, "--by", "gender,yaw:-90/0.05/90", "--json").json
    assert sum(cell["count"] for cell in found["cells"]) == 8
    assert len(found["cells"]) == 4
    plan = tmp_path / "plan.json"
    words = ("--labels", labels, "--by", "gender,yaw:-90/0.05/90")
    assert faceaug_cli("plan", pictures, *words, "-o", plan, "--json").status == 0
    dry = faceaug_cli("balance", pictures, "--labels", labels, "--plan", plan, "--dry-run", "--json")
    assert dry.status == 0, dry.err  # the plan's own axes are measured again, and count the same faces
    assert len(dry.json["plan"]["cells"]) == 4


def test_aligned_has_the_same_effect_in_a_recipe(faceaug_cli, pictures, loads, tmp_path, monkeypatch):
    monkeypatch.setattr("fake_estimator.still_aligner", enlarging_aligner)
    for k in range(8):  # turned by more than 5 degrees, in the larger crop of a search by less
        wide = np.concatenate([slope(0.0, 40, 48), slope((-1) ** k * 0.8, 48), slope(0.0, 40, 48)], 1)
        (pictures / f"{k:02d}.png").write_bytes(encode(wide, "png"))
    by = ("--by", "yaw:-90/-5/5/90", "--json")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"dataset": {"aligned": True, "reconstruction": "own.safetensors"}}))
    counts = [
        [cell["count"] for cell in faceaug_cli("analyze", pictures, *by, *more).json["cells"]]
        for more in ((), ("--aligned",), ("--recipe", recipe))
    ]
    assert counts[1] == counts[2] != counts[0]
    assert loads[2][0] == tmp_path / "own.safetensors"


def test_an_executor_of_balance_is_refused_where_it_is_typed_and_passed_over_in_a_recipe(
    faceaug_cli, pictures, loads, tmp_path
):
    outcome = faceaug_cli("measure", pictures, "--executor", "folder")
    assert outcome.status != 0
    assert "the executor folder is for faceaug balance alone: give local or ray" in outcome.err
    (tmp_path / "run.yaml").write_text("run:\n  executor: folder\n")
    assert faceaug_cli("measure", pictures, "--recipe", tmp_path / "run.yaml").status == 0


def test_other_columns_need_labels_before_any_image_is_read(faceaug_cli, pictures, loads, monkeypatch):
    monkeypatch.setattr("faceaug.datasets.dataset.check_images", lambda *_, **__: pytest.fail("images were read"))
    outcome = faceaug_cli("analyze", pictures, "--by", "gender")
    assert outcome.status == 1
    assert "has images but no labels" in outcome.err
    assert "--labels" in outcome.err
    named = faceaug_cli("analyze", pictures, "--by", "yaw:5,gender", "--reader", "unlabelled")
    assert (named.status, named.err) == (1, outcome.err)


def test_labelled_columns_are_not_measured(faceaug_cli, faces, loads):
    assert faceaug_cli("analyze", faces, "--by", "gender").status == 0
    assert loads == []


def test_without_an_estimator_the_message_says_what_to_do(faceaug_cli, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr("faceaug.measurement.measure.SHIPPED_DIRECTIONS", tmp_path / "none.safetensors")
    for words in (("measure", pictures), ("analyze", pictures, "--by", "yaw:5")):
        outcome = faceaug_cli(*words)
        assert outcome.status == 1
        assert outcome.err.count("\n") == 1
        assert "faceaug discover" in outcome.err
        assert "--reconstruction FILE" in outcome.err


def test_no_face_in_any_image_is_one_sentence(faceaug_cli, loads, tmp_path):
    folder = tmp_path / "dark"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.png").write_bytes(encode(np.zeros((40, 40, 3), np.uint8), "png"))
    outcome = faceaug_cli("analyze", folder, "--by", "yaw:5")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: nothing can be measured on the 3 images of dark (blank 3)")
    measured = faceaug_cli("measure", folder)
    assert measured.out == "0 of 3 images measured\n  cannot tell: blank, 3\n"


def test_an_unwritable_file_is_refused_before_measuring(faceaug_cli, pictures, loads, tmp_path):
    result = faceaug_cli("measure", pictures, "-o", tmp_path / "nowhere" / "found.csv")
    assert result.status == 1
    assert "nowhere" in result.err
    assert loads == []
