"""faceaug evaluate: the figures of an output folder, as text, JSON and a page."""

from __future__ import annotations

import json

import pytest
from demo_faces import labelled_demo, write_demo_faces
from quick_runs import LOOSE, changed

from faceaug.analysis.analyze import analyze
from faceaug.evaluation.output import evaluate_output
from faceaug.evaluation.page import render_evaluation_page
from faceaug.gan_training.features import efficientnet_installed
from faceaug.synthesis.config import RunConfig
from faceaug.synthesis.engines.external.admission import admit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("learnt_once"),
    pytest.mark.skipif(not efficientnet_installed(), reason="the packages of the features are not installed"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An output folder of other demo faces, and the data set."""
    root = tmp_path_factory.mktemp("run")
    dataset = labelled_demo(root / "faces", 60, 30)
    (root / "made").mkdir()
    config = RunConfig(
        candidates=write_demo_faces(root / "made", 200, 35),
        report=False,
        aligned=True,
        workers=2,
        thresholds=changed(LOOSE, confidence=0.0, held_out=0.0, duplicate_bits=0),
    )
    admit(analyze(dataset, "kind"), dataset, config=config).write(root / "out")
    return root, dataset


@pytest.fixture(scope="module")
def found(run):
    root, dataset = run
    return evaluate_output(root / "out", dataset, dataset, most=25)


def test_figures_of_an_output_folder(found):
    assert found.figures.distances.pictures == 25
    assert 0.3 < found.figures.distances.precision <= 1  # the candidates are of the same world
    assert found.figures.auc < 0.85


def test_the_command_writes_json_and_a_page(faceaug_cli, run, found, tmp_path):
    root, _ = run
    words = ("evaluate", root / "out", "--against", root / "faces", "--labels", root / "faces.csv")
    held_out = ("--held-out", root / "faces", "--held-out-labels", root / "faces.csv")
    outcome = faceaug_cli(*words, *held_out, "-o", tmp_path / "here", "--workers", 2, "--max-samples", 25)
    assert outcome.status == 0
    assert "real against synthetic, AUC" in outcome.out
    content = json.loads((tmp_path / "here/evaluation.json").read_text())
    assert content["format"] == "faceaug-sample-evaluation"
    assert {cell["cell"] for cell in content["figures"]["cells"]} == {0, 1}
    assert content["figures"]["distances"] == found.to_dict()["figures"]["distances"]  # the same on every call
    page = (tmp_path / "here/evaluation.html").read_text()
    assert "EfficientNet-Lite0" in page
    content["out"] = "<script>"
    assert "<script>" not in render_evaluation_page(content)


def test_bad_input_is_one_sentence(faceaug_cli, run, tmp_path):
    root, _ = run
    outcome = faceaug_cli("evaluate", tmp_path, "--against", root / "faces")
    assert outcome.status == 1
    assert "no output folder of faceaug is there" in outcome.err
    outcome = faceaug_cli("evaluate", root / "out", "--against", root / "faces", "-o", tmp_path / "here")
    assert outcome.status in (1, 2)
    assert "kind" in outcome.err
    assert not (tmp_path / "here").exists()
