"""The script that trains the generator to be shipped runs from end to end, and continues where it stopped."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from faceaug.classifiers.config import ClassifierConfig
from faceaug.errors import GeneratorError
from faceaug.gan_training.features import FeatureExtractor
from faceaug.generators.registry import load_generator
from faceaug.utils.images import decode

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch, faces):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("embedded_generator")
    yield prepared(module, monkeypatch)
    for name in ("embedded_generator", "_record"):
        sys.modules.pop(name, None)


def prepared(module, monkeypatch):
    """Short stages, and features that need no other package."""
    quick = classmethod(lambda cls, n, device="cpu": cls(steps=1, device=device))
    monkeypatch.setattr(ClassifierConfig, "for_face_quality", quick)
    monkeypatch.setattr(module, "images_per_second", lambda path: 1.0)
    simple = FeatureExtractor("distance on means", {}, lambda x: x.float().mean((2, 3)))
    monkeypatch.setattr(module, "load_efficientnet", lambda device: simple)
    return module


def test_it_runs_and_continues(script, tmp_path):
    work = tmp_path / "run"
    quick = [
        "--work",
        str(work),
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--batch-size",
        "4",
        "--faces",
        "16",
        "--samples",
        "32",
        "--keep",
        "0.5",
    ]
    script.main([*quick, "--kimg", "0.008"])
    classifier = (work / script.CLASSIFIER_FILE).read_bytes()
    script.main([*quick, "--kimg", "0.012"])
    assert (work / script.CLASSIFIER_FILE).read_bytes() == classifier, "trained once"
    card = json.loads((work / "card.json").read_text())
    assert (card["images_seen"], card["n"], card["preset"]) == (12, 32, "tiny")
    assert card["curve"]
    assert card["split_half"]["n"] == 16
    assert card["sha256"] == load_generator(work / "generator.safetensors").sha256
    assert "the 50% of highest face quality" in load_generator(work / "generator.safetensors").origin
    assert decode((work / "kept.png").read_bytes()).shape == decode((work / "rejected.png").read_bytes()).shape


def test_a_generator_that_is_too_large_is_not_shipped(script, tmp_path):
    with pytest.raises(GeneratorError, match="more than the 1,000 that are shipped"):
        script.main(
            [
                "--work",
                str(tmp_path),
                "--preset",
                "tiny",
                "--device",
                "cpu",
                "--batch-size",
                "4",
                "--faces",
                "16",
                "--samples",
                "32",
                "--kimg",
                "0.004",
                "--max-bytes",
                "1000",
            ]
        )
