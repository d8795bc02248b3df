"""faceaug analyze --explain."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explainable import MOUTH, measured_table, measurer_of_parts, write_faces
from fake_estimator import fake_estimator, slope

from faceaug.explain import explain
from faceaug.utils.images import encode


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    whole = explain.fit_sparse
    few = dict(resamples=2, shuffles=2)
    monkeypatch.setattr(explain, "fit_sparse", lambda *a, **k: whole(*a, **{**k, **few}))
    monkeypatch.setattr("faceaug.measurement.measure.load_estimator", lambda path, device: measurer_of_parts())


@pytest.fixture
def measured(tmp_path):
    """Faces whose labels hold all that is measured."""
    return write_faces(tmp_path / "faces", measured_table())


@pytest.mark.slow
def test_a_table_a_json_and_a_picture(faceaug_cli, measured, tmp_path):
    file = tmp_path / "map.png"
    text = faceaug_cli("analyze", measured, "--explain", "gender", "--explain-map", file)
    assert text.status == 0, text.err
    assert text.out.startswith("gender: male against female\n")
    assert MOUTH in text.out
    assert f"The maps were written to {file}" in text.err
    assert file.read_bytes().startswith(b"\x89PNG")
    facts = faceaug_cli("analyze", measured, "--explain", "gender", "--explain", "age", "--json", "-q").json
    assert [one["attribute"] for one in facts["explanations"]] == ["gender", "age"]
    assert "cells" not in facts


@pytest.mark.slow
def test_counting_and_explaining_at_once_over_the_right_parts(faceaug_cli, tmp_path):
    table = measured_table().assign(split=["train", "test"] * 120)
    folder = write_faces(tmp_path / "faces", table)
    facts = faceaug_cli("analyze", folder, "--by", "gender", "--explain", "age", "--json").json
    assert facts["rows"] == 120  # as without --explain: the training part
    (age,) = facts["explanations"]
    assert (age["rows"], age["held_out"], age["judged_on"]) == (120, 120, "test")
    one = faceaug_cli("analyze", folder, "--explain", "age", "--split", "test", "--json").json["explanations"][0]
    assert (one["rows"], one["judged_on"]) == (120, "5 folds in turn")


@pytest.mark.slow
def test_parts_are_measured_where_the_labels_lack_them(faceaug_cli, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = ["file,shade"]
    for k in range(80):
        bright = bool(k % 2)
        picture = (slope(0.1 * rng.normal(), 24) * (0.9 if bright else 0.5) + rng.integers(0, 9)).astype(np.uint8)
        (folder / f"{k:03d}.png").write_bytes(encode(picture, "png"))
        lines.append(f"{k:03d}.png,{'light' if bright else 'dark'}")
    (folder / "labels.csv").write_text("\n".join(lines))
    (shade,) = faceaug_cli("analyze", folder, "--explain", "shade", "--json").json["explanations"]
    assert (shade["rows"], shade["score"] > 0.9) == (80, True)
    assert shade["left_out"] == {"not measured": 0, "without a label": 0}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--explain-map", "x.png"], 2, "--explain-map needs --explain"),
        (["--explain", "gender", "--explain-map", "x.jpg"], 2, "must end in .png"),
        (["--explain", "gender", "--explain-map", "nowhere/x.png"], 1, "nowhere"),
        (["--explain", "gendr"], 2, "did you mean 'gender'?"),
        (["--explain", "file"], 2, "--explain needs a label"),
    ],
)
def test_bad_requests_are_one_sentence(faceaug_cli, measured, words, status, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    outcome = faceaug_cli("analyze", measured, *words)
    assert (outcome.status, outcome.out) == (status, "")
    assert said in outcome.err
    assert not list(tmp_path.glob("x.*"))


def test_a_file_that_knows_no_parts(faceaug_cli, measured, monkeypatch):
    monkeypatch.setattr("faceaug.measurement.measure.load_estimator", lambda path, device: fake_estimator())
    outcome = faceaug_cli("analyze", measured, "--explain", "gender")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "knows no localized parts" in outcome.err


def test_the_table_of_measure_serves(faceaug_cli, measured, tmp_path):
    file = tmp_path / "table.parquet"
    pd.read_csv(measured / "labels.csv").to_parquet(file)
    (measured / "labels.csv").unlink()
    assert faceaug_cli("analyze", measured, "--labels", file, "--explain", "age", "-q").status == 0
