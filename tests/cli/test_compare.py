"""faceaug compare: whether the faces of an output folder are new people."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from shard_samples import write_output

from faceaug.classifiers.classifier import Calibration, Classifier, Task, new_net
from faceaug.classifiers.networks import TRUNKS
from faceaug.identity import registry
from faceaug.report.build import build_report
from faceaug.report.identity import read_identity


@pytest.fixture
def out(tmp_path):
    return write_output(tmp_path / "out")


@pytest.fixture
def toy(monkeypatch):
    """As if a package had registered an embedder."""
    point = EntryPoint("toy", "toy_embedder:ToyEmbedder", "faceaug.identity")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


def test_the_comparison_is_printed_and_joins_the_report(faceaug_cli, out, faces, toy, tmp_path):
    build_report(out)
    cache = tmp_path / "real.safetensors"
    outcome = faceaug_cli("compare", out, faces, "--embedder", "toy", "--cache", cache)
    assert outcome.status == 0, outcome.err
    assert "The median distance to the nearest real face is" in outcome.out
    assert "for the 30 samples" in outcome.out
    assert cache.exists()
    text = (out / "report.html").read_text("utf-8")
    assert text.count('<div class="bars-of-distances') == 2
    assert "6 photographs that samples were made from are not in the data set" in text
    value = faceaug_cli("compare", out, faces, "--embedder", "toy", "--max-samples", 7, "--json").json
    assert (value["compared"], value["stored"], value["real"]) == (7, 30, 20)


def test_without_the_extra_a_classifier_of_the_run_stands_in(faceaug_cli, out, faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    trunk, task = next(iter(TRUNKS)), Task("gender", "classes", ("female", "male"))
    (out / "models").mkdir()
    Classifier(new_net(trunk, [task], 0), trunk, [task], [Calibration(bias=(0.0, 0.0))], 32).save(
        out / "models" / "held_out.safetensors"
    )
    outcome = faceaug_cli("compare", out, faces)
    assert outcome.status == 0, outcome.err
    assert "The extra faceaug[identity] is not installed." in outcome.err
    assert "there is no verdict" in outcome.out
    assert not (out / "report.html").exists()
    summary = read_identity(out)
    assert summary is not None
    assert not summary.is_identity
    assert np.isfinite(summary.distances["real face to the nearest other real face"].median)


def test_without_the_extra_and_a_classifier_the_error_says_what_to_install(faceaug_cli, out, faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    outcome = faceaug_cli("compare", out, faces)
    assert outcome.status == 1
    assert "pip install dlib-bin" in outcome.err


def test_an_unknown_embedder_is_wrong_usage(faceaug_cli, out, faces, toy):
    outcome = faceaug_cli("compare", out, faces, "--embedder", "toi")
    assert outcome.status == 2
    assert "did you mean 'toy'" in outcome.err
